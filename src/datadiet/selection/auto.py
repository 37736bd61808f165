"""Which rule suits how much is kept of how large a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from datadiet.selection.pool import Pool
from datadiet.selection.registry import rule_function, selection_rule
from datadiet.selection.sizes import kept_size

# Our choice, read off the published curves (30, 50 and 70 % pruned, with 5,000 and with 500 examples a
# class) and our own with 600: hardest first is ahead of coverage-centric selection where 3,500 and 2,500
# examples a class stay, level where 350 do at 0.7, and behind where 420 do at 0.7 of the smallest data, where
# 250 do at half, and everywhere at 0.3. The limit between 420 and 3,500 is a guess.
MUCH_KEPT = 0.7
MUCH_KEPT_PER_CLASS = 1000
HALF_KEPT = 0.5
HALF_KEPT_PER_CLASS = 2500


@dataclass(frozen=True)
class AutoChoice:
    """The rule that `auto` uses, its options, and one sentence why."""

    rule: str
    reason: str
    options: Mapping[str, Any] = field(default_factory=dict)


def explain_auto(n: int, keep: float | int, num_classes: int = 1) -> AutoChoice:
    """The rule that `auto` chooses for `n` examples, and why.

    `hardest` wins while enough of every class stays that the easy part is still covered; below that it
    collapses, and `stratified` takes over. The limits are our reading of published results, not a law.

    Args:
        n: number of examples.
        keep: fraction that stays, or an int count.
        num_classes: number of classes; 1 where unknown.

    Raises:
        BadInputError: keep is no fraction in (0, 1] or count in [1, n].

    Example:
        >>> explain_auto(50_000, 0.7, 10).rule, explain_auto(50_000, 0.3, 10).rule
        ('hardest', 'stratified')
        >>> print(explain_auto(5_000, 0.1, 5).reason)
        10 % stays, 100 examples a class: too few for the hardest alone, so all strata are covered.
    """
    size = kept_size(n, keep)
    fraction, a_class = size / n, size / max(1, num_classes)
    facts = f"{100 * fraction:.3g} % stays, {a_class:.4g} examples a class"
    if size == n:
        return AutoChoice("hardest", "Everything stays, whatever the rule.")
    if fraction >= MUCH_KEPT and a_class >= MUCH_KEPT_PER_CLASS:
        return AutoChoice(
            "hardest", f"{facts}: much is kept, and the easiest examples are the ones to miss least."
        )
    if fraction >= HALF_KEPT and a_class >= HALF_KEPT_PER_CLASS:
        return AutoChoice(
            "hardest", f"{facts}: enough of every class stays for the hardest to teach the rest."
        )
    return AutoChoice("stratified", f"{facts}: too few for the hardest alone, so all strata are covered.")


@selection_rule(
    "auto",
    when="You do not want to choose: hardest while much is kept of a large data set, stratified below.",
    fails="Its limits come from image benchmarks with clean labels; with much label noise, tune a "
    "window instead.",
    source="our choice, from published accuracy curves",
)
def auto(pool: Pool, size: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """The rule that `explain_auto` names, with its options."""
    classes = 1 if pool.labels is None else len(np.unique(pool.labels))
    choice = explain_auto(len(pool), size, classes)
    return rule_function(choice.rule)(pool, size, generator, **choice.options)
