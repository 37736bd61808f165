"""The sampler: deals out what a selector chose, epoch by epoch, and tells the selector what happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.data.stores.order import by_length
from datadiet.dynamic.measurements import (
    BrokenExamples,
    Places,
    Reports,
    as_numbers,
    id_tensor,
    merged_over_ranks,
    numbers_from_recorder,
    numbers_of,
    process_count,
    process_rank,
)
from datadiet.dynamic.saving import go_on_from, saved_state
from datadiet.dynamic.schedule import Schedule, as_schedule, checked_ids, checked_lengths, checked_rank
from datadiet.dynamic.selector import Cycle, Selector, make_selector
from datadiet.dynamic.sharding import Shards, shuffled, stream
from datadiet.dynamic.state import StandingChoice, with_always
from datadiet.foundation.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datadiet.tracking import Recorder


_PIECE = 4096  # ids that are made Python numbers at once


class DynamicSampler(torch.utils.data.Sampler[Any]):
    """Deals out the ids of each epoch, chosen by a selector from what happened in the epochs before.

    Without `batch_size` it goes to `DataLoader(sampler=...)` and yields ids; with it, to
    `DataLoader(batch_sampler=...)` and yields lists of ids. The loop is

        for epoch in range(epochs):
            if sampler.needs_scoring_pass:
                score_everything(model, scoring_loader, sampler)
            for ids, inputs, targets in loader:
                losses = cross_entropy(model(inputs), targets, reduction="none")
                (losses * sampler.weights(ids)).mean().backward()
                ...
                sampler.update(ids, losses)
            sampler.end_epoch()

    The order of epoch e is a function of the seed and e alone, so a resumed epoch goes on with the same ids. Nothing
    here is touched by the workers of a loader, whichever way they are started.

    Args:
        num_examples: n; the ids are 0 to n - 1.
        schedule: a `Schedule`, or a mapping of its fields; the selector's own by default.
        selector: a name or a `Selector`, which is copied.
        ids: explicit strictly increasing ids, instead of `num_examples`.
        batch_size: of one rank; None to yield single ids.
        drop_last: leave out an incomplete last batch, over all ranks.
        even_batches: fill the last batches of several ranks up, so that all take as many steps.
        seed: of the order and of every choice.
        shuffle: False deals out in the order of the ids.
        lengths: (n,) integers, such as tokens of each text in the order of the ids: batches are then of similar
            length, and which batch comes when stays random. Needs `batch_size` and `shuffle`.
        rank: of this process; that of `torch.distributed` by default. Frameworks that deal batches out
            themselves (Accelerate, the Trainer) want `rank=0, world_size=1`.
        world_size: how many processes share the epoch.

    Raises:
        BadInputError: what is given does not fit together, or leaves less than one batch a rank.

    Example:
        >>> sampler = DynamicSampler(6, selector="infobatch", batch_size=3, seed=1)
        >>> for batch in sampler:
        ...     sampler.update(batch, torch.tensor([0.1 if i < 4 else 2.0 for i in batch]))
        >>> sampler.end_epoch()
        >>> chosen = [i for batch in sampler for i in batch]
        >>> len(chosen), {4, 5} <= set(chosen), sorted(sampler.weights(chosen).tolist())
        (4, True, [1.0, 1.0, 2.0, 2.0])
    """

    def __init__(
        self,
        num_examples: int | None = None,
        schedule: Schedule | Mapping[str, Any] | None = None,
        selector: str | Selector = "infobatch",
        *,
        ids: Any = None,
        batch_size: int | None = None,
        drop_last: bool = False,
        even_batches: bool = True,
        seed: int = 0,
        shuffle: bool = True,
        lengths: Any = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        known = checked_ids(num_examples, ids, batch_size)
        self.rank, self.world_size = checked_rank(rank, world_size)
        self._num_examples = int(num_examples) if known is None else len(known)  # type: ignore[arg-type]
        self._places = Places(self._num_examples, known)
        self.selector = make_selector(selector)
        self.schedule = as_schedule(schedule, self.selector.default_schedule)
        self.batch_size = None if batch_size is None else int(batch_size)
        self.drop_last, self.even_batches = bool(drop_last), bool(even_batches)
        self.seed, self.shuffle = int(seed), bool(shuffle)
        self._lengths = checked_lengths(lengths, self._num_examples, self.batch_size, self.shuffle)
        self.selector.begin(self._num_examples)
        #: Epochs that are over; the one under way has this number.
        self.epoch = 0
        #: Seconds and number of the scoring passes so far, which count against the method.
        self.scoring_seconds, self.scoring_passes = 0.0, 0
        self._reports = Reports(self._places)
        self._broken = BrokenExamples(self._places)
        self._standing = StandingChoice(self._num_examples)
        self._prepared_epoch = self._scored_epoch = -1
        self._scoring = False
        self._done = self._start = (
            0  # batches (or ids) of this epoch handed out, and where the next iteration begins
        )
        self._complete = False
        planned = self.planned_size(self.schedule.warmup)
        if planned is not None:
            self._check_size(planned)

    @property
    def num_examples(self) -> int:
        """n, fixed for ever."""
        return self._num_examples

    @property
    def ids(self) -> NDArray[np.int64]:
        """All ids, whether chosen or not."""
        return self._places.to_ids(np.arange(self._num_examples))

    @property
    def chosen_ids(self) -> NDArray[np.int64]:
        """The ids of this epoch over all ranks, increasing.

        Raises:
            BadInputError: a scoring pass is due.
        """
        self._prepare()
        return self._places.to_ids(self._standing.in_order().astype(np.int64))

    @property
    def broken_ids(self) -> NDArray[np.int64]:
        """Ids whose last number was NaN or infinite; they stay whatever is chosen."""
        return self._broken.ids()

    @property
    def is_weighted(self) -> bool:
        """Whether some weights of this epoch are not 1."""
        self._prepare()
        return self._standing.is_weighted

    @property
    def needs_scoring_pass(self) -> bool:
        """Whether everything has to be scored before this epoch can begin: `score_everything` does it."""
        return (
            self.selector.wants_scoring_pass
            and self.epoch > 0
            and self.schedule.phase(self.epoch) == "choose"
            and self.epoch not in (self._prepared_epoch, self._scored_epoch)
        )

    def planned_size(self, epoch: int) -> int | None:
        """How many examples an epoch will have, before examples that stay for a broken loss; None if unknowable."""
        phase = self.schedule.phase(epoch)
        if phase == "full":
            return self._num_examples
        begun = epoch - (epoch - self.schedule.warmup) % self.schedule.every
        return self.selector.planned_size(self._num_examples, begun, self.schedule)

    def __len__(self) -> int:
        """Batches (ids without `batch_size`) that this rank gets in this epoch, from its beginning."""
        self._prepare()
        return self._shards().count(self.rank)

    @property
    def finished(self) -> bool:
        """Whether everything of this epoch has been handed out, so that `end_epoch` is due."""
        return self._complete or (self._prepared_epoch == self.epoch and self._start >= len(self))

    def __iter__(self) -> Iterator[Any]:
        if self._complete:
            raise BadInputError(
                f"epoch {self.epoch} has been handed out in full; call sampler.end_epoch() before the next."
            )
        if self._scoring:
            raise BadInputError("a scoring pass is under way; it has batches of its own, scoring_batches().")
        self._prepare()
        self._done = self._start
        return self._deal(self._start)

    def _deal(self, start: int) -> Iterator[Any]:
        order = self._standing.in_order()
        if self.shuffle:
            order = shuffled(order, stream(self.seed, "order", self.epoch))
        if self._lengths is not None:
            assert self.batch_size is not None
            size = self.batch_size * self.world_size
            order = order[by_length(self._lengths[order], batch_size=size, seed=self.seed, epoch=self.epoch)]
        order = self._places.to_ids(order)
        shards, epoch = self._shards(), self.epoch
        count = shards.count(self.rank)
        if self.batch_size is None:
            for begin in range(start, count, _PIECE):
                piece = shards.singles(order, self.rank, begin, min(begin + _PIECE, count))
                for index, number in enumerate(piece.tolist(), begin + 1):
                    self._done = index
                    yield number
        else:
            for index in range(start, count):
                self._done = index + 1
                yield shards.batch(order, self.rank, index).tolist()
        if self.epoch == epoch:
            self._complete = True

    def update(
        self, ids: Any, losses_or_logits: Any = None, targets: Any = None, *, measured: Any = None
    ) -> None:
        """Tell what happened to a batch. An example told of several times in an epoch counts once, the last time.

        A loss that is not finite is reported at `end_epoch`, and its example stays until it has a finite one again.

        Args:
            ids: (batch,) integers.
            losses_or_logits: (batch,) losses for a selector by loss, or (batch, classes) logits.
            targets: (batch,) integer labels, with logits.
            measured: (batch,) numbers of your own instead, in the selector's measure; larger is harder but for
                "probability".

        Raises:
            BadInputError: shapes that do not fit, a reduced loss; on the CPU also unknown ids.
        """
        if measured is None:
            numbers = numbers_of(self.selector.measure, losses_or_logits, targets)
        else:
            numbers = as_numbers(measured)
        self._reports.add(ids, numbers)

    def weights(self, ids: Any) -> torch.Tensor:
        """What to multiply the losses of a batch by: (batch,) float32 on the device of the ids.

        Raises:
            BadInputError: ids that are no integers, or unknown ones (on the CPU).
        """
        numbers = id_tensor(ids)
        if numbers.is_cpu:
            numbers = torch.from_numpy(self._places.of(numbers.numpy()))
        elif self._places.ids is not None:
            numbers = torch.from_numpy(self._places.of(numbers.cpu().numpy())).to(numbers.device)
        return self._standing.weights_at(numbers)

    def end_epoch(self, recorder: Recorder | None = None) -> None:
        """Close the epoch: merge what the ranks were told, and let the selector know. Call it on every rank.

        Args:
            recorder: takes the numbers from the last epoch of a `Recorder`, whose own `end_epoch` comes first,
                instead of from `update`.

        Raises:
            BadInputError: nothing was told in this epoch though the selector needs it, an unknown id, a recorder of
                other ids or without the selector's measure.
        """
        if self._scoring:
            raise BadInputError("a scoring pass is under way; finish it with end_scoring().")
        if recorder is not None:
            numbers = numbers_from_recorder(recorder, self.ids, self.selector.measure)
            self._reports.restore(numbers, 0)
        told = self._merged()
        if self.selector.needs_reports and np.isnan(told).all():
            raise BadInputError(
                f"nothing was reported in epoch {self.epoch}; call sampler.update(ids, ...) for every batch, or hand "
                "end_epoch a Recorder."
            )
        self._prepare()
        self._absorb(told, observe=self.selector.needs_reports)
        self.epoch += 1
        self._done = self._start = 0
        self._complete = False

    def gather(self) -> None:
        """Give every rank what all were told so far in this epoch, so that one rank's state is everyone's.

        Call it on every rank before saving a state in the middle of an epoch.
        """
        self._reports.restore(self._merged(), self._reports.count)

    def scoring_batches(self, batch_size: int) -> list[list[int]]:
        """This rank's share of all ids, for `DataLoader(batch_sampler=...)` of the scoring pass."""
        world, rank = process_count(), process_rank()
        shards = Shards(self._num_examples, batch_size, world, even_batches=False)
        return [shards.batch(self.ids, rank, index).tolist() for index in range(shards.count(rank))]

    def begin_scoring(self) -> None:
        """Before a scoring pass: what `update` is told until `end_scoring` is of this pass.

        Raises:
            BadInputError: the epoch has already begun.
        """
        if self._prepared_epoch == self.epoch or self._reports.count:
            raise BadInputError(
                f"epoch {self.epoch} has begun already; a scoring pass comes before its first batch."
            )
        self._scoring = True

    def abandon_scoring(self) -> None:
        """After a scoring pass that failed: forget what it told."""
        self._scoring = False
        self._reports.clear()

    def end_scoring(self, seconds: float) -> None:
        """After a scoring pass, on every rank.

        Args:
            seconds: what it took, which counts against the method.

        Raises:
            BadInputError: it left out some ids.
        """
        told = self._merged()
        self._scoring = False
        missing = np.flatnonzero(np.isnan(told))
        if len(missing):
            self._reports.clear()
            raise BadInputError(
                f"the scoring pass left out {len(missing)} of {self._num_examples} ids (first "
                f"{self._places.to_ids(missing[:1])[0]}); let its loader go through sampler.scoring_batches()."
            )
        self._absorb(told, observe=True)
        self.scoring_seconds += seconds
        self.scoring_passes += 1
        self._scored_epoch = self.epoch

    def state_dict(self, done: int | None = None) -> dict[str, torch.Tensor]:
        """Everything that goes on from here, also in the middle of an epoch: a flat mapping of tensors.

        Args:
            done: batches (ids without `batch_size`) of this epoch that have been trained on. By default those that
                `update` was told of, or if there are none, those handed out, which runs ahead of the training
                where the loader has workers.

        Raises:
            BadInputError: a scoring pass is under way.
        """
        if self._scoring:
            raise BadInputError("a scoring pass is under way; save before or after it.")
        return saved_state(self, done)

    def load_state_dict(
        self, state: Mapping[str, torch.Tensor], *, rewind: bool = False, any_world_size: bool = False
    ) -> None:
        """Go on from a state: the rest of its epoch has the same ids, and so has every later one.

        Args:
            state: what `state_dict` returned.
            rewind: hand the epoch out from its beginning again, for frameworks that skip batches themselves.
            any_world_size: accept a state of another number of ranks, taken between two epochs.

        Raises:
            BadInputError: the state is of another sampler or world size.
        """
        go_on_from(self, state, rewind=rewind, any_world_size=any_world_size)

    @property
    def resumed_at(self) -> int:
        """Where in its epoch the sampler goes on, after a state was loaded in the middle of it; else 0."""
        return self._start

    @property
    def done(self) -> int:
        """Batches (ids without `batch_size`) of this epoch handed out so far."""
        return self._done

    def _shards(self) -> Shards:
        size = self._standing.size
        return Shards(size, self.batch_size or 1, self.world_size, self.drop_last, self.even_batches)

    def _prepare(self) -> None:
        """Make the choice of this epoch, once."""
        if self._prepared_epoch == self.epoch:
            return
        if self.needs_scoring_pass:
            raise BadInputError(
                f"epoch {self.epoch} needs a scoring pass first: call score_everything(model, batches, sampler)."
            )
        phase = self.schedule.phase(self.epoch)
        if phase == "full":
            self._standing.take_everything()
        elif phase == "choose":
            n = self._num_examples
            always = self._broken.mask()
            generator = stream(self.seed, "choice", self.epoch)
            choice = self.selector.choose(Cycle(self.epoch, n, self.schedule, always, generator))
            choice = with_always(choice, self._broken.places, n, self.selector.name)
            self._check_size(len(choice.places))
            self._standing.take(choice)
        self._prepared_epoch = self.epoch

    def _check_size(self, size: int) -> None:
        ranks = max(self.world_size, process_count())
        least = ranks * (self.batch_size or 1)
        if size < least and size < self._num_examples:
            raise BadInputError(
                f"selector {self.selector.name!r} leaves {size} of {self._num_examples} examples, less than one batch "
                f"of {self.batch_size or 1} on each of {ranks} ranks: keep more, or make batches smaller."
            )

    def _merged(self) -> NDArray[np.float32]:
        told = self._reports.flush()
        return merged_over_ranks(np.full(self._num_examples, np.nan, np.float32) if told is None else told)

    def _absorb(self, told: NDArray[np.float32], observe: bool) -> None:
        """Give the selector what is finite, remember and report what is not."""
        self._broken.take(told, self.selector.measure, self.epoch)
        if observe:
            there = np.flatnonzero(np.isfinite(told))
            if len(there):
                self.selector.observe(there, told[there])
        self._reports.clear()
