"""Means of quantities that cannot lie outside a known range, such as shares."""

from __future__ import annotations

from collections.abc import Sequence

from datadiet.studies.claims import Measured, mean_of


def mean_within(values: Sequence[float], unit: str, low: float, high: float) -> Measured:
    """The mean of independent values in [low, high]: Student's t interval, cut to that range.

    Args:
        values: one a model.
        unit: what they come from.
        low: least that the quantity can be.
        high: most that it can be.

    Example:
        >>> measured = mean_within([0.0, 0.2], "models", 0.0, 1.0)
        >>> [round(bound, 6) for bound in measured.interval(0.95)]
        [0.0, 1.0]
    """
    free = mean_of(values, unit)

    def interval(level: float) -> tuple[float, float]:
        below, above = free.interval(level)
        return max(low, below), min(high, above)

    return Measured(free.estimate, free.n, unit, interval)
