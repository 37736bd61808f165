"""How evenly a subset is shared out over classes, and how far its shares are from those of all data."""

from __future__ import annotations

import numpy as np


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
