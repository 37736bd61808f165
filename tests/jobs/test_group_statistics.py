"""Intervals for groups: the excess against a slow loop, their coverage, and how often a fair group is accused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from datadiet.foundation.statistics import Trained
from datadiet.jobs.left_out import FEWEST, excess_differences


def test_the_excess_is_the_groups_difference_minus_that_of_all() -> None:
    generator = np.random.default_rng(3)
    full, *others = (
        generator.random((seeds, 200)) < level for seeds, level in ((4, 0.8), (3, 0.7), (2, 0.75))
    )
    members = generator.random(200) < 0.3
    inside = [i for i in range(200) if members[i]]
    for arm, found in zip(others, excess_differences([full, *others], members), strict=True):
        difference = [float(arm[:, i].mean() - full[:, i].mean()) for i in range(200)]
        expected = sum(difference[i] for i in inside) / len(inside) - sum(difference) / 200
        assert found.mean == pytest.approx(expected, abs=1e-12)
        assert found.high - found.mean == pytest.approx(found.mean - found.low)
        assert found.low < found.mean < found.high


def test_without_spread_of_seeds_the_interval_is_that_of_two_independent_samples() -> None:
    generator = np.random.default_rng(4)
    full, arm = (generator.random((1, 300)) < level for level in (0.9, 0.8))
    members = np.arange(300) < 60
    differences = [int(arm[0, i]) - int(full[0, i]) for i in range(300)]
    variance = 0.0
    for part in (differences[:60], differences[60:]):
        mean = sum(part) / len(part)
        variance += sum((d - mean) ** 2 for d in part) / (len(part) - 1) / len(part)
    half = stats.t.ppf(0.975, 59) * math.sqrt(0.8**2 * variance)
    [found] = excess_differences([full, arm], members)
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), rel=1e-6)


@pytest.mark.parametrize("inside", [0, 50])
def test_a_group_of_all_or_of_none_has_no_excess(inside: int) -> None:
    full, arm = np.ones((3, 50), dtype=bool), np.zeros((3, 50), dtype=bool)
    [found] = excess_differences([full, arm], np.arange(50) < inside)
    assert found.as_list() == [0, None, None]


def test_a_seed_that_moves_everything_alike_does_not_widen_the_excess() -> None:
    latent = np.random.default_rng(0).random(4_000)
    still = np.stack([latent < 0.8] * 3)
    moving = np.stack([latent < level for level in (0.6, 0.8, 1.0)])
    members = np.arange(4_000) < 1_000
    width = [
        (found := excess_differences([still, arm], members)[0]).high - found.low for arm in (moving, still)
    ]
    alone = Trained([still[:, members], moving[:, members]]).difference(1, 0)
    assert width[1] <= width[0] < 0.2 * (alone.high - alone.low)


def test_a_seed_that_moves_the_group_alone_widens_the_excess() -> None:
    generator = np.random.default_rng(1)
    codes = (np.arange(4_000) < 1_000).astype(np.int64)
    latent = np.stack([generator.random(4_000)] * 3)
    still = latent < 0.8
    moving = latent < np.where(codes, np.array([[0.7], [0.8], [0.9]]), 0.8)
    wide, narrow = (
        (found := excess_differences([still, arm], codes == 1)[0]).high - found.low for arm in (moving, still)
    )
    assert wide > 3 * narrow


def draw(
    generator: np.random.Generator, chance: np.ndarray, codes: np.ndarray, seeds: int, spread: float
) -> np.ndarray:
    """Right answers of `seeds` models; each is a little better or worse on each group."""
    luck = generator.normal(0, spread, (seeds, codes.max() + 1))[:, codes]
    return np.asarray(generator.random((seeds, len(chance))) < chance + luck)


def accused(
    sizes: list[int], seeds: int, spread: float, times: int, planted: float = 0.0, arms: int = 2
) -> tuple[float, float]:
    """How often any group, and the first one, of the first of some arms is said to lose more.

    Examples differ in how easy they are; the loss that is planted is that of the first group.
    """
    generator = np.random.default_rng([len(sizes), seeds, int(1000 * spread), int(1000 * planted)])
    codes = np.repeat(np.arange(len(sizes)), sizes)
    level = 1 - 0.1 / sum(size >= FEWEST for size in sizes)
    found = []
    for _ in range(times):
        chance = np.where(codes % 2, generator.beta(2, 1, len(codes)), generator.beta(8, 0.6, len(codes)))
        lost = [0.0] + [planted] * arms
        right = [draw(generator, chance - loss * (codes == 0), codes, seeds, spread) for loss in lost]
        found.append(
            [
                excess_differences(right, codes == group, level=level)[0].high < 0
                for group in range(len(sizes))
            ]
        )
    return float(np.mean(np.any(found, axis=1))), float(np.mean(found, axis=0)[0])


@pytest.mark.parametrize(
    ("sizes", "seeds", "spread"),
    [
        ([100] * 10, 3, 0.02),
        ([100] * 10, 3, 0.0),
        ([10, 12, 15, 20, 400], 3, 0.01),
        ([10] * 20, 3, 0.0),
        ([500] * 5, 3, 0.02),  # the seeds decide
    ],
)
def test_where_no_group_loses_more_one_is_accused_in_at_most_a_twentieth_of_cases(
    sizes: list[int], seeds: int, spread: float
) -> None:
    assert accused(sizes, seeds, spread, times=300 if spread == 0.02 else 100)[0] <= 0.05


def test_a_planted_loss_is_found() -> None:
    assert accused([200] * 6, 3, 0.005, times=40, planted=0.2)[1] >= 0.9


@pytest.mark.parametrize(("spread", "size"), [(0.0, 60), (0.01, 300), (0.03, 600)])
def test_intervals_of_the_excess_cover_the_truth_about_as_often_as_they_say(spread: float, size: int) -> None:
    generator = np.random.default_rng([1, size])
    n, times, truth, covered = 1_500, 400, -0.1, 0
    codes = (np.arange(n) < size).astype(np.int64)
    excess = truth * (1 - size / n)  # of the group, against a whole that has the group in it
    for _ in range(times):
        chance = generator.beta(8, 1, n)
        chance = np.clip(chance, 0.1, 0.95)
        right = [
            draw(generator, chance + loss * codes, codes, 3, spread) for loss in (0.0, truth, 0.0, truth)
        ]
        found = excess_differences(right, codes == 1)[0]
        covered += found.low <= excess <= found.high
    assert 0.93 <= covered / times <= 0.99


def test_intervals_of_small_groups_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    covered = {"accuracy": 0, "difference": 0}
    for _ in range(400):
        arms = [generator.random((3, 30)) < level for level in (0.85, 0.75, 0.8)]
        here = Trained(arms)
        accuracy, difference = here.accuracy(1), here.difference(1, 0)
        covered["accuracy"] += accuracy.low <= 0.75 <= accuracy.high
        covered["difference"] += difference.low <= -0.1 <= difference.high
    assert covered["accuracy"] / 400 >= 0.93
    assert 0.93 <= covered["difference"] / 400 <= 0.995
