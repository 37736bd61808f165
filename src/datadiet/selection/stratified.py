"""Coverage-centric selection: equal budgets for strata of equal score width, without the very hardest."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.errors import BadInputError
from datadiet.selection.ordered import window_rows
from datadiet.selection.pool import Pool
from datadiet.selection.registry import selection_rule
from datadiet.selection.sizes import equal_quotas, rounded_share

# Kept fraction -> share of the hardest that is dropped, linear in between. The paper tunes it by data set and
# drops more the less is kept; these are its CIFAR-10 values (30, 50, 70 and 90 % pruned), taken as a default
# by us.
DEFAULT_BETA = {0.1: 0.3, 0.3: 0.1, 0.5: 0.0}


def default_beta(keep: float) -> float:
    """Share of the hardest examples that `stratified` drops when not told, by the fraction that stays.

    Example:
        >>> [round(default_beta(keep), 3) for keep in (0.05, 0.1, 0.2, 0.3, 0.5, 0.9)]
        [0.3, 0.3, 0.2, 0.1, 0.0, 0.0]
    """
    return float(np.interp(keep, list(DEFAULT_BETA), list(DEFAULT_BETA.values())))


def score_strata(hardness: npt.NDArray[Any], strata: int) -> npt.NDArray[np.int64]:
    """Stratum of each row, 0 (easiest) to `strata - 1`: equal widths from the lowest to the highest score.

    A score on a border belongs to the harder side, the highest of all to the last stratum. Infinite scores go
    to the outermost strata and do not stretch the others.

    Example:
        >>> score_strata(np.array([0.0, 0.9, 1.0, 2.0, np.inf]), 2).tolist()
        [0, 0, 1, 1, 1]
    """
    finite = np.isfinite(hardness)
    if not finite.any():
        return np.where(hardness > 0, strata - 1, 0).astype(np.int64)
    everything = finite.all()
    low = np.float64(hardness.min() if everything else hardness[finite].min())
    high = np.float64(hardness.max() if everything else hardness[finite].max())
    if low == high:
        place = np.where(hardness > high, strata - 1, 0)
        return place.astype(np.int64)
    # Halved first, so that the span of two huge scores of opposite sign does not overflow.
    place = (hardness * 0.5 - low * 0.5) * (strata / (high * 0.5 - low * 0.5))
    return np.clip(place, 0, strata - 1, out=place).astype(np.int64)


@selection_rule(
    "stratified",
    when="Little is kept (below about 0.5): it covers easy and hard alike and does not lose to random.",
    fails="Much is kept of clean data (hardest does better); beta too small for the noise in the labels.",
    source="CCS: Zheng, Liu, Lai, Prakash 2023",
    options={
        "beta": "share of the hardest examples dropped first, in [0, 1); default by what is kept: "
        "0.3 at 0.1 to 0 at 0.5",
        "strata": "number of strata of equal score width, default 50",
    },
)
def stratified(
    pool: Pool, size: int, generator: np.random.Generator, *, beta: float | None = None, strata: int = 50
) -> npt.NDArray[np.int64]:
    """Drop the `beta` hardest, cut the scores into strata of equal width, and draw equally many from each.

    Strata too small for their part give all they have; the rest of the budget is shared by the larger ones,
    from the smallest up, so that the size is exact.
    """
    n = len(pool)
    if beta is None:
        beta = default_beta(size / n)
    if not 0.0 <= beta < 1.0:
        raise BadInputError(f"beta is {beta}: give the share of the hardest to drop, at least 0 and below 1.")
    if strata < 1:
        raise BadInputError(f"strata is {strata}: give at least one.")
    scores = pool.scores()
    rows = window_rows(scores, rounded_share(n, beta), n)
    if len(rows) < size:
        raise BadInputError(
            f"beta={beta} drops {n - len(rows)} of {n} examples and leaves {len(rows)}, but {size} "
            f"are to stay: "
            f"lower beta to at most {1 - size / n:.4g} or keep less."
        )
    places = score_strata(scores[rows], int(strata))
    quotas = equal_quotas(np.bincount(places, minlength=strata), size)
    return rows[_draw(places, quotas, generator)]


def _draw(
    places: npt.NDArray[np.int64], quotas: npt.NDArray[np.int64], generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """From each stratum its quota at random: shuffle, sort stably by stratum, take the first ones of each."""
    shuffled = generator.permutation(len(places))
    small = places.astype(np.uint16) if len(quotas) < 2**16 else places
    grouped = shuffled[np.argsort(small[shuffled], kind="stable")]
    counts = np.bincount(places, minlength=len(quotas))
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(places)) - np.repeat(starts, counts)
    return grouped[rank < np.repeat(quotas, counts)]
