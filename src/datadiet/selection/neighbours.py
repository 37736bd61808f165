"""Nearest neighbours of every row: exact for tens of thousands, in leaves of balanced trees beyond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.foundation.errors import BadInputError


@dataclass(frozen=True)
class Leaves:
    """A partition into leaves: leaf `i` holds the rows `order[bounds[i]:bounds[i + 1]]`."""

    order: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def rows(self, leaf: int) -> npt.NDArray[np.int64]:
        """The rows of one leaf."""
        return self.order[self.bounds[leaf] : self.bounds[leaf + 1]]


def covariance(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Covariance of the columns, float64, shape (dimensions, dimensions); piece by piece, to spare memory."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), 65536):
        piece = vectors[start : start + 65536].astype(np.float64) - mean
        total += piece.T @ piece
    return total / len(vectors)


def principal_directions(vectors: npt.NDArray[Any], count: int) -> npt.NDArray[np.float64]:
    """The `count` directions of largest variance, shape (dimensions, count), repeated if there are fewer."""
    directions = np.linalg.eigh(covariance(vectors))[1][:, ::-1]
    return directions[:, np.arange(count) % directions.shape[1]]


def split(vectors: npt.NDArray[Any], directions: npt.NDArray[np.float64]) -> Leaves:
    """Halve every part at its median along one direction after the other, into `2 ** levels` leaves.

    The sizes of the leaves differ by one at most; equal projections are parted by row.

    Args:
        vectors: shape (n, dimensions).
        directions: shape (dimensions, levels).

    Example:
        >>> leaves = split(np.array([[3.0], [1.0], [2.0], [0.0]]), np.array([[1.0]]))
        >>> [leaves.rows(leaf).tolist() for leaf in range(len(leaves))]
        [[3, 1], [2, 0]]
    """
    n = len(vectors)
    order = np.arange(n)
    bounds = np.array([0, n])
    for level in range(directions.shape[1]):
        projection = (vectors @ directions[:, level].astype(vectors.dtype))[order]
        part = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        order = order[np.lexsort((order, projection, part))]
        middles = (bounds[:-1] + bounds[1:]) // 2
        bounds = np.sort(np.concatenate([bounds, middles]))
    return Leaves(order, bounds)


def levels_for(n: int, largest: int) -> int:
    """Levels of halving until no leaf holds more than `largest` rows.

    Example:
        >>> levels_for(1000, 1000), levels_for(1001, 1000), levels_for(1_000_000, 2048)
        (0, 1, 9)
    """
    levels = 0
    while -(-n // 2**levels) > largest:
        levels += 1
    return levels


EXACT_UP_TO = 30_000
# With more rows: trees, rows a leaf, and rounds of refinement; 1 million x 128 takes minutes on two cores.
LEAF = 1024
TREES = 3
REFINEMENTS = 2
REFINED_TOGETHER = 1024


def nearest_neighbours(
    vectors: npt.NDArray[Any], count: int, generator: np.random.Generator, search: str = "auto"
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
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


def _exact(vectors: npt.NDArray[Any], count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    if count == 0:
        return np.empty((len(vectors), 0)), np.empty((len(vectors), 0), dtype=np.int64)
    # Imported here: scikit-learn takes a second, and most rules do without.
    from sklearn.neighbors import NearestNeighbors

    # Without a query, scikit-learn leaves each row out of its own neighbours, duplicates or not.
    distances, rows = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(vectors).kneighbors()
    return distances.astype(np.float64, copy=False), rows.astype(np.int64, copy=False)


def _by_trees(
    vectors: npt.NDArray[Any], count: int, generator: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    n, dimensions = vectors.shape
    squares = np.einsum("ij,ij->i", vectors, vectors)
    # Directions are drawn with the data's own covariance: cuts fall where the data is wide.
    values, axes = np.linalg.eigh(covariance(vectors))
    root = axes * np.sqrt(np.maximum(values, 0.0))
    levels = levels_for(n, LEAF)
    nearest = np.full((n, count), np.inf, dtype=vectors.dtype)
    rows = np.full((n, count), -1, dtype=np.int64)
    for _ in range(TREES):
        leaves = split(vectors, root @ generator.standard_normal((dimensions, levels)))
        for leaf in range(len(leaves)):
            members = np.sort(leaves.rows(leaf))
            near, which = _within(vectors[members], squares[members], count)
            nearest[members], rows[members] = _merge(nearest[members], rows[members], near, members[which])
    for _ in range(REFINEMENTS):
        nearest, rows = _refined(vectors, squares, nearest, rows)
    return np.sqrt(np.maximum(nearest, 0.0)).astype(np.float64), rows


def _within(
    vectors: npt.NDArray[Any], squares: npt.NDArray[Any], count: int
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Squared distances and rows of the nearest others among a few thousand, in no order."""
    table = vectors @ vectors.T
    table *= -2.0
    table += squares
    table += squares[:, None]
    np.fill_diagonal(table, np.inf)
    which = np.argpartition(table, count - 1, axis=1)[:, :count]
    return np.take_along_axis(table, which, axis=1), which


def _refined(
    vectors: npt.NDArray[Any],
    squares: npt.NDArray[Any],
    nearest: npt.NDArray[Any],
    rows: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
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


def _merge(
    distances: npt.NDArray[Any],
    rows: npt.NDArray[np.int64],
    more_distances: npt.NDArray[Any],
    more_rows: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The nearest of two lists of neighbours a row, each neighbour once."""
    count = rows.shape[1]
    known = (more_rows[:, :, None] == rows[:, None, :]).any(axis=2)
    both = np.concatenate([distances, np.where(known, np.inf, more_distances)], axis=1)
    which = np.concatenate([rows, more_rows], axis=1)
    best = np.argsort(both, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(both, best, axis=1), np.take_along_axis(which, best, axis=1)


def _by_hnswlib(
    vectors: npt.NDArray[Any], count: int, generator: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
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
