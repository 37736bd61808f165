"""The order in which an epoch deals its ids, and whether the batches that come back were dealt in it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.dynamic.sharding import Shards, index_type, process_count, process_rank
from datadiet.foundation.errors import BadInputError
from datadiet.tracking.presentations import ExampleIds

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What ids are, and what to do where they are something else.
MEANING = (
    "ids are positions in the data set that the loader reads, so add them last, as in "
    "with_ids(dataset.shuffle(...)), and make the sampler for that data set"
)


class DealtEpoch:
    """The ids of one epoch in the order in which they are dealt; a slot is a place in that order.

    Args:
        ids: all that the sampler knows.
        order: (size,) the epoch's ids in their order.
        shards: how they go to the ranks.
        rank: whose batches are dealt here.
        epoch: its number.
        start: the rank's first batch, later than 0 where an epoch is gone on with.
        batched: whether batches are dealt; else single ids, which somebody else makes batches of.
    """

    def __init__(
        self,
        ids: ExampleIds,
        order: NDArray[Any],
        shards: Shards,
        rank: int,
        epoch: int,
        start: int,
        batched: bool,
    ) -> None:
        self.ids, self.order, self.shards, self.rank = ids, order, shards, rank
        self.epoch, self.start, self.batched = epoch, start, batched
        self.count = shards.count(rank)
        #: Processes that share the epoch, whoever deals out to them.
        self.ranks = max(shards.world_size, process_count())
        #: Slots of one batch of each rank that the sampler deals out to.
        self.round = shards.batch_size * shards.world_size
        #: Batches handed out by an earlier iteration over the same epoch.
        self.handed = 0

    @cached_property
    def slots(self) -> NDArray[Any]:
        """(n,) the slot of each example, -1 where it is not in the epoch."""
        slots = np.full(self.ids.count, -1, index_type(self.ids.count))
        places = self.order if self.ids.explicit is None else self.ids.places_of(self.order)
        slots[places] = np.arange(len(places), dtype=slots.dtype)
        return slots

    def reach(self, handed: int) -> int:
        """The slots before this one have been handed out, on any rank, when this rank has got so many batches."""
        if handed >= self.count and not self.shards.drop_last:
            return self.shards.size
        return min(self.shards.size, min(handed, self.count) * self.round)

    def batches_before(self, places: NDArray[Any], of_all_ranks: bool) -> int:
        """How many of this rank's batches are done when these places have been told of: up to the furthest.

        Args:
            places: of examples, in any order.
            of_all_ranks: whether all ranks told of them; else the others are taken to have come as far.
        """
        slots = self.slots[places]
        batches = slots[slots >= self.start * self.round] // self.shards.batch_size
        if not len(batches):
            return self.start
        done = int(batches.max()) // self.shards.world_size + 1
        others = self.ranks // self.shards.world_size
        if others > 1 and not of_all_ranks and ((batches - self.start) % others == process_rank()).all():
            done += (self.start - done) % others
        return min(done, self.count)


class Follower:
    """Follows the batches that come back of an epoch, and refuses one that cannot be what was dealt.

    A batch that comes back in turn, in the order in which it was dealt, costs one comparison. Of any other the slots
    are looked up: all have been handed out by now, and they come from as few batches as so many ids fill, from one
    batch of each rank, or from a stretch of which nothing has come back so far (part of several batches at once).

    Args:
        dealt: the epoch.
        asked: follows the same batches where their weights are asked for, whole and earlier; None for that itself.
    """

    def __init__(self, dealt: DealtEpoch, asked: Follower | None = None) -> None:
        self._dealt, self._asked = dealt, asked
        first = dealt.rank if dealt.shards.world_size > 1 else process_rank() if dealt.ranks > 1 else 0
        self._next = self._last = dealt.start * dealt.round + first * dealt.shards.batch_size
        self._step = 1 if dealt.batched else dealt.shards.world_size
        self._unit = dealt.shards.batch_size * dealt.ranks if dealt.batched else 1
        #: Whether the rank's last batch has come back, filled up.
        self.finished = False
        self._begun = False
        self._fresh = dealt.start * dealt.round  # the first slot after all that have come back
        self._lead = 0  # the most slots that were handed out and had not come back
        self._latest: NDArray[Any] | None = (
            None  # slots that came back last, if not all from `_last` to `_next`
        )
        self._awaiting: int | None = None  # the first batch is, until those handed out by then are exhausted

    def check(self, ids: NDArray[np.int64], handed: int) -> bool:
        """Take note of a batch that has come back; returns whether it came in turn, so that its ids are known.

        Args:
            ids: of its examples.
            handed: batches handed out to this rank by then; more than there are once it has asked for another.

        Raises:
            BadInputError: some were not dealt, or not together, or batches were left out after a resume.
        """
        in_turn = self._is_in_turn(ids)
        if len(ids) and not in_turn:
            self._look_up(ids, handed)
        return in_turn

    def finish(self) -> None:
        """At the end of the epoch.

        Raises:
            BadInputError: the first batch after a resume never came back, but later ones did.
        """
        if self._awaiting is not None:
            raise self._left_out()

    def _is_in_turn(self, ids: NDArray[np.int64]) -> bool:
        """Whether the batch is the next one or the last again, in the order of the epoch."""
        size, order = len(ids), self._dealt.order
        if not size or self._awaiting is not None:
            return False
        for start in (self._next, self._last):
            stop = start + (size - 1) * self._step + 1
            if stop > len(order) or np.count_nonzero(order[start : stop : self._step] != ids):
                continue
            self._begun, self._latest = True, None
            self._come_to(start, stop, size)
            return True
        return False

    def _look_up(self, ids: NDArray[np.int64], handed: int) -> None:
        dealt = self._dealt
        slots = dealt.slots[dealt.ids.places_of(ids)]
        low, high = int(slots.min()), int(slots.max())
        if low < 0:
            raise self.refusal(f"id {ids[slots.argmin()]}, which is not among the ids of this epoch")
        if high >= dealt.reach(handed):
            raise self.refusal(f"id {ids[slots.argmax()]}, which has not been dealt yet")
        fill = self._fill(slots, handed)
        if handed <= dealt.count and not (self._fits(slots, handed) or self._fits(slots[~fill], handed)):
            first, last = ids[slots.argmin()], ids[slots.argmax()]
            raise self.refusal(f"ids {first} and {last}, which were dealt in different batches")
        self.finished |= self._is_filled_up(slots, fill)
        if not self._begun or self._awaiting is not None:
            self._await_first(low, high, len(ids), handed)
        self._lead = max(self._lead, dealt.reach(handed) - self._fresh)
        self._latest = slots
        self._come_to(low - low % dealt.shards.batch_size, high + 1, len(ids))

    def _fill(self, slots: NDArray[Any], handed: int) -> NDArray[np.bool_]:
        """(batch,) which may be the epoch's first ids for a second time, to fill the last batches up."""
        dealt = self._dealt
        if not dealt.shards.filled or handed < dealt.count:
            return np.zeros(len(slots), bool)
        fill: NDArray[np.bool_] = slots < dealt.count * dealt.round - dealt.shards.size
        return fill

    def _is_filled_up(self, slots: NDArray[Any], fill: NDArray[np.bool_]) -> bool:
        """Whether this can only be the rank's last batch: filled up with what others had first, after all before."""
        dealt = self._dealt
        others = slots // dealt.shards.batch_size % dealt.shards.world_size != dealt.rank
        last = (dealt.count - 1) * dealt.round
        rest = slots >= last
        if not dealt.batched:  # somebody else's batch may begin rounds before the last
            rest |= ~others & (slots >= self._fresh)
        due = max(self._fresh, int(slots.max()) + 1) > last - dealt.round
        return bool(due and (fill & others).any() and (fill | rest).all())

    def _fits(self, slots: NDArray[Any], handed: int) -> bool:
        """Whether these slots can come back together."""
        if not len(slots):
            return True
        dealt, per_batch = self._dealt, self._dealt.shards.batch_size
        low, high = int(slots.min()), int(slots.max())
        again = self._last <= low and high < self._next
        if again if self._latest is None else np.isin(slots, self._latest).all():
            return True
        if not dealt.batched:
            lead = max(self._lead, dealt.reach(handed) - self._fresh)
            return low >= self._fresh or high - low < max(lead, len(slots) * dealt.ranks)
        first, last = low // per_batch, high // per_batch
        origin, fitting = dealt.start * dealt.shards.world_size, -(-len(slots) // per_batch)
        return (
            last - first < fitting
            or (first - origin) // dealt.ranks == (last - origin) // dealt.ranks
            or first >= -(-self._fresh // per_batch)
            or len(np.unique(slots // per_batch)) <= fitting
        )

    def _come_to(self, start: int, stop: int, size: int) -> None:
        """So many ids have come back, from these slots."""
        self._last = start
        self._fresh = max(self._fresh, stop)
        self._next = (
            start + -(-size // self._unit) * self._unit
            if self._dealt.batched
            else start + size * self._dealt.ranks
        )

    def _await_first(self, low: int, high: int, size: int, handed: int) -> None:
        """After a resume the first batch to come back is the first one dealt.

        Workers that need not keep the order may bring others before it, a few of those that they read ahead; then it
        comes before any that were handed out later.
        """
        dealt = self._dealt
        begin = dealt.start * dealt.round
        unread = handed - high // dealt.round - 1  # handed out after this one
        if dealt.batched:
            ahead = low >= begin + dealt.ranks * dealt.shards.batch_size
        else:
            ahead = self._asked is None and high - low == size - 1 and low >= begin + size * dealt.ranks
        if not ahead or dealt.start == 0 or (self._asked is not None and self._asked._begun):
            self._awaiting = None
        elif self._awaiting is None and dealt.batched and (low - begin) // dealt.round < unread - 1:
            self._awaiting = handed
        elif self._awaiting is None or low >= dealt.reach(self._awaiting):
            raise self._left_out()
        self._begun = True

    def refusal(self, what: str) -> BadInputError:
        """The error for what a batch brought."""
        return BadInputError(f"a batch of epoch {self._dealt.epoch} brought {what}; {MEANING}.")

    def _left_out(self) -> BadInputError:
        return BadInputError(
            f"batches of epoch {self._dealt.epoch} were skipped after the sampler's state was loaded: it goes on by "
            "itself where it was, so leave out skip_first_batches and the like, or load the state with rewind=True."
        )
