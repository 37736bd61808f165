"""How many examples stay: exact sizes for the whole and for each group of it."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from datadiet.errors import BadInputError


def kept_size(n: int, keep: float | int) -> int:
    """Number of examples that stay out of `n`.

    A float is a fraction in (0, 1] and gives `floor(keep * n + 1/2)`: halves round up (so 0.5 of 5 is 3,
    where Python's `round` says 2). The fraction is read as the decimal number it prints as, and the
    arithmetic is exact: 0.29 of 100 is 29 and 0.145 of 100 is 15, though the binary products lie just below.
    An int is a count in [1, n].

    Raises:
        BadInputError: a fraction outside (0, 1], a count outside [1, n], or a size that rounds to zero.

    Example:
        >>> kept_size(10, 0.7), kept_size(20, 0.35), kept_size(5, 0.5), kept_size(50000, 128)
        (7, 7, 3, 128)
    """
    if n < 1:
        raise BadInputError("There are no examples to select from.")
    if isinstance(keep, (bool, np.bool_)) or not isinstance(keep, (int, float, np.integer, np.floating)):
        raise BadInputError(f"keep is {keep!r}: give a fraction in (0, 1] or a whole number of examples.")
    if isinstance(keep, (int, np.integer)):
        if not 1 <= keep <= n:
            raise BadInputError(f"keep is {keep} examples, but there are {n}: give a count from 1 to {n}.")
        return int(keep)
    if not 0.0 < keep <= 1.0:
        raise BadInputError(f"keep is {keep}: give the fraction that stays, above 0 and at most 1.")
    size = rounded_share(n, keep)
    if size == 0:
        raise BadInputError(f"keep is {keep}, which leaves none of {n} examples: keep at least {1 / n:.3g}.")
    return size


def rounded_share(n: int, fraction: float) -> int:
    """`floor(fraction * n + 1/2)`, in exact arithmetic on the decimal digits that `fraction` prints as.

    Example:
        >>> rounded_share(100, 0.145), rounded_share(10, 0.0)
        (15, 0)
    """
    return int(Fraction(str(float(fraction))) * n + Fraction(1, 2)) if fraction else 0


def ceiling_share(n: int, fraction: float) -> int:
    """`fraction * n` rounded up, in exact arithmetic on the decimal digits that `fraction` prints as.

    Example:
        >>> ceiling_share(10, 0.3), ceiling_share(10, 0.31)
        (3, 4)
    """
    return math.ceil(Fraction(str(float(fraction))) * n)


def proportional_quotas(sizes: npt.ArrayLike, total: int) -> npt.NDArray[np.int64]:
    """Share `total` in proportion to the sizes of the groups, by largest remainder; equal ones go in order.

    Args:
        sizes: number of examples of each group, shape (groups,).
        total: number of examples that stay, at most the sum of `sizes`.

    Returns:
        int64 quotas, shape (groups,); they add up to `total`, and none is above its group's size.

    Example:
        >>> proportional_quotas([70, 20, 10], 45).tolist()
        [32, 9, 4]
    """
    exact = [int(size) for size in np.asarray(sizes).ravel()]
    everything = sum(exact)
    check_total(total, everything)
    # Python's integers do not overflow, and two equal remainders are seen to be equal.
    quotas = np.array([size * total // everything for size in exact], dtype=np.int64)
    remainders = [size * total % everything for size in exact]
    first = sorted(range(len(exact)), key=lambda group: (-remainders[group], group))
    quotas[first[: total - int(quotas.sum())]] += 1
    return quotas


def equal_quotas(sizes: npt.ArrayLike, total: int) -> npt.NDArray[np.int64]:
    """Share `total` equally among groups; what a small group cannot fill is refilled from the larger ones.

    Groups are served from the smallest up: each gets its size or an equal part of what is left, whichever is
    less (rounded down, so what does not divide goes to the largest groups). This is the budget of
    coverage-centric selection (Zheng et al. 2023, Algorithm 1).

    Args:
        sizes: number of examples of each group, shape (groups,).
        total: number of examples that stay, at most the sum of `sizes`.

    Returns:
        int64 quotas, shape (groups,); they add up to `total`, and none is above its group's size.

    Example:
        >>> equal_quotas([2, 50, 30], 32).tolist()
        [2, 15, 15]
    """
    available = np.asarray(sizes, dtype=np.int64).ravel()
    check_total(total, int(available.sum()))
    quotas = np.zeros_like(available)
    left = total
    order = np.argsort(available, kind="stable")
    for served, group in enumerate(order):
        quotas[group] = min(int(available[group]), left // (len(order) - served))
        left -= int(quotas[group])
    return quotas


def check_total(total: int, available: int) -> None:
    """Refuse a total that the groups together cannot give."""
    if not 0 <= total <= available:
        raise BadInputError(f"{total} examples cannot be taken from {available}: ask for fewer.")
