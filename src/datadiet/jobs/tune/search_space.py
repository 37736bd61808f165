"""Which options of a rule are tuned, and between which values."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from datadiet.data import Examples
from datadiet.foundation.errors import BadInputError
from datadiet.selection import rule_card, select

STEP = 0.01  # shares are tried in whole percents

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Range:
    """The values of one option that are tried.

    Args:
        name: of the option.
        low: the least.
        high: the greatest.
        whole: only whole numbers.
        first: what the first trial has.
    """

    name: str
    low: float
    high: float
    whole: bool
    first: float


def ranges_of(rule: str, keep: float, given: Mapping[str, Bounds] | None = None) -> list[Range]:
    """The ranges that a rule is tuned over: those given, else `beta` of "stratified", from 0 to what `keep` leaves.

    An option whose default is a whole number takes whole numbers; the first trial has the default where that is a
    number in the range, else the lower bound.

    Raises:
        BadInputError: the rule needs more than scores, has no such option, or none that is known how to tune; bounds
            that are no range.

    Example:
        >>> [(found.name, found.low, found.high) for found in ranges_of("stratified", 0.3)]
        [('beta', 0.0, 0.68)]
        >>> ranges_of("stratified", 0.3, {"strata": (10, 100)})[0].whole
        True
    """
    card = rule_card(rule)
    if card.needs != {"scores"}:
        raise BadInputError(f"Only rules that need scores and nothing else are tuned, which {rule!r} is not.")
    if not given:
        if rule != "stratified":
            known = f"; it has {', '.join(card.options)}" if card.options else ", and it has no options"
            raise BadInputError(
                f"Say which option of {rule!r} to tune and between which values, such as option=0:0.5{known}."
            )
        # Two percents short of what would leave just enough, as both shares are rounded to whole examples.
        given = {"beta": (0.0, round(float(np.floor((1 - keep) / STEP + 1e-9) - 2) * STEP, 9))}
    parameters = inspect.signature(card.function).parameters
    found = []
    for name, (low, high) in given.items():
        if name not in card.options:
            raise BadInputError(
                f"The rule {rule!r} has no option {name!r}; it has {', '.join(card.options) or 'none'}."
            )
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise BadInputError(f"{name} from {low:g} to {high:g} is no range; give the lower bound first.")
        default = parameters[name].default
        number = isinstance(default, (int, float)) and not isinstance(default, bool)
        whole = isinstance(default, int) and number
        if whole and not (float(low).is_integer() and float(high).is_integer()):
            raise BadInputError(f"{name} takes whole numbers, not {low:g} to {high:g}.")
        first = float(default) if number and low <= default <= high else float(low)
        found.append(Range(name, float(low), float(high), whole, first))
    return found


def refuse_bad_bounds(examples: Examples, rule: str, keep: float, ranges: list[Range]) -> None:
    """Apply the rule to made-up scores at the ends of the ranges: what it refuses, it refuses before any training.

    Raises:
        BadInputError: the rule refuses an end.
    """
    train = examples.train
    for end in ("low", "high"):
        options: dict[str, Any] = {
            found.name: int(getattr(found, end)) if found.whole else getattr(found, end) for found in ranges
        }
        select(train.ids, np.arange(len(train), dtype=float), keep, rule=rule, labels=train.labels, **options)
