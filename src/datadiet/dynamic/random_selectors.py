"""Selectors that drop at random: InfoBatch, and a fresh random share every cycle, which all others have to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from datadiet.dynamic.schedule import Schedule
from datadiet.dynamic.selector import Choice, Cycle, Selector, check_keep, register_selector, size_of
from datadiet.dynamic.sharding import random_places
from datadiet.foundation.errors import BadInputError
from datadiet.selection.sizes import rounded_share


@register_selector(
    "infobatch",
    when="Long trainings: saves a fifth to two fifths of the steps at no loss, without a scoring pass.",
    fails="Short trainings, and loops that ignore the weights: the gradient is biased without them.",
    source="Qin et al., ICLR 2024, section 2",
    options={"drop": "r, share of the below-mean examples that is dropped in each cycle"},
)
@dataclass
class InfoBatch(Selector):
    """Of the m examples with a loss below the mean, m - round(r m) at random stay, with weight m / that many.

    So each one stays with a probability whose inverse is its weight, and the sum of weighted gradients over
    an epoch is that over all examples, in expectation, at fixed model weights. All others stay at weight 1. The
    exact number keeps the length of an epoch from varying; its weight is 1 / (1 - r) but for rounding. The mean is
    over the last known loss of every example. Give the schedule `full_tail=0.125` (and `epochs`) to train
    the last eighth on everything, as in the paper.
    """

    default_schedule: ClassVar[Schedule] = Schedule(warmup=1, every=1)
    drop: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.drop, bool) or not 0 < self.drop < 1:
            raise BadInputError(f"drop is {self.drop!r}: give a share above 0 and below 1.")

    def choose(self, cycle: Cycle) -> Choice:
        """All that are not below the mean, and a random share of those that are."""
        losses = self.arrays["value"]
        known = ~np.isnan(losses) & ~cycle.always
        mean = losses.mean(dtype=np.float64, where=known) if known.any() else -np.inf
        below = np.flatnonzero(known & (losses < mean))
        stay = np.ones(cycle.num_examples, bool)
        if not len(below):
            return Choice(np.flatnonzero(stay))
        kept = max(1, len(below) - rounded_share(len(below), self.drop))
        drawn = below[random_places(len(below), kept, cycle.generator)]
        weights = np.ones(cycle.num_examples, np.float32)
        weights[drawn] = len(below) / kept
        stay[below] = False
        stay[drawn] = True
        return Choice(np.flatnonzero(stay), weights[stay])


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
