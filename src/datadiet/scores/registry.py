"""The card of every score: what it needs, which way it points, where it comes from."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.registry import Registry
from datadiet.scores.passes import FIRST_EPOCH, OVER_THE_PASS, mean_over_the_pass

Needs = Literal["outputs", "trace", "gradients", "features", "embeddings", "inputs", "ids"]
Function = TypeVar("Function", bound=Callable[..., Any])

#: A score's name, and a name in a table, which may say the epoch: `el2n`, `el2n@4`.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_COLUMN = re.compile(r"([A-Za-z][A-Za-z0-9_]*)(@\d+(?:\.\d+)?)?")

#: Ranges and papers that several cards name.
ANY = (0.0, math.inf)
SIGNED = (-math.inf, math.inf)
DATA_DIET = "Paul, Ganguli, Dziugaite, Deep Learning on a Data Diet, NeurIPS 2021"
CARTOGRAPHY = "Swayamdipta et al., Dataset Cartography, EMNLP 2020"
AUM = "Pleiss et al., Identifying Mislabeled Data using the Area Under the Margin Ranking, NeurIPS 2020"


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

    Raises:
        BadInputError: the name is not a plain one, `needs` is unknown, or a score of the trace names no columns.
    """

    name: str
    needs: Needs
    higher_is_harder: bool
    range: tuple[float, float]
    source: str
    summary: str
    function: Callable[..., Any] | None
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BadInputError(
                f"score name {self.name!r} must be letters, digits and underscores, a letter first."
            )
        if self.needs not in get_args(Needs):
            raise BadInputError(
                f"score {self.name!r} needs {self.needs!r}; it must be one of {get_args(Needs)}."
            )
        if self.needs == "trace" and not self.columns:
            raise BadInputError(f"score {self.name!r} needs the trace: name the columns that it takes.")


def _over_the_pass(of: ScoreCard) -> ScoreCard:
    """The card of the mean over the training pass of a score of outputs."""
    return replace(
        of,
        name=f"{OVER_THE_PASS}{of.name}",
        needs="trace",
        summary=f"Mean of {of.name} over the training pass, from epoch {FIRST_EPOCH} on.",
        source=f"{of.source}; over the training pass: ours",
        function=mean_over_the_pass,
        columns=(of.name,),
    )


class Scores(Registry[ScoreCard]):
    """Scores by name; with each score of outputs comes and goes its mean over the training pass."""

    def add(self, name: str, card: ScoreCard) -> None:
        """Make a score known by a name.

        Raises:
            BadInputError: the name is taken, or that of its mean is.
        """
        super().add(name, card)
        if card.needs == "outputs":
            try:
                super().add(f"{OVER_THE_PASS}{name}", _over_the_pass(card))
            except BadInputError:
                super().forget(name)
                raise

    def forget(self, name: str) -> None:
        """Take a score out again, and its mean over the training pass.

        Raises:
            BadInputError: there is none of that name.
        """
        had_mean = self[name].needs == "outputs"
        super().forget(name)
        if had_mean:
            super().forget(f"{OVER_THE_PASS}{name}")


SCORES = Scores("score", unique=True)


def register_score(
    name: str,
    *,
    needs: Needs,
    higher_is_harder: bool = True,
    range: tuple[float, float] = SIGNED,
    source: str = "",
    summary: str | None = None,
    columns: tuple[str, ...] = (),
) -> Callable[[Function], Function]:
    """Register a function as a score; it is returned unchanged.

    A score of `outputs` takes (logits, targets) as tensors; one of the `trace` takes its columns as
    (epochs, n) arrays and the keyword `seen`; each returns (n,). Its summary is the first line of its docstring
    unless given.

    Raises:
        BadInputError: the name is taken or not a plain name, or `needs` is unknown.

    Example:
        >>> @register_score("largest_logit", needs="outputs", summary="How high the model aims.")
        ... def largest_logit(logits, targets):
        ...     return -logits.amax(dim=1)
        >>> card("largest_logit").higher_is_harder
        True
        >>> SCORES.forget("largest_logit")
    """

    def register(function: Function) -> Function:
        text = summary if summary is not None else (function.__doc__ or "").strip().split("\n")[0]
        SCORES.add(name, ScoreCard(name, needs, higher_is_harder, range, source, text, function, columns))
        return function

    return register


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
    return SCORES[name.split("@")[0]]


def cards() -> tuple[ScoreCard, ...]:
    """Every registered card, in the order of registration.

    Example:
        >>> [found.name for found in cards()][:2]
        ['el2n', 'mean_el2n']
    """
    return SCORES.cards()
