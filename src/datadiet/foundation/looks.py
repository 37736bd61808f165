"""Looks at the data while seeds are added, and what each may cost, so that all together err as one test would.

Seeds are added until a question is decided, so the same question is asked with three seeds, with four, and so on.
Each look spends a part of the error (Lan and DeMets, 1983), few of it early. Of what is left when a plan of up to M
seeds begins, the looks with up to S of them spend nineteen twentieths times ((S - S_0) / (M - S_0))^2, S_0 being where
the plan before it ended; the last twentieth is for whoever plans more seeds afterwards. What a look may err by itself
is found by going through the chances of all earlier ones, whose estimates share their seeds; that they share test
examples, too, only makes them more alike, and the error smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import optimize, special

from datadiet.foundation.statistics import FEWEST_SEEDS

SHARE_OF_A_PLAN = 0.95
POWER = 2.0
_POINTS = 401  # of the grid of integration


def spent_by(seeds: int, error: float, plans: Sequence[int]) -> float:
    """The error that all looks with up to so many seeds may have made.

    Args:
        seeds: of the look.
        error: that all looks together may make.
        plans: the most seeds of every plan so far, in order.

    Example:
        >>> spent_by(2, 0.05, [8]), round(spent_by(8, 0.05, [8]), 4), round(spent_by(14, 0.05, [8, 14]), 4)
        (0.0, 0.0475, 0.0499)
    """
    begin, spent = 0, 0.0
    for most in plans:
        left = SHARE_OF_A_PLAN * (error - spent)
        if seeds <= most:
            return (
                spent + left * ((seeds - begin) / (most - begin)) ** POWER if seeds >= FEWEST_SEEDS else 0.0
            )
        begin, spent = most, spent + left
    return spent


@lru_cache(maxsize=256)
def _levels(error: float, plans: tuple[int, ...]) -> tuple[float, ...]:
    """Errors of the looks with 3, 4, ... seeds, each by itself."""
    found: list[float] = []
    density = places = np.zeros(0)
    for seeds in range(FEWEST_SEEDS, plans[-1] + 1):
        increment = spent_by(seeds, error, plans) - spent_by(seeds - 1, error, plans)
        root = math.sqrt(seeds)
        if not found:
            bound = float(special.ndtri(1 - increment))
        else:

            def over(bound: float) -> float:
                return float(_area(density * special.ndtr(places - bound * root), places)) - increment  # noqa: B023

            bound = float(optimize.brentq(over, 0.0, 10.0))
        found.append(float(special.ndtr(-bound)))
        # Of the sum of the seeds' evidence, whose variance is S, where nothing was shown yet.
        fresh = np.linspace(-8 * root, bound * root, _POINTS)
        if len(found) == 1:
            density = np.exp(-0.5 * fresh**2 / seeds) / math.sqrt(2 * math.pi * seeds)
        else:
            steps = np.exp(-0.5 * (fresh[:, None] - places) ** 2) / math.sqrt(2 * math.pi)
            density = _area(density * steps, places)
        places = fresh
    return tuple(found)


def _area(heights: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Under a curve, by trapezoids."""
    return np.asarray(((heights[..., 1:] + heights[..., :-1]) / 2) @ np.diff(places))


def level_of_look(seeds: int, error: float, plans: Sequence[int]) -> float:
    """What a look with so many seeds may err by itself, after looks with three and every number in between.

    Args:
        seeds: of the look, at most those of the last plan.
        error: that all looks together may make.
        plans: the most seeds of every plan so far, in order.

    Raises:
        ValueError: too few seeds to be looked at, or more than were planned.

    Example:
        >>> [round(level_of_look(seeds, 0.05, [8]), 4) for seeds in (3, 5, 8)]
        [0.0067, 0.0128, 0.0319]
    """
    if not FEWEST_SEEDS <= seeds <= max(plans):
        raise ValueError(f"a look with {seeds} seeds is not planned: from {FEWEST_SEEDS} to {max(plans)}")
    return _levels(error, tuple(plans))[seeds - FEWEST_SEEDS]
