"""Keeping by one score or several."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

import datadiet as dd


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
    kept = dd.keep(scores, 0.3, by={"el2n": 2, "aum": 1, "forgetting": 0.5})
    np.testing.assert_array_equal(kept, expected)


def test_one_score_with_any_weight_is_that_score() -> None:
    scores = table()
    np.testing.assert_array_equal(dd.keep(scores, 0.5, by={"el2n": 3}), dd.keep(scores, 0.5, by="el2n"))


def test_an_unknown_score_in_a_mixture_is_refused() -> None:
    with pytest.raises(dd.BadInputError, match="el2m"):
        dd.keep(table(), 0.5, by={"el2n": 1, "el2m": 1})
