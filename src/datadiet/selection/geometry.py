"""Rules by distance to a centre: of the own class, or of the nearest cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.errors import BadInputError
from datadiet.selection.groups import Groups
from datadiet.selection.one_thread import one_thread
from datadiet.selection.ordered import hardest_rows, window_rows
from datadiet.selection.pool import Pool
from datadiet.selection.registry import selection_rule

CHUNK = 65536


def class_centre_distance(vectors: npt.NDArray[Any], labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Euclidean distance of each row to the mean of its class, float64, shape (n,).

    Example:
        >>> class_centre_distance(np.array([[0.0], [2.0], [5.0]]), np.array([0, 0, 1])).tolist()
        [1.0, 1.0, 0.0]
    """
    distances = np.empty(len(vectors))
    for rows in Groups.of(labels, "class").rows():
        centre = vectors[rows].mean(axis=0, dtype=np.float64)
        for start in range(0, len(rows), CHUNK):
            piece = rows[start : start + CHUNK]
            distances[piece] = np.linalg.norm(vectors[piece] - centre, axis=1)
    return distances


def prototype_distance(
    vectors: npt.NDArray[Any], clusters: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Cosine distance of each row to the nearest k-means centre of the unit-length rows, float64, shape (n,).

    Example:
        >>> vectors = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
        >>> prototype_distance(vectors, 2, np.random.default_rng(0)).round(6).tolist()
        [0.0, 0.0, 0.0, 0.0]
    """
    # Imported here: scikit-learn takes a second, and most rules do without.
    from sklearn.cluster import MiniBatchKMeans

    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(vectors.dtype).tiny)
    means = MiniBatchKMeans(
        clusters,
        batch_size=max(4096, 3 * clusters),
        n_init=1,
        compute_labels=False,
        random_state=int(generator.integers(2**31)),
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
    when="Labels or images are noisy and scores are not trusted: typical examples, neither outliers "
    "nor duplicates.",
    fails="Clean data with much kept: both ends of the class are missing.",
    source="Moderate coreset: Xia, Liu, Yu, Shen, Han, Liu 2023",
)
def moderate(pool: Pool, size: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """The examples whose distance to their class centre is nearest to the median of all such distances."""
    distances = class_centre_distance(pool.vectors(), pool.classes())
    return hardest_rows(-np.abs(distances - np.median(distances)), size)


@selection_rule(
    "prototypes",
    needs=("embeddings",),
    when="There are no labels or no training yet: end='hard' while data is plentiful, end='easy' "
    "when it is scarce.",
    fails="The wrong end for the size; embeddings that do not group by what is to be learnt.",
    source="Sorscher, Geirhos, Shekhar, Ganguli, Morcos 2022",
    options={
        "end": "'hard' (far from the centres, the default) or 'easy' (near them)",
        "clusters": "number of k-means centres; default the number of classes, without labels "
        "sqrt(n / 2), at most 1000",
    },
)
def prototypes(
    pool: Pool, size: int, generator: np.random.Generator, *, end: str = "hard", clusters: int | None = None
) -> npt.NDArray[np.int64]:
    """The examples farthest from (or nearest to) the k-means centres of the embeddings at unit length."""
    if end not in ("hard", "easy"):
        raise BadInputError(f"end is {end!r}: give 'hard' or 'easy'.")
    n = len(pool)
    if clusters is None:
        clusters = int(min(1000, np.sqrt(n / 2))) if pool.labels is None else len(np.unique(pool.labels))
    elif clusters < 1:
        raise BadInputError(f"clusters is {clusters}: give at least one.")
    distances = prototype_distance(pool.vectors(), max(1, min(clusters, n)), generator)
    return hardest_rows(distances, size) if end == "hard" else window_rows(distances, n - size, n)
