"""Study `window`: a window of fixed size slid over the sorted scores, with labels as they are and made wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from datadiet.pages.report.canvas import LIGHT, series_style
from datadiet.studies.toolbox.accuracy import accuracy_row, difference, in_percent, title_of
from datadiet.studies.toolbox.claims import LEVEL, Claim, Measurement, cut, finite_or_none
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
    return [offset for offset in sorted(context.scale.offsets) if offset + keep <= 1]


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

    Test examples of the seeds' mean are resampled for all subsets together. That holds the chance in which examples
    a seed gets right; what whole seeds add is drawn to each subset's mean beside it (`seed_noise`). Of equally good
    ones the first is taken.

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
    degrees = sum(len(arm) - 1 for arm in correct)
    if degrees:
        noise = stats.t.rvs(degrees, size=means.shape, random_state=generator)
        means = means + noise * seed_noise(correct)
    return np.asarray(means.argmax(axis=1))


def seed_noise(correct: Sequence[np.ndarray]) -> np.ndarray:
    """The standard error that whole seeds add to the mean accuracy of each of several arms, (arms,).

    `sqrt(max(0, MS_seed - MS_rest) / (n S))` for n test examples and S seeds of an arm: MS_seed is n times the
    variance of the seeds' accuracies, MS_rest the mean square of what is left of each answer without the seed's and
    the example's mean, which is in the spread between seeds as well and in the resampling of examples already. Both
    are pooled over the arms.

    Args:
        correct: bool (seeds, test examples) each, two seeds at least in one of them.

    Example:
        >>> seed_noise([np.array([[True] * 8, [False] * 8])]).round(6).tolist()
        [0.5]
        >>> seed_noise([np.array([[True, False] * 4, [False, True] * 4])]).tolist()
        [0.0]
    """
    count = correct[0].shape[1]
    between = rest = 0.0
    for arm in correct:
        of_seeds, of_examples = arm.mean(axis=1, keepdims=True), arm.mean(axis=0, keepdims=True)
        between += count * float(((of_seeds - arm.mean()) ** 2).sum())
        rest += float(((arm - of_seeds - of_examples + arm.mean()) ** 2).sum())
    degrees = sum(len(arm) - 1 for arm in correct)
    beyond = max(0.0, between / degrees - rest / (degrees * max(1, count - 1)))
    return np.asarray(np.sqrt(beyond / (count * np.array([len(arm) for arm in correct]))))


def cells(places: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Where what is found at one of several places in order may lie: half way to the places beside it.

    Example:
        >>> below, above = cells([0.0, 0.1, 0.3])
        >>> below.round(2).tolist(), above.round(2).tolist()
        ([0.0, 0.05, 0.2], [0.05, 0.2, 0.3])
    """
    middles = (np.asarray(places)[1:] + np.asarray(places)[:-1]) / 2
    return np.r_[places[0], middles], np.r_[middles, places[-1]]


def best_offset(kept: Mapping[Any, Any], context: StudyContext, labels: str) -> Best | None:
    """The offset of the best window, and which is best in each draw; None where not all were trained."""
    arms = kept.get(labels, {})
    epoch, fraction = context.score_epoch, context.scale.window_keep
    keys = [(window(offset), epoch, fraction) for offset in offsets(context)]
    if any(key not in arms for key in keys):
        return None
    correct = [arms[key] for key in keys]
    places = offsets(context)
    best = places[int(np.argmax([arm.mean() for arm in correct]))]
    return Best(places, best, best_offsets(correct, context.seed + (labels == NOISY)), len(correct[0]))


@dataclass(frozen=True)
class Best:
    """The best of several windows.

    Args:
        places: their offsets, in order.
        offset: of the best one.
        drawn: position of the best one on resampled evidence, (draws,).
        seeds: retrainings of each.
    """

    places: Sequence[float]
    offset: float
    drawn: np.ndarray
    seeds: int

    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        """From where to where the best offset may lie in each draw: only some offsets were tried."""
        below, above = cells(self.places)
        return below[self.drawn], above[self.drawn]

    def measured(self) -> Measurement:
        """The offset, with quantiles of the draws as interval."""
        return _of_draws(self.offset, *self.reach(), (self.places[0], self.places[-1]), self.seeds)

    def minus(self, other: Best) -> Measurement:
        """How much later it begins than another."""
        (below, above), (others_below, others_above) = self.reach(), other.reach()
        ends = self.places[0] - other.places[-1], self.places[-1] - other.places[0]
        low, high = below - others_above, above - others_below
        return _of_draws(self.offset - other.offset, low, high, ends, min(self.seeds, other.seeds))


def _of_draws(
    estimate: float, low: np.ndarray, high: np.ndarray, ends: tuple[float, float], seeds: int
) -> Measurement:
    """A quantity that lies between bounds in each draw; not known where it could be anywhere between its ends."""

    def interval(level: float) -> tuple[float, float]:
        least = float(np.quantile(low, (1 - level) / 2, method="nearest"))
        most = float(np.quantile(high, (1 + level) / 2, method="nearest"))
        return cut((least, most), *ends)

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

    def against(labels: str, offset: float, other: tuple[str, float, float]) -> Measurement | None:
        return difference(kept.get(labels, {}), (window(offset), epoch, fraction), other)

    claims = [
        Claim(
            f"With labels as they are, the best window leaves out no more than the {NEAR:g} hardest.",
            DATA_DIET,
            "offset of the best window, as a share of the data",
            None if clean is None else clean.measured(),
            below=NEAR,
        ),
        Claim(
            f"With {noise:g} wrong labels the best window leaves out more than with labels as they are.",
            DATA_DIET,
            "offset of the best window minus that with labels as they are, as a share of the data",
            None if clean is None or noisy is None else noisy.minus(clean),
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
            "offset": found.offset,
            **dict(zip(("low", "high"), map(finite_or_none, found.measured().interval(LEVEL)), strict=True)),
            **{
                f"best in draws from {offset:g}": float(np.mean(found.drawn == place))
                for place, offset in enumerate(there)
            },
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
            if row["score"] == "random" and row["low"] is not None:
                axes.axhspan(100 * row["low"], 100 * row["high"], color=colour, alpha=0.08, linewidth=0)
    label(axes, "share of the hardest that is left out before the window begins", "test accuracy, %")
    more = f"keep {context.scale.window_keep:g}, scores at epoch {context.score_epoch:g}"
    more += f"; {context.scale.noise:g} wrong labels; shaded: the interval of random"
    return finish(figure, axes, retraining_caption(context, more))
