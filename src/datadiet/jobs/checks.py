"""What is asked of a command, held against what can be, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datadiet.data import Examples
from datadiet.foundation.errors import BadInputError
from datadiet.scores import card as score_card
from datadiet.selection import rule_card, select


def checked_fractions(keep: Sequence[float]) -> list[float]:
    """Kept fractions from largest to smallest, each once.

    Raises:
        BadInputError: one is outside (0, 1], or there is none.

    Example:
        >>> checked_fractions([0.3, 0.7, 0.3])
        [0.7, 0.3]
    """
    for fraction in keep:
        if not 0 < fraction <= 1:
            raise BadInputError(
                f"keep is {fraction:g}; it is the fraction that stays and must be above 0 and at most 1."
            )
    if not keep:
        raise BadInputError("keep is empty; give at least one fraction that stays, such as 0.5.")
    return sorted({float(fraction) for fraction in keep}, reverse=True)


def try_rule(
    examples: Examples,
    fractions: Sequence[float],
    rule: str,
    rule_options: Mapping[str, Any],
    seed: int,
    quotas: Mapping[str, Any],
) -> None:
    """Apply the rule to made-up scores: what it refuses, it refuses before anything is trained."""
    train = examples.train
    made_up = np.arange(len(train), dtype=np.float64)
    card = rule_card(rule)
    rule_options = dict(rule_options)
    named = card.scores_named_in(rule_options)
    for name in named:
        score_card(name)
    columns = {name: np.full(len(train), 0.5) for name in (*card.extra, *named)}
    if "embeddings" in card.needs:
        # Only what the rule refuses counts here, so a few examples do, and no search takes long.
        some, labels = (values[:: max(1, len(train) // 256)] for values in (train.ids, train.labels))
        made = np.random.default_rng(0).standard_normal((len(some), 2))
        few = {name: values[: len(some)] for name, values in columns.items()}
        given = {"labels": labels, "embeddings": made, "extra": few, **rule_options}
        select(some, made_up[: len(some)], 0.5, rule=rule, seed=0, **given)
        rule, rule_options = "random", {}  # which refuses the same quotas
    told = {"labels": train.labels, "seed": seed, "extra": columns, **rule_options, **quotas}
    for fraction in fractions:
        select(train.ids, made_up, fraction, rule=rule, **told)
