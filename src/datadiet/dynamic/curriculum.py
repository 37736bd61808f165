"""Easy to hard: a growing share of the examples, the easiest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from datadiet.dynamic.registry import register_selector
from datadiet.dynamic.schedule import Schedule
from datadiet.dynamic.selector import Choice, Cycle, Selector, check_keep, size_of
from datadiet.dynamic.streams import smallest
from datadiet.errors import BadInputError


@register_selector(
    "curriculum",
    when="Noisy or very hard data, where starting with what is easy steadies the training.",
    fails="Saves little: by its end everything is trained on.",
    source="Bengio et al., ICML 2009; the linear pace is ours",
    options={
        "start": "fraction of the first choice",
        "grow_epochs": "epochs from the first choice until everything is in",
        "difficulty": "(n,) fixed difficulties, such as a score column; otherwise the losses of the training",
    },
)
@dataclass
class Curriculum(Selector):
    """The easiest `start + (1 - start) min(1, (epoch - warmup) / grow_epochs)` of the examples.

    Easiest is the lowest latest loss, or the lowest `difficulty`. Examples of which nothing is known come last,
    at random; so without warm-up and `difficulty`, the first choice is random.
    """

    default_schedule: ClassVar[Schedule] = Schedule(warmup=1, every=1)
    start: float = 0.3
    grow_epochs: int = 5
    difficulty: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep(self.start)
        if (
            isinstance(self.grow_epochs, bool)
            or not isinstance(self.grow_epochs, int)
            or self.grow_epochs < 1
        ):
            raise BadInputError(f"grow_epochs is {self.grow_epochs!r}: give a whole number of at least 1.")
        if self.difficulty is not None:
            self.difficulty = np.array(self.difficulty, np.float32)
            if self.difficulty.ndim != 1 or not np.isfinite(self.difficulty).all():
                raise BadInputError("difficulty must be one finite number an example, shape (n,).")

    @property
    def needs_reports(self) -> bool:
        """With difficulties of its own it need not be told anything."""
        return self.difficulty is None

    def allocate(self, num_examples: int) -> dict[str, Any]:
        """The difficulties.

        Raises:
            BadInputError: `difficulty` is of another length.
        """
        if self.difficulty is None:
            return super().allocate(num_examples)
        if len(self.difficulty) != num_examples:
            raise BadInputError(
                f"difficulty has {len(self.difficulty)} numbers, but there are {num_examples} examples."
            )
        return {"value": self.difficulty.copy()}

    def observe(self, places: Any, values: Any) -> None:
        """Take the losses, unless the difficulties are fixed."""
        if self.difficulty is None:
            super().observe(places, values)

    def choose(self, cycle: Cycle) -> Choice:
        """The easiest share that this epoch's pace allows."""
        size = self.planned_size(cycle.num_examples, cycle.epoch, cycle.schedule)
        keys = np.where(np.isnan(self.arrays["value"]), np.inf, self.arrays["value"])
        return Choice(smallest(keys, size, cycle.generator))

    def planned_size(self, num_examples: int, epoch: int, schedule: Schedule) -> int:
        """By the linear pace."""
        done = min(1.0, (epoch - schedule.warmup) / self.grow_epochs)
        return size_of(num_examples, min(1.0, round(self.start + (1 - self.start) * done, 12)))
