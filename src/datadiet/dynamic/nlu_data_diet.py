"""The selector of "NLU on Data Diets": the hardest share after an offset, scored anew every cycle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from datadiet.dynamic.ranking import hardest_after_offset
from datadiet.dynamic.registry import register_selector
from datadiet.dynamic.schedule import Schedule
from datadiet.dynamic.selector import Choice, Cycle, Selector, check_keep, size_of
from datadiet.errors import BadInputError
from datadiet.selection.sizes import rounded_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 1 << 16


@register_selector(
    "nlu-data-diet",
    when="Fine-tuning, where a few epochs tell hard examples from easy ones.",
    fails="With noisy labels and no offset: the hardest are the wrong ones.",
    source="Attendu and Corbeil 2023, section 3",
    options={
        "keep": "fraction that stays",
        "offset": "fraction of the hardest that is left out",
        "smoothing": "α, weight of the newest score in the running mean; 1 for no memory",
        "deviation": "c, how many running standard deviations are added to the mean; 0 for none",
        "scoring_pass": "score everything before each choice; otherwise the training pass has to do",
    },
)
@dataclass
class NluDataDiet(Selector):
    """Keep the top share by a running mean of EL2N, after an offset from the top.

    `mean <- α score + (1 - α) mean`, and with c > 0 also `variance <- (1 - α) (variance + α (score - mean)²)`
    with the mean before it moved; ranked is `mean + c sqrt(variance)`. Without warm-up epochs the first cycle
    is random. Which of old and new α weighs, and the form of the deviation, are our reading.
    """

    default_schedule: ClassVar[Schedule] = Schedule(warmup=1, every=1)
    measure: ClassVar[str] = "el2n"
    keep: float = 0.5
    offset: float = 0.0
    smoothing: float = 0.8
    deviation: float = 0.0
    scoring_pass: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep(self.keep)
        if not 0 <= self.offset < 1 or self.offset + self.keep > 1 + 1e-9:
            raise BadInputError(
                f"keep {self.keep} after an offset of {self.offset} is more than there is: "
                "the two may add up to 1."
            )
        if not 0 < self.smoothing <= 1:
            raise BadInputError(f"smoothing is {self.smoothing}: give a weight above 0 and at most 1.")
        if self.deviation < 0:
            raise BadInputError(f"deviation is {self.deviation}: give a number of at least 0.")

    @property
    def wants_scoring_pass(self) -> bool:
        """As the option says."""
        return self.scoring_pass

    def allocate(self, num_examples: int) -> dict[str, NDArray[Any]]:
        """The running mean, and its variance where that is used."""
        arrays = {"mean": np.full(num_examples, np.nan, np.float32)}
        if self.deviation:
            arrays["variance"] = np.zeros(num_examples, np.float32)
        return arrays

    def observe(self, places: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Move the running mean and variance."""
        mean, weight = self.arrays["mean"], np.float32(self.smoothing)
        variance = self.arrays["variance"] if self.deviation else None
        for start in range(0, len(places), _CHUNK):  # what is in between stays within a processor's cache
            part, told = places[start : start + _CHUNK], values[start : start + _CHUNK]
            old = mean[part]
            first = np.isnan(old)
            step = np.where(first, np.float32(0), told - old)
            mean[part] = np.where(first, told, old + weight * step)
            if variance is not None:
                variance[part] = (1 - weight) * (variance[part] + weight * step * step)

    def choose(self, cycle: Cycle) -> Choice:
        """The top share after the offset."""
        ranked = self.arrays["mean"]
        if self.deviation:
            ranked = ranked + np.float32(self.deviation) * np.sqrt(self.arrays["variance"])
        n = cycle.num_examples
        size = size_of(n, self.keep)
        skip = min(rounded_share(n, self.offset), n - size)
        return Choice(hardest_after_offset(ranked, size, skip, cycle.generator))

    def planned_size(self, num_examples: int, epoch: int, schedule: Schedule) -> int:
        """The same in every cycle."""
        return size_of(num_examples, self.keep)
