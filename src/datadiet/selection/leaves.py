"""A balanced tree over embeddings: leaves of equal size, for work that cannot look at all pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


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
