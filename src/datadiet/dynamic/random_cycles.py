"""A fresh random share every cycle: what every other selector has to beat at the same cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from datadiet.dynamic.registry import register_selector
from datadiet.dynamic.schedule import Schedule
from datadiet.dynamic.selector import Choice, Cycle, Selector, check_keep, size_of
from datadiet.dynamic.streams import random_places
from datadiet.errors import BadInputError


@register_selector(
    "random",
    when="The baseline of every other selector: give it the same keep and schedule.",
    fails="When few examples carry most of what is to be learnt.",
    source="Raju, Daruwalla, Lipasti 2021, section 3: uniform random dynamic pruning",
    options={
        "keep": "fraction that stays",
        "sizes": "how many stay in each epoch, instead of keep: those of another selector's run, for instance",
    },
)
@dataclass
class RandomCycles(Selector):
    """A new uniform sample in every cycle: of exactly `keep` of the examples, or of the cycle's own size.

    `sizes` has one number an epoch; a choice takes that of its first epoch, so that epochs on everything may stand
    in it as well.
    """

    default_schedule: ClassVar[Schedule] = Schedule(warmup=0)
    keep: float = 0.5
    sizes: Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep(self.keep)
        if self.sizes is not None:
            self.sizes = tuple(self.sizes)
            if not self.sizes or any(
                isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in self.sizes
            ):
                raise BadInputError("sizes must be whole numbers of at least 1, one an epoch.")

    @property
    def needs_reports(self) -> bool:
        """Chance needs nothing."""
        return False

    def allocate(self, num_examples: int) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def observe(self, places: object, values: object) -> None:
        """Nothing is remembered."""

    def choose(self, cycle: Cycle) -> Choice:
        """So many of the examples, all sets as likely."""
        n = cycle.num_examples
        return Choice(random_places(n, self.planned_size(n, cycle.epoch, cycle.schedule), cycle.generator))

    def planned_size(self, num_examples: int, epoch: int, schedule: Schedule) -> int:
        """The same in every cycle, or the epoch's own; past the last size, the last again."""
        if self.sizes is None:
            return size_of(num_examples, self.keep)
        return min(num_examples, self.sizes[min(epoch, len(self.sizes) - 1)])
