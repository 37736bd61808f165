"""What a selector is, and selectors by name, each with a card that says when to use it and when it fails."""

from __future__ import annotations

import copy
import dataclasses
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_type_hints

import numpy as np

from datadiet.dynamic.choice import Choice, Cycle
from datadiet.dynamic.schedule import Schedule
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.parsing import require
from datadiet.foundation.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: The numbers of an example that a selector may ask for, each from logits and targets.
MEASURES = ("loss", "el2n", "probability")


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
    #: Whether its choices may carry weights.
    may_weigh: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        try:
            hints = get_type_hints(type(self))
        except NameError:  # annotations of somebody's own that only a type checker can follow
            return
        for part in dataclasses.fields(self):
            require(getattr(self, part.name), hints[part.name], part.name)

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
        return {part.name: plain(getattr(self, part.name)) for part in dataclasses.fields(self)}


def plain(value: Any) -> Any:
    """The value as it is compared and saved: an array by its checksum."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return f"crc32:{zlib.crc32(np.ascontiguousarray(value).tobytes()):08x}"


@dataclass(frozen=True)
class SelectorCard:
    """What people should know about a selector before they use it.

    Args:
        name: what `DynamicSampler(selector=...)` calls it.
        when: one line, when to use it.
        fails: one line, when it is known to fail.
        source: the paper, or that the choice is ours.
        options: options by name, each with one line of what it does.
        make: the selector's class.
    """

    name: str
    when: str
    fails: str
    source: str
    options: Mapping[str, str] = field(default_factory=dict)
    make: Callable[..., Selector] = field(default=Selector, repr=False)


Class = TypeVar("Class", bound=type[Selector])

_SELECTORS: Registry[SelectorCard] = Registry("selector")


def register_selector(
    name: str, *, when: str, fails: str, source: str, options: Mapping[str, str] | None = None
) -> Callable[[Class], Class]:
    """Make a dataclass that derives from `Selector` known by a name. A name may be registered again.

    Raises:
        BadInputError: the class is no selector, `options` are not its fields, or its measure is unknown.

    Example:
        >>> import numpy as np
        >>> from datadiet.dynamic import Choice, DynamicSampler
        >>> @register_selector("largest-loss", when="Never.", fails="Often.", source="ours",
        ...                    options={"count": "how many stay"})
        ... @dataclass
        ... class LargestLoss(Selector):
        ...     count: int = 2
        ...     def choose(self, cycle):
        ...         worst = np.argsort(-self.arrays["value"], kind="stable")[: self.count]
        ...         return Choice(np.sort(worst))
        >>> sampler = DynamicSampler(5, selector="largest-loss", seed=0)
        >>> _ = list(sampler); sampler.update([0, 1, 2, 3, 4], np.array([.1, .9, .2, .8, .3])); sampler.end_epoch()
        >>> sorted(sampler)
        [1, 3]
        >>> forget_selector("largest-loss")
    """
    explained = dict(options or {})

    def register(cls: Class) -> Class:
        if not (isinstance(cls, type) and issubclass(cls, Selector) and dataclasses.is_dataclass(cls)):
            raise BadInputError(f"selector {name!r} must be a dataclass that derives from Selector.")
        accepted = {part.name for part in dataclasses.fields(cls)}
        if accepted != set(explained):
            raise BadInputError(
                f"selector {name!r} explains the options {sorted(explained)} but has {sorted(accepted)}: "
                "make them the same."
            )
        if isinstance(cls.measure, str) and cls.measure not in MEASURES:
            raise BadInputError(
                f"selector {name!r} asks for the measure {cls.measure!r}; there are {', '.join(MEASURES)}."
            )
        cls.name = name
        _SELECTORS.add(name, SelectorCard(name, when, fails, source, explained, cls))
        return cls

    return register


def forget_selector(name: str) -> None:
    """Take a selector out of the registry again."""
    _SELECTORS.forget(name)


def selector_card(name: str) -> SelectorCard:
    """The card of one selector.

    Raises:
        BadInputError: there is no such selector; the message has the nearest name.

    Example:
        >>> selector_card("infobach")
        Traceback (most recent call last):
        ...
        datadiet.foundation.errors.BadInputError: There is no selector 'infobach'. Did you mean 'infobatch'?
    """
    return _SELECTORS[name]


def selector_cards() -> tuple[SelectorCard, ...]:
    """All cards, in the order in which their selectors were registered."""
    return _SELECTORS.cards()


def make_selector(given: str | Selector, **options: Any) -> Selector:
    """A selector of one's own: from a name and options, or a copy of one that is given.

    Raises:
        BadInputError: unknown name or option, or options beside a selector that is already made.
    """
    if isinstance(given, Selector):
        if options:
            raise BadInputError("this selector already has its options; give them to it.")
        return copy.deepcopy(given)
    card = _SELECTORS[given]
    unknown = sorted(set(options) - set(card.options))
    if unknown:
        known = ", ".join(card.options) or "none"
        raise BadInputError(f"selector {given!r} has no option {unknown[0]!r}; it has {known}.")
    return card.make(**options)
