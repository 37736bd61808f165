"""Random numbers that are a pure function of seed, purpose and epoch, and draws that are kind to memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PURPOSES = {"order": 1, "choice": 2}
_BUCKET = 1 << 16


def stream(seed: int, purpose: str, epoch: int) -> np.random.Generator:
    """The generator of one purpose in one epoch; nothing else ever draws from it."""
    key = (seed % 2**64, _PURPOSES[purpose], epoch)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def shuffled(items: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
    """The items in an order drawn uniformly from all orders.

    Large arrays are first dealt into random buckets, each of which is then shuffled (Rao and Sandelius, 1961):
    as uniform as one shuffle, and every step stays within a processor's cache.
    """
    buckets = min(256, -(-len(items) // _BUCKET))
    if buckets <= 1:
        return items[generator.permutation(len(items))]
    bucket_of = generator.integers(0, buckets, len(items), dtype=np.uint8)
    dealt = items[np.argsort(bucket_of, kind="stable")]
    start = 0
    for size in np.bincount(bucket_of, minlength=buckets).tolist():
        generator.shuffle(dealt[start : start + size])
        start += size
    return dealt


def smallest(keys: NDArray[Any], size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Places of the `size` smallest keys, ascending; which of equal keys at the border is drawn.

    Example:
        >>> smallest(np.array([3.0, 1.0, 2.0, 9.0]), 2, np.random.default_rng(0)).tolist()
        [1, 2]
    """
    if size >= len(keys):
        return np.arange(len(keys))
    if size <= 0:
        return np.zeros(0, np.int64)
    border = np.partition(keys, size - 1)[size - 1]
    chosen = keys < border
    missing = size - int(np.count_nonzero(chosen))
    level = np.flatnonzero(keys == border)
    chosen[level if len(level) == missing else generator.choice(level, missing, replace=False)] = True
    return np.flatnonzero(chosen)


def random_places(count: int, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """`size` of the places 0 to `count` - 1, ascending; every set of that size is as likely."""
    return smallest(generator.integers(0, 2**32, count, dtype=np.uint32), size, generator)
