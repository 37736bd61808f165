"""The card of every score: what it needs, which way it points, where it comes from."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from datadiet.foundation.errors import BadInputError

Needs = Literal["outputs", "trace", "gradients", "features", "embeddings", "inputs", "ids"]

#: A score's name, and a name in a table, which may say the epoch: `el2n`, `el2n@4`.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_COLUMN = re.compile(r"([A-Za-z][A-Za-z0-9_]*)(@\d+(?:\.\d+)?)?")


@dataclass(frozen=True)
class ScoreCard:
    """What there is to know about a score before computing it.

    Args:
        name: as in tables and on the command line.
        needs: what the function is given: `outputs` (logits, targets), `trace` (columns of training passes),
            `gradients` (the model and a batch), `features` (logits, targets, input of the last layer),
            `embeddings` (those of all examples, labels, a seed), `inputs`, or `ids`.
        higher_is_harder: False for scores that keep the sign of their paper and fall with difficulty.
        range: lowest and highest possible value.
        source: the paper.
        summary: one sentence.
        function: the pure function; None for `grand`, which needs a model (`datadiet.pergrad`).
        columns: for `needs="trace"`, the trace columns that the function takes, in its order.
    """

    name: str
    needs: Needs
    higher_is_harder: bool
    range: tuple[float, float]
    source: str
    summary: str
    function: Callable[..., Any] | None
    columns: tuple[str, ...] = ()


_CARDS: dict[str, ScoreCard] = {}
Function = TypeVar("Function", bound=Callable[..., Any])


def add_card(card: ScoreCard) -> None:
    """Register a score by its card.

    Raises:
        BadInputError: the name is taken or not a plain name, or `needs` is unknown.
    """
    if not _NAME.fullmatch(card.name):
        raise BadInputError(
            f"score name {card.name!r} must be letters, digits and underscores, a letter first."
        )
    if card.name in _CARDS:
        raise BadInputError(f"a score named {card.name!r} exists already; choose another name.")
    if card.needs not in get_args(Needs):
        raise BadInputError(f"score {card.name!r} needs {card.needs!r}; it must be one of {get_args(Needs)}.")
    if card.needs == "trace" and not card.columns:
        raise BadInputError(f"score {card.name!r} needs the trace: name the columns that it takes.")
    _CARDS[card.name] = card


def register_score(
    name: str,
    *,
    needs: Needs,
    higher_is_harder: bool = True,
    range: tuple[float, float] = (-math.inf, math.inf),
    source: str = "",
    summary: str | None = None,
    columns: tuple[str, ...] = (),
) -> Callable[[Function], Function]:
    """Register a function as a score; it is returned unchanged.

    A score of `outputs` takes (logits, targets) as tensors; one of the `trace` takes its columns as
    (epochs, n) arrays and the keyword `seen`; each returns (n,).

    Raises:
        BadInputError: the name is taken or not a plain name, or `needs` is unknown.

    Example:
        >>> @register_score("largest_logit", needs="outputs", summary="How high the model aims.")
        ... def largest_logit(logits, targets):
        ...     return -logits.amax(dim=1)
        >>> card("largest_logit").higher_is_harder
        True
        >>> unregister_score("largest_logit")
    """

    def register(function: Function) -> Function:
        text = summary if summary is not None else (function.__doc__ or "").strip().split("\n")[0]
        add_card(ScoreCard(name, needs, higher_is_harder, range, source, text, function, columns))
        return function

    return register


def unregister_score(name: str) -> None:
    """Forget a registered score.

    Raises:
        BadInputError: there is none of that name.
    """
    del _CARDS[card(name).name]


def base_name(name: str) -> str:
    """The score of a table column: `el2n` for `el2n@4`.

    Raises:
        BadInputError: the name is not one that a column can have.

    Example:
        >>> base_name("el2n@4")
        'el2n'
    """
    found = _COLUMN.fullmatch(name)
    if not found:
        raise BadInputError(f"{name!r} is not a score name; it must look like el2n or el2n@4.")
    return found.group(1)


def card(name: str) -> ScoreCard:
    """The card of a score; a table's `el2n@4` finds the card of `el2n`.

    Raises:
        BadInputError: no score has that name; the nearest is suggested.

    Example:
        >>> card("aum").higher_is_harder
        False
    """
    found = _CARDS.get(name.split("@")[0])
    if found is None:
        near = difflib.get_close_matches(name.split("@")[0].lower(), _CARDS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(_CARDS))}."
        raise BadInputError(f"there is no score named {name!r}; {hint}")
    return found


def cards() -> tuple[ScoreCard, ...]:
    """Every registered card, in the order of registration.

    Example:
        >>> [found.name for found in cards()][:2]
        ['el2n', 'l1_error']
    """
    return tuple(_CARDS.values())
