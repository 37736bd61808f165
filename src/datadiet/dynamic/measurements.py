"""The number of each example that a selector is told of an epoch: how it is measured, and kept until the epoch ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.dynamic.dealt import Follower
from datadiet.dynamic.sharding import index_type, merged_over_ranks
from datadiet.foundation.errors import BadInputError
from datadiet.scores.outputs import measures_of, read_batch
from datadiet.tasks.base import Task
from datadiet.tracking import Recorder
from datadiet.tracking.presentations import ExampleIds, ids_of_batch, joined_on_cpu, readable
from datadiet.tracking.states import StateParts

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Batches that wait on an accelerator at most.
_MOST_WAITING = 1 << 10
_IN_STATE = "reported."


class Measurements:
    """The last number of each example in the epoch under way: NaN if none was told, infinite if it was not finite.

    Those on an accelerator wait there, so that no update waits for the device.

    Args:
        ids: of the sampler.
    """

    def __init__(self, ids: ExampleIds) -> None:
        self._ids = ids
        self.restore(None, 0)

    def restore(self, numbers: NDArray[np.float32] | None, count: int) -> None:
        """Hold these (n,) numbers and nothing else, as if so many rows had been told; None and 0 for nothing."""
        self._numbers = numbers
        self.count = count  # rows told so far, repeats included
        self._waiting: list[tuple[torch.Tensor, torch.Tensor]] = []  # ids and numbers on accelerators
        self._followers: list[
            tuple[Follower, int] | None
        ] = []  # of what waits, where its ids have to be checked

    @property
    def told(self) -> NDArray[np.int64]:
        """The places of which something was told, increasing."""
        self._flush()
        return np.empty(0, np.int64) if self._numbers is None else np.flatnonzero(~np.isnan(self._numbers))

    def add(self, ids: Any, numbers: torch.Tensor, follower: Follower | None = None, handed: int = 0) -> None:
        """Take one batch.

        Args:
            ids: of its examples.
            numbers: one for each.
            follower: refuses ids that were not dealt: at once where they are on the CPU, else when they are fetched.
            handed: batches handed out by now.

        Raises:
            BadInputError: ids that are no integers or do not fit; on the CPU also unknown ones.
        """
        given = ids_of_batch(ids)
        if given.shape != numbers.shape:
            raise BadInputError(
                f"update got ids of shape {tuple(given.shape)} and numbers of shape {tuple(numbers.shape)}; "
                "give one of each an example."
            )
        known = given.is_cpu and follower is not None and follower.check(given.numpy(), handed)
        if given.is_cpu and numbers.is_cpu:
            self._write(given, numbers.float(), known)
        else:
            self._waiting.append((given.clone(), numbers.to(given.device, torch.float32, copy=True)))
            self._followers.append(None if given.is_cpu or follower is None else (follower, handed))
        self.count += len(given)
        if len(self._waiting) >= _MOST_WAITING:
            self._flush()

    def merged(self) -> NDArray[np.float32]:
        """(n,) what all ranks were told; every rank must call it.

        Raises:
            BadInputError: an unknown id among those that came from an accelerator.
        """
        self._flush()
        unknown = np.full(self._ids.count, np.nan, np.float32)
        return merged_over_ranks(unknown if self._numbers is None else self._numbers)

    def state(self) -> dict[str, torch.Tensor]:
        """What was told, in the smaller of two forms; empty where nothing was."""
        self._flush()
        if self._numbers is None:
            return {}
        known = np.flatnonzero(~np.isnan(self._numbers))
        if 2 * len(known) >= len(self._numbers):
            return {f"{_IN_STATE}dense": torch.from_numpy(self._numbers.copy())}
        return {
            f"{_IN_STATE}places": torch.from_numpy(known.astype(index_type(len(self._numbers)))),
            f"{_IN_STATE}values": torch.from_numpy(self._numbers[known]),
        }

    def load(self, parts: StateParts, count: int) -> None:
        """The same again, as so many rows.

        Raises:
            BadInputError: a part is of another type or size.
        """
        numbers = None
        if f"{_IN_STATE}dense" in parts:
            numbers = parts.array(f"{_IN_STATE}dense", "f", self._ids.count).astype(np.float32)
        elif f"{_IN_STATE}places" in parts:
            places = parts.places(f"{_IN_STATE}places", self._ids.count)
            numbers = np.full(self._ids.count, np.nan, np.float32)
            numbers[places] = parts.array(f"{_IN_STATE}values", "f", len(places))
        self.restore(numbers, count)

    def _flush(self) -> None:
        if self._waiting:
            sizes, followers = [len(ids) for ids, _ in self._waiting], self._followers
            ids, numbers = (joined_on_cpu(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting, self._followers = [], []
            for batch, each in zip(torch.split(ids, sizes), followers, strict=True):
                if each is not None:
                    follower, handed = each
                    follower.check(batch.numpy(), handed)
            self._write(ids, numbers)

    def _write(self, ids: torch.Tensor, numbers: torch.Tensor, known: bool = False) -> None:
        places, values = self._ids.places_of(ids.numpy(), known), numbers.numpy()
        if len(places) == 0:
            return
        if self._numbers is None:
            self._numbers = np.full(self._ids.count, np.nan, np.float32)
        finite = np.isfinite(values)
        if np.count_nonzero(finite) < len(values):
            values = np.where(finite, values, np.float32(np.inf))
        self._numbers[places] = values


def measure_batch(measure: str, losses_or_logits: Any, targets: Any) -> torch.Tensor:
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


def measure_task_batch(measure: str, task: Task, outputs: Any, targets: Any) -> torch.Tensor:
    """(batch,) loss, el2n (length of the error vector) or probability (`exp(-loss)`) by a task's own definitions.

    Raises:
        BadInputError: outputs and targets that do not fit the task.
    """
    if task.single_label:
        read_batch(outputs, targets)
    with torch.no_grad(), readable(task, outputs, targets):
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
    if numbers.is_complex():
        raise BadInputError(f"update takes real numbers, got {numbers.dtype}.")
    return numbers if numbers.is_floating_point() else numbers.float()


def measure_from_recorder(measure: str, recorder: Recorder, ids: NDArray[np.int64]) -> NDArray[np.float32]:
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
    numbers, seen = (recorder.trace.of_epoch(recorder.epoch, name) for name in (measure, "seen"))
    return np.where(seen, numbers, np.float32(np.nan))
