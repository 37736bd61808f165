"""Which examples go to which rank in which batch, the random streams that decide it, and merging over ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from numpy.typing import NDArray


_PURPOSES = {"order": 1, "choice": 2}
_BUCKET = 1 << 16


def index_type(count: int) -> type[np.int32 | np.int64]:
    """The smaller integer that can count so many."""
    return np.int32 if count < 2**31 else np.int64


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


@dataclass(frozen=True)
class Shards:
    """Batches of an epoch of `size` examples, dealt to ranks in turn: rank r gets batches r, r + W, r + 2W, ...

    The batches are those that one process would see, so W ranks with batches of B see in each step what one process
    sees in W. The tail goes as in Accelerate: with `drop_last` an incomplete round is left out; with
    `even_batches` it is filled up with the first examples of the epoch, so that every rank takes as many
    full batches; with neither, some ranks get a smaller last batch or one less. A single rank is never filled up.

    Example:
        >>> shards = Shards(size=7, batch_size=2, world_size=2)
        >>> order = np.arange(7)
        >>> [[shards.batch(order, rank, k).tolist() for k in range(shards.count(rank))] for rank in range(2)]
        [[[0, 1], [4, 5]], [[2, 3], [6, 0]]]
    """

    size: int
    batch_size: int
    world_size: int = 1
    drop_last: bool = False
    even_batches: bool = True

    @property
    def filled(self) -> bool:
        """Whether the last batches are filled up with the first examples."""
        return self.even_batches and not self.drop_last and self.world_size > 1

    def count(self, rank: int) -> int:
        """How many batches a rank gets."""
        per_round = self.batch_size * self.world_size
        if self.drop_last:
            return self.size // per_round
        if self.filled:
            return -(-self.size // per_round)
        batches = -(-self.size // self.batch_size)
        return max(0, -(-(batches - rank) // self.world_size))

    def batch(self, order: NDArray[Any], rank: int, index: int) -> NDArray[Any]:
        """The examples of a rank's batch of that index; `order` is the whole epoch's."""
        start = (index * self.world_size + rank) * self.batch_size
        stop = start + self.batch_size
        if stop <= self.size or not self.filled:
            return order[start:stop]
        return order[np.arange(start, stop) % self.size]

    def singles(self, order: NDArray[Any], rank: int, start: int, stop: int) -> NDArray[Any]:
        """Of batches of one: those of the indices from `start` to before `stop`."""
        return order[(np.arange(start, stop) * self.world_size + rank) % self.size]


def process_count() -> int:
    """How many processes `torch.distributed` joins; 1 where it is not initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Which of these this one is."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def merged_over_ranks(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """The numbers that any rank has, NaN where none has; every rank must call it.

    Where several ranks have seen an example (the filled-up tail of an epoch), that of the first rank counts, and
    nothing is averaged: so the result has the same bits however the examples were dealt out.

    Args:
        numbers: (n,) this rank's, NaN where it has none.
    """
    world = process_count()
    if world == 1:
        return numbers
    device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
    has = ~np.isnan(numbers)
    owner = torch.from_numpy(np.where(has, np.int32(process_rank()), np.int32(world))).to(device)
    dist.all_reduce(owner, op=dist.ReduceOp.MIN)
    first = owner.cpu().numpy()
    mine = torch.from_numpy(np.where(has & (first == process_rank()), numbers, np.float32(0))).to(device)
    dist.all_reduce(mine)
    result: NDArray[np.float32] = np.where(first == world, np.float32(np.nan), mine.cpu().numpy())
    return result
