"""How sparse each level of iterative pruning is."""

from __future__ import annotations

from datadiet.errors import BadInputError
from datadiet.sparse.magnitude import check_sparsity


def sparsity_schedule(levels: int, rate: float = 0.2) -> list[float]:
    """Sparsity at level 0 (dense) to `levels`: each removes `rate` of what is left, `1 - (1 - rate)^level`.

    Raises:
        BadInputError: fewer than one level, or a rate outside (0, 1).

    Example:
        >>> [round(sparsity, 3) for sparsity in sparsity_schedule(3)]
        [0.0, 0.2, 0.36, 0.488]
    """
    _check_levels(levels)
    if not 0 < rate < 1:
        raise BadInputError(f"rate is {rate:g}; it is the share removed at each level and must be in (0, 1).")
    return [1 - (1 - rate) ** level for level in range(levels + 1)]


def schedule_to(sparsity: float, levels: int = 1) -> list[float]:
    """The same, with the rate that reaches a sparsity in so many levels.

    Example:
        >>> [round(step, 3) for step in schedule_to(0.75, 2)]
        [0.0, 0.5, 0.75]
    """
    _check_levels(levels)
    check_sparsity(sparsity)
    return [*(1 - (1 - sparsity) ** (level / levels) for level in range(levels)), sparsity]


def _check_levels(levels: int) -> None:
    if levels < 1:
        raise BadInputError(f"levels is {levels}; pruning takes one level or more.")
