"""Looks while seeds are added: what they spend, and that all together err as often as one would."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from datadiet.foundation.looks import level_of_look, spent_by


@pytest.mark.parametrize("plans", [(3,), (8,), (20,), (8, 14), (3, 8, 14)])
@pytest.mark.parametrize("error", [0.05, 0.0125])
def test_what_is_spent_grows_and_never_reaches_the_whole(plans, error) -> None:
    spent = [spent_by(seeds, error, plans) for seeds in range(3, plans[-1] + 1)]
    assert all(now > 0 for now in np.diff([0, *spent]))
    assert spent[-1] < error
    assert spent_by(2, error, plans) == 0
    assert spent_by(plans[0], error, plans) == pytest.approx(0.95 * error)


def test_a_later_plan_leaves_the_looks_of_an_earlier_one_as_they_were() -> None:
    for seeds in range(3, 9):
        assert level_of_look(seeds, 0.05, (8,)) == level_of_look(seeds, 0.05, (8, 14))


def test_a_later_plan_spends_what_is_left_from_where_the_earlier_one_ended() -> None:
    left = 0.95 * (0.05 - spent_by(8, 0.05, (8,)))
    for seeds in (9, 11, 14):
        expected = spent_by(8, 0.05, (8,)) + left * ((seeds - 8) / 6) ** 2
        assert spent_by(seeds, 0.05, (8, 14)) == pytest.approx(expected)


def test_one_look_has_what_it_spends() -> None:
    assert level_of_look(3, 0.05, (3,)) == pytest.approx(0.0475)


@pytest.mark.parametrize("floor", [0.0, 2.0])
@pytest.mark.parametrize("plans", [(8,), (3, 8), (5, 12)])
def test_all_looks_together_err_as_often_as_is_spent(plans, floor) -> None:
    """Simulated: means of more and more seeds, on test examples that are all the same for all looks."""
    generator = np.random.default_rng(1)
    most, draws, error = plans[-1], 200_000, 0.05
    seeds = np.arange(3, most + 1)
    running = np.cumsum(generator.standard_normal((draws, most)), axis=1)[:, 2:] / seeds
    means = running + floor * generator.standard_normal((draws, 1))
    scaled = means / np.sqrt(floor**2 + 1 / seeds)
    bounds = [stats.norm.isf(level_of_look(int(number), error, plans)) for number in seeds]
    erred = (scaled > bounds).any(axis=1).mean()
    if floor == 0:
        assert erred == pytest.approx(spent_by(most, error, plans), abs=0.002)
    else:
        assert erred < spent_by(most, error, plans)


@pytest.mark.parametrize("seeds", [2, 9])
def test_looks_that_are_not_planned_are_refused(seeds) -> None:
    with pytest.raises(ValueError, match="not planned"):
        level_of_look(seeds, 0.05, (8,))
