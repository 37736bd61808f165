"""What studies measure of subsets: accuracies with intervals, rank agreement of scores, evenness over classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from datadiet.foundation.statistics import accuracy_interval
from datadiet.pages.report.wording import score_title
from datadiet.selection import hardest_rows, kept_size
from datadiet.studies.toolbox.claims import Measured, accuracy_difference
from datadiet.studies.toolbox.context import Workbench

ARMS = "correct"  # where studies keep their arms: key -> bool (seeds, test examples)
Key = tuple[str, float, float]  # score, epoch of the score, kept fraction


def measured_arm(bench: Workbench, kept: dict[str, Any], key: Key, ids: np.ndarray | None) -> dict[str, Any]:
    """Retrain on ids with all seeds; the row of the table, and the arm remembered for the claims.

    Args:
        bench: what the study works with.
        kept: the study's own dictionary.
        key: score, epoch of the score and kept fraction.
        ids: the ids that stay; None for all, or for random subsets when the score is "random".
    """
    score, epoch, fraction = key
    if score == "random":
        correct = bench.correct_on_random(fraction)
    else:
        correct = bench.correct(ids, f"{score} {fraction:g}" if ids is not None else "full")
    kept.setdefault(ARMS, {})[key] = correct
    found = accuracy_interval(correct)
    return {
        "score": score,
        "epoch": epoch,
        "keep": fraction,
        "n": len(bench.setup.examples.train)
        if ids is None and score == "full"
        else _size(bench, fraction, ids),
        "seeds": len(correct),
        "accuracy": found.mean,
        "low": found.low,
        "high": found.high,
        "accuracies": correct.mean(axis=1).tolist(),
    }


def _size(bench: Workbench, fraction: float, ids: np.ndarray | None) -> int:
    return len(ids) if ids is not None else kept_size(len(bench.setup.examples.train), fraction)


def difference(kept: Mapping[str, Any], arm: Key, reference: Key) -> Measured | None:
    """Accuracy of one arm minus another's; None where one of them was not measured."""
    arms = kept.get(ARMS, {})
    if arm not in arms or reference not in arms:
        return None
    return accuracy_difference(arms[arm], arms[reference])


def points(
    rows: Sequence[Mapping[str, Any]], score: str, along: str
) -> list[tuple[float, float, float, float]]:
    """A score's rows as (x, accuracy, low, high) in percent, in the order of x."""
    chosen = sorted((row for row in rows if row["score"] == score), key=lambda row: float(row[along]))
    return [(row[along], 100 * row["accuracy"], 100 * row["low"], 100 * row["high"]) for row in chosen]


def title_of(score: str) -> str:
    """A score's name in a figure."""
    names = {"random": "random", "full": "full data", "grand_init": "GraNd at initialisation"}
    return names.get(score) or score_title(score)


def fixed(bench: Workbench, more: str = "") -> str:
    """What a figure's title says is held fixed."""
    recipe, examples = bench.setup.recipe, bench.setup.examples
    said = (
        f"{examples.name}: {len(examples.train):,} training, {len(examples.test):,} test examples; {recipe.model}; "
        f"scores from {bench.scale.score_seeds} models, {bench.scale.retrain_seeds} retrainings; same {recipe.budget}"
    )
    return f"{said}; {more}" if more else said


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
