"""How far two scores order the same examples alike."""

from __future__ import annotations

import numpy as np
from scipy import stats

from datadiet.selection import hardest_rows, kept_size


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
