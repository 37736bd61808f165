"""Study `window`: a window of fixed size slid over the sorted scores, with labels as they are and made wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from datadiet.pages.report.canvas import LIGHT, series_style
from datadiet.studies.toolbox.accuracy import accuracy_row, difference, in_percent, title_of
from datadiet.studies.toolbox.claims import LEVEL, Claim, Measurement
from datadiet.studies.toolbox.context import StudyContext, with_wrong_labels
from datadiet.studies.toolbox.figures import draw_lines, finish, label, panel, retraining_caption
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, retraining_plan, study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section 4.2"
SCORE = "el2n"
CLEAN, NOISY = "as they are", "wrong labels"
NEAR = 0.05  # of the data: what "only the hardest few" is taken to mean; the paper's 500 of CIFAR-10 are 0.01
DRAWS = 1_000
CHUNK = 4_000_000  # resampling weights that are held at a time


def offsets(context: StudyContext) -> list[float]:
    """Where windows begin, as shares of the data from the hardest end; only those that fit."""
    keep = context.scale.window_keep
    return [offset for offset in sorted(context.scale.offsets) if offset + keep <= 1 + 1e-9]


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs, full data, random, and a retraining an offset and seed; all for both kinds of labels."""
    return retraining_plan(context, {context.scale.window_keep: len(offsets(context)) + 1}, times=2)


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """Full data, random and each window; first with labels as they are, then with wrong ones."""
    fraction = context.scale.window_keep
    for labels, here in ((CLEAN, context), (NOISY, with_wrong_labels(context)[0])):
        arms = kept.setdefault(labels, {})
        epoch = here.score_epoch
        yield {"labels": labels, **accuracy_row(here, arms, ("full", epoch, 1.0), None)}
        yield {"labels": labels, **accuracy_row(here, arms, ("random", epoch, fraction), None)}
        hardness = here.hardness(SCORE, here.score_step)
        for offset in offsets(context):
            ids = here.keep(hardness, fraction, rule="window", start=offset)
            row = accuracy_row(here, arms, (window(offset), epoch, fraction), ids)
            yield {"labels": labels, "offset": offset, **row}


def window(offset: float) -> str:
    """What the window at an offset is called in the table.

    Example:
        >>> window(0.1)
        'el2n from 0.1'
    """
    return f"{SCORE} from {offset:g}"


def best_offsets(correct: Sequence[np.ndarray], seed: int = 0) -> np.ndarray:
    """Which of several subsets is best, over and over on resampled evidence.

    Test examples are resampled for all subsets together; to each subset's mean accuracy noise is added for the
    choice of seeds, Student's t with the pooled degrees of freedom times the standard error that the spread
    between seeds gives, as in `datadiet.foundation.statistics`. Of equally good ones the first is taken.

    Args:
        correct: bool (seeds, test examples), one a subset.
        seed: of the resampling.

    Returns:
        Positions of the best, int64 (draws,).

    Example:
        >>> good, bad = np.ones((2, 100), bool), np.zeros((2, 100), bool)
        >>> np.unique(best_offsets([bad, good])).tolist()
        [1]
    """
    generator = np.random.default_rng([seed, 0x77])
    per_example = np.stack([arm.mean(axis=0) for arm in correct])  # (subsets, test examples)
    count = per_example.shape[1]
    rows = max(1, CHUNK // count)
    parts = []
    for start in range(0, DRAWS, rows):
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=min(rows, DRAWS - start))
        parts.append(drawn @ per_example.T / count)
    means = np.concatenate(parts)
    accuracies = [arm.mean(axis=1) for arm in correct]
    degrees = sum(len(values) - 1 for values in accuracies)
    if degrees:
        squares = sum(float(((values - values.mean()) ** 2).sum()) for values in accuracies)
        errors = [np.sqrt(squares / degrees / len(values)) for values in accuracies]
        noise = stats.t.rvs(degrees, size=means.shape, random_state=generator)
        means = means + noise * np.asarray(errors)
    return np.asarray(means.argmax(axis=1))


def best_offset(
    kept: Mapping[Any, Any], context: StudyContext, labels: str
) -> tuple[Measurement, np.ndarray] | None:
    """The offset of the best window with its interval, and the offset that is best in each draw."""
    arms = kept.get(labels, {})
    epoch, fraction = context.score_epoch, context.scale.window_keep
    keys = [(window(offset), epoch, fraction) for offset in offsets(context)]
    if any(key not in arms for key in keys):
        return None
    correct = [arms[key] for key in keys]
    places = np.asarray(offsets(context))
    drawn = places[best_offsets(correct, context.seed + (labels == NOISY))]
    best = float(places[int(np.argmax([arm.mean() for arm in correct]))])
    return _best(best, drawn, len(correct[0])), drawn


def _best(estimate: float, draws: np.ndarray, seeds: int) -> Measurement:
    """An offset with the quantiles of its draws as interval."""

    def interval(level: float) -> tuple[float, float]:
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], method="nearest")
        return float(low), float(high)

    return Measurement(estimate, seeds, "seeds", interval)


@study(
    "window",
    "Keep a window of the sorted scores and slide it, with labels as they are and with wrong ones.",
    "Deep Learning on a Data Diet, study 3",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Accuracy by offset as a figure, the best offset of each as a table, claims on where the best windows lie."""
    scale, epoch = context.scale, context.score_epoch
    fraction, noise = scale.window_keep, scale.noise
    there = offsets(context)
    beyond = next((offset for offset in there if offset >= noise), there[-1])
    random = ("random", epoch, fraction)
    clean, noisy = (best_offset(kept, context, labels) for labels in (CLEAN, NOISY))
    later = None
    if clean is not None and noisy is not None:
        later = _best(noisy[0].estimate - clean[0].estimate, noisy[1] - clean[1], min(clean[0].n, noisy[0].n))

    def against(labels: str, offset: float, other: tuple[str, float, float]) -> Measurement | None:
        return difference(kept.get(labels, {}), (window(offset), epoch, fraction), other)

    claims = [
        Claim(
            f"With labels as they are, the best window leaves out no more than the {NEAR:g} hardest.",
            DATA_DIET,
            "offset of the best window, as a share of the data",
            None if clean is None else clean[0],
            below=NEAR,
        ),
        Claim(
            f"With {noise:g} wrong labels the best window leaves out more than with labels as they are.",
            DATA_DIET,
            "offset of the best window minus that with labels as they are, as a share of the data",
            later,
        ),
        Claim(
            f"With {noise:g} wrong labels, leaving out the {beyond:g} hardest is better than leaving out none.",
            DATA_DIET,
            "accuracy minus that of the window from 0",
            against(NOISY, beyond, (window(0.0), epoch, fraction)) if beyond else None,
        ),
        Claim(
            f"With {noise:g} wrong labels, the hardest {fraction:g} are worse than random.",
            "the pattern of later work, such as Zheng et al. 2023",
            "accuracy minus random's",
            against(NOISY, 0.0, random),
            below=0.0,
        ),
        Claim(
            f"With labels as they are, the hardest {fraction:g} are better than random.",
            DATA_DIET,
            "accuracy minus random's",
            against(CLEAN, 0.0, random),
        ),
    ]
    table = [
        {
            "labels": labels,
            "offset": found[0].estimate,
            "low": found[0].interval(LEVEL)[0],
            "high": found[0].interval(LEVEL)[1],
            **{f"best in draws from {offset:g}": float(np.mean(found[1] == offset)) for offset in there},
        }
        for labels, found in ((CLEAN, clean), (NOISY, noisy))
        if found is not None
    ]
    return Conclusion(claims, {"window": _figure(context, rows)}, {"best-offset": table})


def _figure(context: StudyContext, rows: Sequence[Row]) -> Figure:
    """Accuracy by offset, a colour for each kind of labels; random and full data, which have no offset, are level."""
    figure, axes = panel(7.2, 4.4)
    found = {
        f"{title_of(SCORE)}, {labels}": [
            in_percent(row["offset"], row) for row in rows if row["labels"] == labels and "offset" in row
        ]
        for labels in (CLEAN, NOISY)
    }
    draw_lines(axes, found)
    for row in rows:
        if "offset" not in row:
            colour, _ = series_style((CLEAN, NOISY).index(row["labels"]), LIGHT)
            line = "--" if row["score"] == "random" else ":"
            name = f"{title_of(row['score'])}, {row['labels']}"
            axes.axhline(100 * row["accuracy"], color=colour, linestyle=line, linewidth=1.3, label=name)
            if row["score"] == "random":
                axes.axhspan(100 * row["low"], 100 * row["high"], color=colour, alpha=0.08, linewidth=0)
    label(axes, "share of the hardest that is left out before the window begins", "test accuracy, %")
    more = f"keep {context.scale.window_keep:g}, scores at epoch {context.score_epoch:g}"
    more += f"; {context.scale.noise:g} wrong labels; shaded: the interval of random"
    return finish(figure, axes, retraining_caption(context, more))
