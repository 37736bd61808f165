"""Intervals for groups: the textbook formulas, their coverage, and how often a fair group is accused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from datadiet.jobs.left_out import FEWEST, excess_difference, part_accuracy, part_difference


def test_the_interval_of_an_accuracy_is_that_of_agresti_and_coull() -> None:
    correct = np.arange(40)[None] < 33  # one seed: no spread between seeds
    shrunk = (33 + 2) / (40 + 4)
    half = stats.t.ppf(0.975, 39) * math.sqrt(shrunk * (1 - shrunk) / 44)
    found = part_accuracy(correct)
    assert found.as_list() == pytest.approx([33 / 40, shrunk - half, shrunk + half], rel=1e-12)


def test_the_interval_of_a_difference_is_that_of_agresti_and_min() -> None:
    # Of 50 examples, 30 both right, 9 lost, 4 gained, 7 both wrong; the paper's score for matched pairs.
    full = np.array([True] * 39 + [False] * 11)[None]
    arm = np.array([True] * 30 + [False] * 9 + [True] * 4 + [False] * 7)[None]
    lost, gained, n = 9.5, 4.5, 52
    variance = ((lost + gained) - (lost - gained) ** 2 / n) / n**2
    half = stats.t.ppf(0.975, 49) * math.sqrt(variance)
    centre = (gained - lost) / n
    assert part_difference(arm, full).as_list() == pytest.approx(
        [-0.1, centre - half, centre + half], rel=1e-12
    )


def test_seeds_add_their_own_spread() -> None:
    accuracies = ([0.8, 0.9, 0.7], [0.9, 0.95, 1.0])
    arm, full = (np.array([np.arange(20) < 20 * a for a in each]) for each in accuracies)
    per_example = [float(np.mean(arm[:, i]) - np.mean(full[:, i])) for i in range(20)]
    mean = sum(per_example) / 22
    test = ((sum(d * d for d in per_example) + 1) / 22 - mean**2) / 22
    pooled = sum((a - sum(each) / 3) ** 2 for each in accuracies for a in each) / 4
    seeds = pooled * (1 / 3 + 1 / 3)
    half = math.sqrt(stats.t.ppf(0.975, 19) ** 2 * test + stats.t.ppf(0.975, 4) ** 2 * seeds)
    found = part_difference(arm, full)
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half), rel=1e-9)


def test_the_excess_is_the_groups_difference_minus_that_of_all() -> None:
    generator = np.random.default_rng(3)
    arm, full = generator.random((3, 200)) < 0.7, generator.random((4, 200)) < 0.8
    members = generator.random(200) < 0.3
    inside = [i for i in range(200) if members[i]]
    difference = [float(arm[:, i].mean() - full[:, i].mean()) for i in range(200)]
    expected = sum(difference[i] for i in inside) / len(inside) - sum(difference) / 200
    found = excess_difference(arm, full, members)
    assert found.mean == pytest.approx(expected, abs=1e-12)
    assert found.low < found.mean < found.high
    assert excess_difference(arm, full, np.ones(200, dtype=bool)).as_list() == [0, 0, 0]


def test_a_seed_that_moves_everything_alike_does_not_widen_the_excess() -> None:
    generator = np.random.default_rng(0)
    latent = generator.random(4_000)
    still = np.stack([latent < 0.8] * 3)
    moving = np.stack([latent < level for level in (0.6, 0.8, 1.0)])
    members = np.arange(4_000) < 1_000
    width = [
        (found := excess_difference(arm, still, members)).high - found.low
        for arm in (moving, np.stack([latent < 0.8] * 3))
    ]
    alone = part_difference(moving[:, members], still[:, members])
    assert width[0] < 0.2 * (alone.high - alone.low)
    assert width[0] >= width[1]


def draw(
    generator: np.random.Generator, chance: np.ndarray, codes: np.ndarray, seeds: int, spread: float
) -> np.ndarray:
    """Right answers of `seeds` models; each is a little better or worse on each group."""
    luck = generator.normal(0, spread, (seeds, codes.max() + 1))[:, codes]
    return np.asarray(generator.random((seeds, len(chance))) < chance + luck)


def accused(
    sizes: list[int], seeds: int, spread: float, times: int, planted: float = 0.0
) -> tuple[float, float]:
    """How often any group, and the first one, is said to lose more; examples differ in how easy they are."""
    generator = np.random.default_rng([len(sizes), seeds, int(1000 * spread), int(1000 * planted)])
    codes = np.repeat(np.arange(len(sizes)), sizes)
    level = 1 - 0.1 / sum(size >= FEWEST for size in sizes)
    found = []
    for _ in range(times):
        chance = np.where(codes % 2, generator.beta(2, 1, len(codes)), generator.beta(8, 0.6, len(codes)))
        full = draw(generator, chance, codes, seeds, spread)
        arm = draw(generator, chance - planted * (codes == 0), codes, seeds, spread)
        found.append(
            [excess_difference(arm, full, codes == g, level=level).high < 0 for g in range(len(sizes))]
        )
    return float(np.mean(np.any(found, axis=1))), float(np.mean(found, axis=0)[0])


@pytest.mark.parametrize(
    ("sizes", "seeds", "spread"),
    [
        ([100] * 10, 2, 0.02),
        ([100] * 10, 3, 0.0),
        ([10, 12, 15, 20, 400], 3, 0.01),
        ([10] * 20, 3, 0.0),
        ([500] * 5, 2, 0.03),  # the seeds decide, and there are two
        ([500] * 5, 3, 0.02),
    ],
)
def test_where_no_group_loses_more_one_is_accused_in_at_most_a_twentieth_of_cases(
    sizes: list[int], seeds: int, spread: float
) -> None:
    assert accused(sizes, seeds, spread, times=150)[0] <= 0.05


def test_a_planted_loss_is_found() -> None:
    assert accused([200] * 6, 3, 0.005, times=40, planted=0.2)[1] >= 0.9


def test_intervals_of_small_groups_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    covered = {"accuracy": 0, "difference": 0}
    for _ in range(400):
        full, arm = generator.random((3, 12)) < 0.95, generator.random((3, 12)) < 0.9
        accuracy, difference = part_accuracy(arm), part_difference(arm, full)
        covered["accuracy"] += accuracy.low <= 0.9 <= accuracy.high
        covered["difference"] += difference.low <= -0.05 <= difference.high
    assert min(covered.values()) / 400 >= 0.95
