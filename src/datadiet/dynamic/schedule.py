"""When a sampler trains on everything, and when it makes a new choice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.parsing import misfit
from datadiet.tracking.presentations import is_whole


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
        for name, least in (("warmup", 0), ("every", 1), ("epochs", 1)):
            value = getattr(self, name)
            if not is_whole(value, least) and (name, value) != ("epochs", None):
                raise BadInputError(
                    f"a schedule's {name} must be a whole number of at least {least}, got {value!r}."
                )
        if misfit(self.full_tail, float, "full_tail") is not None or not 0 <= self.full_tail < 1:
            raise BadInputError(
                f"a schedule's full_tail is a share of the training in [0, 1), got {self.full_tail!r}."
            )
        if self.full_tail and self.epochs is None:
            raise BadInputError(
                "full_tail is a share of the training: give the schedule its length, Schedule(epochs=...)."
            )

    def phase(self, epoch: int) -> str:
        """What happens in an epoch: "full", "choose" (a new choice) or "hold" (the last one again).

        The full tail begins with epoch `floor(epochs * (1 - full_tail))`.
        """
        tail_start = math.inf
        if self.full_tail and self.epochs is not None:
            tail_start = math.floor(self.epochs * (1 - self.full_tail) + 1e-9)
        if epoch < self.warmup or epoch >= tail_start:
            return "full"
        return "choose" if (epoch - self.warmup) % self.every == 0 else "hold"


def as_schedule(given: Schedule | Mapping[str, Any] | None, default: Schedule) -> Schedule:
    """A schedule from a schedule, a mapping of its fields, or the default.

    Raises:
        BadInputError: neither of these, or an unknown field.
    """
    if given is None or isinstance(given, Schedule):
        return default if given is None else given
    if not isinstance(given, Mapping):
        raise BadInputError(f"schedule must be a Schedule or a mapping of its fields, got {given!r}.")
    unknown = [name for name in given if name not in Schedule.__dataclass_fields__]
    if unknown:
        raise BadInputError(
            f"a schedule has no {unknown[0]!r}; it has {', '.join(Schedule.__dataclass_fields__)}."
        )
    return Schedule(**given)
