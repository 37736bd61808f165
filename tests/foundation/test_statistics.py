"""Intervals: right where theory gives the answer, and covering as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from datadiet.foundation.statistics import (
    Trained,
    accuracy_interval,
    difference_interval,
    example_variance,
    least_loss,
    saved_interval,
)


def test_one_seed_gives_the_binomial_interval_of_the_test_examples() -> None:
    generator = np.random.default_rng(0)
    correct = generator.random((1, 4_000)) < 0.8
    found = accuracy_interval(correct)
    p = correct.mean()
    half = 1.96 * np.sqrt(p * (1 - p) / 4_000)
    assert found.mean == pytest.approx(p)
    assert found.low == pytest.approx(p - half, abs=0.08 * half)
    assert found.high == pytest.approx(p + half, abs=0.08 * half)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_the_level_is_that_of_the_normal_quantile_where_seeds_say_nothing(level) -> None:
    generator = np.random.default_rng(4)
    full, arm = generator.random((2, 1, 5_000)) < 0.9
    z = stats.norm.isf((1 - level) / 2)
    differences = arm[0].astype(float) - full[0]
    found = difference_interval(arm, full, level=level)
    assert (found.high - found.low) / 2 == pytest.approx(
        z * differences.std(ddof=1) / np.sqrt(5_000), rel=0.01
    )
    alone = accuracy_interval(arm, level=level)
    assert (alone.high - alone.low) / 2 == pytest.approx(z * arm.std() / np.sqrt(5_000), rel=0.02)


def test_bounds_on_one_side_have_the_quantile_of_one_side() -> None:
    generator = np.random.default_rng(5)
    full, arm = generator.random((2, 1, 5_000)) < 0.9
    evidence = Trained([full, arm], [1.0, 0.5])
    lost = float(full.mean() - arm.mean())
    error = np.sqrt(example_variance(arm[0].astype(float) - full[0]))
    assert evidence.loses_at_most(1, 0) == pytest.approx(lost + 1.645 * error, rel=0.01)
    assert evidence.loses_at_least(1, 0) == pytest.approx(lost - 1.645 * error, rel=0.01)
    assert evidence.loses_at_most(1, 0, error=0.01) == pytest.approx(lost + 2.326 * error, rel=0.01)
    assert evidence.loses_at_least(1, 0, error=0.01) == pytest.approx(lost - 2.326 * error, rel=0.01)
    both = evidence.difference(1, 0, level=0.9)
    bounds = (evidence.loses_at_most(1, 0), evidence.loses_at_least(1, 0))
    assert (-both.low, -both.high) == pytest.approx(bounds)


def test_test_examples_are_paired() -> None:
    generator = np.random.default_rng(1)
    full = generator.random((1, 5_000)) < 0.7
    arm = full.copy()
    arm[0, :25] ^= True  # 25 answers differ: the interval is that of 25 examples, not of 5,000
    found = difference_interval(arm, full)
    differences = arm[0].astype(float) - full[0]
    half = 1.96 * differences.std() / np.sqrt(5_000)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.02)


def test_many_seeds_that_differ_widen_by_their_own_standard_error_for_each_arm() -> None:
    # With 400 seeds nothing has to be learnt from others: the standard error of the mean is known, and of both arms.
    generator = np.random.default_rng(7)

    def arm(sigma: float) -> np.ndarray:
        levels = 0.8 + sigma * generator.standard_normal((400, 1))
        return generator.random((400, 300)) < levels

    calm, wild = arm(0.0), arm(0.05)
    examples = example_variance(wild.mean(axis=0) - calm.mean(axis=0), 1 / 400)
    expected = 1.96 * np.sqrt(examples + 0.05**2 / 400)
    for pair in ((wild, calm), (calm, wild)):
        found = difference_interval(*pair)
        assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.08)
    alike = difference_interval(calm, arm(0.0))
    assert (alike.high - alike.low) / 2 < 0.8 * expected


def test_seed_by_example_is_counted_once() -> None:
    # Every prediction of every seed is drawn anew: all that seeds differ by is what test examples explain already.
    generator = np.random.default_rng(8)
    ratios = []
    for _ in range(40):
        arms = [generator.random((5, 2_000)) < 0.9 for _ in range(6)]
        found = difference_interval(arms[1], arms[0], among=arms)
        error = np.sqrt(2 * 0.09 / (5 * 2_000))
        ratios.append((found.high - found.low) / 2 / (1.96 * error))
    assert 1.0 < np.mean(ratios) < 1.25


def test_other_arms_say_how_much_seeds_differ() -> None:
    generator = np.random.default_rng(9)
    arms = [generator.random((3, 4_000)) < 0.9 for _ in range(8)]
    alone = difference_interval(arms[1], arms[0])
    among = difference_interval(arms[1], arms[0], among=arms)
    assert among.high - among.low < 0.9 * (alone.high - alone.low)
    assert among.mean == alone.mean


def test_an_arm_among_all_is_not_counted_twice() -> None:
    generator = np.random.default_rng(10)
    arms = [generator.random((3, 500)) < 0.9 for _ in range(3)]
    assert difference_interval(arms[1], arms[0], among=arms) == difference_interval(
        arms[1], arms[0], among=arms[2:]
    )


def test_the_interval_is_the_same_every_time_and_swaps_its_sign() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.random((3, 300)) < 0.9, generator.random((3, 300)) < 0.88
    found, back = difference_interval(a, b), difference_interval(b, a)
    assert found == difference_interval(a, b)
    assert [-back.high, -back.low] == pytest.approx([found.low, found.high])


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("examples", [30, 360, 10_000])
def test_arms_that_differ_on_nothing_may_differ_on_what_was_not_seen(examples, seeds) -> None:
    correct = np.repeat(np.random.default_rng(3).random((1, examples)) < 0.9, seeds, axis=0)
    found = difference_interval(correct, correct.copy())
    assert found.mean == 0.0
    # With none of n seen, a share of 3 / n is what an exact test of one side cannot rule out.
    assert 1.0 / examples < found.high < 6 / examples
    assert 1.0 / examples < -found.low < 6 / examples
    bound = Trained([correct, correct.copy()], [1.0, 1.0]).loses_at_most(1, 0)
    assert 1.6 / examples < bound < 6 / examples


@pytest.mark.parametrize("examples", [30, 360, 10_000])
def test_nothing_wrong_among_those_seen_is_not_nothing_wrong(examples) -> None:
    found = accuracy_interval(np.ones((1, examples), dtype=bool))
    exact = stats.binomtest(examples, examples).proportion_ci(0.95, "exact").low
    assert found.mean == found.high == 1.0
    assert 0.5 * (1 - exact) < 1 - found.low < 2.5 * (1 - exact)
    wrong = accuracy_interval(np.zeros((1, examples), dtype=bool))
    assert (wrong.mean, wrong.low) == (0.0, 0.0)
    assert wrong.high == pytest.approx(1 - found.low, rel=0.3)


def test_an_interval_of_all_that_can_be_is_not_known() -> None:
    assert accuracy_interval(np.array([[True]])).as_list() == [1.0, None, None]
    found = difference_interval(np.array([[True], [False], [True]]), np.array([[False], [True], [False]]))
    assert found.as_list()[1:] == [None, None]


@pytest.mark.parametrize("n", [60, 360, 10_000])
def test_the_least_loss_is_the_bound_of_arms_that_agree_on_everything(n) -> None:
    correct = np.random.default_rng(n).random((1, n)) < 0.9
    bound = Trained([correct, correct.copy()], [1.0, 0.5]).loses_at_most(1, 0, error=0.02)
    assert bound == pytest.approx(least_loss(n, error=0.02), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("examples", "rate"), [(60, 0.02), (200, 0.01), (360, 0.005)])
def test_rare_differences_are_covered_as_often_as_the_interval_says(examples, rate) -> None:
    # Examples alone show no difference in many of these trials, and would then say "exactly zero".
    generator = np.random.default_rng(examples)
    trials = 1_000
    covered = 0
    for _ in range(trials):
        full = generator.random((1, examples)) < 0.95
        worse = full & (generator.random((1, examples)) >= rate)
        found = difference_interval(worse, full)
        covered += found.low <= -0.95 * rate <= found.high
    assert covered / trials >= 0.93


def test_arms_on_other_test_examples_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same test examples"):
        difference_interval(np.ones((1, 3), bool), np.ones((1, 4), bool))


def test_what_is_saved_is_the_geometric_mean_with_students_t() -> None:
    ratios = np.array([0.5, 0.45, 0.6, 0.52])
    logs = np.log(ratios)
    reach = stats.t.ppf(0.95, 3) * logs.std(ddof=1) / 2
    share, low, high = saved_interval(ratios, level=0.9)
    assert share == pytest.approx(1 - np.exp(logs.mean()))
    assert (low, high) == pytest.approx((1 - np.exp(logs.mean() + reach), 1 - np.exp(logs.mean() - reach)))
