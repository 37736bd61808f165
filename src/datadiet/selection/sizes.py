"""How many examples stay, exactly: of the whole, and of each class or group when a rule is applied to each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datadiet.foundation.errors import BadInputError

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


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


def proportional_quotas(sizes: ArrayLike, total: int) -> NDArray[np.int64]:
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


def equal_quotas(sizes: ArrayLike, total: int) -> NDArray[np.int64]:
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


#: Examples that every class keeps, or its share where that is fewer.
FEW_OF_A_CLASS = 5

# (rows to choose from, how many stay, number of the random stream) -> rows that stay
Apply = Callable[[Rows, int, int], Rows]


@dataclass(frozen=True)
class Groups:
    """A partition of the rows: a code 0, 1, ... a row, in the order of the sorted names.

    Args:
        what: "class" or "group", for messages.
        names: the distinct values, sorted, shape (groups,).
        codes: int64, shape (n,).

    Example:
        >>> groups = Groups.of(np.array(["b", "a", "b"]), "class")
        >>> groups.names.tolist(), groups.codes.tolist(), groups.sizes().tolist(), groups.rows()[1].tolist()
        (['a', 'b'], [1, 0, 1], [1, 2], [0, 2])
    """

    what: str
    names: NDArray[Any]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[Any], what: str) -> Groups:
        """Group the rows by value.

        Raises:
            BadInputError: a value is missing (NaN or None), or values of different types cannot be sorted.
        """
        if values.dtype.kind in "iu" and len(values) and 0 <= values.min() <= values.max() <= 4 * len(values):
            # Class codes in the usual range: counting is many times faster than sorting ten million of them.
            present = np.bincount(values.astype(np.int64, copy=False)) > 0
            names = np.flatnonzero(present)
            return cls(what, names, (np.cumsum(present) - 1)[values].astype(np.int64, copy=False))
        if values.dtype.kind == "f" and np.isnan(values).any():
            row = int(np.flatnonzero(np.isnan(values))[0])
            raise BadInputError(
                f"The {what} of row {row} (rows in the order of their ids) is NaN: give each row one."
            )
        try:
            names, codes = np.unique(values, return_inverse=True)
        except TypeError as error:
            raise BadInputError(
                f"The {what} values cannot be sorted ({error}): give all of them as strings or all as integers."
            ) from None
        return cls(what, names, codes.astype(np.int64, copy=False).reshape(-1))

    def sizes(self) -> NDArray[np.int64]:
        """Number of rows of each group, shape (groups,)."""
        return np.bincount(self.codes, minlength=len(self.names)).astype(np.int64, copy=False)

    def rows(self) -> list[Rows]:
        """The rows of each group, increasing; one sort for all groups."""
        # A stable sort of 16-bit codes is a radix sort, linear in the number of rows.
        codes = self.codes.astype(np.uint16) if len(self.names) < 2**16 else self.codes
        return np.split(np.argsort(codes, kind="stable"), np.cumsum(self.sizes())[:-1])


def group_quotas(
    groups: Groups, size: int, *, equal: bool, least: NDArray[np.int64] | None, allow_empty: bool
) -> NDArray[np.int64]:
    """How many of each group stay: the same fraction of every group, or equal counts.

    Args:
        groups: the partition.
        size: how many stay in all.
        equal: equal counts, refilled from larger groups where one is too small; otherwise proportional.
        least: fewest to stay of each group, shape (groups,); what it takes comes from the groups above theirs, by the
            same principle.
        allow_empty: whether a group may get nothing.

    Raises:
        BadInputError: a group would be left empty, or the floors cannot be met.

    Example:
        >>> groups = Groups.of(np.repeat(["a", "b", "c"], [60, 30, 10]), "class")
        >>> group_quotas(groups, 10, equal=False, least=None, allow_empty=False).tolist()
        [6, 3, 1]
        >>> group_quotas(groups, 10, equal=False, least=floors(groups, 3, 10), allow_empty=False).tolist()
        [4, 3, 3]
    """
    sizes = groups.sizes()
    share = equal_quotas if equal else proportional_quotas
    quotas = share(sizes, size)
    if least is not None:
        raised = np.zeros(len(sizes), dtype=bool)
        # Raising some groups lowers the rest, which may push more of them under their floor.
        while (below := ~raised & (quotas < least)).any():
            raised |= below
            quotas = np.where(raised, least, 0)
            quotas[~raised] = share(sizes[~raised], size - int(quotas.sum()))
    if not allow_empty and (empty := np.flatnonzero(quotas == 0)).size:
        names = ", ".join(repr(name) for name in groups.names[empty[:5]].tolist())
        raise BadInputError(
            f"Keeping {size} of {int(sizes.sum())} examples leaves {len(empty)} of {len(sizes)} "
            f"{_plural(groups.what)} empty ({names}{', ...' if len(empty) > 5 else ''}): "
            "keep more, set floor=1, or allow empty classes."
        )
    return quotas


def floors(groups: Groups, floor: int | float, size: int) -> NDArray[np.int64]:
    """Fewest examples of each group that must stay, shape (groups,); a fraction is rounded up.

    Raises:
        BadInputError: the floor is no sensible number, above a group's size, or all floors exceed `size`
            together.

    Example:
        >>> floors(Groups.of(np.repeat(["a", "b"], [10, 3]), "group"), 0.25, 9).tolist()
        [3, 1]
    """
    sizes = groups.sizes()
    if isinstance(floor, bool) or (isinstance(floor, float) and not 0.0 <= floor <= 1.0) or floor < 0:
        raise BadInputError(f"floor is {floor!r}: give a count, or a fraction of each group from 0.0 to 1.0.")
    if isinstance(floor, (float, np.floating)):
        least = np.array([ceiling_share(n, float(floor)) for n in sizes.tolist()], dtype=np.int64)
    else:
        least = np.full(len(sizes), int(floor), dtype=np.int64)
    if (small := np.flatnonzero(least > sizes)).size:
        name, count = groups.names[small].tolist()[0], int(sizes[small[0]])
        raise BadInputError(
            f"The floor of {int(floor)} cannot be met: {groups.what} {name!r} has {count} examples. Lower the floor."
        )
    if int(least.sum()) > size:
        raise BadInputError(
            f"The floors of {len(sizes)} {_plural(groups.what)} add up to {int(least.sum())}, but only {size} examples "
            "stay: lower the floor or keep more."
        )
    return least


def class_floors(classes: Groups, size: int) -> NDArray[np.int64]:
    """Fewest examples of each class that stay so that none is lost: a few, or its share where that is fewer.

    At least one of each; where even these few are more than what stays, exactly one.

    Raises:
        BadInputError: fewer examples stay than there are classes.

    Example:
        >>> class_floors(Groups.of(np.repeat(["a", "b", "c"], [90, 8, 2]), "class"), 50).tolist()
        [5, 4, 1]
    """
    sizes = classes.sizes()
    if size < len(sizes):
        raise BadInputError(
            f"Keeping {size} of {int(sizes.sum())} examples leaves some of the {len(sizes)} classes empty: keep more, "
            "or allow it with allow_empty_class=True."
        )
    shares = -(-sizes * size // int(sizes.sum()))
    least = np.minimum(FEW_OF_A_CLASS, shares)
    return least if int(least.sum()) <= size else np.ones_like(least)


def fill_over_floors(
    apply: Apply, groups: Groups, size: int, least: NDArray[np.int64]
) -> tuple[Rows, NDArray[np.int64]]:
    """Rows that stay when a rule chooses over everything, but every group keeps its floor.

    Groups that the rule would leave below their floor get exactly that, chosen by the same rule among
    themselves; the rule chooses the rest over all other groups together. Repeated until no further group
    falls short.

    Args:
        apply: the rule: which of these rows stay.
        groups: the partition.
        size: how many stay in all, at least the sum of `least`.
        least: floor of each group, shape (groups,).

    Returns:
        The rows, and of each group how many of them the rule by itself would not have kept, shape (groups,).
    """
    short, lacked = np.zeros(len(least), dtype=bool), np.zeros_like(least)
    while True:
        open_rows = np.flatnonzero(~short[groups.codes]).astype(np.int64, copy=False)
        chosen = apply(open_rows, size - int(least[short].sum()), 0)
        counts = np.bincount(groups.codes[chosen], minlength=len(least))
        fallen = ~short & (counts < least)
        if not fallen.any():
            break
        short |= fallen
        lacked[fallen] = (least - counts)[fallen]
    rows = groups.rows()
    reserved = [apply(rows[group], int(least[group]), 1 + group) for group in np.flatnonzero(short).tolist()]
    return np.concatenate([chosen, *reserved]), lacked


def swap_for_floors(
    apply: Apply, kept: Rows, classes: Groups, parts: Groups, least: NDArray[np.int64]
) -> tuple[Rows, NDArray[np.int64]]:
    """Rows that stay where every class keeps its floor and every part as many as before: one leaves for one that joins.

    What joins is chosen by the rule among the rows of its class, and what leaves is what the rule keeps last of the
    rows of the same part whose class has more than its floor. Where a part has none to give, the class stays short.

    Args:
        apply: the rule: which of these rows stay.
        kept: rows that stay so far.
        classes: that have floors.
        parts: whose numbers are fixed.
        least: floor of each class, shape (classes,).

    Returns:
        The rows, and of each class how many joined, shape (classes,).
    """
    inside = np.zeros(len(classes.codes), dtype=bool)
    inside[kept] = True
    counts = np.bincount(classes.codes[kept], minlength=len(least))
    joined = np.zeros_like(least)
    for group in np.flatnonzero(counts < least).tolist():
        tried: list[int] = []  # parts that have none to give
        while counts[group] < least[group]:
            outside = np.flatnonzero((classes.codes == group) & ~inside & ~np.isin(parts.codes, tried))
            if not outside.size:
                break
            joins = int(apply(outside, 1, 1 + group)[0])
            spare = counts > np.maximum(least, 1)
            given = np.flatnonzero(inside & (parts.codes == parts.codes[joins]) & spare[classes.codes])
            if not given.size:
                tried.append(int(parts.codes[joins]))
                continue
            leaves = np.setdiff1d(given, apply(given, len(given) - 1, 0))[0]
            inside[joins], inside[leaves] = True, False
            counts[group] += 1
            counts[classes.codes[leaves]] -= 1
            joined[group] += 1
    return np.flatnonzero(inside).astype(np.int64, copy=False), joined


def emptied_classes(ids: ArrayLike, labels: ArrayLike, kept: ArrayLike) -> list[Any]:
    """Classes that have examples but none among those that stay, sorted.

    Args:
        ids: int64, shape (n,).
        labels: class of each example, shape (n,).
        kept: ids that stay.

    Example:
        >>> emptied_classes([0, 1, 2, 3], ["cat", "cat", "dog", "eel"], [0, 2])
        ['eel']
    """
    groups = Groups.of(np.asarray(labels), "class")
    alive = np.bincount(groups.codes[np.isin(np.asarray(ids), np.asarray(kept))], minlength=len(groups.names))
    return list(groups.names[alive == 0].tolist())


def _plural(what: str) -> str:
    return "classes" if what == "class" else f"{what}s"
