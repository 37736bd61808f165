"""Which examples a step sees: seeded orders, global batches and the share of each rank."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

# Keeps this stream apart from others that start from the same user seed.
_ORDER_STREAM = 0x0D1E7


def order_of(ids: IntArray, *, seed: int | None, epoch: int) -> IntArray:
    """The ids in the order of one epoch: a pure function of the seed, the epoch and the ids.

    Without a seed, in id order. The order that `ids` are given in does not matter.

    >>> order_of(np.array([5, 3, 9]), seed=None, epoch=0).tolist()
    [3, 5, 9]
    >>> a, b = (order_of(np.arange(100), seed=1, epoch=e) for e in (0, 1))
    >>> sorted(a) == sorted(b), (a == b).all().item()
    (True, False)
    """
    ordered = np.sort(np.asarray(ids, dtype=np.int64))
    if seed is None:
        return ordered
    generator = np.random.Generator(
        np.random.PCG64(np.random.SeedSequence([_ORDER_STREAM, seed % 2**64, epoch]))
    )
    return generator.permutation(ordered)


def num_batches(num_ids: int, batch_size: int) -> int:
    """Steps of one epoch; the last, smaller batch counts.

    >>> num_batches(10, 4), num_batches(8, 4), num_batches(0, 4)
    (3, 2, 0)
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, but must be at least 1.")
    return -(-num_ids // batch_size)


def shards(
    ordered: IntArray, *, batch_size: int, rank: int = 0, world_size: int = 1, start_batch: int = 0
) -> list[IntArray]:
    """What one rank sees in each step: every `world_size`-th id of each global batch, from `rank` on.

    All ranks take the same number of steps: where the last global batch is smaller than `world_size`,
    some get an empty share of it.

    >>> [share.tolist() for share in shards(np.arange(5), batch_size=4, rank=1, world_size=2)]
    [[1, 3], []]
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is not among 0..{world_size - 1}.")
    if start_batch < 0:
        raise ValueError(f"start_batch is {start_batch}, but must not be negative.")
    steps = range(start_batch, num_batches(len(ordered), batch_size))
    return [ordered[step * batch_size : (step + 1) * batch_size][rank::world_size] for step in steps]
