"""Rules by name, each with a card, and the pool of examples that a rule chooses from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.parsing import require
from datadiet.foundation.registry import Registry
from datadiet.selection.sizes import Rows

NEEDS = frozenset({"scores", "labels", "embeddings", "trace"})

# Papers that name a method after its score and then keep the top of it.
_SCORES_NOT_RULES = frozenset({"tdds", "tdds_label", "el2n", "grand", "forgetting", "aum", "dyn_unc"})


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

    ids: NDArray[np.int64]
    hardness: NDArray[Any] | None = None
    labels: NDArray[np.int64] | None = None
    embeddings: NDArray[Any] | None = None
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Rows) -> Pool:
        """The pool of these rows alone; `rows` must be increasing."""
        return Pool(
            ids=self.ids[rows],
            hardness=None if self.hardness is None else self.hardness[rows],
            labels=None if self.labels is None else self.labels[rows],
            embeddings=None if self.embeddings is None else self.embeddings[rows],
            extra={name: column[rows] for name, column in self.extra.items()},
        )

    def scores(self) -> NDArray[Any]:
        """The hardness of every row, or an error where none was given."""
        return _given(self.hardness, "scores: pass hardness, one number")

    def classes(self) -> NDArray[np.int64]:
        """The class code of every row, or an error where none was given."""
        return _given(self.labels, "labels: pass one")

    def vectors(self) -> NDArray[Any]:
        """The embeddings, shape (n, dimensions), or an error where none were given."""
        return _given(self.embeddings, "embeddings: pass one row")


def _given(values: NDArray[Any] | None, what: str) -> NDArray[Any]:
    if values is None:
        raise BadInputError(f"This rule needs {what} an example.")
    return values


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
        function: which rows of the pool stay: `function(pool, size, generator, **options)` returns exactly `size`
            distinct rows, in any order. `select` is what calls it with checked input.
        named_scores: options whose value is the name of one more score, which is read from `extra`, higher = harder.
    """

    name: str
    needs: frozenset[str]
    when: str
    fails: str
    source: str
    options: Mapping[str, str]
    extra: tuple[str, ...]
    function: Callable[..., Rows]
    named_scores: tuple[str, ...] = ()

    def scores_named_in(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the further scores that options of the rule ask for."""
        named = (options.get(option) for option in self.named_scores)
        return tuple(dict.fromkeys(name for name in named if isinstance(name, str)))


Function = TypeVar("Function", bound=Callable[..., Rows])

RULES: Registry[RuleCard] = Registry("rule")


def selection_rule(
    name: str,
    *,
    needs: Iterable[str] = ("scores",),
    when: str,
    fails: str,
    source: str,
    options: Mapping[str, str] | None = None,
    extra: Iterable[str] = (),
    named_scores: Iterable[str] = (),
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
        >>> RULES.forget("every_other")
    """
    words = frozenset(needs)
    if unknown := sorted(words - NEEDS):
        raise BadInputError(
            f"Rule {name!r} needs {unknown}, which nobody knows: choose from {sorted(NEEDS)}."
        )
    explained = dict(options or {})

    def register(function: Function) -> Function:
        parameters = inspect.signature(function).parameters.values()
        accepted = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
        if accepted != set(explained):
            raise BadInputError(
                f"Rule {name!r} explains the options {sorted(explained)} but takes {sorted(accepted)}: "
                "make them the same."
            )
        columns, named = tuple(extra), tuple(named_scores)
        RULES.add(name, RuleCard(name, words, when, fails, source, explained, columns, function, named))
        return function

    return register


def option_types(card: RuleCard) -> dict[str, Any]:
    """The type of each option of a rule, as its function says it; none where only a type checker can follow."""
    try:
        hints = get_type_hints(card.function)
    except NameError:
        return {}
    return {name: hints[name] for name in card.options if name in hints}


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
    require(name, str, "rule")
    if name in _SCORES_NOT_RULES and name not in RULES:
        raise BadInputError(f"{name!r} is a score, not a rule: use that score with the rule 'hardest'.")
    return RULES[name]


def rule_cards() -> tuple[RuleCard, ...]:
    """All cards, in the order in which their rules were registered."""
    return RULES.cards()
