"""Selectors by name, each with a card that says when to use it and when it fails."""

from __future__ import annotations

import copy
import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from datadiet.dynamic.selector import MEASURES, Selector
from datadiet.errors import BadInputError


@dataclass(frozen=True)
class SelectorCard:
    """What people should know about a selector before they use it.

    Args:
        name: what `DynamicSampler(selector=...)` calls it.
        when: one line, when to use it.
        fails: one line, when it is known to fail.
        source: the paper, or that the choice is ours.
        options: options by name, each with one line of what it does.
    """

    name: str
    when: str
    fails: str
    source: str
    options: Mapping[str, str] = field(default_factory=dict)


Class = TypeVar("Class", bound=type[Selector])

_SELECTORS: dict[str, tuple[SelectorCard, type[Selector]]] = {}


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
    card = SelectorCard(name, when, fails, source, dict(options or {}))

    def register(cls: Class) -> Class:
        if not (isinstance(cls, type) and issubclass(cls, Selector) and dataclasses.is_dataclass(cls)):
            raise BadInputError(f"selector {name!r} must be a dataclass that derives from Selector.")
        accepted = {part.name for part in dataclasses.fields(cls)}
        if accepted != set(card.options):
            raise BadInputError(
                f"selector {name!r} explains the options {sorted(card.options)} but has {sorted(accepted)}: "
                "make them the same."
            )
        if isinstance(cls.measure, str) and cls.measure not in MEASURES:
            raise BadInputError(
                f"selector {name!r} asks for the measure {cls.measure!r}; there are {', '.join(MEASURES)}."
            )
        cls.name = name
        _SELECTORS[name] = (card, cls)
        return cls

    return register


def forget_selector(name: str) -> None:
    """Take a selector out of the registry again."""
    selector_card(name)
    del _SELECTORS[name]


def selector_card(name: str) -> SelectorCard:
    """The card of one selector.

    Raises:
        BadInputError: there is no such selector; the message has the nearest name.

    Example:
        >>> selector_card("infobach")
        Traceback (most recent call last):
        ...
        datadiet.errors.BadInputError: There is no selector 'infobach'. Did you mean 'infobatch'?
    """
    return _find(name)[0]


def selector_cards() -> tuple[SelectorCard, ...]:
    """All cards, in the order in which their selectors were registered."""
    return tuple(card for card, _ in _SELECTORS.values())


def make_selector(given: str | Selector, **options: Any) -> Selector:
    """A selector of one's own: from a name and options, or a copy of one that is given.

    Raises:
        BadInputError: unknown name or option, or options beside a selector that is already made.
    """
    if isinstance(given, Selector):
        if options:
            raise BadInputError("this selector already has its options; give them to it.")
        return copy.deepcopy(given)
    card, cls = _find(given)
    unknown = sorted(set(options) - set(card.options))
    if unknown:
        known = ", ".join(card.options) or "none"
        raise BadInputError(f"selector {given!r} has no option {unknown[0]!r}; it has {known}.")
    return cls(**options)


def _find(name: str) -> tuple[SelectorCard, type[Selector]]:
    if isinstance(name, str) and name in _SELECTORS:
        return _SELECTORS[name]
    nearest = difflib.get_close_matches(str(name), _SELECTORS, n=1, cutoff=0.5)
    advice = f"Did you mean {nearest[0]!r}?" if nearest else f"Choose from {', '.join(_SELECTORS)}."
    raise BadInputError(f"There is no selector {name!r}. {advice}")
