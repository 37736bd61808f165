"""How much seeds differ: mean squares by a slow analysis of variance, and what arms learn from each other."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.foundation.spread import Crossed, SeedSpread


def slow_mean_squares(values: np.ndarray) -> tuple[float, float]:
    """Of seeds and of seed x example, by two loops."""
    seeds, n = values.shape
    mean = values.mean()
    between = sum(n * (values[s].mean() - mean) ** 2 for s in range(seeds)) / (seeds - 1)
    left = 0.0
    for s in range(seeds):
        for i in range(n):
            left += (values[s, i] - values[s].mean() - values[:, i].mean() + mean) ** 2
    return between, left


@pytest.mark.parametrize("shape", [(2, 7), (3, 20), (5, 11)])
def test_mean_squares_are_those_of_an_analysis_of_variance(shape) -> None:
    values = np.random.default_rng(shape[1]).random(shape) < 0.7
    seeds, n = shape
    found = Crossed.of(values)
    between, left = slow_mean_squares(values.astype(float))
    assert found.between == pytest.approx(between)
    degrees = (seeds - 1) * (n - 1)
    assert found.residual == pytest.approx((left + 0.5) / (degrees + 0.5))
    assert found.seeds == seeds
    np.testing.assert_allclose(found.per_example, values.mean(axis=0))
    np.testing.assert_allclose(found.means, values.mean(axis=1))


def test_numbers_that_are_no_truth_values_have_mean_squares_too() -> None:
    values = np.random.default_rng(0).normal(size=(4, 9))
    between, left = slow_mean_squares(values)
    found = Crossed.of(values)
    assert found.between == pytest.approx(between)
    assert found.residual == pytest.approx((left + 0.5) / (3 * 8 + 0.5))


def arms_of(sigmas: list[float], seeds: int, n: int, generator: np.random.Generator) -> list[Crossed]:
    return [
        Crossed.of(
            generator.random((seeds, n))
            < 0.9 + np.clip(sigma * generator.standard_normal((seeds, 1)), -0.3, 0.09)
        )
        for sigma in sigmas
    ]


def test_with_many_seeds_each_arm_has_its_own_sigma() -> None:
    sigmas = [0.004, 0.012, 0.03]
    spread = SeedSpread(arms_of(sigmas, 200, 4_000, np.random.default_rng(1)), [1.0, 0.7, 0.4])
    assert [spread.typical(arm) for arm in range(3)] == pytest.approx(sigmas, rel=0.25)


def test_arms_that_are_alike_lend_each_other_what_they_know() -> None:
    generator = np.random.default_rng(2)
    halves = {1: [], 8: []}
    for _ in range(30):
        arms = arms_of([0.006] * 9, 3, 10_000, generator)
        for others in halves:
            spread = SeedSpread(arms[: 1 + others], [1.0] * (1 + others))
            halves[others].append(spread.half_width([0, 1], 0.95, example=0.0))
    assert np.median(halves[8]) < 0.9 * np.median(halves[1])
    # Never less than a sigma gives that is known.
    assert np.median(halves[8]) > 0.9 * 1.96 * 0.006 * np.sqrt(2 / 3)


def test_a_wild_arm_keeps_wide_intervals_and_leaves_the_others_theirs() -> None:
    generator = np.random.default_rng(3)
    tame, wild = [], []
    for _ in range(30):
        spread = SeedSpread(arms_of([0.002] * 7 + [0.03], 3, 10_000, generator), [1.0] * 8)
        tame.append(spread.half_width([0, 1], 0.95, example=0.0))
        wild.append(spread.half_width([0, 7], 0.95, example=0.0))
    assert np.median(wild) > 0.03
    assert np.median(tame) < 0.01


def test_what_is_left_out_may_widen_the_spread() -> None:
    generator = np.random.default_rng(4)
    sigmas = [0.002, 0.003, 0.005, 0.008, 0.013]
    keeps = [1.0, 0.8, 0.6, 0.4, 0.2]
    arms = arms_of(sigmas, 10, 10_000, generator)
    spread = SeedSpread([*arms, *arms_of([0.02], 1, 10_000, generator)], [*keeps, 0.1])
    # The last arm has one seed and says nothing of itself; it is judged by where it stands.
    assert spread.typical(5) > 1.2 * spread.typical(2) > spread.typical(0)


def test_half_widths_are_quantiles_of_a_mixture() -> None:
    """Against plain sampling from the same probabilities."""
    arms = arms_of([0.01, 0.01, 0.02], 3, 2_000, np.random.default_rng(5))
    spread = SeedSpread(arms, [1.0, 0.7, 0.5])
    probability, variance = spread._seed_variance([1, 0])
    generator = np.random.default_rng(6)
    draws = generator.choice(variance, size=400_000, p=probability / probability.sum())
    errors = np.sqrt(draws + 1e-6) * generator.standard_normal(400_000)
    for level in (0.8, 0.95):
        expected = np.quantile(np.abs(errors), level)
        assert spread.half_width([1, 0], level, example=1e-6) == pytest.approx(expected, rel=0.02)


def test_degrees_of_freedom_of_the_examples_count() -> None:
    arms = [Crossed.of(np.ones((1, 5)))] * 2
    spread = SeedSpread(arms, [1.0, 1.0])
    few = spread.half_width([0, 1], 0.95, example=1.0, degrees=4)
    assert few == pytest.approx(2.776, abs=0.01)
    assert spread.half_width([0, 1], 0.95, example=1.0) == pytest.approx(1.96, abs=0.01)


def test_order_of_the_arms_does_not_matter() -> None:
    arms = arms_of([0.002, 0.01, 0.004], 3, 3_000, np.random.default_rng(7))
    one = SeedSpread(arms, [1.0, 0.7, 0.5]).half_width([1, 0], 0.95, example=1e-6)
    other = SeedSpread(arms[::-1], [0.5, 0.7, 1.0]).half_width([1, 2], 0.95, example=1e-6)
    assert one == pytest.approx(other, rel=1e-6)
