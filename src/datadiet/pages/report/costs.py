"""What a verdict costs, for the terminal and the page: times, money, and savings only where there are some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from datadiet.pages.numbers import compact, duration, is_number, money, share
from datadiet.pages.report.grid import add_row, new_table
from datadiet.pages.report.wording import subset_title, time_saved_title, times_as_long

SAME_STEPS = "Same steps: a subset takes as long to train as all data; --budget epochs is what saves time."
_AFTER = (("one training", "after_one"), ("100 trainings", "after_hundred"))


def has_same_steps(verdict: Mapping[str, Any]) -> bool:
    """Whether a subset takes as many steps as full data, so that it cannot save time.

    >>> has_same_steps({"budget": "steps"}), has_same_steps({"budget": "steps", "dynamic": {}})
    (True, False)
    """
    return verdict.get("budget") == "steps" and verdict.get("dynamic") is None


def cost_rows(verdict: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Titles of the columns, and what the run took and what trainings take after it: names with a cell a column.

    A column that would be empty is left out.

    >>> after = {"full_seconds": 600.0, "kept_seconds": 420.0, "saved_seconds": 180.0}
    >>> titles, rows = cost_rows({"budget": "epochs", "cost": {"today_seconds": 840.0, "after_hundred": after}})
    >>> titles, rows[0], rows[2]
    (['time', 'saves'], ('all of this run', ['14 min', '']), \
('100 trainings on the subset', ['7 min', '30 %, 3 min']))
    """
    cost = verdict.get("cost") or {}
    timed = [row for row in _rows(cost, has_same_steps(verdict)) if is_number(row[1])]
    price = cost.get("price_per_hour")
    columns = {
        "time": [duration(seconds) for _, seconds, _, _ in timed],
        f"at {compact(price, 6)} an hour" if is_number(price) else "price": [
            money(paid) if is_number(paid) else "" for _, _, paid, _ in timed
        ],
        "saves": [saves for _, _, _, saves in timed],
    }
    shown = {title: cells for title, cells in columns.items() if any(cells)}
    return list(shown), [
        (row[0], [cells[place] for cells in shown.values()]) for place, row in enumerate(timed)
    ]


def _rows(cost: Mapping[str, Any], same_steps: bool) -> list[tuple[str, Any, Any, str]]:
    """Name, seconds, price and saving of everything that could be known; with the same steps nothing of the subset."""
    prices = cost.get("money") or {}
    scoring = cost.get("scoring_seconds") or None
    rows = [
        ("all of this run", cost.get("today_seconds"), prices.get("today"), ""),
        ("scoring, once", scoring, prices.get("scoring"), ""),
    ]
    if cost.get("after_one") is None:
        rows.append(("one training on full data", cost.get("full_training_seconds"), None, ""))
        if not same_steps:
            rows.append(("one training on the subset", cost.get("kept_training_seconds"), None, ""))
    once = ", with scoring once" if scoring else ""
    for title, name in _AFTER:
        after, price = cost.get(name) or {}, prices.get(name) or {}
        rows.append((f"{title} on full data", after.get("full_seconds"), price.get("full"), ""))
        if not same_steps:
            kept = after.get("kept_seconds")
            rows.append((f"{title} on the subset{once}", kept, price.get("kept"), _saves(after, price)))
    return rows


def _saves(after: Mapping[str, Any], price: Mapping[str, Any]) -> str:
    """The share of full data's time with the time and the money, or that nothing is saved."""
    saved, full = after.get("saved_seconds"), after.get("full_seconds")
    if not is_number(saved) or not is_number(full) or full <= 0:
        return ""
    if saved <= 0:
        return f"nothing: {times_as_long(1 - saved / full)}"
    paid = f", {money(price['saved'])}" if is_number(price.get("saved")) else ""
    return f"{share(saved / full)}, {duration(saved)}{paid}"


def cost_table(verdict: Mapping[str, Any]) -> Table | None:
    """The rows of `cost_rows` for `rich` to print; None where nothing was timed.

    >>> cost_table({}) is None
    True
    """
    titles, rows = cost_rows(verdict)
    if not rows:
        return None
    table = new_table("cost", titles)
    for name, cells in rows:
        add_row(table, (name, *cells))
    return table


def cost_sentence(verdict: Mapping[str, Any]) -> str:
    """Whether the scoring is won back, in one sentence; nothing where no times were measured.

    >>> cost_sentence({"budget": "epochs", "recommended": {}, "cost": {"pays_after_trainings": 1}})
    'The time spent on scoring is won back after 1 training on the subset instead of on full data.'
    """
    cost = verdict.get("cost")
    if not cost:
        return ""
    if verdict.get("dynamic") is not None:
        return "What scores and chooses while training is part of each training's time."
    if has_same_steps(verdict):
        return SAME_STEPS
    if verdict.get("recommended") is None:
        return "There is no recommended subset, so there is nothing that could pay for the scoring."
    pays = cost.get("pays_after_trainings")
    if pays is None:
        return (
            "Scoring does not pay for itself in training time: a training on the subset is not faster. What it saves "
            "is data to label, store and look after."
        )
    if pays == 0:
        return "The subset needs no scores: a training on it is faster from the first one on."
    trainings = f"{pays} training{'' if pays == 1 else 's'}"
    return f"The time spent on scoring is won back after {trainings} on the subset instead of on full data."


def timed_subsets(verdict: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The subsets whose time saved can be shown: with the same steps there are none.

    >>> timed_subsets({"budget": "steps", "subsets": [{"time_saved": [0.1, 0.0, 0.2]}]})
    []
    """
    if has_same_steps(verdict):
        return []
    return [subset for subset in verdict.get("subsets", ()) if subset.get("time_saved") is not None]


def times_table(verdict: Mapping[str, Any]) -> Table | None:
    """What one training on full data and on every subset takes and saves, for `rich`; None where nothing can be saved.

    >>> times_table({"subsets": [{"score": "el2n", "rule": "hardest", "keep": 0.5}]}) is None
    True
    """
    timed = timed_subsets(verdict)
    if not timed:
        return None
    columns = ["one training", "scoring", "time saved"]
    if any(subset.get("processor_time_saved") is not None for subset in timed):
        columns.append("processor time saved")
    caption = (
        "time saved: share of a training on full data, scoring counted as if one training had to pay for it"
    )
    table = new_table("subset", columns, caption=Text(caption))
    full = duration((verdict.get("cost") or {}).get("full_training_seconds"))
    add_row(table, ("full data", full, *[""] * (len(columns) - 1)), style="bold")
    for subset in timed:
        cells = (
            f"{subset_title(subset)} {share(subset['keep'])}",
            duration(subset.get("seconds")),
            duration(subset.get("scoring_seconds")),
            time_saved_title(subset["time_saved"]),
            time_saved_title(subset.get("processor_time_saved")),
        )
        add_row(table, cells[: len(columns) + 1])
    return table
