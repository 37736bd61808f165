"""How many labels are wrong: the profile against a direct search, and intervals on draws whose truth is known."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom

from datadiet.foundation.errors import BadInputError
from datadiet.noise import NoiseRate, noise_rate
from datadiet.noise.profile import most_wrong, profile_likelihood
from datadiet.noise.signals import log_probabilities

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "noise_rate.py"


def overlapping(n: int, rate: float, seed: int, scale: float = 2.0, sharper: float = 1.0):
    """Labels of two classes drawn from known probabilities, then flipped; models that are too sharp by a factor."""
    generator = np.random.default_rng(seed)
    logits = scale * generator.normal(size=n)
    true = (generator.random(n) < 1 / (1 + np.exp(-logits))).astype(int)
    given = np.where(generator.random(n) < rate, 1 - true, true)
    return log_probabilities(sharper * np.stack([0 * logits, logits], axis=1)), given


def separable(n: int, rate: float, seed: int, classes: int = 4):
    """Labels of classes that do not overlap; models that are sure of them, more or less."""
    generator = np.random.default_rng(seed)
    true = np.arange(n) % classes
    wrong = generator.random(n) < rate
    given = np.where(wrong, (true + generator.integers(1, classes, n)) % classes, true)
    logits = generator.uniform(4, 10, n)[:, None] * np.eye(classes)[true] + generator.normal(
        size=(n, classes)
    )
    return logits, given, wrong


@pytest.mark.parametrize("rate", [0.0, 0.07, 0.3])
def test_the_profile_is_the_largest_likelihood_over_sharpness_and_power(rate: float) -> None:
    logs, given = overlapping(400, 0.1, seed=0, sharper=1.7)
    gap = np.abs(logs[:, 0] - logs[:, 1])
    agrees = logs.argmax(axis=1) == given

    def negative(log_sharpness: float, power: float) -> float:
        sure = 1 / (1 + np.exp(-np.exp(log_sharpness) * gap**power))
        own = np.where(agrees, sure, 1 - sure)
        return -float(np.log((1 - rate) * own + rate * (1 - own)).sum())

    bounds = (np.log(0.05), np.log(12.0))
    direct = max(
        -minimize_scalar(negative, bounds=bounds, args=(power,), method="bounded").fun
        for power in (0.7, 1.0, 1.4)
    )
    assert profile_likelihood(logs, given, [rate])[0] == pytest.approx(direct, abs=0.05)


def test_noise_that_follows_seen_mistakes_is_as_likely_as_it_was_drawn() -> None:
    # Class 0 is taken for class 1 only: had the noise been spread over three others, it would be less likely.
    true = np.arange(600) % 4
    wrong = np.arange(600) % 20 == 0
    given = np.where(wrong, 1, true)
    logs = log_probabilities(30.0 * np.eye(4)[true])
    found = profile_likelihood(logs, given, [wrong.mean()])[0]
    right = 570 * np.log(0.95) + 30 * np.log(0.05)
    spread = right + 30 * np.log(1 / 3)
    assert right - 3.0 < found > spread + 20.0


def test_the_most_that_can_be_wrong_is_where_a_share_of_the_surest_would_differ_too_seldom() -> None:
    generator = np.random.default_rng(1)
    sureness = generator.uniform(0.5, 1.0, 1000)
    logs = np.log(np.stack([sureness, 1 - sureness], axis=1))
    given = (generator.random(1000) < 1 - sureness).astype(int)
    bounds = []
    for share in (0.2, 0.3, 0.5, 0.7, 1.0):
        surest = np.argsort(-sureness)[: round(share * 1000)]
        differ = int(given[surest].sum())
        at = np.linspace(0, 1, 20_001)
        bounds.append(at[binom.cdf(differ, len(surest), at) >= 0.025 / 5].max())
    assert min(bounds) < bounds[-1] / 2
    # Of the rest, three times as many may be wrong as that, where so many differ.
    by_sureness = given[np.argsort(-sureness)].reshape(10, 100).mean(axis=1)
    among_hard = np.mean([min(differ, 3 * min(bounds)) for differ in by_sureness])
    assert min(bounds) < among_hard < bounds[-1]
    assert most_wrong(logs, given) == pytest.approx(among_hard, abs=3e-4)


def test_mistakes_that_gather_among_hard_examples_lie_in_the_interval() -> None:
    # Sure everywhere; labels are wrong with 5 % of the surest and with 15 % of the least sure, 10 % of all.
    generator = np.random.default_rng(3)
    true, easy = generator.integers(0, 5, 6000), np.linspace(1.0, 0.0, 6000)
    wrong = generator.random(6000) < 0.15 - 0.1 * easy
    given = np.where(wrong, (true + generator.integers(1, 5, 6000)) % 5, true)
    sure = (4.0 + 4.0 * easy)[:, None] * np.eye(5)[true]
    rate = noise_rate([sure], given)
    assert rate.low <= wrong.mean() <= rate.high
    assert rate.identified


def test_equal_sureness_does_not_make_the_order_of_rows_matter() -> None:
    # Three values of sureness: the surest fifth and most tenths end among equals.
    generator = np.random.default_rng(4)
    chance = np.repeat([0.99, 0.9, 0.6], 301)
    logs = np.log(np.stack([chance, 1 - chance], axis=1))
    given = (generator.random(903) < np.repeat([0.04, 0.1, 0.5], 301)).astype(int)
    orders = [np.argsort(given, kind="stable"), np.argsort(-given, kind="stable"), generator.permutation(903)]
    assert len({most_wrong(logs[order], given[order]) for order in orders}) == 1
    # Two predicted classes, so that equals of one stand among those of the other.
    logs[::2], given[::2] = logs[::2, ::-1], 1 - given[::2]
    assert len({most_wrong(logs[order], given[order]) for order in orders}) == 1


def test_the_bound_looks_at_the_surest_of_every_predicted_class() -> None:
    # Class 1 is never as sure as class 0; all of its labels are wrong, and they must count.
    sure = np.array([0.999] * 500 + [0.9] * 500)
    logs = np.log(
        np.where(np.arange(2) == (np.arange(1000) >= 500)[:, None], sure[:, None], 1 - sure[:, None])
    )
    assert most_wrong(logs, np.zeros(1000, int)) > 0.5


@pytest.mark.parametrize("scale", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("sharper", [0.6, 1.0, 2.0])
def test_clean_classes_that_overlap_hold_no_wrong_labels(scale: float, sharper: float) -> None:
    for seed in range(3):
        logs, given = overlapping(1500, 0.0, seed, scale, sharper)
        assert (logs.argmax(axis=1) != given).mean() > 0.05
        assert noise_rate([logs], given).low == 0.0


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, 0.4])
def test_labels_of_classes_that_lie_apart_are_counted(rate: float) -> None:
    for seed in range(3):
        logits, given, wrong = separable(1500, rate, seed)
        found = noise_rate([logits], given)
        assert found.identified and found.low <= wrong.mean() <= found.high
        assert found.estimate == pytest.approx(wrong.mean(), abs=0.015)


def test_two_classes_that_overlap_much_cannot_be_told_from_wrong_labels_and_it_says_so() -> None:
    logs, given = overlapping(1500, 0.3, seed=0, scale=1.5)
    found = noise_rate([logs], given)
    assert not found.identified and found.low < 0.3 < found.high
    assert str(found) == (
        "how many labels are wrong cannot be told from hardness here: between "
        f"{100 * found.low:.0f} % and {100 * found.high:.0f} % fit as well"
    )
    assert NoiseRate(**found.as_dict()) == found and NoiseRate(0.1, 0.0, 0.2).identified


def test_models_that_err_much_get_no_sharp_lower_end() -> None:
    # Every second prediction is sure and wrong for want of learning: a likelihood alone calls the labels wrong.
    generator = np.random.default_rng(2)
    given = np.arange(1500) % 10
    slips = generator.random(1500) < 0.25
    unsure = ~slips & (generator.random(1500) < 0.5)
    at = np.where(slips, generator.integers(0, 10, 1500), given)
    logits = np.where(unsure, 1.0, 6.0)[:, None] * np.eye(10)[at] + 1.5 * generator.normal(size=(1500, 10))
    likelihood = profile_likelihood(log_probabilities(logits), given, [0.0, 0.2])
    assert likelihood[1] > likelihood[0] + 20.0
    found = noise_rate([logits], given)
    assert found.low < found.estimate - 0.05


def test_only_examples_that_a_model_did_not_see_count_and_each_by_its_own_models() -> None:
    logits, given, wrong = separable(1200, 0.2, seed=4)
    by_heart = 9.0 * np.eye(4)[given]
    first, second = np.arange(1200) < 400, (np.arange(1200) >= 400) & (np.arange(1200) < 800)
    views = [np.where(first[:, None], logits, by_heart), np.where(second[:, None], logits, by_heart)]
    found = noise_rate(views, given, [first, second])
    assert found == noise_rate([logits[:800]], given[:800])
    assert found.estimate == pytest.approx(wrong[:800].mean(), abs=0.015)
    assert noise_rate(views, given).estimate < 0.1
    with pytest.raises(BadInputError, match="held_out must be 2 masks of 1200"):
        noise_rate(views, given, [first])
    with pytest.raises(BadInputError, match="one or more in them"):
        noise_rate(views, given, [~first & first] * 2)
    with pytest.raises(BadInputError, match="at least one model"):
        noise_rate([], given)


def test_where_there_are_very_many_a_draw_of_them_says_it(monkeypatch) -> None:
    monkeypatch.setattr("datadiet.noise.profile._MOST_EXAMPLES", 500)
    logits, given, wrong = separable(4000, 0.1, seed=5)
    found, other = noise_rate([logits], given), noise_rate([logits], given, seed=1)
    assert found == noise_rate([logits], given, seed=0) != other
    assert found.low <= wrong.mean() <= found.high and found.high - found.low > 0.03


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulated_noise", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["folds", "second"])
def test_a_corner_of_the_grid_holds_the_truth_or_cannot_be_told(simulation, kind) -> None:
    for hard, rate in ((False, 0.2), (True, 0.0)):
        cell = simulation.Cell(2, hard, rate, "symmetric", False)
        found = simulation.outcomes(simulation.drawn(cell, 1, kind))["predictions"]
        assert found.stated and found.holds and found.calibration < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folds", "second"])
def test_the_grid_holds_the_truth_or_cannot_be_told(simulation, kind) -> None:
    rows = [
        simulation.outcomes(simulation.drawn(cell, seed, kind))
        for cell in simulation.grid([2, 10])
        for seed in range(3)
    ]
    for name, at_least in (("predictions", 0.4), ("table", 0.15)):
        stated = [row[name] for row in rows if row[name].stated]
        assert len(stated) > at_least * len(rows)
        assert np.mean([row.holds for row in stated]) >= 0.93
        assert np.mean([row.calibration for row in stated]) < 0.05
