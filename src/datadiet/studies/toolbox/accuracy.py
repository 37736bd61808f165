"""What studies measure of subsets: accuracies as rows and points, rank agreement of scores, evenness over classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from datadiet.foundation.statistics import accuracy_interval
from datadiet.pages.report.wording import score_title
from datadiet.selection import hardest_rows, kept_size
from datadiet.studies.toolbox.claims import LEVEL, Measurement, accuracy_difference
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import Point
from datadiet.studies.toolbox.protocol import Row

Key = tuple[str, float, float]  # score, epoch of the score, kept fraction


def accuracy_row(context: StudyContext, arms: dict[Any, np.ndarray], key: Key, ids: np.ndarray | None) -> Row:
    """Retrain on ids with all seeds; the row of the table, and the arm remembered for the claims.

    Args:
        context: what the study works with.
        arms: where the arm is remembered: key -> bool (seeds, test examples).
        key: score, epoch of the score and kept fraction.
        ids: the ids that stay; None for all, or for random subsets when the score is "random".
    """
    score, epoch, fraction = key
    have = len(context.setup.examples.train)
    if score == "random":
        arms[key], size = context.correct_on_random(fraction), kept_size(have, fraction)
    else:
        arms[key] = context.correct(ids, "full" if ids is None else f"{score} {fraction:g}")
        size = have if ids is None else len(ids)
    return {"score": score, "epoch": epoch, "keep": fraction, "n": size, **accuracy_columns(arms[key])}


def accuracy_columns(correct: np.ndarray, among: Iterable[np.ndarray] = ()) -> Row:
    """The columns of a table that say how accurate an arm is; bounds that are not known are None.

    Args:
        correct: bool (seeds, test examples).
        among: every arm that was trained, this one too.
    """
    found = accuracy_interval(correct, among=list(among))
    known = found.low > 0 or found.high < 1
    return {
        "seeds": len(correct),
        "accuracy": found.mean,
        "low": found.low if known else None,
        "high": found.high if known else None,
        "accuracies": correct.mean(axis=1).tolist(),
    }


def difference(arms: Mapping[Any, np.ndarray], arm: Any, reference: Any) -> Measurement | None:
    """Accuracy of one arm minus another's; None where one of them was not trained.

    Args:
        arms: all that were trained, bool (seeds, test examples) each; what else a study remembered is passed over.
        arm: one of them.
        reference: another one.
    """
    if arm not in arms or reference not in arms:
        return None
    return accuracy_difference(arms[arm], arms[reference], trained_arms(arms))


def trained_arms(remembered: Mapping[Any, Any]) -> list[np.ndarray]:
    """The arms among what a study remembered: bool (seeds, test examples)."""
    found = (value for value in remembered.values() if isinstance(value, np.ndarray))
    return [value for value in found if value.dtype == bool and value.ndim == 2]


def in_percent(x: float, row: Mapping[str, Any]) -> Point:
    """A row's accuracy and its interval as a point of a figure."""
    low, high = (np.nan if row[name] is None else 100 * row[name] for name in ("low", "high"))
    return x, 100 * row["accuracy"], low, high


def points(rows: Sequence[Mapping[str, Any]], score: str, along: str) -> list[Point]:
    """A score's rows as (x, accuracy, low, high) in percent, in the order of x."""
    chosen = sorted((row for row in rows if row["score"] == score), key=lambda row: float(row[along]))
    return [in_percent(row[along], row) for row in chosen]


def level_lines(rows: Sequence[Mapping[str, Any]], *scores: str) -> dict[str, float]:
    """Name -> height in percent of arms that do not depend on x, such as "full" and "random"; those that there are."""
    found = {row["score"]: 100 * row["accuracy"] for row in reversed(rows)}
    return {title_of(score): found[score] for score in scores if score in found}


def seed_values(rows: Sequence[Row], column: str, seeds: int, **cells: Any) -> np.ndarray | None:
    """A column of the rows that have these cells, one value a seed; None where a seed has none."""
    found = [row.get(column) for row in rows if all(row[name] == cell for name, cell in cells.items())]
    known = [value for value in found if value is not None and np.isfinite(value)]
    return np.asarray(known) if len(known) == seeds else None


def points_by_epoch(rows: Sequence[Row], quantity: Callable[[float], Measurement | None]) -> list[Point]:
    """A quantity at each epoch of the rows as (epoch, estimate, low, high), where it could be measured."""
    found = {epoch: quantity(epoch) for epoch in sorted({row["epoch"] for row in rows})}
    return [(x, m.estimate, *m.interval(LEVEL)) for x, m in found.items() if m is not None]


def title_of(score: str) -> str:
    """A score's name in a figure."""
    names = {"random": "random", "full": "full data", "grand_init": "GraNd at initialisation"}
    return names.get(score) or score_title(score)


def rank_resolution(count: int) -> float:
    """The finest step of Spearman's rho over so many different values, `12 / (n^3 - n)`: two neighbours change places.

    Example:
        >>> rank_resolution(4)
        0.2
    """
    return 12 / (count**3 - count)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rho over the examples that both are known for; NaN where one is constant.

    Example:
        >>> round(rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0])), 6)
        1.0
        >>> rank_correlation(np.array([1.0, 2.0]), np.array([5.0, 5.0]))
        nan
    """
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(stats.spearmanr(first, second).statistic)


def shared_hardest(first: np.ndarray, second: np.ndarray, keep: float) -> float:
    """The share of the hardest `keep` by one score that is among the hardest `keep` by the other.

    Example:
        >>> shared_hardest(np.array([1.0, 2.0, 3.0, 4.0]), np.array([4.0, 1.0, 2.0, 3.0]), 0.5)
        0.5
    """
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    size = kept_size(len(first), keep)
    common = np.intersect1d(hardest_rows(first, size), hardest_rows(second, size))
    return len(common) / size


def evenness(labels: np.ndarray, classes: int) -> float:
    """Entropy of the class shares over its largest value, `-sum_c q_c log q_c / log(classes)`.

    Args:
        labels: class of each example of the subset, int64 (n,).
        classes: how many classes there are.

    Returns:
        1 where all classes are equally frequent, 0 where there is only one.

    Example:
        >>> evenness(np.array([0, 1, 0, 1]), 2), evenness(np.array([1, 1]), 2)
        (1.0, 0.0)
    """
    if classes < 2:
        return 1.0
    shares = np.bincount(labels, minlength=classes) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum() / np.log(classes)) + 0.0  # never -0.0


def total_variation(labels: np.ndarray, all_labels: np.ndarray, classes: int) -> float:
    """Half the sum of the differences of class shares, `1/2 sum_c |q_c - p_c|`.

    Args:
        labels: class of each example of the subset, int64 (n,).
        all_labels: of all data, int64 (m,).
        classes: how many classes there are.

    Returns:
        The share of the subset that would have to be other classes for the shares to agree, in [0, 1).

    Example:
        >>> total_variation(np.array([0, 0]), np.array([0, 1, 0, 1]), 2)
        0.5
    """
    shares = np.bincount(labels, minlength=classes) / len(labels)
    return float(np.abs(shares - np.bincount(all_labels, minlength=classes) / len(all_labels)).sum() / 2)
