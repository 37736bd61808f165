"""Rules by name, each with a card, and the pool of examples that a rule chooses from."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from datadiet.foundation.errors import BadInputError


@dataclass(frozen=True)
class Pool:
    """What a rule may look at: one row an example, sorted by id, so that a tie goes to the lower row.

    Args:
        ids: int64, shape (n,), strictly increasing.
        hardness: shape (n,), floating, higher = harder, no NaN; None for rules that need no scores.
        labels: class codes 0, 1, ... in the order of the sorted class names, shape (n,), or None.
        embeddings: shape (n, dimensions), or None.
        extra: further columns by name, each with n rows.
    """

    ids: npt.NDArray[np.int64]
    hardness: npt.NDArray[Any] | None = None
    labels: npt.NDArray[np.int64] | None = None
    embeddings: npt.NDArray[Any] | None = None
    extra: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: npt.NDArray[np.int64]) -> Pool:
        """The pool of these rows alone; `rows` must be increasing."""
        return Pool(
            ids=self.ids[rows],
            hardness=None if self.hardness is None else self.hardness[rows],
            labels=None if self.labels is None else self.labels[rows],
            embeddings=None if self.embeddings is None else self.embeddings[rows],
            extra={name: column[rows] for name, column in self.extra.items()},
        )

    def scores(self) -> npt.NDArray[Any]:
        """The hardness of every row, or an error where none was given."""
        if self.hardness is None:
            raise BadInputError("This rule needs scores: pass hardness, one number an example.")
        return self.hardness

    def classes(self) -> npt.NDArray[np.int64]:
        """The class code of every row, or an error where none was given."""
        if self.labels is None:
            raise BadInputError("This rule needs labels: pass one an example.")
        return self.labels

    def vectors(self) -> npt.NDArray[Any]:
        """The embeddings, shape (n, dimensions), or an error where none were given."""
        if self.embeddings is None:
            raise BadInputError("This rule needs embeddings: pass one row an example.")
        return self.embeddings


NEEDS = frozenset({"scores", "labels", "embeddings", "trace"})


@dataclass(frozen=True)
class RuleCard:
    """What people should know about a rule before they use it.

    Args:
        name: what `select(rule=...)` calls it.
        needs: which of "scores", "labels", "embeddings", "trace" it cannot do without.
        when: one line, when to use it.
        fails: one line, when it is known to fail.
        source: the paper, or that the choice is ours.
        options: keyword options by name, each with one line of what it does.
        extra: names of the columns that a rule with "trace" among its needs reads from `extra`.
    """

    name: str
    needs: frozenset[str]
    when: str
    fails: str
    source: str
    options: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()


class RuleFunction(Protocol):
    """A rule: which rows of the pool stay. It returns exactly `size` distinct rows, in any order."""

    def __call__(
        self, pool: Pool, size: int, generator: np.random.Generator, **options: Any
    ) -> npt.NDArray[np.int64]: ...


Function = TypeVar("Function", bound=Callable[..., npt.NDArray[np.int64]])

_RULES: dict[str, tuple[RuleCard, Callable[..., npt.NDArray[np.int64]]]] = {}


def selection_rule(
    name: str,
    *,
    needs: Iterable[str] = ("scores",),
    when: str,
    fails: str,
    source: str,
    options: Mapping[str, str] | None = None,
    extra: Iterable[str] = (),
) -> Callable[[Function], Function]:
    """Make a function a rule of selection, with its class-proportional and class-balanced forms for free.

    The function takes `(pool, size, generator, *, options...)` and returns the rows of the pool that stay:
    exactly `size` of them, each once. Its keyword-only parameters are its options. A name may be registered
    again: the latest wins.

    Raises:
        BadInputError: `needs` has an unknown word, or `options` are not the function's keyword-only
            parameters.

    Example:
        >>> @selection_rule("every_other", needs=(), when="Never.", fails="Often.", source="ours")
        ... def every_other(pool, size, generator):
        ...     return np.r_[np.arange(0, len(pool), 2), np.arange(1, len(pool), 2)][:size]
        >>> from datadiet.selection import select
        >>> select(np.arange(10), None, 0.3, rule="every_other").tolist()
        [0, 2, 4]
        >>> forget_rule("every_other")
    """
    words = frozenset(needs)
    if unknown := sorted(words - NEEDS):
        raise BadInputError(
            f"Rule {name!r} needs {unknown}, which nobody knows: choose from {sorted(NEEDS)}."
        )
    card = RuleCard(name, words, when, fails, source, dict(options or {}), tuple(extra))

    def register(function: Function) -> Function:
        parameters = inspect.signature(function).parameters.values()
        accepted = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
        if accepted != set(card.options):
            raise BadInputError(
                f"Rule {name!r} explains the options {sorted(card.options)} but takes {sorted(accepted)}: "
                "make them the same."
            )
        _RULES[name] = (card, function)
        return function

    return register


def forget_rule(name: str) -> None:
    """Take a rule out of the registry again."""
    rule_card(name)
    del _RULES[name]


def rule_card(name: str) -> RuleCard:
    """The card of one rule.

    Raises:
        BadInputError: there is no such rule; the message has the nearest name.

    Example:
        >>> rule_card("hardest").needs
        frozenset({'scores'})
        >>> rule_card("hardst")
        Traceback (most recent call last):
        ...
        datadiet.foundation.errors.BadInputError: There is no rule 'hardst'. Did you mean 'hardest'?
    """
    return _find(name)[0]


def rule_cards() -> tuple[RuleCard, ...]:
    """All cards, in the order in which their rules were registered."""
    return tuple(card for card, _ in _RULES.values())


def rule_function(name: str) -> Callable[..., npt.NDArray[np.int64]]:
    """The function behind a rule; `select` is what calls it with checked input."""
    return _find(name)[1]


def _find(name: str) -> tuple[RuleCard, Callable[..., npt.NDArray[np.int64]]]:
    if name in _RULES:
        return _RULES[name]
    if name in _SCORES_NOT_RULES:
        raise BadInputError(f"{name!r} is a score, not a rule: use that score with the rule 'hardest'.")
    nearest = difflib.get_close_matches(str(name), _RULES, n=1, cutoff=0.5)
    advice = f"Did you mean {nearest[0]!r}?" if nearest else f"Choose from {', '.join(_RULES)}."
    raise BadInputError(f"There is no rule {name!r}. {advice}")


# Papers that name a method after its score and then keep the top of it.
_SCORES_NOT_RULES = frozenset({"tdds", "el2n", "grand", "forgetting", "aum", "dyn_unc"})
