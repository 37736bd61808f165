"""The sampler: deals out what a selector chose, epoch by epoch, and tells the selector what happened."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.data.stores.order import by_length
from datadiet.dynamic.choice import CurrentChoice, Cycle
from datadiet.dynamic.dealt import MEANING, DealtEpoch, Follower
from datadiet.dynamic.measurements import Measurements, as_numbers, measure_batch, measure_from_recorder
from datadiet.dynamic.schedule import Schedule, as_schedule
from datadiet.dynamic.selector import Selector, make_selector, plain
from datadiet.dynamic.sharding import Shards, process_count, process_rank, shuffled, stream
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.parsing import parse_json
from datadiet.tracking import Recorder
from datadiet.tracking.presentations import ExampleIds, ids_of_batch, is_whole
from datadiet.tracking.states import StateParts

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Attributes that two samplers must have in common for one to go on from the other's state.
_SAME_OPTIONS = ("seed", "shuffle", "batch_size", "drop_last", "even_batches", "world_size")


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
        if batch_size is not None and not is_whole(batch_size, 1):
            raise BadInputError(f"batch_size must be a whole number of at least 1, got {batch_size!r}.")
        if (rank is None) != (world_size is None):
            raise BadInputError("give rank and world_size both, or neither.")
        self.rank = process_rank() if rank is None else int(rank)
        self.world_size = process_count() if world_size is None else int(world_size)
        if not 0 <= self.rank < self.world_size:
            raise BadInputError(f"rank {self.rank} is not one of a world of {self.world_size}.")
        self._ids = ExampleIds("sampler", num_examples, ids, MEANING)
        self.selector = make_selector(selector)
        self.schedule = as_schedule(schedule, self.selector.default_schedule)
        self.batch_size = None if batch_size is None else int(batch_size)
        self.drop_last, self.even_batches = bool(drop_last), bool(even_batches)
        self.seed, self.shuffle = int(seed), bool(shuffle)
        self._lengths = None if lengths is None else self._checked_lengths(np.asarray(lengths))
        self.selector.begin(self.num_examples)
        #: Epochs that are over; the one under way has this number.
        self.epoch = 0
        #: Seconds and number of the scoring passes so far, which count against the method.
        self.scoring_seconds, self.scoring_passes = 0.0, 0
        #: Batches (ids without `batch_size`) of this epoch handed out so far.
        self.done = 0
        #: Where in its epoch the sampler goes on, after a state was loaded in the middle of it; else 0.
        self.resumed_at = 0
        self._measurements = Measurements(self._ids)
        self._non_finite = np.zeros(self.num_examples, bool)
        self._choice = CurrentChoice(self.num_examples)
        self._prepared_epoch = self._scored_epoch = -1
        self._scoring = self._complete = False
        self._dealt: DealtEpoch | None = None  # the order of the epoch under way
        self._asked: Follower | None = None  # follows the batches of `weights`
        self._told: Follower | None = None  # follows those of `update`
        self._gathered_at = -1  # how many rows this rank had told when all ranks were merged
        # The first weighed epoch whose weights nobody asked for; -1 once somebody did.
        self._unweighed_epoch: int | None = None
        planned = self.planned_size(self.schedule.warmup)
        self._check_size(self.num_examples if planned is None else planned)

    def _checked_lengths(self, lengths: NDArray[Any]) -> NDArray[np.int64]:
        if lengths.shape != (self.num_examples,) or lengths.dtype.kind not in "iu":
            raise BadInputError(
                f"lengths must be one whole number for each of the {self.num_examples} examples, not an array of "
                f"{lengths.dtype} of shape {lengths.shape}."
            )
        if self.batch_size is None or not self.shuffle:
            raise BadInputError(
                "lengths make batches of similar length: give batch_size, and leave shuffle on."
            )
        return lengths.astype(np.int64)

    @property
    def num_examples(self) -> int:
        """n, fixed for ever."""
        return self._ids.count

    @property
    def ids(self) -> NDArray[np.int64]:
        """All ids, whether chosen or not."""
        return self._ids.all()

    @property
    def chosen_ids(self) -> NDArray[np.int64]:
        """The ids of this epoch over all ranks, increasing.

        Raises:
            BadInputError: a scoring pass is due.
        """
        self._prepare()
        return self._ids.at(self._choice.places.astype(np.int64))

    @property
    def non_finite_ids(self) -> NDArray[np.int64]:
        """Ids whose last number was NaN or infinite, increasing; they stay whatever is chosen."""
        return self._ids.at(np.flatnonzero(self._non_finite))

    #: Another name of `non_finite_ids`, the one that it had first.
    broken_ids = non_finite_ids

    @property
    def is_weighted(self) -> bool:
        """Whether some weights of this epoch are not 1."""
        self._prepare()
        return self._choice.is_weighted

    @property
    def may_weigh(self) -> bool:
        """Whether some weights of any epoch may not be 1."""
        return self.selector.may_weigh

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
        """How many examples an epoch will have, but for those that stay as not finite; None if unknowable."""
        if self.schedule.phase(epoch) == "full":
            return self.num_examples
        begun = epoch - (epoch - self.schedule.warmup) % self.schedule.every
        return self.selector.planned_size(self.num_examples, begun, self.schedule)

    def __bool__(self) -> bool:
        return True  # whatever its length, which is not known before a scoring pass that is due

    def __len__(self) -> int:
        """Batches (ids without `batch_size`) that this rank gets in this epoch, from its beginning."""
        self._prepare()
        return self._shards().count(self.rank)

    @property
    def finished(self) -> bool:
        """Whether everything of this epoch has been handed out, so that `end_epoch` is due."""
        return self._complete or (self._prepared_epoch == self.epoch and self.resumed_at >= len(self))

    def __iter__(self) -> Iterator[Any]:
        if self._complete:
            raise BadInputError(
                f"epoch {self.epoch} has been handed out in full; call sampler.end_epoch() before the next."
            )
        if self._scoring:
            raise BadInputError("a scoring pass is under way; it has batches of its own, scoring_batches().")
        self._prepare()
        if self._dealt is not None:
            self._dealt.handed = self._handed
        self.done = self.resumed_at
        return self._deal(self.resumed_at)

    def _deal(self, start: int) -> Iterator[Any]:
        dealt = self._dealt_epoch()
        self._asked = Follower(dealt)
        self._told = Follower(dealt, self._asked)
        if self.batch_size is None:
            singles = dealt.shards.singles(dealt.order, self.rank, start, dealt.count)
            for index, number in enumerate(singles, start + 1):
                self.done = index
                yield int(number)
        else:
            for index in range(start, dealt.count):
                self.done = index + 1
                yield dealt.shards.batch(dealt.order, self.rank, index).tolist()
        if self.epoch == dealt.epoch:
            self._complete = True

    def _dealt_epoch(self) -> DealtEpoch:
        """The order of the epoch under way, made once."""
        if self._dealt is None:
            order = self._choice.places
            if self.shuffle:
                order = shuffled(order, stream(self.seed, "order", self.epoch))
            if self._lengths is not None:
                size = (self.batch_size or 1) * self.world_size
                places = by_length(self._lengths[order], batch_size=size, seed=self.seed, epoch=self.epoch)
                order = order[places]
            self._dealt = DealtEpoch(
                self._ids,
                self._ids.at(order),
                self._shards(),
                self.rank,
                self.epoch,
                self.resumed_at,
                self.batch_size is not None,
            )
        return self._dealt

    def _forget_dealt(self) -> None:
        """Before another epoch or another place in it: nothing of it has been dealt here."""
        self._dealt = self._asked = self._told = None
        self._gathered_at = -1

    @property
    def _handed(self) -> int:
        """Batches of this epoch handed out by now, one more when the loader has asked for another."""
        if self._dealt is None:
            return self.done
        return self._dealt.count + 1 if self._complete else max(self._dealt.handed, self.done)

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
        if measured is not None and (losses_or_logits is not None or targets is not None):
            raise BadInputError("update got measured and losses or logits too; give one of them.")
        if measured is None:
            numbers = measure_batch(self.selector.measure, losses_or_logits, targets)
        else:
            numbers = as_numbers(measured)
        self._measurements.add(ids, numbers, None if self._scoring else self._told, self._handed)
        if self._unweighed_epoch is None and self._choice.is_weighted and not self._scoring:
            self._unweighed_epoch = self.epoch
            warnings.warn(
                f"selector {self.selector.name!r} weighs the examples of epoch {self.epoch}, and nobody asked for the "
                "weights of a batch before it was told of: without them the gradient is biased. Multiply each "
                "example's loss by sampler.weights(ids), or use datadiet.dynamic.weighed_loss.",
                stacklevel=2,
            )

    def weights(self, ids: Any) -> torch.Tensor:
        """What to multiply the losses of a batch by: (batch,) float32 on the device of the ids.

        Raises:
            BadInputError: ids that are no integers, or unknown ones (on the CPU).
        """
        if self._unweighed_epoch is None and self._choice.is_weighted:
            self._unweighed_epoch = -1
        numbers = ids_of_batch(ids)
        if numbers.is_cpu or self._ids.explicit is not None:
            given = numbers.cpu().numpy()
            known = self._asked is not None and self._asked.check(given, self._handed)
            places = torch.from_numpy(self._ids.places_of(given, known))
            numbers = places if numbers.is_cpu else places.to(numbers.device)
        return self._choice.weights_at(numbers)

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
            self._measurements.restore(measure_from_recorder(self.selector.measure, recorder, self.ids), 0)
        numbers = self._measurements.merged()
        if self.selector.needs_reports and np.isnan(numbers).all():
            raise BadInputError(
                f"nothing was reported in epoch {self.epoch}; call sampler.update(ids, ...) for every batch, or hand "
                "end_epoch a Recorder."
            )
        self._prepare()
        self._check_told(numbers)
        self._take(numbers, observe=self.selector.needs_reports)
        self.epoch += 1
        self.done = self.resumed_at = 0
        self._complete = False
        self._forget_dealt()

    def _check_told(self, numbers: NDArray[np.float32]) -> None:
        """Refuse to close an epoch of which something was told that it did not deal."""
        if self._told is None:
            return
        self._told.finish()
        strange = self._choice.left_out(~np.isnan(numbers))
        if len(strange):
            raise self._told.refusal(
                f"id {self._ids.at(strange[:1])[0]}, which is not among the ids of this epoch"
            )

    def gather(self) -> None:
        """Give every rank what all were told so far in this epoch, so that one rank's state is everyone's.

        Call it on every rank before saving a state in the middle of an epoch.
        """
        self._measurements.restore(self._measurements.merged(), self._measurements.count)
        self._gathered_at = self._measurements.count

    def scoring_batches(self, batch_size: int) -> list[list[int]]:
        """This rank's share of all ids, for `DataLoader(batch_sampler=...)` of the scoring pass."""
        ids, rank = self.ids, process_rank()
        shards = Shards(self.num_examples, batch_size, process_count(), even_batches=False)
        return [shards.batch(ids, rank, index).tolist() for index in range(shards.count(rank))]

    def begin_scoring(self) -> None:
        """Before a scoring pass: what `update` is told until `end_scoring` is of this pass.

        Raises:
            BadInputError: the epoch has already begun.
        """
        if self._prepared_epoch == self.epoch or self._measurements.count:
            raise BadInputError(
                f"epoch {self.epoch} has begun already; a scoring pass comes before its first batch."
            )
        self._scoring = True

    def abandon_scoring(self) -> None:
        """After a scoring pass that failed: forget what it told."""
        self._scoring = False
        self._measurements.restore(None, 0)

    def end_scoring(self, seconds: float) -> None:
        """After a scoring pass, on every rank.

        Args:
            seconds: what it took, which counts against the method.

        Raises:
            BadInputError: it left out some ids.
        """
        numbers = self._measurements.merged()
        self._scoring = False
        missing = np.flatnonzero(np.isnan(numbers))
        if len(missing):
            self._measurements.restore(None, 0)
            raise BadInputError(
                f"the scoring pass left out {len(missing)} of {self.num_examples} ids (first "
                f"{self._ids.at(missing[:1])[0]}); let its loader go through sampler.scoring_batches()."
            )
        self._take(numbers, observe=True)
        self.scoring_seconds += seconds
        self.scoring_passes += 1
        self._scored_epoch = self.epoch

    def state_dict(self, done: int | None = None) -> dict[str, torch.Tensor]:
        """Everything that goes on from here, also in the middle of an epoch: a flat mapping of tensors.

        Args:
            done: batches (ids without `batch_size`) of this epoch that have been trained on. By default those up to
                the furthest that `update` was told of, however often, or if there are none, those handed out, which
                runs ahead of the training where the loader has workers.

        Raises:
            BadInputError: a scoring pass is under way.
        """
        if self._scoring:
            raise BadInputError("a scoring pass is under way; save before or after it.")
        measurements, rows = self._measurements.state(), self._measurements.count
        if done is None:
            done = self.done
            told = self._measurements.told
            if len(told) and self._prepared_epoch == self.epoch:
                dealt = self._dealt_epoch()
                finished = self._told is not None and self._told.finished
                done = dealt.count if finished else dealt.batches_before(told, rows == self._gathered_at)
        progress = (self.epoch, done, rows, self._prepared_epoch, self._scored_epoch, self.scoring_passes)
        identity = bytearray(json.dumps(self._identity(), sort_keys=True, default=int).encode())
        return {
            "identity": torch.frombuffer(identity, dtype=torch.uint8),
            "progress": torch.tensor(progress),
            "scoring.seconds": torch.tensor(self.scoring_seconds, dtype=torch.float64),
            "broken": torch.from_numpy(np.flatnonzero(self._non_finite)),
            **self._choice.state(),
            **measurements,
            **{f"selector.{name}": torch.from_numpy(a.copy()) for name, a in self.selector.arrays.items()},
        }

    def load_state_dict(
        self, state: Mapping[str, torch.Tensor], *, rewind: bool = False, any_world_size: bool = False
    ) -> None:
        """Go on from a state: the rest of its epoch has the same ids, and so has every later one.

        Args:
            state: what `state_dict` returned.
            rewind: hand the epoch out from its beginning again, for frameworks that skip batches themselves.
            any_world_size: accept a state of another number of ranks, taken between two epochs.

        Raises:
            BadInputError: the state is of another sampler or world size, lacks parts or has odd ones; nothing has
                changed then.
        """
        parts = StateParts(state, "sampler")
        if "identity" not in parts:
            raise BadInputError("this is not the state of a DynamicSampler.")
        progress = parts.array("progress", "i", 6)
        epoch, done, rows, prepared, scored, passes = progress.tolist()
        if (
            min(epoch, done, rows, passes) < 0
            or not -1 <= min(prepared, scored) <= max(prepared, scored) <= epoch
        ):
            raise parts.wrong("progress", f"is {progress.tolist()}, which no sampler comes to")
        theirs = parse_json(
            parts.array("identity", "u", None).tobytes(), "The identity in the sampler's state"
        )
        if not isinstance(theirs, dict):
            raise parts.wrong("identity", "is no mapping")
        for key, mine in self._identity().items():
            may_differ = key == "world_size" and any_world_size and done == 0
            if theirs.get(key) != mine and not may_differ:
                raise BadInputError(
                    f"the state is of another sampler: its {key.replace('_', ' ')} is {theirs.get(key)!r}, "
                    f"this one's is {mine!r}."
                )
        seconds = float(parts.array("scoring.seconds", "f"))
        if not 0 <= seconds < math.inf:
            raise parts.wrong("scoring.seconds", f"is {seconds}; it must be 0 or more")
        non_finite = np.zeros(self.num_examples, bool)
        non_finite[parts.places("broken", self.num_examples)] = True
        choice, measurements = CurrentChoice(self.num_examples), Measurements(self._ids)
        choice.load(parts)
        measurements.load(parts, rows)
        arrays = {
            name: parts.array(f"selector.{name}", mine.dtype.kind, *mine.shape).astype(mine.dtype, copy=False)
            for name, mine in self.selector.arrays.items()
        }
        dealt = self._shards(choice).count(self.rank)
        if done > (dealt if prepared == epoch else 0) and not any_world_size:
            raise parts.wrong("progress", f"has handed out {done} of the {dealt} batches of its epoch")
        # All of it fits: from here on nothing is refused.
        self.epoch, self._prepared_epoch, self._scored_epoch = epoch, prepared, scored
        self.scoring_passes, self.scoring_seconds = passes, seconds
        self._non_finite, self._choice, self._measurements = non_finite, choice, measurements
        self.selector.arrays.update(arrays)
        self.done = self.resumed_at = 0 if rewind else done
        self._complete = self._scoring = False
        self._forget_dealt()

    def _identity(self) -> dict[str, Any]:
        """What two samplers must have in common for one to go on from the other's state."""
        return {
            **({} if self._lengths is None else {"lengths": plain(self._lengths)}),
            "num_examples": self.num_examples,
            "ids": plain(self._ids.explicit) or "0 to n - 1",
            "selector": self.selector.name,
            "options": self.selector.options(),
            "schedule": dict(vars(self.schedule)),
            **{name: getattr(self, name) for name in _SAME_OPTIONS},
        }

    def _shards(self, choice: CurrentChoice | None = None) -> Shards:
        per_rank, ranks = self.batch_size or 1, self.world_size
        return Shards((choice or self._choice).size, per_rank, ranks, self.drop_last, self.even_batches)

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
            self._choice.take_everything()
        elif phase == "choose":
            always, generator = self._non_finite.copy(), stream(self.seed, "choice", self.epoch)
            cycle = Cycle(self.epoch, self.num_examples, self.schedule, always, generator)
            self._choice.take(self.selector.choose(cycle), self._non_finite, self.selector.name)
            self._check_size(self._choice.size)
        self._prepared_epoch = self.epoch

    def _check_size(self, size: int) -> None:
        ranks = max(self.world_size, process_count())
        least = ranks * (self.batch_size or 1)
        if size < least and size < self.num_examples:
            raise BadInputError(
                f"selector {self.selector.name!r} leaves {size} of {self.num_examples} examples, less than one batch "
                f"of {self.batch_size or 1} on each of {ranks} ranks: keep more, or make batches smaller."
            )

    def _take(self, numbers: NDArray[np.float32], observe: bool) -> None:
        """Give the selector what is finite, remember and report what is not."""
        infinite = np.flatnonzero(np.isinf(numbers))
        self._non_finite &= np.isnan(numbers)
        self._non_finite[infinite] = True
        if len(infinite):
            warnings.warn(
                f"{len(infinite)} examples had a {self.selector.measure} that is not finite in epoch {self.epoch} "
                f"(first id {self._ids.at(infinite[:1])[0]}); they stay in training until they have a finite one.",
                stacklevel=3,
            )
        if observe:
            there = np.flatnonzero(np.isfinite(numbers))
            if len(there):
                self.selector.observe(there, numbers[there])
        self._measurements.restore(None, 0)
