"""Choosing by rank where some values may be unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.dynamic.streams import random_places, smallest

if TYPE_CHECKING:
    from numpy.typing import NDArray


def hardest_after_offset(
    values: NDArray[Any], size: int, skip: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Places of the `size` largest values after the `skip` largest, ascending.

    Values that are NaN are unknown: these examples come first, before any known one, since nothing speaks
    against them; when they are more than `size`, which of them is drawn. So is which of equal values.

    Example:
        >>> hardest_after_offset(np.array([4.0, 1.0, 3.0, 2.0]), 2, 1, np.random.default_rng(0)).tolist()
        [2, 3]
        >>> hardest_after_offset(np.array([4.0, np.nan, 3.0, 2.0]), 2, 1, np.random.default_rng(0)).tolist()
        [1, 2]
    """
    unknown = np.flatnonzero(np.isnan(values))
    if len(unknown) >= size:
        return unknown[random_places(len(unknown), size, generator)]
    # The unknown stand as infinitely easy here, so that no copy of the known ones is needed.
    keys = np.where(np.isnan(values), np.inf, -values)
    skip = min(skip, len(values) - size)
    if skip:
        keys[smallest(keys, skip, generator)] = np.inf
    chosen = np.zeros(len(values), bool)
    chosen[smallest(keys, size - len(unknown), generator)] = True
    chosen[unknown] = True
    return np.flatnonzero(chosen)
