"""Scores that no trained output is needed for: the norm of the input, chance, and where an embedding lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from datadiet.foundation.errors import BadInputError
from datadiet.scores.outputs import Array
from datadiet.scores.registry import ANY, register_score
from datadiet.selection.geometry import class_centre_distance
from datadiet.selection.geometry import prototype_distance as nearest_centre_distance


@register_score(
    "input_norm",
    needs="inputs",
    range=ANY,
    source="Kirsch, Does 'Deep Learning on a Data Diet' reproduce?, 2023",
)
def input_norm(inputs: Array) -> Array:
    """L2 norm of the input as the model sees it.

    `|| x ||_2` over everything but the first axis.

    Args:
        inputs: (batch, ...), torch on any device or numpy; integers are read as numbers.

    Returns:
        (batch,), at least 0, of the same kind; float64 for float64, else float32.

    Raises:
        BadInputError: there is no axis beside the batch.

    Source: Kirsch, "Does 'Deep Learning on a Data Diet' reproduce?", 2023: GraNd at initialisation ranks
    like this norm (Spearman 0.96 on CIFAR-10), so it is the baseline that GraNd has to beat.

    Example:
        >>> input_norm(np.array([[[3.0], [4.0]], [[0.0], [1.0]]]))
        array([5., 1.])
    """
    values = inputs.detach() if isinstance(inputs, torch.Tensor) else torch.tensor(np.asarray(inputs))
    if values.ndim < 2:
        raise BadInputError(f"inputs must be (batch, ...), got shape {tuple(values.shape)}.")
    values = values.to(torch.float64 if values.dtype == torch.float64 else torch.float32)
    result: torch.Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
    return result if isinstance(inputs, torch.Tensor) else result.numpy()


@register_score(
    "centre_distance",
    needs="embeddings",
    range=ANY,
    source="Xia et al., Moderate Coreset, ICLR 2023 (which keeps the middle of it)",
)
def centre_distance(embeddings: ArrayLike, labels: ArrayLike, seed: int = 0) -> NDArray[np.float32]:
    """Euclidean distance of the embedding to the mean of its class.

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
    return class_centre_distance(np.asarray(embeddings), np.asarray(labels)).astype(np.float32)


@register_score(
    "prototype_distance",
    needs="embeddings",
    range=(0.0, 2.0),
    source="Sorscher et al., Beyond neural scaling laws, NeurIPS 2022",
)
def prototype_distance(embeddings: ArrayLike, labels: ArrayLike, seed: int = 0) -> NDArray[np.float32]:
    """Cosine distance of the embedding to the nearest k-means centre, as many centres as classes.

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


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_PURPOSE = np.uint64(0x5CA1AB1E0DDBA115)


def _scramble(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: every bit of the input moves every bit of the output."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@register_score("random", needs="ids", range=(0.0, 1.0), source="the baseline of every comparison")
def random(ids: ArrayLike, seed: int) -> NDArray[np.float64]:
    """Chance, fixed by id and seed.

    Uniform numbers in [0, 1), each a pure function of its id and the seed: no order, no global state.

    An example keeps its number whatever batch, subset, machine or order it is asked in, and two seeds give
    independent rankings.

    Args:
        ids: (n,) integer example ids.
        seed: any integer; taken modulo 2^64.

    Returns:
        (n,) float64 in [0, 1).

    Raises:
        BadInputError: ids are not integers.

    Source: SplitMix64, Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

    Example:
        >>> first = random([7, 3], seed=0)
        >>> bool(first[1] == random([3], seed=0)[0])
        True
    """
    numbers = np.asarray(ids)
    if numbers.dtype.kind not in "iu" and numbers.size:
        raise BadInputError(f"ids must be integers, got {numbers.dtype}.")
    stream = _scramble(np.atleast_1d(np.uint64(int(seed) % 2**64)) ^ _PURPOSE)
    mixed = _scramble(_scramble(numbers.astype(np.int64).view(np.uint64) * _GOLDEN + stream) ^ stream)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
