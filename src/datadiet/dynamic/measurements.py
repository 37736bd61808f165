"""The one number an example that a selector is told of an epoch, from whatever the loop has at hand."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from datadiet.foundation.errors import BadInputError
from datadiet.scores.outputs import measures_of, read_batch
from datadiet.tasks.base import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datadiet.tracking import Recorder


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


_FLUSH = 1 << 18


class Places:
    """The place of each id among the sampler's: ids are 0 to n - 1, or explicit."""

    def __init__(self, num_examples: int, ids: NDArray[np.int64] | None) -> None:
        self.num_examples = num_examples
        self.ids = ids

    def of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of ids.

        Raises:
            BadInputError: an unknown id.
        """
        if self.ids is None:
            # Read as unsigned, a negative id is larger than any: one look finds both.
            if len(ids) and int(ids.view(np.uint64).max()) >= self.num_examples:
                self._refuse(ids[(ids < 0) | (ids >= self.num_examples)][0], 0, self.num_examples - 1)
            return ids
        found = np.searchsorted(self.ids, ids)
        known = self.ids[np.minimum(found, len(self.ids) - 1)] == ids
        if not known.all():
            self._refuse(ids[~known][0], self.ids[0], self.ids[-1])
        return found

    def to_ids(self, places: NDArray[Any]) -> NDArray[Any]:
        """The ids at places."""
        return places if self.ids is None else self.ids[places]

    def _refuse(self, wrong: int, first: int, last: int) -> None:
        raise BadInputError(
            f"id {wrong} is not one of the sampler's {self.num_examples} ids ({first} to {last}); "
            "ids are positions in the whole data set, not places in the loader."
        )


class Reports:
    """Collects updates; on an accelerator they wait there, so that no update waits for the device.

    A number that is not finite is kept as infinity, NaN says that nothing was told.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self.count = 0  # updates' rows so far, repeats included
        self._here: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []  # places and numbers
        self._waiting: list[tuple[torch.Tensor, torch.Tensor]] = []  # ids and numbers on an accelerator
        self._waiting_rows = 0
        self._numbers: NDArray[np.float32] | None = None

    def add(self, ids: Any, numbers: torch.Tensor) -> None:
        """Take one batch.

        Raises:
            BadInputError: ids that are no integers or do not fit; on the CPU also unknown ones.
        """
        given = id_tensor(ids)
        if given.shape != numbers.shape:
            raise BadInputError(
                f"update got ids of shape {tuple(given.shape)} and numbers of shape {tuple(numbers.shape)}; "
                "give one of each an example."
            )
        if given.is_cpu and numbers.is_cpu:
            # Both are copies: the loop may write over its own before they are read.
            where = self.places.of(given.numpy()).astype(np.int64)
            self._here.append((where, numbers.float().numpy().copy()))
        else:
            self._waiting.append((given.clone(), numbers.to(given.device, torch.float32, copy=True)))
        self._waiting_rows += len(given)
        self.count += len(given)
        if self._waiting_rows >= _FLUSH:
            self.flush()

    def flush(self) -> NDArray[np.float32] | None:
        """Everything told so far, (n,) by place, or None.

        Raises:
            BadInputError: an unknown id among those that came from an accelerator.
        """
        if not self._waiting_rows:
            return self._numbers
        rows = self._here
        for device in dict.fromkeys(ids.device for ids, _ in self._waiting):
            there = [row for row in self._waiting if row[0].device == device]
            where = torch.cat([ids for ids, _ in there]).cpu().numpy()
            values = torch.cat([numbers for _, numbers in there]).cpu().numpy()
            rows.append((self.places.of(where), values))
        self._here, self._waiting, self._waiting_rows = [], [], 0
        if self._numbers is None:
            self._numbers = np.full(self.places.num_examples, np.nan, np.float32)
        values = np.concatenate([values for _, values in rows])
        finite = np.isfinite(values)
        if not finite.all():
            values[~finite] = np.inf
        self._numbers[np.concatenate([where for where, _ in rows])] = values
        return self._numbers

    def restore(self, numbers: NDArray[np.float32] | None, count: int) -> None:
        """Stand as if these had been told."""
        self._here, self._waiting, self._waiting_rows = [], [], 0
        self._numbers, self.count = numbers, count

    def clear(self) -> None:
        """Forget everything."""
        self.restore(None, 0)


def id_tensor(ids: Any) -> torch.Tensor:
    """Ids as a one-dimensional int64 tensor, on the device where they are.

    Raises:
        BadInputError: there are none, or they are no integers.
    """
    if ids is None:
        raise BadInputError(
            "the batch has no ids; wrap the data set with datadiet.dynamic.with_ids, so that each row brings its own."
        )
    if isinstance(ids, torch.Tensor):
        if ids.dtype == torch.int64 and ids.ndim == 1:
            return ids  # what comes for every batch of a long epoch
        numbers = ids.detach()
    else:
        numbers = torch.as_tensor(ids)
        if numbers.numel() == 0:
            numbers = numbers.to(torch.int64)  # an empty list has no dtype of its own
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise BadInputError(f"ids must be integers, got {numbers.dtype}; floats lose large ids.")
    if numbers.ndim != 1:
        raise BadInputError(f"ids must be one a row, shape (batch,), got {tuple(numbers.shape)}.")
    return numbers.to(torch.int64)


class BrokenExamples:
    """Remembers them by their places.

    Args:
        places: of the sampler's ids.
    """

    def __init__(self, places: Places) -> None:
        self._known = places
        self.places = np.zeros(0, np.int64)

    def ids(self) -> NDArray[np.int64]:
        """The ids, increasing."""
        return self._known.to_ids(self.places)

    def mask(self) -> NDArray[np.bool_]:
        """(n,) which they are."""
        mask = np.zeros(self._known.num_examples, bool)
        mask[self.places] = True
        return mask

    def take(self, told: NDArray[np.float32], measure: str, epoch: int) -> None:
        """Learn from what was told in an epoch, and warn of what is not finite.

        Args:
            told: (n,) numbers, infinite where they were not finite, NaN where nothing was told.
            measure: what they are called.
            epoch: when.
        """
        infinite = np.isinf(told)
        if infinite.any() or len(self.places):
            still = self.mask()
            still[~np.isnan(told)] = False
            still |= infinite
            self.places = np.flatnonzero(still)
        if infinite.any():
            where = np.flatnonzero(infinite)
            warnings.warn(
                f"{len(where)} examples had a {measure} that is not finite in epoch {epoch} (first "
                f"id {self._known.to_ids(where[:1])[0]}); they stay in training until they have a finite one.",
                stacklevel=4,
            )


def numbers_of(measure: str, losses_or_logits: Any, targets: Any) -> torch.Tensor:
    """(batch,) loss, el2n or probability.

    Args:
        measure: one of MEASURES.
        losses_or_logits: (batch,) per-example losses when `targets` is None, else (batch, classes) logits.
        targets: (batch,) integer labels, or None.

    Raises:
        BadInputError: a reduced loss, losses where the measure is another, shapes that do not fit.
    """
    with torch.no_grad():
        if targets is not None:
            if losses_or_logits is None:
                raise BadInputError("targets came without logits; give update(ids, logits, targets).")
            return measures_of(read_batch(losses_or_logits, targets), (measure,))[measure]
        losses = as_numbers(losses_or_logits)
        if losses.ndim == 0:
            raise BadInputError(
                "update got one loss for the whole batch; give one an example: reduction='none', then take the mean."
            )
        if losses.ndim != 1:
            raise BadInputError(
                f"update got a tensor of shape {tuple(losses.shape)} and no targets; give one loss an example, "
                "or logits and targets."
            )
        if measure != "loss":
            raise BadInputError(
                f"this selector ranks by {measure}, which losses do not give: call update(ids, logits, targets), "
                "or update(ids, measured=...) with numbers of your own."
            )
        return losses


def numbers_of_task(measure: str, task: Task, outputs: Any, targets: Any) -> torch.Tensor:
    """(batch,) loss, el2n (length of the error vector) or probability (`exp(-loss)`) by a task's own definitions."""
    with torch.no_grad():
        if measure == "el2n":
            lengths: torch.Tensor = torch.linalg.vector_norm(task.error(outputs, targets).float(), dim=1)
            return lengths
        losses = task.loss(outputs, targets)
        return torch.exp(-losses) if measure == "probability" else losses


def as_numbers(given: Any) -> torch.Tensor:
    """A detached tensor of float values.

    Raises:
        BadInputError: nothing was given, or no numbers.
    """
    if given is None:
        raise BadInputError("update got ids alone; give losses, or logits and targets.")
    try:
        numbers = given.detach() if isinstance(given, torch.Tensor) else torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInputError(
            f"update takes tensors or arrays of numbers, got {type(given).__name__}."
        ) from error
    return numbers if numbers.is_floating_point() else numbers.float()


def numbers_from_recorder(recorder: Recorder, ids: NDArray[np.int64], measure: str) -> NDArray[np.float32]:
    """(n,) the measure in the recorder's last epoch, NaN where an example was not presented.

    Raises:
        BadInputError: the recorder is of other ids, has no epoch yet, or does not keep the measure.
    """
    if not np.array_equal(recorder.ids, ids):
        raise BadInputError(
            f"the recorder has {len(recorder.ids)} ids and the sampler {len(ids)}, not the same; "
            "make both with the same."
        )
    if recorder.epoch == 0:
        raise BadInputError("the recorder has no epoch yet; call its end_epoch before the sampler's.")
    if measure not in recorder.columns:
        raise BadInputError(
            f"the selector ranks by {measure}, which the recorder does not keep; add it to its columns."
        )
    numbers = recorder.trace.of_epoch(recorder.epoch, measure).astype(np.float32)
    seen = recorder.trace.of_epoch(recorder.epoch, "seen").astype(bool)
    return np.where(seen, numbers, np.float32(np.nan))
