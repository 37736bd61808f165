"""What a selector is: it is told numbers of examples and chooses what the next epochs train on."""

from __future__ import annotations

import dataclasses
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from datadiet.dynamic.schedule import Schedule
from datadiet.errors import BadInputError
from datadiet.selection.sizes import kept_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The numbers of an example that a selector may ask for, each from logits and targets.
MEASURES = ("loss", "el2n", "probability")


@dataclass(frozen=True)
class Cycle:
    """What a selector is asked to choose for.

    Args:
        epoch: the first epoch of the choice, from 0.
        num_examples: n; places are 0 to n - 1.
        schedule: the schedule of the training.
        always: (n,) bool, examples whose last loss was not a number. They stay whatever is chosen.
        generator: randomness of this choice alone, the same on every rank.
    """

    epoch: int
    num_examples: int
    schedule: Schedule
    always: NDArray[np.bool_]
    generator: np.random.Generator


@dataclass(frozen=True)
class Choice:
    """What is trained on until the next choice.

    Args:
        places: strictly increasing places of what stays.
        weights: (len(places),) what each one's loss is multiplied by; None for 1.
    """

    places: NDArray[np.int64]
    weights: NDArray[np.float32] | None = None


@dataclass
class Selector(ABC):
    """Base of all selectors. A new one is a small dataclass with `choose`; its fields are its options.

    What it remembers lies in `self.arrays`, one row an example. By default that is one float32 array `value`,
    NaN where nothing is known, into which the latest number of each example is written. Arrays named here are
    saved, loaded and merged over ranks without further ado.
    """

    #: What `select` and the command line call it; `register_selector` sets it.
    name: ClassVar[str] = ""
    #: The schedule that is taken when none is given.
    default_schedule: ClassVar[Schedule] = Schedule()
    #: Which number of an example it is told, of MEASURES.
    measure: ClassVar[str] = "loss"

    def __post_init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}

    @property
    def wants_scoring_pass(self) -> bool:
        """Whether each choice (but one in epoch 0) wants a forward pass over everything before it."""
        return False

    @property
    def needs_reports(self) -> bool:
        """Whether it has to be told what happened in training; where not, no update is missed."""
        return not self.wants_scoring_pass

    def begin(self, num_examples: int) -> None:
        """Make the arrays; called once by the sampler."""
        self.arrays = self.allocate(num_examples)

    def allocate(self, num_examples: int) -> dict[str, NDArray[Any]]:
        """The arrays that the selector keeps, each with `num_examples` rows."""
        return {"value": np.full(num_examples, np.nan, np.float32)}

    def observe(self, places: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Take the finite numbers of one pass: each example at most once, places increasing."""
        self.arrays["value"][places] = values

    @abstractmethod
    def choose(self, cycle: Cycle) -> Choice:
        """What the epochs from `cycle.epoch` to the next choice train on."""

    def planned_size(self, num_examples: int, epoch: int, schedule: Schedule) -> int | None:
        """How many examples a choice for that epoch has; None when it depends on what is told."""
        return None

    def options(self) -> dict[str, Any]:
        """The options as plain values; an array is named by its checksum."""
        plain: dict[str, Any] = {}
        for part in dataclasses.fields(self):
            value = getattr(self, part.name)
            if value is not None and not isinstance(value, bool | int | float | str):
                value = f"crc32:{zlib.crc32(np.ascontiguousarray(value).tobytes()):08x}"
            plain[part.name] = value
        return plain


def check_keep(keep: float) -> None:
    """Refuse what is not a fraction in (0, 1].

    Raises:
        BadInputError: it is not.
    """
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= 1:
        raise BadInputError(f"keep is {keep!r}: give the fraction that stays, above 0 and at most 1.")


def size_of(num_examples: int, keep: float) -> int:
    """Exactly `floor(keep * n + 1/2)` of n examples."""
    return kept_size(num_examples, float(keep))
