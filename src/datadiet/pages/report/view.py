"""What the page shows of a report's contents, made ready for the template."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from datadiet.pages import numbers
from datadiet.pages.report import costs, figures, tables
from datadiet.pages.report.answer import next_command, next_sentence, not_trained_sentence, verdict_sentence
from datadiet.pages.report.canvas import Draw
from datadiet.pages.report.contents import ReportContents, gallery_thumbnails, subset_key
from datadiet.pages.report.wording import (
    accuracy_title,
    budget_title,
    has_one_seed,
    is_same_subset,
    loss_title,
    outcome_of,
    outcome_title,
    score_title,
    subset_title,
    time_saved_title,
    titled_share,
)
from datadiet.pages.report.wrong_labels import wrong_labels_view

MINUS = "−"
MOST_CLASS_ROWS = 1000
MOST_PROVENANCE_ROWS = 200
_STATUS = {"keep_all": "Keep all data", "undecided": "Undecided", "not_for_deciding": "Not for deciding"}


def report_figures(contents: ReportContents) -> dict[str, Draw]:
    """The figures that the contents have data for: name -> a function of theme and narrowness.

    >>> report_figures(ReportContents(title="nothing yet", verdict={}))
    {}
    """
    verdict = contents.verdict
    drawings: dict[str, Draw] = {}
    if verdict.get("full") is not None or verdict.get("subsets"):
        drawings["accuracy_against_keep"] = partial(figures.accuracy_against_keep, verdict)
    if contents.scores:
        masks = {score: contents.kept[key] for score, key in _marked_subsets(contents).items()}
        drawings["score_distributions"] = partial(figures.score_distributions, contents.scores, masks)
    if contents.kept and _has_classes(contents):
        kept = {_kept_title(contents, key): contents.kept[key] for key in _in_balance(contents)}
        drawings["class_balance"] = partial(
            figures.class_balance, contents.labels, contents.class_names, kept
        )
    return drawings


def page_view(contents: ReportContents) -> dict[str, Any]:
    """The names that the template reads.

    >>> page_view(ReportContents(title="nothing yet", verdict={}))["sentence"]
    'No subset can be recommended: no reason was recorded.'
    """
    verdict = contents.verdict
    recommended = verdict.get("recommended")
    return {
        "title": contents.title,
        "status": _status(verdict),
        "sentence": verdict_sentence(verdict, minus=MINUS),
        "next": next_sentence(verdict, with_command=False),
        "next_command": next_command(verdict),
        "not_trained": not_trained_sentence(verdict),
        "recommended": recommended,
        "verdict": verdict,
        "full": verdict.get("full"),
        "budget": budget_title(verdict),
        "warnings": _warnings(verdict),
        "notes": list(contents.notes),
        "rows": _subset_rows(verdict),
        "accuracy_title": accuracy_title(verdict),
        "metrics": tables.metrics_rows(verdict),
        "axis": _axis(verdict),
        "left_out": tables.left_out_view(verdict, MINUS),
        "bounds": tables.has_bounds(verdict),
        "cost": verdict.get("cost") or {},
        "costs": costs.cost_rows(verdict),
        "cost_sentence": costs.cost_sentence(verdict),
        "same_steps": costs.has_same_steps(verdict),
        "times": _times(verdict),
        "sparse_columns": tables.SPARSE_COLUMNS,
        "sparse": tables.sparse_rows(verdict, MINUS),
        "saved": time_saved_title((recommended or {}).get("time_saved"), MINUS),
        "scores": _score_rows(contents),
        "shown_scores": min(len(contents.scores), figures.MOST_PANELS),
        "balance": _balance(contents),
        "has_classes": _has_classes(contents) or not len(contents.labels),
        "galleries": gallery_thumbnails(contents.galleries, len(contents.class_names)),
        "wrong": wrong_labels_view(contents),
        "score_title": score_title,
        "command": contents.provenance.get("command"),
        "provenance": _provenance(contents.provenance),
    }


def _status(verdict: Mapping[str, Any]) -> str:
    """The answer in two words."""
    if verdict.get("quick") is not None:
        return "First answer"
    if verdict.get("recommended") is not None:
        return "Subset recommended"
    kind = str((verdict.get("answer") or {}).get("kind"))
    return _STATUS.get(kind, "No recommendation")


def _warnings(verdict: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing the numbers."""
    warnings = []
    if has_one_seed(verdict):
        warnings.append(
            "One training seed only: the intervals come from the test examples alone and leave out how much "
            "accuracy differs from seed to seed."
        )
    recommended = verdict.get("recommended")
    difference = (recommended or {}).get("minus_random")
    if difference is not None and numbers.is_number(difference[1]) and difference[1] <= 0:
        warnings.append(
            "A random subset of the same size may do as well: the interval of the difference to random, "
            f"{numbers.points_interval(difference[1:], minus=MINUS)} points, includes or lies "
            "below zero."
        )
    undecided = sum(subset.get("holds") is None for subset in verdict.get("subsets", ()))
    if undecided and verdict.get("answer") is None:
        warnings.append(
            f"{undecided} of {len(verdict['subsets'])} subsets cannot be decided with the seeds and test "
            "examples given."
        )
    return warnings + tables.first_warnings(verdict)


def _subset_rows(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    recommended = verdict.get("recommended")
    axis = _axis(verdict)
    rows: list[dict[str, Any]] = []
    # Largest first; what was trained on as many examples stands together, in the order given.
    for subset in sorted(verdict.get("subsets", ()), key=lambda subset: -float(subset["keep"])):
        difference = subset.get("minus_full")
        measured = _is_measured(subset)
        rows.append(
            {
                **{key: subset.get(key) for key in ("score", "keep", "n", "accuracy", "interval", "seeds")},
                "title": subset_title(subset),
                "accuracies": [numbers.percent(value, 2) for value in subset.get("accuracies") or ()],
                "minus_full": difference if measured else None,
                "minus_random": subset.get("minus_random"),
                "bar": _bar(difference, axis) if measured else None,
                "first": bool(rows) and rows[-1]["keep"] != subset.get("keep"),
                "outcome": outcome_of(subset),
                "outcome_title": outcome_title(subset),
                "loses": loss_title(subset.get("loses_at_most"), verdict.get("tolerance")),
                "chosen": recommended is not None and is_same_subset(subset, recommended),
            }
        )
    return rows


def _times(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What one training of each subset takes and saves, in the order of the table of subsets."""
    recommended = verdict.get("recommended")
    return [
        {
            "title": subset_title(subset),
            "keep": subset["keep"],
            "seconds": subset.get("seconds"),
            "scoring_seconds": subset.get("scoring_seconds"),
            "saved": time_saved_title(subset["time_saved"], MINUS),
            "without": time_saved_title(subset.get("time_saved_without_scoring"), MINUS),
            "chosen": recommended is not None and is_same_subset(subset, recommended),
        }
        for subset in sorted(costs.timed_subsets(verdict), key=lambda subset: -float(subset["keep"]))
    ]


def _axis(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """One scale for all the small interval drawings of the table, 140 wide.

    It ends four tolerances below zero: further down nothing can hold, and the ends of the intervals that
    decide would be too close to tell apart.
    """
    tolerance = float(verdict.get("tolerance") or 0.0) / 100
    differences = [
        _known(subset["minus_full"]) for subset in verdict.get("subsets", ()) if _is_measured(subset)
    ]
    values = [float(value) for difference in differences for value in difference]
    low, high = min([0.0, -tolerance, *values]), max([0.0, *values])
    cut = tolerance > 0 and low < -4 * tolerance
    axis = {"low": -4 * tolerance if cut else low, "high": high, "cut": cut}
    return {
        **axis,
        "zero": _place(0.0, axis),
        "tolerance": _place(-tolerance, axis) if verdict.get("tolerance") is not None else None,
    }


def _place(value: float, axis: Mapping[str, Any]) -> float:
    low, high = float(axis["low"]), float(axis["high"])
    return round(10 + 122 * (float(value) - low) / ((high - low) or 1.0), 2)


def _bar(difference: Any, axis: Mapping[str, Any]) -> list[float] | str:
    """Where mean, low and high of a difference stand on the axis, the mean alone where they are not known.

    Or that it lies below the end of the axis.
    """
    if difference[0] < axis["low"]:
        return "below"
    return [_place(max(float(value), axis["low"]), axis) for value in _known(difference)]


def _is_measured(subset: Mapping[str, Any]) -> bool:
    difference = subset.get("minus_full")
    return difference is not None and numbers.is_number(difference[0])


def _known(difference: Any) -> list[float]:
    """Mean, low and high, or the mean alone."""
    return list(difference if numbers.is_known(difference[1:], (-1.0, 1.0)) else difference[:1])


def _by_interest(contents: ReportContents) -> list[str]:
    """Names of the kept masks: the recommended subset, others of its size, the rest, random last."""
    recommended = contents.verdict.get("recommended")
    chosen = subset_key(recommended) if recommended is not None else ""
    size = int(contents.kept[chosen].sum()) if chosen in contents.kept else -1

    def rank(key: str) -> tuple[bool, bool, bool]:
        return key != chosen, key.startswith("random "), int(contents.kept[key].sum()) != size

    return sorted(contents.kept, key=rank)


def _in_balance(contents: ReportContents) -> list[str]:
    return _by_interest(contents)[: figures.MOST_SUBSETS_IN_BALANCE]


def _marked_subsets(contents: ReportContents) -> dict[str, str]:
    """For each score the name of the subset marked in its histogram."""
    keys = _by_interest(contents)[::-1]  # so that the first of a score is what stays in the dictionary
    return {score: key for score in contents.scores for key in keys if key.startswith(f"{score} ")}


def _kept_title(contents: ReportContents, key: str) -> str:
    """A subset's title with its size; its own name where the verdict does not know it, or knows two of it."""
    known = [subset for subset in contents.verdict.get("subsets", ()) if subset_key(subset) == key]
    return titled_share(known[0]) if len(known) == 1 else key


def _score_rows(contents: ReportContents) -> list[dict[str, Any]]:
    marked = _marked_subsets(contents)
    rows = []
    for name, column in contents.scores.items():
        values = np.asarray(column, dtype=np.float64)
        finite = values[np.isfinite(values)]
        row = {
            "title": score_title(name),
            "quantiles": np.quantile(finite, (0, 0.25, 0.5, 0.75, 1)).tolist() if len(finite) else None,
            "not_finite": len(values) - len(finite),
            "darker": _kept_title(contents, marked[name]) if name in marked else None,
        }
        rows.append(row)
    return rows


def _has_classes(contents: ReportContents) -> bool:
    """Whether there are classes to compare: a task need not have any, then all examples are of one."""
    return len(contents.labels) > 0 and (len(contents.class_names) > 1 or "task" not in contents.verdict)


def _balance(contents: ReportContents) -> dict[str, Any] | None:
    if not _has_classes(contents) or not contents.kept:
        return None
    keys = _in_balance(contents)
    titles = [_kept_title(contents, key) for key in keys]
    classes = len(contents.class_names)
    before = np.bincount(contents.labels, minlength=classes)
    after = [
        np.bincount(contents.labels[np.asarray(contents.kept[key], dtype=bool)], minlength=classes)
        for key in keys
    ]
    emptied = [int(((counts == 0) & (before > 0)).sum()) for counts in after]
    rows = []
    for row in range(min(classes, MOST_CLASS_ROWS)):
        total = int(before[row])
        stay = [(int(counts[row]), counts[row] / total if total else None) for counts in after]
        rows.append({"name": contents.class_names[row], "before": total, "after": stay})
    return {
        "titles": titles,
        "left_out": len(contents.kept) - len(keys),
        "classes": classes,
        "many": classes > figures.MOST_CLASSES_IN_ROWS,
        "rows": rows,
        "emptied": [(title, lost) for title, lost in zip(titles, emptied, strict=True) if lost],
    }


def _provenance(provenance: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What is known of how the report was made, one group a top-level key, nested keys joined by dots."""
    groups: dict[str, list[tuple[str, str]]] = {}
    left = MOST_PROVENANCE_ROWS
    for key, value in provenance.items():
        if key == "command":
            continue
        entries = _entries(value, "")
        name = key if isinstance(value, Mapping) and value else "general"
        if name == "general":
            entries = [(str(key), text) for _, text in entries]
        groups.setdefault(str(name), []).extend(entries[:left])
        left = max(left - len(entries), 0)
    return sorted(groups.items(), key=lambda group: group[0] != "general")


def _entries(value: Any, path: str) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        inner = [_entries(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()]
        return list(itertools.chain.from_iterable(inner))
    if isinstance(value, (list, tuple)):
        return [(path, ", ".join(map(str, value)) or "none")]
    if value is None or isinstance(value, bool):
        return [(path, {None: "none", True: "yes", False: "no"}[value])]
    return [(path, str(value))]
