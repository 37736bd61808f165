"""Study `seeds`: what averaging a score over several models gains, in rank agreement and in accuracy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datadiet.studies.toolbox.accuracy import (
    accuracy_columns,
    accuracy_row,
    difference,
    in_percent,
    level_lines,
    rank_correlation,
    title_of,
)
from datadiet.studies.toolbox.claims import (
    LEVEL,
    Claim,
    Measurement,
    finite_or_none,
    mean_correlation,
    mean_of,
)
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import Point, data_caption, lines, retraining_caption, without_interval
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, retraining_plan, study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section 2"
SCORES = ("el2n", "grand")
MOST = 10  # models, as in the paper
BOUNDS = ("with_all_low", "with_all_high")
ROOM = 0.9  # rank correlation of two models under which there is something to gain by averaging


def models(context: StudyContext) -> int:
    """How many models are trained: twice the scale's, up to ten."""
    return min(MOST, 2 * context.scale.score_seeds)


def retrained_at(context: StudyContext) -> list[int]:
    """The numbers of models whose subsets are trained on: powers of two, and all."""
    all_of_them = models(context)
    return sorted({2**power for power in range(10) if 2**power <= all_of_them} | {all_of_them})


def group(index: int, size: int, count: int) -> np.ndarray:
    """The index-th group of models: groups go round, and share none as long as `count` suffices.

    Example:
        >>> group(1, 2, 5).tolist(), group(2, 2, 5).tolist()
        ([2, 3], [4, 0])
    """
    return (index * size + np.arange(size)) % count


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs, full data, random, and a retraining a number of models and seed."""
    subsets = len(retrained_at(context)) + 1
    return retraining_plan(context, {context.scale.keep: subsets}, models=models(context))


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """Rank agreement for every number of models, then accuracies; each retraining has its own group of models."""
    count, fraction, step = models(context), context.scale.keep, context.score_step
    if count < MOST:
        context.note(f"At this scale {count} models are averaged at most, not {MOST}.")
    epoch = context.epoch_of(step)
    for score in SCORES:
        kept[score] = context.per_seed(score, step, seeds=count)
        for size in range(1, count + 1):
            yield agreement(kept[score], size, score)
    yield {"what": "accuracy", **accuracy_row(context, kept, ("full", epoch, 1.0), None)}
    yield {"what": "accuracy", **accuracy_row(context, kept, ("random", epoch, fraction), None)}
    for size in retrained_at(context):

        def of_group(index: int, size: int = size) -> np.ndarray:
            return context.keep(kept["el2n"][group(index, size, count)].mean(axis=0), fraction)

        key = arm(size, epoch, fraction)
        kept[key] = context.correct(of_group, f"EL2N of {size} models")
        row = {"what": "accuracy", "score": "el2n", "models": size, "epoch": epoch, "keep": fraction}
        yield row | accuracy_columns(kept[key])


def arm(size: int, epoch: float, fraction: float) -> tuple[str, float, float]:
    """Under which key the accuracies of a number of models are remembered."""
    return f"el2n of {size}", epoch, fraction


def agreement(per_seed: np.ndarray, size: int, score: str) -> Row:
    """How the mean of `size` models ranks, held against the mean of all and against other groups.

    `predicted` is the agreement of two groups that the agreement r of single models leads one to expect:
    `K r / (1 + (K - 1) r)` (Spearman and Brown), also where there are too few models for two groups.

    Args:
        per_seed: hardness (models, n).
        size: K.
        score: its name.
    """
    count = len(per_seed)
    groups = [per_seed[group(index, size, count)].mean(axis=0) for index in range(count // size)]
    of_all = per_seed.mean(axis=0)
    single = mean_correlation(pairs(list(per_seed)), "pairs").estimate if count > 1 else np.nan
    with_all = mean_correlation([rank_correlation(each, of_all) for each in groups], "groups")
    low, high = map(finite_or_none, with_all.interval(LEVEL))
    between = pairs(groups)
    return {
        "what": "agreement",
        "score": score,
        "models": size,
        "groups": len(groups),
        "with_all": with_all.estimate,
        "with_all_low": low,
        "with_all_high": high,
        "with_other_groups": mean_correlation(between, "pairs").estimate if between else None,
        "predicted": size * single / (1 + (size - 1) * single) if np.isfinite(single) else None,
    }


def pairs(groups: Sequence[np.ndarray]) -> list[float]:
    """Rank correlations of all pairs."""
    return [rank_correlation(first, second) for first, second in itertools.combinations(groups, 2)]


def pair_agreement(per_seed: np.ndarray) -> Measurement:
    """Rank correlation of two models, over pairs that share no model."""
    found = [rank_correlation(*per_seed[start : start + 2]) for start in range(0, len(per_seed) - 1, 2)]
    return mean_correlation(found, "pairs of models")


def gain(per_seed: np.ndarray) -> Measurement | None:
    """How much better the mean of all other models foretells a model's ranking than another model does."""
    if len(per_seed) < 3:
        return None
    gains = []
    for index, model in enumerate(per_seed):
        others = np.delete(per_seed, index, axis=0)
        alone = mean_correlation([rank_correlation(other, model) for other in others], "models").estimate
        gains.append(rank_correlation(others.mean(axis=0), model) - alone)
    return mean_of(gains, "models")


@study(
    "seeds",
    "Rank agreement and subset accuracy against the number of models that a score is averaged over.",
    "Deep Learning on a Data Diet, section 2 and appendix",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Agreement and accuracy by number of models; claims that averaging is worth it."""
    count, fraction, epoch = models(context), context.scale.keep, context.score_epoch
    per_seed = kept["el2n"]
    claims = [
        Claim(
            "One model's EL2N is no settled ranking: two models agree with a rank correlation below "
            f"{ROOM:g}.",
            f"{DATA_DIET} (one model against ten: about 0.75); the bound is ours",
            "Spearman's rho of two models",
            pair_agreement(per_seed),
            below=ROOM,
        ),
        Claim(
            f"The mean of {count - 1} models foretells how a further model ranks better than one model does.",
            DATA_DIET,
            "Spearman's rho of the mean of the others with a model, minus that of one other",
            gain(per_seed),
        ),
        Claim(
            f"The hardest {fraction:g} by {count} models train better than by one.",
            DATA_DIET,
            "accuracy minus that of one model's subset",
            difference(kept, arm(count, epoch, fraction), arm(1, epoch, fraction)),
        ),
        Claim(
            f"The hardest {fraction:g} by one model are better than random.",
            DATA_DIET,
            "accuracy minus random's",
            difference(kept, arm(1, epoch, fraction), ("random", epoch, fraction)),
        ),
    ]
    tables = {
        what: [{k: v for k, v in row.items() if k != "what"} for row in rows if row["what"] == what]
        for what in ("agreement", "accuracy")
    }
    figures = {"rank-agreement": _agreement_figure(context, tables["agreement"])}
    if any("models" in row for row in tables["accuracy"]):
        figures["accuracy"] = _accuracy_figure(context, tables["accuracy"])
    return Conclusion(claims, figures, tables)


def _agreement_figure(context: StudyContext, rows: Sequence[Row]) -> Any:
    series: dict[str, list[Point]] = {}
    for score in SCORES:
        for row in (row for row in rows if row["score"] == score):
            size, middle = row["models"], row["with_all"]
            if size < models(context):  # all agree with all
                low, high = (np.nan if row[name] is None else row[name] for name in BOUNDS)
                point = (size, middle, low, high)
                series.setdefault(f"{title_of(score)}, with the mean of all", []).append(point)
            for name, column in (("of two groups", "with_other_groups"), ("of two, predicted", "predicted")):
                if row[column] is not None and (column != "predicted" or score == "el2n"):
                    point = without_interval(size, row[column])
                    series.setdefault(f"{title_of(score)}, {name}", []).append(point)
    figure = lines(
        series,
        x="models averaged",
        y="Spearman's rank correlation",
        title=data_caption(context, f"scores at epoch {context.score_epoch:g}"),
        width=7.2,
        height=4.4,
    )
    figure.axes[0].set_xticks(range(1, models(context) + 1))
    return figure


def _accuracy_figure(context: StudyContext, rows: Sequence[Row]) -> Any:
    series = {title_of("el2n"): [in_percent(row["models"], row) for row in rows if "models" in row]}
    ends = (1, models(context))
    for row in rows:
        if row["score"] == "random":
            series[title_of("random")] = [in_percent(end, row) for end in ends]
    figure = lines(
        series,
        x="models averaged",
        y="test accuracy, %",
        title=retraining_caption(
            context, f"keep {context.scale.keep:g}, scores at epoch {context.score_epoch:g}"
        ),
        levels=level_lines(rows, "full"),
    )
    figure.axes[0].set_xticks(retrained_at(context))
    return figure
