"""Nearest neighbours of every row, and D2: difficulty spread over their graph, then picked from place to place."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datadiet.foundation.errors import BadInputError
from datadiet.selection.geometry import balanced_parts, covariance, levels_for
from datadiet.selection.ordered import default_beta, rows_below, strata_and_quotas
from datadiet.selection.registry import Pool, selection_rule
from datadiet.selection.sizes import Floats, Rows

#: The distances and the rows of the neighbours of each row, both (n, neighbours).
Neighbours = tuple[NDArray[Any], Rows]

EXACT_UP_TO = 30_000
# With more rows: trees, rows a leaf, and rounds of refinement; 1 million x 128 takes minutes on two cores.
LEAF = 1024
TREES = 3
REFINEMENTS = 2
REFINED_TOGETHER = 1024


def nearest_neighbours(
    vectors: NDArray[Any], count: int, generator: np.random.Generator, search: str = "auto"
) -> Neighbours:
    """Euclidean distances and rows of the `count` nearest other rows, nearest first, both (n, count).

    Args:
        vectors: shape (n, dimensions).
        count: neighbours a row; at most n - 1 are found.
        generator: of the trees.
        search: "exact" (all pairs, through scikit-learn); "trees" (the leaves of a few balanced trees with
            random directions, then neighbours of neighbours; close to linear in n, and misses some);
            "hnswlib" (that library; finds more and takes longer, on one thread so that it repeats); or
            "auto": exact up to 30,000 rows, trees beyond.

    Raises:
        BadInputError: an unknown search, fewer than one neighbour, or hnswlib asked for but not installed.

    Example:
        >>> line = np.array([[0.0], [1.0], [3.0]])
        >>> distances, rows = nearest_neighbours(line, 1, np.random.default_rng(0))
        >>> distances.ravel().tolist(), rows.ravel().tolist()
        ([1.0, 1.0, 2.0], [1, 0, 1])
    """
    if search not in ("auto", "exact", "trees", "hnswlib"):
        raise BadInputError(f"search is {search!r}: give 'auto', 'exact', 'trees' or 'hnswlib'.")
    if count < 1:
        raise BadInputError(f"The number of neighbours is {count}: give at least one.")
    count = min(count, len(vectors) - 1)
    if search == "hnswlib":
        return _by_hnswlib(vectors, count, generator)
    few = len(vectors) <= (EXACT_UP_TO if search == "auto" else LEAF)
    if search == "exact" or few or 2 * count >= LEAF:
        return _exact(vectors, count)
    return _by_trees(vectors, count, generator)


def _exact(vectors: NDArray[Any], count: int) -> Neighbours:
    if count == 0:
        return np.empty((len(vectors), 0)), np.empty((len(vectors), 0), dtype=np.int64)
    # Imported here: scikit-learn takes a second, and most rules do without.
    from sklearn.neighbors import NearestNeighbors

    # Without a query, scikit-learn leaves each row out of its own neighbours, duplicates or not.
    distances, rows = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(vectors).kneighbors()
    return distances.astype(np.float64, copy=False), rows.astype(np.int64, copy=False)


def _by_trees(vectors: NDArray[Any], count: int, generator: np.random.Generator) -> Neighbours:
    n, dimensions = vectors.shape
    squares = np.einsum("ij,ij->i", vectors, vectors)
    # Directions are drawn with the data's own covariance: cuts fall where the data is wide.
    values, axes = np.linalg.eigh(covariance(vectors))
    root = axes * np.sqrt(np.maximum(values, 0.0))
    levels = levels_for(n, LEAF)
    nearest = np.full((n, count), np.inf, dtype=vectors.dtype)
    rows = np.full((n, count), -1, dtype=np.int64)
    for _ in range(TREES):
        for part in balanced_parts(vectors, root @ generator.standard_normal((dimensions, levels))):
            members = np.sort(part)
            near, which = _within(vectors[members], squares[members], count)
            nearest[members], rows[members] = _merge(nearest[members], rows[members], near, members[which])
    for _ in range(REFINEMENTS):
        nearest, rows = _refined(vectors, squares, nearest, rows)
    return np.sqrt(np.maximum(nearest, 0.0)).astype(np.float64), rows


def _within(vectors: NDArray[Any], squares: NDArray[Any], count: int) -> Neighbours:
    """Squared distances and rows of the nearest others among a few thousand, in no order."""
    table = vectors @ vectors.T
    table *= -2.0
    table += squares
    table += squares[:, None]
    np.fill_diagonal(table, np.inf)
    which = np.argpartition(table, count - 1, axis=1)[:, :count]
    return np.take_along_axis(table, which, axis=1), which


def _refined(vectors: NDArray[Any], squares: NDArray[Any], nearest: NDArray[Any], rows: Rows) -> Neighbours:
    """One step of neighbour descent: the neighbours of a neighbour are likely neighbours."""
    better, found = nearest.copy(), rows.copy()
    for start in range(0, len(vectors), REFINED_TOGETHER):
        own = np.arange(start, min(start + REFINED_TOGETHER, len(vectors)))
        candidates = np.sort(rows[rows[own]].reshape(len(own), -1), axis=1)
        distance = np.matmul(vectors[candidates], vectors[own][:, :, None])[:, :, 0]
        distance *= -2.0
        distance += squares[candidates]
        distance += squares[own][:, None]
        distance[candidates == own[:, None]] = np.inf
        distance[:, 1:][candidates[:, 1:] == candidates[:, :-1]] = np.inf
        few = np.argpartition(distance, rows.shape[1] - 1, axis=1)[:, : rows.shape[1]]
        better[own], found[own] = _merge(
            nearest[own],
            rows[own],
            np.take_along_axis(distance, few, axis=1),
            np.take_along_axis(candidates, few, axis=1),
        )
    return better, found


def _merge(distances: NDArray[Any], rows: Rows, more_distances: NDArray[Any], more_rows: Rows) -> Neighbours:
    """The nearest of two lists of neighbours a row, each neighbour once."""
    count = rows.shape[1]
    known = (more_rows[:, :, None] == rows[:, None, :]).any(axis=2)
    both = np.concatenate([distances, np.where(known, np.inf, more_distances)], axis=1)
    which = np.concatenate([rows, more_rows], axis=1)
    best = np.argsort(both, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(both, best, axis=1), np.take_along_axis(which, best, axis=1)


def _by_hnswlib(vectors: NDArray[Any], count: int, generator: np.random.Generator) -> Neighbours:
    try:
        import hnswlib
    except ImportError:
        raise BadInputError(
            "search='hnswlib' needs that package: pip install 'datadiet[neighbours]', or use another search."
        ) from None
    index = hnswlib.Index(space="l2", dim=vectors.shape[1])
    seed = int(generator.integers(2**31))
    index.init_index(max_elements=len(vectors), ef_construction=100, M=16, random_seed=seed)
    # Insertion by several threads would give another graph every time.
    index.add_items(vectors.astype(np.float32, copy=False), num_threads=1)
    index.set_ef(max(64, 4 * count))
    rows, squared = index.knn_query(vectors.astype(np.float32, copy=False), k=count + 1)
    rows = rows.astype(np.int64)
    # Each row finds itself, though among duplicates not always first: move it (or else the farthest) to the
    # end.
    own = rows == np.arange(len(vectors))[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(vectors), count)
    return np.sqrt(squared.astype(np.float64)[~own].reshape(shape)), rows[~own].reshape(shape)


@selection_rule(
    "d2",
    needs=("scores", "embeddings"),
    when="Little is kept and the data has many near-duplicates: hard examples, but not all from one place.",
    fails="Much is kept of clean data (hardest does better); embeddings that say little about the task.",
    source="D2 pruning: Maharana, Yadav, Bansal 2024",
    options={
        "form": "'paper' (its formulas over the whole graph, the default) or 'code' (the authors' released code)",
        "neighbours": "neighbours of each example in the graph, default 10, in the code's form 5",
        "gamma_forward": "how fast a message fades with distance when difficulty is gathered, default 1",
        "gamma_reverse": "the same when a chosen example quiets its neighbours, default 1, in the code's form 0.1",
        "beta": "share of the hardest dropped first, in [0, 1); default 0, in the code's form as in stratified",
        "drop_by": "the score that beta drops the hardest by, such as 'aum'; default the rule's own",
        "strata": "number of strata of equal score width that the graph is made in, default 1, in the code's form 25",
        "search": "'auto', 'exact', 'trees' or 'hnswlib', see nearest_neighbours",
    },
    named_scores=("drop_by",),
)
def d2(
    pool: Pool,
    size: int,
    generator: np.random.Generator,
    *,
    form: str = "paper",
    neighbours: int | None = None,
    gamma_forward: float | None = None,
    gamma_reverse: float | None = None,
    beta: float | None = None,
    drop_by: str | None = None,
    strata: int | None = None,
    search: str = "auto",
) -> Rows:
    """Message passing over the undirected graph of nearest neighbours.

    Forward, every example adds its neighbours' difficulty, `x_i + sum_j exp(-gamma_forward d_ij^2) x_j`. Then
    the highest is chosen, again and again, and takes `exp(-gamma_reverse d_ij^2) x_i` from each neighbour j.
    Two examples are neighbours when either is among the nearest of the other.

    Ours, where the paper leaves it open: scores are first scaled to [0, 1], distances are divided by their
    median over the graph, so that the gammas do not depend on the scale of the embeddings, and a chosen
    example whose own score has fallen below zero takes nothing.

    The form 'code' is what the authors released: messages are `exp(-gamma d_ij)` of distances as they are; the
    `beta` hardest are dropped first and the rest is cut into strata of equal score width with equal budgets, each with
    a graph of its own; a chosen example below zero gives to its neighbours; and a stratum of no more examples than
    neighbours is drawn from at random.
    """
    if form not in FORMS:
        raise BadInputError(f"form is {form!r}: give 'paper' or 'code'.")
    as_released = form == "code"
    told: dict[str, Any] = {
        "neighbours": neighbours,
        "gamma_forward": gamma_forward,
        "gamma_reverse": gamma_reverse,
        "strata": strata,
    }
    values = replace(FORMS[form], **{name: value for name, value in told.items() if value is not None})
    for name in ("gamma_forward", "gamma_reverse"):
        if not getattr(values, name) >= 0:
            raise BadInputError(f"{name} is {getattr(values, name)}: give 0 or more.")
    if beta is None:
        beta = default_beta(size / len(pool)) if as_released else 0.0
    rows = rows_below(pool, size, beta, drop_by)
    scores = unit_scale(pool.scores()[rows])
    places, quotas = strata_and_quotas(scores, values.strata, size)
    chosen: list[Rows] = []
    for stratum in np.flatnonzero(quotas).tolist():
        inside = np.flatnonzero(places == stratum)
        quota = int(quotas[stratum])
        if as_released and len(inside) <= values.neighbours:
            chosen.append(generator.permutation(inside)[:quota])
            continue
        near = nearest_neighbours(pool.vectors()[rows[inside]], values.neighbours, generator, search)
        chosen.append(inside[_pass_messages(scores[inside], near, values, quota)])
    return np.asarray(rows[np.concatenate(chosen)])


@dataclass(frozen=True)
class _Form:
    """What the two forms of D2 do not share."""

    neighbours: int
    gamma_forward: float
    gamma_reverse: float
    strata: int
    squared: bool  # distances, in units of their median; else as they are
    gives: bool  # a chosen example below zero, to its neighbours


FORMS = {
    "paper": _Form(10, 1.0, 1.0, 1, squared=True, gives=False),
    "code": _Form(5, 1.0, 0.1, 25, squared=False, gives=True),
}


def _pass_messages(scores: Floats, near: Neighbours, values: _Form, size: int) -> Rows:
    """Gather difficulty over the graph of these neighbours, then pick."""
    distances, rows = near
    if values.squared:
        scale = float(np.median(distances)) if distances.size else 0.0
        distances = distances / (scale if scale > 0 else 1.0)
    starts, ends, lengths = undirected_graph(distances, rows)
    if values.squared:
        lengths = lengths**2
    sources = np.repeat(np.arange(len(scores)), np.diff(starts))
    messages = np.exp(-values.gamma_forward * lengths) * scores[ends]
    gathered = scores + np.bincount(sources, weights=messages, minlength=len(scores))
    weights = np.exp(-values.gamma_reverse * lengths)
    return pick_greedily(gathered, starts, ends, weights, size, gives=values.gives)


def undirected_graph(distances: Floats, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """The graph in which two rows are joined when either lists the other.

    Args:
        distances: to the listed neighbours, shape (n, neighbours).
        rows: those neighbours, shape (n, neighbours).

    Returns:
        starts (n + 1,), ends (edges,) and distances (edges,): the neighbours of row i are
        `ends[starts[i]:starts[i + 1]]`, increasing.

    Example:
        >>> undirected_graph(np.array([[1.0], [1.0], [2.0]]), np.array([[1], [0], [1]]))
        (array([0, 1, 3, 4]), array([1, 0, 2, 1]), array([1., 1., 2., 2.]))
    """
    n, count = rows.shape
    sources = np.repeat(np.arange(n), count)
    # One number an edge, in both directions, so that one sort finds the edges that are listed twice.
    keys = np.concatenate([sources * n + rows.ravel(), rows.ravel() * n + sources])
    keys, first = np.unique(keys, return_index=True)
    starts = np.searchsorted(keys, np.arange(n + 1) * n)
    return starts, keys % n, distances.ravel()[first % (n * count)] if count else np.empty(0)


def unit_scale(hardness: NDArray[Any]) -> Floats:
    """Scores scaled to [0, 1]; infinite ones count as the lowest or highest finite one; all equal become 1.

    Example:
        >>> unit_scale(np.array([2.0, 4.0, 3.0, np.inf])).tolist()
        [0.0, 1.0, 0.5, 1.0]
    """
    finite = hardness[np.isfinite(hardness)].astype(np.float64)
    if finite.size == 0 or finite.min() == finite.max():
        return np.ones(len(hardness))
    low, high = finite.min(), finite.max()
    return np.asarray((np.clip(hardness, low, high).astype(np.float64) - low) / (high - low))


def pick_greedily(
    scores: NDArray[Any],
    starts: NDArray[np.int64],
    ends: Rows,
    weights: NDArray[Any],
    size: int,
    *,
    gives: bool = False,
) -> Rows:
    """Pick the row of highest score `size` times; each pick takes `weight * its score` from its neighbours.

    Args:
        scores: shape (n,).
        starts: shape (n + 1,); the neighbours of row i are `ends[starts[i]:starts[i + 1]]`.
        ends: shape (edges,).
        weights: of the edges, shape (edges,), 0 or more.
        size: how many to pick.
        gives: whether a pick below zero takes too, which gives to its neighbours; else it leaves them as they are.

    Returns:
        rows in the order of picking; a tie goes to the lower row.

    Example:
        >>> graph = np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1])
        >>> pick_greedily(np.array([3.0, 2.5, 1.0]), *graph, np.ones(4), 2).tolist()
        [0, 2]
    """
    current = scores.tolist()
    bounds = starts.tolist()
    # An entry that is out of date is too high: it is put back with its value when it comes up. A score that rises
    # gets one more entry.
    queue = [(-score, row) for row, score in enumerate(current)]
    heapq.heapify(queue)
    waiting = [True] * len(current)
    picked: list[int] = []
    while len(picked) < size:
        negative, row = queue[0]
        score = current[row]
        if waiting[row] and score != -negative:
            heapq.heapreplace(queue, (-score, row))
            continue
        heapq.heappop(queue)
        if not waiting[row]:
            continue
        waiting[row] = False
        picked.append(row)
        if score > 0 or gives:
            edges = slice(bounds[row], bounds[row + 1])
            for neighbour, weight in zip(ends[edges].tolist(), weights[edges].tolist(), strict=True):
                current[neighbour] -= weight * score
                if score < 0 and waiting[neighbour]:
                    heapq.heappush(queue, (-current[neighbour], neighbour))
    return np.array(picked, dtype=np.int64)
