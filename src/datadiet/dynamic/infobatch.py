"""InfoBatch: drop examples with a loss below the mean at random, and rescale those that stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from datadiet.dynamic.registry import register_selector
from datadiet.dynamic.schedule import Schedule
from datadiet.dynamic.selector import Choice, Cycle, Selector
from datadiet.dynamic.streams import random_places
from datadiet.errors import BadInputError
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
