"""Scores of where an example lies among the others in a space of embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.selection.geometry import class_centre_distance
from datadiet.selection.geometry import prototype_distance as nearest_centre_distance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def centre_distance(embeddings: ArrayLike, labels: ArrayLike, seed: int = 0) -> NDArray[np.float32]:
    """Euclidean distance of each embedding to the mean embedding of its class.

    Args:
        embeddings: (n, d).
        labels: (n,) class of each example.
        seed: not used; scores of embeddings are called alike.

    Returns:
        (n,) float32, at least 0.

    Source: Xia et al., "Moderate Coreset", ICLR 2023, section 3, where the middle of it is kept.

    Example:
        >>> centre_distance([[0.0], [2.0], [5.0]], [0, 0, 1])
        array([1., 1., 0.], dtype=float32)
    """
    vectors: NDArray[Any] = np.asarray(embeddings)
    return class_centre_distance(vectors, np.asarray(labels)).astype(np.float32)


def prototype_distance(embeddings: ArrayLike, labels: ArrayLike, seed: int = 0) -> NDArray[np.float32]:
    """Cosine distance of each embedding to the nearest of as many k-means centres as there are classes.

    Args:
        embeddings: (n, d).
        labels: (n,), of which only the number of classes counts.
        seed: of the k-means start.

    Returns:
        (n,) float32 in [0, 2].

    Source: Sorscher et al., "Beyond neural scaling laws", NeurIPS 2022, section 6; the number of centres is
    the paper's choice for ImageNet (one a class).

    Example:
        >>> prototype_distance([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 5.0]], [0, 0, 1, 1]).round(3)
        array([0., 0., 0., 0.], dtype=float32)
    """
    vectors: NDArray[Any] = np.asarray(embeddings, dtype=np.float32)
    clusters = min(len(np.unique(np.asarray(labels))), len(vectors))
    return nearest_centre_distance(vectors, clusters, np.random.default_rng(seed)).astype(np.float32)
