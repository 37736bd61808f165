"""When everything is trained on, when a new choice is made, and what a sampler may be given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.dynamic.measurements import process_count, process_rank
from datadiet.foundation.errors import BadInputError
from datadiet.tracking.trace import as_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Schedule:
    """The epochs of a training, counted from 0: first everything, then choices, at the end everything again.

    Args:
        warmup: τ, epochs on everything before the first choice; 0 begins with a choice.
        every: T, a choice is made every so many epochs and stays until the next.
        epochs: length of the training; needed for `full_tail`.
        full_tail: share of the training, at its end, that is again on everything.

    Raises:
        BadInputError: numbers out of range, or `full_tail` without `epochs`.

    Example:
        >>> schedule = Schedule(warmup=1, every=2, epochs=8, full_tail=0.25)
        >>> [schedule.phase(epoch) for epoch in range(8)]
        ['full', 'choose', 'hold', 'choose', 'hold', 'choose', 'full', 'full']
    """

    warmup: int = 1
    every: int = 1
    epochs: int | None = None
    full_tail: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("warmup", 0), ("every", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadInputError(
                    f"a schedule's {name} must be a whole number of at least {least}, got {value!r}."
                )
        if self.epochs is not None and (
            isinstance(self.epochs, bool) or not isinstance(self.epochs, int) or self.epochs < 1
        ):
            raise BadInputError(
                f"a schedule's epochs must be a whole number of at least 1, got {self.epochs!r}."
            )
        if not 0 <= self.full_tail < 1:
            raise BadInputError(
                f"a schedule's full_tail is a share of the training in [0, 1), got {self.full_tail!r}."
            )
        if self.full_tail and self.epochs is None:
            raise BadInputError(
                "full_tail is a share of the training: give the schedule its length, Schedule(epochs=...)."
            )

    @property
    def tail_start(self) -> float:
        """First epoch of the full tail: `floor(epochs * (1 - full_tail))`; infinite without a tail."""
        if not self.full_tail or self.epochs is None:
            return math.inf
        return math.floor(self.epochs * (1 - self.full_tail) + 1e-9)

    def phase(self, epoch: int) -> str:
        """What happens in an epoch: "full", "choose" (a new choice) or "hold" (the last one again)."""
        if epoch < self.warmup or epoch >= self.tail_start:
            return "full"
        return "choose" if (epoch - self.warmup) % self.every == 0 else "hold"


def as_schedule(given: Schedule | Mapping[str, Any] | None, default: Schedule) -> Schedule:
    """A schedule from a schedule, a mapping of its fields, or the default.

    Raises:
        BadInputError: neither of these, or an unknown field.
    """
    if given is None:
        return default
    if isinstance(given, Schedule):
        return given
    if not isinstance(given, Mapping):
        raise BadInputError(f"schedule must be a Schedule or a mapping of its fields, got {given!r}.")
    unknown = sorted(set(given) - set(Schedule.__dataclass_fields__))
    if unknown:
        raise BadInputError(
            f"a schedule has no {unknown[0]!r}; it has {', '.join(Schedule.__dataclass_fields__)}."
        )
    return Schedule(**given)


def checked_ids(num_examples: Any, ids: Any, batch_size: Any) -> NDArray[np.int64] | None:
    """The explicit ids, or None where they are 0 to n - 1.

    Raises:
        BadInputError: both or neither are given, none at all, or numbers that are no counts.
    """
    if (num_examples is None) == (ids is None):
        raise BadInputError("a DynamicSampler needs either num_examples or ids.")
    for name, value in (("num_examples", num_examples), ("batch_size", batch_size)):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1
        ):
            raise BadInputError(f"{name} must be a whole number of at least 1, got {value!r}.")
    known = None if ids is None else as_ids(ids)
    if known is not None and not len(known):
        raise BadInputError("a DynamicSampler needs at least one id.")
    return known


def checked_rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and world size; those of `torch.distributed` by default.

    Raises:
        BadInputError: one without the other, or a rank that is none of the world's.
    """
    if (rank is None) != (world_size is None):
        raise BadInputError("give rank and world_size both, or neither.")
    own = process_rank() if rank is None else int(rank)
    world = process_count() if world_size is None else int(world_size)
    if not 0 <= own < world:
        raise BadInputError(f"rank {own} is not one of a world of {world}.")
    return own, world


def checked_lengths(
    lengths: Any, num_examples: int, batch_size: int | None, shuffle: bool
) -> NDArray[np.int64] | None:
    """The lengths of the examples, or None where batches are not made by them.

    Raises:
        BadInputError: not one whole number an example, or no shuffled batches to make by length.
    """
    if lengths is None:
        return None
    array = np.asarray(lengths)
    if array.shape != (num_examples,) or array.dtype.kind not in "iu":
        raise BadInputError(
            f"lengths must be one whole number for each of the {num_examples} examples, not an array of "
            f"{array.dtype} of shape {array.shape}."
        )
    if batch_size is None or not shuffle:
        raise BadInputError("lengths make batches of similar length: give batch_size, and leave shuffle on.")
    return array.astype(np.int64)
