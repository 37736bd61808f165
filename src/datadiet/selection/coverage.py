"""Greedy rules that cover the embedding space: k-centre and herding."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.errors import BadInputError
from datadiet.selection.leaves import Leaves, levels_for, principal_directions, split
from datadiet.selection.one_thread import one_thread
from datadiet.selection.pool import Pool
from datadiet.selection.registry import selection_rule
from datadiet.selection.sizes import proportional_quotas

# Multiplications that a greedy pass over all rows may cost (some tens of seconds); beyond, it works leaf by
# leaf.
EXACT_COST = 2e10

_PART = (
    "largest number of examples handled together; default all while affordable, else leaves of at most 2,048"
)


def _leaves(pool: Pool, size: int, part: int | None) -> Leaves:
    """All rows as one leaf, or as a balanced tree of leaves, never more than a quarter of what stays."""
    vectors = pool.vectors()
    n, dimensions = vectors.shape
    if part is not None and part < 2:
        raise BadInputError(f"part is {part}: give at least 2 examples.")
    if part is None:
        part = n if float(n) * size * dimensions <= EXACT_COST else 2048
    levels = levels_for(n, part)
    while levels and 4 * 2**levels > size:
        levels -= 1
    return split(vectors, principal_directions(vectors, levels) if levels else np.empty((dimensions, 0)))


@selection_rule(
    "kcenter",
    needs=("embeddings",),
    when="Every corner of the input space must be seen, for instance to label next; labels and "
    "scores are not needed.",
    fails="Outliers and wrong labels: they are far from everything, so all of them are kept.",
    source="Sener, Savarese 2018 (greedy k-centre)",
    options={"part": _PART},
)
@one_thread()
def kcenter(
    pool: Pool, size: int, generator: np.random.Generator, *, part: int | None = None
) -> npt.NDArray[np.int64]:
    """Greedy k-centre: the one nearest to the mean, then always the one farthest from those chosen.

    Over several leaves the distance is to the chosen ones of the same leaf, and the next example is still the
    farthest of all.
    """
    leaves = _leaves(pool, size, part)
    vectors = pool.vectors()[leaves.order]
    squares = np.einsum("ij,ij->i", vectors, vectors)
    # Squared distance to the nearest chosen example; -1 marks the chosen.
    far = np.full(len(pool), np.inf, dtype=vectors.dtype)
    chosen = np.empty(size, dtype=np.int64)
    queue: list[tuple[float, int, int]] = []
    for leaf in range(len(leaves)):
        start, stop = int(leaves.bounds[leaf]), int(leaves.bounds[leaf + 1])
        mean = vectors[start:stop].mean(axis=0, dtype=np.float64).astype(vectors.dtype)
        first = start + int(np.argmin(squares[start:stop] - 2.0 * (vectors[start:stop] @ mean)))
        queue.append((-np.inf, leaf, first))
    heapq.heapify(queue)
    for place in range(size):
        _, leaf, pick = queue[0]
        chosen[place] = pick
        start, stop = int(leaves.bounds[leaf]), int(leaves.bounds[leaf + 1])
        near = far[start:stop]
        distance = squares[start:stop] - 2.0 * (vectors[start:stop] @ vectors[pick])
        distance += squares[pick]
        # Rounding must not let a twin of a chosen example fall below the mark of the chosen.
        np.maximum(distance, 0.0, out=distance)
        np.minimum(near, distance, out=near)
        near[pick - start] = -1.0
        following = int(np.argmax(near))
        # Every example of the leaf is chosen: it must not come up again.
        reach = -float(near[following]) if near[following] >= 0 else np.inf
        heapq.heapreplace(queue, (reach, leaf, start + following))
    return leaves.order[chosen]


@selection_rule(
    "herding",
    needs=("embeddings",),
    when="Very few typical examples a class are wanted (use per_class=True): their mean is the mean of all.",
    fails="More than a little is kept: it goes on repeating the centre and misses the border.",
    source="Welling 2009; Rebuffi et al. 2017 (the form with distances)",
    options={"part": _PART},
)
@one_thread()
def herding(
    pool: Pool, size: int, generator: np.random.Generator, *, part: int | None = None
) -> npt.NDArray[np.int64]:
    """Greedily keep the mean of the chosen nearest to the mean of all.

    Over several leaves, each gives its proportional share, chosen by its own mean.
    """
    leaves = _leaves(pool, size, part)
    quotas = proportional_quotas(np.diff(leaves.bounds), size)
    vectors = pool.vectors()
    picks = [
        leaves.rows(leaf)[_herd(vectors[leaves.rows(leaf)], int(quotas[leaf]))] for leaf in range(len(leaves))
    ]
    return np.concatenate(picks)


def _herd(vectors: npt.NDArray[Any], size: int) -> npt.NDArray[np.int64]:
    """Rows x_1, x_2, ... where x_(k+1) minimises |(k + 1) mean - (x_1 + ... + x_k) - x|.

    A tie goes to the lower row.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    to_mean = (vectors @ mean.astype(vectors.dtype)).astype(np.float64)
    squares = np.einsum("ij,ij->i", vectors, vectors).astype(np.float64)
    to_chosen = np.zeros(len(vectors))
    taken = np.zeros(len(vectors))
    chosen = np.empty(size, dtype=np.int64)
    for place in range(size):
        cost = squares - 2.0 * ((place + 1) * to_mean - to_chosen) + taken
        pick = int(np.argmin(cost))
        chosen[place] = pick
        taken[pick] = np.inf
        to_chosen += vectors @ vectors[pick]
    return chosen
