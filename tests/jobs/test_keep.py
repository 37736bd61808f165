"""Keeping by one score or several."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from scipy.stats import rankdata

import datadiet as dd
import datadiet.selection
from datadiet.jobs.checks import try_rule


def table() -> dd.ScoreTable:
    generator = np.random.default_rng(0)
    columns = {
        "el2n": generator.random(40),
        "aum": generator.normal(size=40),
        "forgetting": generator.integers(0, 4, 40),
    }
    return dd.ScoreTable.from_seeds(np.arange(40), np.arange(40) % 2, [columns])


def test_several_scores_are_mixed_by_rank_each_in_its_own_direction() -> None:
    scores = table()
    ranks = {
        "el2n": rankdata(scores.column("el2n")),
        "aum": rankdata(-scores.column("aum")),  # low is hard
        "forgetting": rankdata(scores.column("forgetting")),
    }
    mixed = 2 * ranks["el2n"] + ranks["aum"] + 0.5 * ranks["forgetting"]
    expected = np.sort(np.lexsort((np.arange(40), -mixed))[:12])
    kept = dd.keep(scores, 0.3, by={"el2n": 2, "aum": 1, "forgetting": 0.5}, rule="hardest")
    np.testing.assert_array_equal(kept, expected)


def test_one_score_with_any_weight_is_that_score() -> None:
    scores = table()
    np.testing.assert_array_equal(dd.keep(scores, 0.5, by={"el2n": 3}), dd.keep(scores, 0.5, by="el2n"))


def test_an_unknown_score_in_a_mixture_is_refused() -> None:
    with pytest.raises(dd.BadInputError, match="el2m"):
        dd.keep(table(), 0.5, by={"el2n": 1, "el2m": 1})


ODD_NUMBERS = (
    True,
    -1,
    2**63,
    2**70,
    10**400,
    0.5,
    math.nan,
    math.inf,
    np.float64("nan"),
    "",
    "3",
    [],
    {},
    [[]],
)


@pytest.mark.parametrize("rule", dd.selection.rule_cards(), ids=lambda card: card.name)
def test_options_of_rules_are_held_to_their_types(rule):
    vectors = np.random.default_rng(0).random((40, 3))
    table = dd.ScoreTable.from_seeds(
        np.arange(40), np.arange(40) % 2, [dict.fromkeys(("el2n", "dual", "aum"), vectors[:, 0])]
    )
    given = [(name, odd) for name in (*rule.options, "seed", "floor", "balance") for odd in ODD_NUMBERS]
    for name, odd in given:
        with contextlib.suppress(dd.BadInputError):
            dd.keep(table, 0.5, by="el2n", rule=rule.name, embeddings=vectors, **{name: odd})


@pytest.mark.parametrize("odd", ODD_NUMBERS, ids=lambda odd: type(odd).__name__)
def test_other_arguments_are_held_to_their_types(odd):
    table = dd.ScoreTable.from_seeds(
        np.arange(9), np.arange(9) % 2, [{"el2n": np.arange(9.0), "aum": np.arange(9.0)}]
    )
    calls = [
        {"rule": odd},
        {"by": odd},
        {"by": {"el2n": odd, "aum": 1}},
        {"rule": "kcenter", "embeddings": odd},
    ]
    for call in [*calls, {"fraction": odd}]:
        with contextlib.suppress(dd.BadInputError):
            dd.keep(table, **{"fraction": 0.5, "by": "el2n", **call})
    with pytest.raises(dd.BadInputError):
        dd.keep(table, 0.5, by="el2n", rule=[odd])


def test_a_rule_drops_by_another_score_of_the_table_in_its_own_direction() -> None:
    scores = table()
    kept = dd.keep(scores, 0.5, by="el2n", rule="stratified", beta=0.25, drop_by="aum")
    assert not np.isin(kept, np.argsort(scores.column("aum"))[:10]).any()  # low is hard
    assert len(kept) == 20
    with pytest.raises(
        dd.BadInputError, match="also needs the score 'margin', which the table does not have"
    ):
        dd.keep(scores, 0.5, by="el2n", rule="stratified", drop_by="margin")
    with pytest.raises(dd.BadInputError, match="drop_by"):
        dd.keep(scores, 0.5, by="el2n", rule="stratified", drop_by=3)


def test_a_score_to_drop_by_is_that_of_the_epoch_or_the_one_that_is_named() -> None:
    generator = np.random.default_rng(1)
    columns = {name: generator.random(40) for name in ("el2n@2", "el2n@4", "loss@2", "loss@4")}
    scores = dd.ScoreTable.from_seeds(np.arange(40), np.arange(40) % 2, [columns])

    def keep(by: str, drop_by: str) -> np.ndarray:
        return dd.keep(scores, 0.5, by=by, rule="stratified", beta=0.25, drop_by=drop_by)

    hardest = {name: np.argsort(-scores.column(name))[:10] for name in ("loss@2", "loss@4")}
    assert not np.isin(keep("el2n@4", "loss"), hardest["loss@4"]).any()
    assert not np.isin(keep("el2n@4", "loss@2"), hardest["loss@2"]).any()


@pytest.mark.parametrize("rule", ["stratified", "d2"])
def test_a_score_to_drop_by_that_does_not_exist_is_refused_before_anything_is_trained(vectors, rule) -> None:
    with pytest.raises(dd.BadInputError, match="ama"):
        try_rule(vectors, [0.5], rule, {"drop_by": "ama"}, 0, {})
    try_rule(vectors, [0.5], rule, {"drop_by": "aum"}, 0, {})
