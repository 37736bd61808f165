"""Which examples a step sees: seeded orders, global batches and the share of each rank."""

from __future__ import annotations

import numpy as np

from datadiet.data.examples import IntArray

# Keeps this stream apart from others that start from the same user seed.
_ORDER_STREAM = 0x0D1E7
_BUCKET_STREAM = 0xB0C4E7
BUCKET_BATCHES = 50  # global batches whose examples are sorted together


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
    return _generator(_ORDER_STREAM, seed, epoch).permutation(ordered)


def _generator(stream: int, seed: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([stream, seed % 2**64, epoch])))


def by_length(
    lengths: IntArray, *, batch_size: int, seed: int | None, epoch: int, bucket_batches: int = BUCKET_BATCHES
) -> IntArray:
    """How to rearrange an order so that examples of one batch are of similar length.

    Each run of `bucket_batches` batches is sorted by length and cut into batches again, and all batches are
    shuffled. What stood in the small last batch stays there. Without a seed, all are sorted by length.

    Args:
        lengths: of the examples in their order, int64 (n,).

    Returns:
        Places in the order, int64 (n,): each once.

    >>> by_length(np.array([5, 1, 4, 2, 3]), batch_size=2, seed=None, epoch=0).tolist()
    [1, 3, 4, 2, 0]
    >>> places = by_length(np.array([5, 1, 4, 2, 3]), batch_size=2, seed=0, epoch=0)
    >>> sorted(map(sorted, places[:4].reshape(2, 2).tolist())), int(places[4])
    ([[0, 2], [1, 3]], 4)
    """
    if seed is None:
        return np.argsort(lengths, kind="stable").astype(np.int64)
    whole = len(lengths) // batch_size
    stride = bucket_batches * batch_size
    places = np.arange(len(lengths), dtype=np.int64)
    for start in range(0, whole * batch_size, stride):
        stop = min(start + stride, whole * batch_size)
        places[start:stop] = start + np.argsort(lengths[start:stop], kind="stable")
    batches = places[: whole * batch_size].reshape(whole, batch_size)
    shuffled = _generator(_BUCKET_STREAM, seed, epoch).permutation(whole)
    places[: whole * batch_size] = batches[shuffled].reshape(-1)
    return places


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
