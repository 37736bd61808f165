"""The selectors that come with the package: at random (InfoBatch, the random baseline), and by rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from datadiet.dynamic.choice import Choice, Cycle
from datadiet.dynamic.schedule import Schedule
from datadiet.dynamic.selector import Selector, register_selector
from datadiet.dynamic.sharding import random_places, smallest
from datadiet.foundation.errors import BadInputError
from datadiet.selection.sizes import kept_size, rounded_share
from datadiet.tracking.presentations import is_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVELS = 255
_SLICE = 1 << 16  # rows at a time, so that what is in between stays within a processor's cache


def check_keep(keep: float) -> None:
    """Refuse what is not a fraction in (0, 1].

    Raises:
        BadInputError: it is not.
    """
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= 1:
        raise BadInputError(f"keep is {keep!r}: give the fraction that stays, above 0 and at most 1.")


def slices(count: int) -> Iterator[slice]:
    """The rows 0 to `count` - 1 in slices."""
    return (slice(start, start + _SLICE) for start in range(0, count, _SLICE))


@dataclass
class FixedShare(Selector):
    """Base of selectors that keep the same fraction, `keep`, in every cycle."""

    may_weigh: ClassVar[bool] = False
    keep: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep(self.keep)

    def planned_size(self, num_examples: int, epoch: int, schedule: Schedule) -> int:
        """Exactly `floor(keep * n + 1/2)`, the same in every cycle."""
        return kept_size(num_examples, float(self.keep))


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
        if not len(below):
            return Choice(np.arange(cycle.num_examples))
        kept = max(1, len(below) - rounded_share(len(below), self.drop))
        drawn = below[random_places(len(below), kept, cycle.generator)]
        weights = np.ones(cycle.num_examples, np.float32)
        weights[below] = 0
        weights[drawn] = len(below) / kept
        places = np.flatnonzero(weights)
        return Choice(places, weights[places])


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
class RandomCycles(FixedShare):
    """A new uniform sample in every cycle: of exactly `keep` of the examples, or of the cycle's own size.

    `sizes` has one number an epoch; a choice takes that of its first epoch, so that epochs on everything may be
    in it as well.
    """

    default_schedule: ClassVar[Schedule] = Schedule(warmup=0)
    sizes: Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sizes is not None:
            self.sizes = tuple(self.sizes)
            if not self.sizes or not all(is_whole(size, 1) for size in self.sizes):
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
            return super().planned_size(num_examples, epoch, schedule)
        return min(num_examples, self.sizes[min(epoch, len(self.sizes) - 1)])


def hardest_after_offset(
    values: NDArray[Any], size: int, skip: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Places of the `size` largest values after the `skip` largest, ascending.

    Values that are NaN are unknown: these examples come first, before any known one, since nothing speaks
    against them; when they are more than `size`, which of them is drawn. So is which of equal values.

    Example:
        >>> hardest_after_offset(np.array([4.0, 1.0, 3.0, 2.0]), 2, 1, np.random.default_rng(0)).tolist()
        [2, 3]
        >>> hardest_after_offset(np.array([4.0, np.nan, 3.0, 2.0]), 2, 1, np.random.default_rng(0)).tolist()
        [1, 2]
    """
    unknown = np.flatnonzero(np.isnan(values))
    if len(unknown) >= size:
        return unknown[random_places(len(unknown), size, generator)]
    # The unknown count as infinitely easy here, so that no copy of the known ones is needed.
    keys = np.where(np.isnan(values), np.inf, -values)
    skip = min(skip, len(values) - size)
    if skip:
        keys[smallest(keys, skip, generator)] = np.inf
    chosen = np.zeros(len(values), bool)
    chosen[smallest(keys, size - len(unknown), generator)] = True
    chosen[unknown] = True
    return np.flatnonzero(chosen)


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
class Uncertainty(FixedShare):
    """Keep the largest standard deviation of the label's probability over the last J presentations.

    `sqrt(sum_j (p_j - mean)² / (J - 1))`. An example shown less than J times is judged by what there is, and one
    shown less than twice stays. Probabilities are kept in steps of 1/255, one byte each.
    """

    default_schedule: ClassVar[Schedule] = Schedule(warmup=10, every=1)
    measure: ClassVar[str] = "probability"
    window: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_whole(self.window, 2) or self.window > 255:
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
        for rows in slices(len(places)):
            part = places[rows]
            here = following[part]
            ring[part, here] = np.rint(np.clip(values[rows], 0, 1) * _LEVELS).astype(np.uint8)
            following[part] = np.where(here + 1 == self.window, 0, here + 1)
            held[part] = np.minimum(held[part].astype(np.int16) + 1, self.window)

    def deviations(self) -> NDArray[np.float32]:
        """Standard deviation of each example's window; NaN with less than two presentations."""
        ring, held = self.arrays["ring"], self.arrays["held"]
        result = np.full(len(held), np.nan, np.float32)
        columns = np.arange(self.window)
        for rows in slices(len(held)):
            levels, count = ring[rows].astype(np.float32), held[rows].astype(np.float32)
            present = columns < count[:, None]  # places fill up from the first
            levels *= present
            mean = levels.sum(1) / np.maximum(count, 1)
            squares = np.square((levels - mean[:, None]) * present).sum(1)
            with np.errstate(invalid="ignore", divide="ignore"):
                spread = np.sqrt(squares / (count - 1)) / _LEVELS
            result[rows] = np.where(count < 2, np.float32(np.nan), spread)
        return result

    def choose(self, cycle: Cycle) -> Choice:
        """The most uncertain share."""
        size = kept_size(cycle.num_examples, float(self.keep))
        return Choice(hardest_after_offset(self.deviations(), size, 0, cycle.generator))


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
class NluDataDiet(FixedShare):
    """Keep the top share by a running mean of EL2N, after an offset from the top.

    `mean <- α score + (1 - α) mean`, and with c > 0 also `variance <- (1 - α) (variance + α (score - mean)²)`
    with the mean before it moved; ranked is `mean + c sqrt(variance)`. Without warm-up epochs the first cycle
    is random. Which of old and new α weighs, and the form of the deviation, are our reading.
    """

    default_schedule: ClassVar[Schedule] = Schedule(warmup=1, every=1)
    measure: ClassVar[str] = "el2n"
    offset: float = 0.0
    smoothing: float = 0.8
    deviation: float = 0.0
    scoring_pass: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.offset < 1 or self.offset + self.keep > 1 + 1e-9:
            raise BadInputError(
                f"keep {self.keep} after an offset of {self.offset} is more than there is: the two may add up to 1."
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
        for rows in slices(len(places)):
            part, new = places[rows], values[rows]
            old = mean[part]
            first = np.isnan(old)
            step = np.where(first, np.float32(0), new - old)
            mean[part] = np.where(first, new, old + weight * step)
            if variance is not None:
                variance[part] = (1 - weight) * (variance[part] + weight * step * step)

    def choose(self, cycle: Cycle) -> Choice:
        """The top share after the offset."""
        ranked = self.arrays["mean"]
        if self.deviation:
            ranked = ranked + np.float32(self.deviation) * np.sqrt(self.arrays["variance"])
        n = cycle.num_examples
        size = kept_size(n, float(self.keep))
        skip = min(rounded_share(n, self.offset), n - size)
        return Choice(hardest_after_offset(ranked, size, skip, cycle.generator))


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
    may_weigh: ClassVar[bool] = False
    start: float = 0.3
    grow_epochs: int = 5
    difficulty: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep(self.start)
        if not is_whole(self.grow_epochs, 1):
            raise BadInputError(f"grow_epochs is {self.grow_epochs!r}: give a whole number of at least 1.")
        if self.difficulty is not None:
            try:
                self.difficulty = np.array(self.difficulty, np.float32)
            except (TypeError, ValueError, OverflowError) as error:
                raise BadInputError("difficulty must be one finite number an example, shape (n,).") from error
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
        return kept_size(num_examples, min(1.0, round(self.start + (1 - self.start) * done, 12)))
