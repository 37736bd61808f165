"""Intervals: right where theory gives the answer, and covering as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from datadiet.foundation.statistics import accuracy_interval, difference_interval


def test_one_seed_gives_the_binomial_interval_of_the_test_examples() -> None:
    generator = np.random.default_rng(0)
    correct = generator.random((1, 4_000)) < 0.8
    found = accuracy_interval(correct)
    p = correct.mean()
    half = 1.96 * np.sqrt(p * (1 - p) / 4_000)
    assert found.mean == pytest.approx(p)
    assert found.low == pytest.approx(p - half, abs=0.08 * half)
    assert found.high == pytest.approx(p + half, abs=0.08 * half)


def test_test_examples_are_paired() -> None:
    generator = np.random.default_rng(1)
    full = generator.random((1, 5_000)) < 0.7
    arm = full.copy()
    arm[0, :25] ^= True  # 25 answers differ: the interval is that of 25 examples, not of 5,000
    found = difference_interval(arm, full)
    differences = arm[0].astype(float) - full[0]
    half = 1.96 * differences.std() / np.sqrt(5_000)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_the_spread_between_seeds_widens_by_students_t() -> None:
    correct = np.zeros((3, 10_000), dtype=bool)
    for row, accuracy in enumerate((0.50, 0.52, 0.54)):
        correct[row, : int(accuracy * 10_000)] = True  # nested: almost no noise from test examples to add
    found = accuracy_interval(correct)
    seeds_only = stats.t.ppf(0.975, 2) * 0.02 / np.sqrt(3)
    examples_only = 1.96 * correct.mean(0).std() / np.sqrt(10_000)
    half = (found.high - found.low) / 2
    assert seeds_only < half * 1.05
    assert half < seeds_only + examples_only


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_nominal_95_percent_intervals_of_a_difference_cover_the_truth(seeds) -> None:
    generator = np.random.default_rng(seeds)
    examples, trials, covered = 500, 300, 0
    truth = -0.02
    for trial in range(trials):
        difficulty = generator.beta(2, 0.6, size=examples)  # chance to be right, shared by both arms

        def arm(shift: float, difficulty=difficulty) -> np.ndarray:
            level = shift + generator.normal(
                scale=0.015, size=(seeds, 1)
            )  # a seed is better or worse as a whole
            return generator.random((seeds, examples)) < difficulty + level

        full, subset = arm(0.0), arm(truth)
        found = difference_interval(subset, full, seed=trial)
        expected = truth + _clipping(difficulty, truth)
        covered += found.low <= expected <= found.high
    assert covered / trials >= 0.93


def _clipping(difficulty: np.ndarray, shift: float) -> float:
    """What cutting chances at 1 adds to the difference that the shift makes."""
    generator = np.random.default_rng(0)
    level = generator.normal(scale=0.015, size=(2_000, 1))
    full, arm = np.clip(difficulty + level, 0, 1), np.clip(difficulty + level + shift, 0, 1)
    return float((arm - full).mean()) - shift


def test_the_interval_is_the_same_every_time() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.random((2, 300)) < 0.9, generator.random((2, 300)) < 0.88
    assert difference_interval(a, b) == difference_interval(a, b)


@pytest.mark.parametrize("examples", [30, 360, 10_000])
def test_arms_that_differ_on_nothing_may_differ_on_what_was_not_seen(examples) -> None:
    correct = np.random.default_rng(3).random((1, examples)) < 0.9
    found = difference_interval(correct, correct)
    assert found.mean == 0.0
    # With none of n seen, a share of 3 / n is what an exact test of one side cannot rule out.
    assert 1.5 / examples < found.high < 4 / examples
    assert 1.5 / examples < -found.low < 4 / examples


@pytest.mark.parametrize("examples", [30, 360, 10_000])
def test_nothing_wrong_among_those_seen_is_not_nothing_wrong(examples) -> None:
    found = accuracy_interval(np.ones((2, examples), dtype=bool))
    exact = stats.binomtest(examples, examples).proportion_ci(0.95, "exact").low
    assert found.mean == found.high == 1.0
    assert 0.5 * (1 - exact) < 1 - found.low < 2.5 * (1 - exact)
    wrong = accuracy_interval(np.zeros((2, examples), dtype=bool))
    assert (wrong.mean, wrong.low) == (0.0, 0.0)
    assert wrong.high == pytest.approx(1 - found.low, rel=0.3)


@pytest.mark.slow
@pytest.mark.parametrize(("examples", "rate"), [(60, 0.02), (200, 0.01), (360, 0.005)])
def test_rare_differences_are_covered_as_often_as_the_interval_says(examples, rate) -> None:
    # The bootstrap alone sees no difference in many of these trials, and then says "exactly zero".
    generator = np.random.default_rng(examples)
    trials = 1_000
    covered = 0
    for trial in range(trials):
        full = generator.random((1, examples)) < 0.95
        worse = full & (generator.random((1, examples)) >= rate)
        found = difference_interval(worse, full, seed=trial)
        covered += found.low <= -0.95 * rate <= found.high
    assert covered / trials >= 0.93


def test_arms_on_other_test_examples_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same test examples"):
        difference_interval(np.ones((1, 3), bool), np.ones((1, 4), bool))
