"""Which of an epoch's examples go to which rank in which batch: index tables, uneven tails included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
    def _filled(self) -> bool:
        return self.even_batches and not self.drop_last and self.world_size > 1

    def count(self, rank: int) -> int:
        """How many batches a rank gets."""
        per_round = self.batch_size * self.world_size
        if self.drop_last:
            return self.size // per_round
        if self._filled:
            return -(-self.size // per_round)
        batches = -(-self.size // self.batch_size)
        return max(0, -(-(batches - rank) // self.world_size))

    def batch(self, order: NDArray[Any], rank: int, index: int) -> NDArray[Any]:
        """The examples of a rank's batch of that index; `order` is the whole epoch's."""
        start = (index * self.world_size + rank) * self.batch_size
        stop = start + self.batch_size
        if stop <= self.size or not self._filled:
            return order[start:stop]
        return order[np.arange(start, stop) % self.size]

    def singles(self, order: NDArray[Any], rank: int, start: int, stop: int) -> NDArray[Any]:
        """Of batches of one: those of the indices from `start` to before `stop`."""
        if self.world_size == 1:
            return order[start:stop]
        return order[(np.arange(start, stop) * self.world_size + rank) % self.size]
