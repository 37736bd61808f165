"""Rules in a space of embeddings: distance to a centre, k-centre, herding; balanced trees that cut it into parts."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datadiet.foundation.errors import BadInputError
from datadiet.selection.ordered import hardest_rows, window_rows
from datadiet.selection.registry import Pool, selection_rule
from datadiet.selection.sizes import Floats, Groups, Rows, proportional_quotas

CHUNK = 65536

# Multiplications that a greedy pass over all rows may cost (some tens of seconds); beyond, it works leaf by leaf.
EXACT_COST = 2e10

_PART = (
    "largest number of examples handled together; default all while affordable, else leaves of at most 2,048"
)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep linear algebra on one thread inside the block (or the decorated function), and restore it after.

    Several threads cost more than they bring when each product takes microseconds, and on a busy machine they
    wait for each other many times longer than they work.
    """
    # Imported here: it comes with scikit-learn, and most rules do without.
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        yield


def class_centre_distance(vectors: NDArray[Any], labels: NDArray[Any], centre: str = "mean") -> Floats:
    """Euclidean distance of each row to the centre of its class, float64, shape (n,).

    Args:
        vectors: shape (n, dimensions).
        labels: shape (n,).
        centre: "mean", or "median", that of every dimension for itself.

    Example:
        >>> class_centre_distance(np.array([[0.0], [2.0], [5.0]]), np.array([0, 0, 1])).tolist()
        [1.0, 1.0, 0.0]
    """
    distances = np.empty(len(vectors))
    for rows in Groups.of(labels, "class").rows():
        own = vectors[rows]
        middle = own.mean(axis=0, dtype=np.float64) if centre == "mean" else np.median(own, axis=0)
        for start in range(0, len(rows), CHUNK):
            piece = rows[start : start + CHUNK]
            distances[piece] = np.linalg.norm(vectors[piece] - middle, axis=1)
    return distances


def prototype_distance(vectors: NDArray[Any], clusters: int, generator: np.random.Generator) -> Floats:
    """Cosine distance of each row to the nearest k-means centre of the unit-length rows, float64, shape (n,).

    Example:
        >>> vectors = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
        >>> prototype_distance(vectors, 2, np.random.default_rng(0)).round(6).tolist()
        [0.0, 0.0, 0.0, 0.0]
    """
    # Imported here: scikit-learn takes a second, and most rules do without.
    from sklearn.cluster import MiniBatchKMeans

    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(vectors.dtype).tiny)
    seed = int(generator.integers(2**31))
    means = MiniBatchKMeans(
        clusters, batch_size=max(4096, 3 * clusters), n_init=1, compute_labels=False, random_state=seed
    )
    with one_thread():
        means.fit(unit)
    centres = means.cluster_centers_.astype(np.float64)
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    distances = np.empty(len(unit))
    for start in range(0, len(unit), CHUNK // 8):
        piece = unit[start : start + CHUNK // 8]
        distances[start : start + CHUNK // 8] = 1.0 - (piece @ centres.T.astype(unit.dtype)).max(axis=1)
    return distances


@selection_rule(
    "moderate",
    needs=("labels", "embeddings"),
    when="Labels or images are noisy and scores are not trusted: typical examples, neither outliers nor duplicates.",
    fails="Clean data with much kept: both ends of the class are missing.",
    source="Moderate coreset: Xia, Liu, Yu, Shen, Han, Liu 2023",
    options={
        "centre": "of a class: 'mean' (the default) or 'median' of every dimension, as in the released code",
        "window": "'values' (distances nearest to their median, the default) or 'ranks' (as many on either side of it, "
        "as in the released code)",
    },
)
def moderate(
    pool: Pool,
    size: int,
    generator: np.random.Generator,
    *,
    centre: str = "mean",
    window: str = "values",
) -> Rows:
    """The examples whose distance to their class centre is nearest to the median of all such distances.

    The window 'ranks' is the middle of the order of distances: where they are skewed, it reaches farther out on the
    side on which they are sparse.
    """
    for name, value, choices in (
        ("centre", centre, ("mean", "median")),
        ("window", window, ("values", "ranks")),
    ):
        if value not in choices:
            raise BadInputError(f"{name} is {value!r}: give {choices[0]!r} or {choices[1]!r}.")
    distances = class_centre_distance(pool.vectors(), pool.classes(), centre)
    if window == "values":
        return hardest_rows(-np.abs(distances - np.median(distances)), size)
    first = (len(pool) - size) // 2
    return window_rows(-distances, first, first + size)


@selection_rule(
    "prototypes",
    needs=("embeddings",),
    when="There are no labels or no training yet: end='hard' while data is plentiful, end='easy' when it is scarce.",
    fails="The wrong end for the size; embeddings that do not group by what is to be learnt, where one k-means start "
    "keeps other examples than the next (use restarts=5).",
    source="Sorscher, Geirhos, Shekhar, Ganguli, Morcos 2022",
    options={
        "end": "'hard' (far from the centres, the default) or 'easy' (near them)",
        "clusters": "number of k-means centres; default the number of classes, without labels "
        "sqrt(n / 2), at most 1000",
        "restarts": "k-means from so many starts, whose distances are averaged; default 1",
    },
)
def prototypes(
    pool: Pool,
    size: int,
    generator: np.random.Generator,
    *,
    end: str = "hard",
    clusters: int | None = None,
    restarts: int = 1,
) -> Rows:
    """The examples farthest from (or nearest to) the k-means centres of the embeddings at unit length."""
    if end not in ("hard", "easy"):
        raise BadInputError(f"end is {end!r}: give 'hard' or 'easy'.")
    n = len(pool)
    if clusters is None:
        clusters = int(min(1000, np.sqrt(n / 2))) if pool.labels is None else len(np.unique(pool.labels))
    elif clusters < 1:
        raise BadInputError(f"clusters is {clusters}: give at least one.")
    if restarts < 1:
        raise BadInputError(f"restarts is {restarts}: give at least one.")
    clusters = max(1, min(clusters, n))
    distances = np.mean(
        [prototype_distance(pool.vectors(), clusters, generator) for _ in range(restarts)], axis=0
    )
    return hardest_rows(distances, size) if end == "hard" else window_rows(distances, n - size, n)


def covariance(vectors: NDArray[Any]) -> Floats:
    """Covariance of the columns, float64, shape (dimensions, dimensions); piece by piece, to spare memory."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), CHUNK):
        piece = vectors[start : start + CHUNK].astype(np.float64) - mean
        total += piece.T @ piece
    return total / len(vectors)


def balanced_parts(vectors: NDArray[Any], directions: Floats) -> list[Rows]:
    """The leaves of a balanced tree: every part is halved at its median along one direction after the other.

    There are `2 ** levels` of them; their sizes differ by one at most, and equal projections are parted by row.

    Args:
        vectors: shape (n, dimensions).
        directions: shape (dimensions, levels).

    Example:
        >>> parts = balanced_parts(np.array([[3.0], [1.0], [2.0], [0.0]]), np.array([[1.0]]))
        >>> [rows.tolist() for rows in parts]
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
    return np.split(order, bounds[1:-1])


def levels_for(n: int, largest: int) -> int:
    """Levels of halving until no leaf holds more than `largest` rows.

    Example:
        >>> levels_for(1000, 1000), levels_for(1001, 1000), levels_for(1_000_000, 2048)
        (0, 1, 9)
    """
    return (-(-n // largest) - 1).bit_length()


def _parts(pool: Pool, size: int, part: int | None) -> list[Rows]:
    """All rows as one part, or the leaves of a balanced tree, never more than a quarter of what stays."""
    vectors = pool.vectors()
    n, dimensions = vectors.shape
    if part is not None and part < 2:
        raise BadInputError(f"part is {part}: give at least 2 examples.")
    if part is None:
        part = n if float(n) * size * dimensions <= EXACT_COST else 2048
    levels = levels_for(n, part)
    while levels and 4 * 2**levels > size:
        levels -= 1
    if levels == 0:
        return balanced_parts(vectors, np.empty((dimensions, 0)))
    # The directions of largest variance, from the start again if there are fewer of them than levels.
    directions = np.linalg.eigh(covariance(vectors))[1][:, ::-1]
    return balanced_parts(vectors, directions[:, np.arange(levels) % dimensions])


@selection_rule(
    "kcenter",
    needs=("embeddings",),
    when="Every corner of the input space must be seen, for instance to label next; labels and scores are not needed.",
    fails="Outliers and wrong labels: they are far from everything, so all of them are kept.",
    source="Sener, Savarese 2018 (greedy k-centre)",
    options={"part": _PART},
)
@one_thread()
def kcenter(pool: Pool, size: int, generator: np.random.Generator, *, part: int | None = None) -> Rows:
    """Greedy k-centre: the one nearest to the mean, then always the one farthest from those chosen.

    Over several leaves the distance is to the chosen ones of the same leaf, and the next example is still the
    farthest of all.
    """
    parts = _parts(pool, size, part)
    order = np.concatenate(parts)
    spans = list(itertools.pairwise(np.cumsum([0, *map(len, parts)]).tolist()))
    vectors = pool.vectors()[order]
    squares = np.einsum("ij,ij->i", vectors, vectors)
    # Squared distance to the nearest chosen example; -1 marks the chosen.
    far = np.full(len(pool), np.inf, dtype=vectors.dtype)
    chosen = np.empty(size, dtype=np.int64)
    queue: list[tuple[float, int, int]] = []
    for leaf, (start, stop) in enumerate(spans):
        mean = vectors[start:stop].mean(axis=0, dtype=np.float64).astype(vectors.dtype)
        first = start + int(np.argmin(squares[start:stop] - 2.0 * (vectors[start:stop] @ mean)))
        queue.append((-np.inf, leaf, first))
    heapq.heapify(queue)
    for place in range(size):
        _, leaf, pick = queue[0]
        chosen[place] = pick
        start, stop = spans[leaf]
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
    return order[chosen]


@selection_rule(
    "herding",
    needs=("embeddings",),
    when="Very few typical examples a class are wanted (use per_class=True): their mean is the mean of all.",
    fails="More than a little is kept: it goes on repeating the centre and misses the border.",
    source="Welling 2009; Rebuffi et al. 2017 (the form with distances)",
    options={"part": _PART},
)
@one_thread()
def herding(pool: Pool, size: int, generator: np.random.Generator, *, part: int | None = None) -> Rows:
    """Greedily keep the mean of the chosen nearest to the mean of all.

    Over several leaves, each gives its proportional share, chosen by its own mean.
    """
    parts = _parts(pool, size, part)
    quotas = proportional_quotas([len(rows) for rows in parts], size)
    vectors = pool.vectors()
    return np.concatenate(
        [rows[_herd(vectors[rows], int(quota))] for rows, quota in zip(parts, quotas, strict=True)]
    )


def _herd(vectors: NDArray[Any], size: int) -> Rows:
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
