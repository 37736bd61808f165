"""Things by name, each with a card: scores, rules, selectors, models, studies, formats."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Generic, TypeVar

from datadiet.foundation.errors import BadInputError

Card = TypeVar("Card")


class Registry(Generic[Card]):
    """Cards by name, in the order in which they were added; a name that is unknown gets the nearest one said.

    A card says what there is to know of a thing before it is used, and holds the thing itself. The decorators that
    add to a registry stand beside the cards: `register_score`, `selection_rule`, `register_selector`, `model`.

    Args:
        kind: what the things are, in one word, as it stands in messages: "score", "rule".
        unique: refuse a name that is taken; otherwise the latest wins.

    Example:
        >>> fruit = Registry("fruit")
        >>> fruit.add("apple", "round")
        >>> fruit.add("banana", "bent")
        >>> fruit["apple"], list(fruit), "pear" in fruit
        ('round', ['apple', 'banana'], False)
        >>> fruit["aple"]
        Traceback (most recent call last):
        ...
        datadiet.foundation.errors.BadInputError: There is no fruit 'aple'. Did you mean 'apple'?
        >>> fruit.forget("apple")
        >>> fruit.cards()
        ('bent',)
    """

    def __init__(self, kind: str, *, unique: bool = False) -> None:
        self.kind = kind
        self.unique = unique
        self._cards: dict[str, Card] = {}

    def add(self, name: str, card: Card) -> None:
        """Make a card known by a name.

        Raises:
            BadInputError: the name is taken, where names are unique.
        """
        if self.unique and name in self._cards:
            raise BadInputError(f"A {self.kind} named {name!r} exists already; choose another name.")
        self._cards[name] = card

    def forget(self, name: str) -> None:
        """Take a card out again.

        Raises:
            BadInputError: there is none of that name.
        """
        self[name]
        del self._cards[name]

    def cards(self) -> tuple[Card, ...]:
        """Every card, in the order in which they were added."""
        return tuple(self._cards.values())

    def missing(self, name: object) -> BadInputError:
        """The error for a name that is not here, with the nearest one or all of them."""
        nearest = difflib.get_close_matches(str(name).lower(), self._cards, n=1, cutoff=0.5)
        advice = f"Did you mean {nearest[0]!r}?" if nearest else f"Choose from {', '.join(self._cards)}."
        return BadInputError(f"There is no {self.kind} {name!r}. {advice}")

    def __getitem__(self, name: str) -> Card:
        if name not in self:
            raise self.missing(name)
        return self._cards[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._cards

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def __len__(self) -> int:
        return len(self._cards)
