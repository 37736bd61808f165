"""The study `window`: which windows there are, and how sure it is which of them is best."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats
from small_contexts import outcome_of

import datadiet as dd
from datadiet.studies.window import Best, best_offsets, cells, offsets, seed_noise


def test_the_best_window_is_sure_where_it_is_clear_and_unsure_where_it_is_a_tie() -> None:
    generator = np.random.default_rng(4)
    arms = [generator.random((4, 500)) < share for share in (0.6, 0.9, 0.6)]
    assert np.unique(best_offsets(arms)).tolist() == [1]
    tie = [generator.random((4, 500)) < 0.7 for _ in range(3)]
    assert (np.bincount(best_offsets(tie), minlength=3) > 0).sum() >= 2
    assert np.array_equal(best_offsets(tie, seed=1), best_offsets(tie, seed=1))
    assert not np.array_equal(best_offsets(tie, seed=1), best_offsets(tie, seed=2))


def test_chances_of_the_best_agree_with_resampling_one_by_one() -> None:
    generator = np.random.default_rng(8)
    arms = [generator.random((1, 40)) < share for share in (0.5, 0.6, 0.7)]  # one seed: test examples only
    fast = np.bincount(best_offsets(arms), minlength=3) / 1000
    slow = np.zeros(3)
    for _ in range(4000):
        drawn = generator.integers(0, 40, 40)
        slow[int(np.argmax([arm[0, drawn].mean() for arm in arms]))] += 1 / 4000
    error = np.sqrt(slow * (1 - slow) * (1 / 1000 + 1 / 4000))
    assert np.all(np.abs(fast - slow) < 4.5 * error + 1e-9)


def arms_drawn(
    generator: np.random.Generator, arms: int, seeds: int, examples: int, spread: float
) -> list[np.ndarray]:
    """Arms of the same difficulty; whole seeds are better or worse by a shift of the chance to be right."""
    chance = generator.uniform(0.4, 0.9, examples)
    return [
        generator.random((seeds, examples)) < chance + spread * generator.normal(size=(seeds, 1))
        for _ in range(arms)
    ]


@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_seed_noise_is_what_whole_seeds_add_and_nothing_of_seeds_and_examples_together(spread) -> None:
    generator = np.random.default_rng(12)
    found = [seed_noise(arms_drawn(generator, 6, 4, 400, spread)) for _ in range(60)]
    assert all((each == each[0]).all() for each in found)  # as many seeds in each: one pooled variance
    mean_variance = np.mean([each[0] ** 2 for each in found])
    # Truth: variance of the shift over four seeds. What differs within seeds alone would be (0.2 / 400) / 4 more.
    assert mean_variance == pytest.approx(spread**2 / 4, abs=5e-5)


def test_seed_noise_goes_with_the_seeds_of_each_arm() -> None:
    generator = np.random.default_rng(13)
    arms = [*arms_drawn(generator, 2, 2, 300, 0.1), *arms_drawn(generator, 1, 8, 300, 0.1)]
    two, same, eight = seed_noise(arms)
    assert two == same == pytest.approx(2 * eight) and eight > 0
    # Pooled mean squares, by loops.
    between = sum(300 * sum((row.mean() - arm.mean()) ** 2 for row in arm) for arm in arms)
    rest = sum(
        (arm[s, e] - arm[s].mean() - arm[:, e].mean() + arm.mean()) ** 2
        for arm in arms
        for s in range(len(arm))
        for e in range(300)
    )
    assert eight == pytest.approx(np.sqrt((between / 9 - rest / (9 * 299)) / (300 * 8)))


def test_chances_of_the_best_have_the_noise_of_seeds_in_them() -> None:
    # Every seed of an arm is right on the same share of every block of alike examples: the examples leave no chance.
    arms = [
        np.stack([np.arange(2000) % 100 < 100 * share for share in shares])
        for shares in ((0.5, 0.7, 0.6), (0.55, 0.75, 0.65))
    ]
    error = seed_noise(arms)[0]
    assert error == pytest.approx(0.1 / np.sqrt(3), rel=0.1)
    first = np.mean(best_offsets(arms) == 0)
    generator = np.random.default_rng(0)
    draws = error * stats.t.rvs(4, size=(2, 200_000), random_state=generator)
    expected = np.mean(draws[0] > 0.05 + draws[1])
    assert 0.2 < expected < 0.35 and first == pytest.approx(expected, abs=0.06)


def test_of_one_seed_there_is_no_noise_and_of_equal_windows_the_first_is_best() -> None:
    alike = [np.ones((1, 30), bool)] * 3
    assert np.unique(best_offsets(alike)).tolist() == [0]


def test_two_seeds_of_one_window_are_enough_for_noise() -> None:
    never, half = np.zeros((1, 100), bool), np.stack([np.ones(100, bool), np.zeros(100, bool)])
    assert set(best_offsets([never, half])) == {0, 1}
    assert set(best_offsets([never, half[:1]])) == {1}


def test_the_best_of_two_equal_windows_is_either_about_as_often() -> None:
    # Over many draws of the data, the share of each is uniform if the noise is what it should be: its spread says so.
    generator = np.random.default_rng(14)
    shares = [np.mean(best_offsets(arms_drawn(generator, 2, 3, 200, 0.05), seed) == 0) for seed in range(60)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.12)
    assert np.mean([share < 0.025 or share > 0.975 for share in shares]) < 0.15


def test_an_offset_reaches_half_way_to_its_neighbours_and_is_never_a_point() -> None:
    always_second = Best([0.0, 0.1, 0.3, 0.4], 0.1, np.ones(1000, dtype=int), 3)
    assert always_second.measured().interval(0.95) == pytest.approx((0.05, 0.2))
    always_first = Best([0.0, 0.1, 0.3, 0.4], 0.0, np.zeros(1000, dtype=int), 3)
    found = always_second.minus(always_first)
    assert found.estimate == pytest.approx(0.1) and found.n == 3
    assert found.interval(0.95) == pytest.approx((0.0, 0.2))
    assert cells([0.2])[0].tolist() == cells([0.2])[1].tolist() == [0.2]
    assert Best([0.2], 0.2, np.zeros(1000, dtype=int), 3).measured().interval(0.95) == (-np.inf, np.inf)


def test_an_offset_that_may_be_any_is_not_known_and_one_of_a_few_draws_is_left_out() -> None:
    drawn = np.r_[np.zeros(30), np.full(940, 1), np.full(30, 2)].astype(int)
    best = Best([0.0, 0.1, 0.3], 0.1, drawn, 4)
    assert best.measured().interval(0.95) == (-np.inf, np.inf)  # 3 % of the draws at either end
    assert best.measured().interval(0.93) == pytest.approx((0.05, 0.2))
    assert best.minus(best).interval(0.95) != (-np.inf, np.inf)


def test_windows_that_would_overhang_the_easy_end_are_left_out(context, tiny_scale) -> None:
    context.scale = dataclasses.replace(tiny_scale, offsets=(0.0, 0.5, 0.6, 0.7), window_keep=0.4)
    assert offsets(context) == [0.0, 0.5, 0.6]


@pytest.mark.slow
def test_leaving_out_wrong_labels_pays_where_they_are_known(context_on, tiny_scale, done) -> None:
    generator = np.random.default_rng(7)
    labels = np.arange(300) % 3
    inputs = (3 * np.eye(3, 5)[labels] + generator.normal(size=(300, 5))).astype(np.float32)
    context = context_on(dd.load((inputs, labels), name="clear"))
    context.scale = dataclasses.replace(tiny_scale, retrain_seeds=3)
    result = done("window", context)
    at = {
        row["offset"]: row["accuracy"]
        for row in result.rows
        if row["labels"] == "wrong labels" and "offset" in row
    }
    assert at[0.3] > at[0.0] + 0.05
    assert outcome_of(result, "leaving out the 0.3 hardest is better than leaving out none") == "holds"
