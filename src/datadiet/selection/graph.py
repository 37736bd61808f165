"""Difficulty spread over a graph of neighbours, then picked so that no neighbourhood is emptied first."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.foundation.errors import BadInputError
from datadiet.selection.neighbours import nearest_neighbours
from datadiet.selection.registry import Pool, selection_rule


@selection_rule(
    "d2",
    needs=("scores", "embeddings"),
    when="Little is kept and the data has many near-duplicates: hard examples, but not all from one place.",
    fails="Much is kept of clean data (hardest does better); embeddings that say little about the task.",
    source="D2 pruning: Maharana, Yadav, Bansal 2024",
    options={
        "neighbours": "neighbours of each example in the graph, default 10",
        "gamma_forward": "how fast a message fades with distance when difficulty is gathered, default 1",
        "gamma_reverse": "the same when a chosen example quiets its neighbours, default 1",
        "search": "'auto', 'exact', 'trees' or 'hnswlib', see nearest_neighbours",
    },
)
def d2(
    pool: Pool,
    size: int,
    generator: np.random.Generator,
    *,
    neighbours: int = 10,
    gamma_forward: float = 1.0,
    gamma_reverse: float = 1.0,
    search: str = "auto",
) -> npt.NDArray[np.int64]:
    """Message passing over the undirected graph of nearest neighbours.

    Forward, every example adds its neighbours' difficulty, `x_i + sum_j exp(-gamma_forward d_ij^2) x_j`. Then
    the highest is chosen, again and again, and takes `exp(-gamma_reverse d_ij^2) x_i` from each neighbour j.
    Two examples are neighbours when either is among the nearest of the other.

    Ours, where the paper leaves it open: scores are first scaled to [0, 1], distances are divided by their
    median over the graph, so that the gammas do not depend on the scale of the embeddings, and a chosen
    example whose own score has fallen below zero takes nothing.
    """
    for name, gamma in (("gamma_forward", gamma_forward), ("gamma_reverse", gamma_reverse)):
        if not gamma >= 0:
            raise BadInputError(f"{name} is {gamma}: give 0 or more.")
    distances, rows = nearest_neighbours(pool.vectors(), neighbours, generator, search)
    scale = float(np.median(distances)) if distances.size else 0.0
    starts, ends, lengths = undirected(distances / (scale if scale > 0 else 1.0), rows)
    squared = lengths**2
    gathered = unit_scale(pool.scores())
    sources = np.repeat(np.arange(len(pool)), np.diff(starts))
    messages = np.exp(-gamma_forward * squared) * gathered[ends]
    gathered = gathered + np.bincount(sources, weights=messages, minlength=len(pool))
    return pick_and_quiet(gathered, starts, ends, np.exp(-gamma_reverse * squared), size)


def undirected(
    distances: npt.NDArray[np.float64], rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The graph in which two rows are joined when either lists the other.

    Args:
        distances: to the listed neighbours, shape (n, neighbours).
        rows: those neighbours, shape (n, neighbours).

    Returns:
        starts (n + 1,), ends (edges,) and distances (edges,): the neighbours of row i are
        `ends[starts[i]:starts[i + 1]]`, increasing.

    Example:
        >>> undirected(np.array([[1.0], [1.0], [2.0]]), np.array([[1], [0], [1]]))
        (array([0, 1, 3, 4]), array([1, 0, 2, 1]), array([1., 1., 2., 2.]))
    """
    n, count = rows.shape
    sources = np.repeat(np.arange(n), count)
    # One number an edge, in both directions, so that one sort finds the edges that are listed twice.
    keys = np.concatenate([sources * n + rows.ravel(), rows.ravel() * n + sources])
    keys, first = np.unique(keys, return_index=True)
    starts = np.searchsorted(keys, np.arange(n + 1) * n)
    return starts, keys % n, distances.ravel()[first % (n * count)] if count else np.empty(0)


def unit_scale(hardness: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Scores scaled to [0, 1]; infinite ones count as the lowest or highest finite one; all equal become 1.

    Example:
        >>> unit_scale(np.array([2.0, 4.0, 3.0, np.inf])).tolist()
        [0.0, 1.0, 0.5, 1.0]
    """
    finite = hardness[np.isfinite(hardness)].astype(np.float64)
    if finite.size == 0 or finite.min() == finite.max():
        return np.ones(len(hardness))
    low, high = finite.min(), finite.max()
    scaled: npt.NDArray[np.float64] = (np.clip(hardness, low, high).astype(np.float64) - low) / (high - low)
    return scaled


def pick_and_quiet(
    scores: npt.NDArray[np.float64],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    size: int,
) -> npt.NDArray[np.int64]:
    """Pick the row of highest score `size` times; each pick takes `weight * its score` from its neighbours.

    Args:
        scores: shape (n,).
        starts: shape (n + 1,); the neighbours of row i are `ends[starts[i]:starts[i + 1]]`.
        ends: shape (edges,).
        weights: of the edges, shape (edges,), 0 or more.
        size: how many to pick.

    Returns:
        rows in the order of picking; a tie goes to the lower row.

    Example:
        >>> graph = np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1])
        >>> pick_and_quiet(np.array([3.0, 2.5, 1.0]), *graph, np.ones(4), 2).tolist()
        [0, 2]
    """
    current = scores.tolist()
    bounds = starts.tolist()
    # Scores only fall, so an entry that is out of date is too high: it is put back with its value when it
    # comes up.
    queue = [(-score, row) for row, score in enumerate(current)]
    heapq.heapify(queue)
    picked: list[int] = []
    while len(picked) < size:
        negative, row = queue[0]
        score = current[row]
        if score != -negative:
            heapq.heapreplace(queue, (-score, row))
            continue
        heapq.heappop(queue)
        picked.append(row)
        if score > 0:
            edges = slice(bounds[row], bounds[row + 1])
            for neighbour, weight in zip(ends[edges].tolist(), weights[edges].tolist(), strict=True):
                current[neighbour] -= weight * score
    return np.array(picked, dtype=np.int64)
