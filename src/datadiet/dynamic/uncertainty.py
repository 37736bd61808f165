"""Dynamic uncertainty: keep what the model's probability of the label still varies on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from datadiet.dynamic.ranking import hardest_after_offset
from datadiet.dynamic.registry import register_selector
from datadiet.dynamic.schedule import Schedule
from datadiet.dynamic.selector import Choice, Cycle, Selector, check_keep, size_of
from datadiet.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVELS = 255
_CHUNK = 1 << 18


@register_selector(
    "uncertainty",
    when="Trainings of tens of epochs: needs no scoring pass and passes over labels that are plainly wrong.",
    fails="In the first epochs, before a window of them has gone by.",
    source="He et al. 2023 (dynamic uncertainty), section 3; choosing again while training is ours",
    options={
        "keep": "fraction that stays",
        "window": "J, how many of an example's latest presentations count",
    },
)
@dataclass
class Uncertainty(Selector):
    """Keep the largest standard deviation of the label's probability over the last J presentations.

    `sqrt(sum_j (p_j - mean)² / (J - 1))`. An example shown less than J times is judged by what there is, and one
    shown less than twice stays. Probabilities are kept in steps of 1/255, one byte each.
    """

    default_schedule: ClassVar[Schedule] = Schedule(warmup=10, every=1)
    measure: ClassVar[str] = "probability"
    keep: float = 0.5
    window: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep(self.keep)
        if isinstance(self.window, bool) or not isinstance(self.window, int) or not 2 <= self.window <= 255:
            raise BadInputError(f"window is {self.window!r}: give a whole number from 2 to 255.")

    def allocate(self, num_examples: int) -> dict[str, NDArray[Any]]:
        """A ring of the last probabilities, how many it holds, and where the next goes."""
        return {
            "ring": np.zeros((num_examples, self.window), np.uint8),
            "held": np.zeros(num_examples, np.uint8),
            "next": np.zeros(num_examples, np.uint8),
        }

    def observe(self, places: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Put one probability an example into its ring."""
        ring, held, following = (self.arrays[name] for name in ("ring", "held", "next"))
        for start in range(0, len(places), _CHUNK):
            part = places[start : start + _CHUNK]
            level = np.rint(np.clip(values[start : start + _CHUNK], 0, 1) * _LEVELS).astype(np.uint8)
            here = following[part]
            ring[part, here] = level
            following[part] = np.where(here + 1 == self.window, 0, here + 1)
            held[part] = np.minimum(held[part].astype(np.int16) + 1, self.window)

    def deviations(self) -> NDArray[np.float32]:
        """Standard deviation of each example's window; NaN with less than two presentations."""
        ring, held = self.arrays["ring"], self.arrays["held"]
        result = np.full(len(held), np.nan, np.float32)
        columns = np.arange(self.window)
        for start in range(0, len(held), _CHUNK):
            levels = ring[start : start + _CHUNK].astype(np.float32)
            count = held[start : start + _CHUNK].astype(np.float32)
            present = columns < count[:, None]  # places fill up from the first
            levels *= present
            mean = levels.sum(1) / np.maximum(count, 1)
            squares = np.square((levels - mean[:, None]) * present).sum(1)
            with np.errstate(invalid="ignore", divide="ignore"):
                spread = np.sqrt(squares / (count - 1)) / _LEVELS
            result[start : start + _CHUNK] = np.where(count < 2, np.float32(np.nan), spread)
        return result

    def choose(self, cycle: Cycle) -> Choice:
        """The most uncertain share."""
        size = size_of(cycle.num_examples, self.keep)
        return Choice(hardest_after_offset(self.deviations(), size, 0, cycle.generator))

    def planned_size(self, num_examples: int, epoch: int, schedule: Schedule) -> int:
        """The same in every cycle."""
        return size_of(num_examples, self.keep)
