"""Random numbers that are a pure function of seed, purpose and epoch, and draws that are kind to memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PURPOSES = {"order": 1, "choice": 2}


def stream(seed: int, purpose: str, epoch: int) -> np.random.Generator:
    """The generator of one purpose in one epoch; nothing else ever draws from it."""
    key = (seed % 2**64, _PURPOSES[purpose], epoch)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def shuffled(items: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
    """The items, which are whole numbers of at least 0, in an order drawn from all orders.

    Each gets a random key, and the keys are sorted with the items in their lowest bits: the sort reads memory in
    order, which a shuffle of many items does not. Keys have what the largest item leaves of 64 bits, 40 for ten
    million items: of so many, some tens share a key with another and come in increasing order.

    Example:
        >>> sorted(shuffled(np.array([3, 5, 9]), np.random.default_rng(0)).tolist())
        [3, 5, 9]
    """
    if not len(items):
        return items
    bits = int(items.max()).bit_length()
    keys = generator.integers(0, 2**64, len(items), dtype=np.uint64)
    keys >>= np.uint64(bits)
    keys <<= np.uint64(bits)
    keys |= items.astype(np.uint64)
    keys.sort()
    keys &= np.uint64(2**bits - 1)
    return keys.astype(items.dtype)


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
