"""A fresh random share every cycle: what every other selector has to beat at the same cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datadiet.dynamic.registry import register_selector
from datadiet.dynamic.schedule import Schedule
from datadiet.dynamic.selector import Choice, Cycle, Selector, check_keep, size_of
from datadiet.dynamic.streams import random_places


@register_selector(
    "random",
    when="The baseline of every other selector: give it the same keep and schedule.",
    fails="When few examples carry most of what is to be learnt.",
    source="Raju, Daruwalla, Lipasti 2021, section 3: uniform random dynamic pruning",
    options={"keep": "fraction that stays"},
)
@dataclass
class RandomCycles(Selector):
    """A new uniform sample of exactly `keep` of the examples in every cycle."""

    default_schedule: ClassVar[Schedule] = Schedule(warmup=0)
    keep: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep(self.keep)

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
        """Exactly `keep` of the examples, all sets as likely."""
        n = cycle.num_examples
        return Choice(random_places(n, size_of(n, self.keep), cycle.generator))

    def planned_size(self, num_examples: int, epoch: int, schedule: Schedule) -> int:
        """The same in every cycle."""
        return size_of(num_examples, self.keep)
