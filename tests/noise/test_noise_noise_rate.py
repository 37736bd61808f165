"""The noise rate and the combination on simulated draws whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from datadiet.noise import combine, mixture_noise_rate, mixture_posterior
from datadiet.noise.calibration import binomial_interval
from datadiet.noise.label_model import probability_from_signal, shifted_to_mean


def simulated(seed: int, n: int = 1500, classes: int = 4, rate: float = 0.12):
    """Features with noise of their own for two views; labels of which a known share is wrong."""
    generator = np.random.default_rng(seed)
    true = generator.integers(0, classes, n)
    wrong = generator.random(n) < rate
    given = np.where(wrong, (true + generator.integers(1, classes, n)) % classes, true)
    one_hot = np.eye(classes)
    logits = 4 * one_hot[true] + 1.5 * generator.normal(size=(n, classes))
    seen = 5 * one_hot[true] + 1.5 * generator.normal(size=(n, classes))
    margin = seen[np.arange(n), given] - np.where(one_hot[given] > 0, -np.inf, seen).max(axis=1)
    return logits, given, wrong, margin


def test_the_combination_beats_its_predictions_keeps_up_with_a_better_margin_and_covers_the_truth() -> None:
    for seed in range(2):
        logits, given, wrong, margin = simulated(seed, n=1000)
        found = combine([logits], given, late_loss=np.log1p(np.exp(-margin)), aum=margin, seed=seed)
        alone = average_precision_score(wrong, found.label_model.log_odds_wrong)
        precision = average_precision_score(wrong, found.suspicion)
        assert precision > alone + 0.01
        assert precision > average_precision_score(wrong, -margin) - 0.001
        assert found.noise_rate.low <= wrong.mean() <= found.noise_rate.high


@pytest.mark.slow
def test_probabilities_of_the_combination_are_calibrated_and_keep_its_order() -> None:
    logits, given, wrong, margin = simulated(5, n=3000)
    found = combine([logits], given, late_loss=np.log1p(np.exp(-margin)), aum=margin)
    probability = found.probability_wrong
    assert probability.mean() == pytest.approx(found.noise_rate.estimate, abs=1e-6)
    assert abs(probability.mean() - wrong.mean()) < 0.015
    parts = np.array_split(np.argsort(probability, kind="stable"), 10)
    error = sum(len(p) * abs(probability[p].mean() - wrong[p].mean()) for p in parts) / len(wrong)
    assert error < 0.02
    assert (np.diff(probability[np.argsort(found.suspicion)]) >= 0).all()


def test_a_second_view_is_solved_out_of_a_noisy_reference() -> None:
    # The reference knows an eighth of the truth too little; the signal, independent of it given the truth, has two
    # values. P(wrong | signal) by counting the truth is what must come out, not the reference's mean.
    generator = np.random.default_rng(0)
    wrong = generator.random(200_000) < 0.3
    says = np.where(generator.random(200_000) < 0.8, wrong, ~wrong)
    q = np.where(says, 0.3 * 0.8 / (0.3 * 0.8 + 0.7 * 0.2), 0.3 * 0.2 / (0.3 * 0.2 + 0.7 * 0.8))
    signal = np.where(generator.random(200_000) < 0.9, wrong, ~wrong).astype(float)
    found = probability_from_signal(q, signal)
    for value in (0.0, 1.0):
        here = signal == value
        assert found[here].mean() == pytest.approx(wrong[here].mean(), abs=0.01)
        assert abs(q[here].mean() - wrong[here].mean()) > 0.1


def test_log_odds_are_moved_to_the_mean_asked_for_and_nothing_else() -> None:
    odds = np.array([-3.0, -1.0, 0.5, 4.0])
    found = shifted_to_mean(odds, 0.2)
    assert found.mean() == pytest.approx(0.2)
    np.testing.assert_allclose(np.diff(np.log(found / (1 - found))), np.diff(odds), rtol=1e-6)


def test_the_binomial_interval_ends_where_its_tails_hold_what_they_should() -> None:
    # By summing the binomial distribution.
    def at_most(k: int, n: int, share: float) -> float:
        return sum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1))

    for k, n in ((0, 7), (3, 40), (40, 40), (17, 60)):
        low, high = binomial_interval(k, n, 0.9)
        assert low == 0.0 if k == 0 else 1 - at_most(k - 1, n, low) == pytest.approx(0.05)
        assert high == 1.0 if k == n else at_most(k, n, high) == pytest.approx(0.05)


def test_a_mixture_that_begins_with_an_empty_component_stays_there() -> None:
    assert mixture_posterior([0.0, 1.0, 2.0, 5.0], np.zeros(4)).tolist() == [0.0] * 4


def test_clean_labels_with_a_tail_of_hard_examples_are_not_taken_for_noise() -> None:
    generator = np.random.default_rng(2)
    given = generator.integers(0, 4, 1500)
    logits = 5 * np.eye(4)[given] + generator.normal(size=(1500, 4))
    margin = generator.gamma(4.0, 1.0, 1500)  # one group, with a tail
    assert combine([logits], given, late_loss=np.exp(-margin), aum=margin).noise_rate.high < 0.03


def two_groups(seed: int, share: float, apart: float = 6.0, n: int = 800):
    generator = np.random.default_rng(seed)
    wrong = generator.random(n) < share
    return np.where(wrong, 1.0, -1.0) * apart / 2 + generator.normal(size=n), wrong


def test_a_group_of_its_own_is_counted_with_its_binomial_error() -> None:
    covered = 0
    for seed in range(12):
        signal, wrong = two_groups(seed, 0.2)
        rate = mixture_noise_rate(signal, np.arange(len(signal)) % 2)
        assert rate.identified and rate.estimate == pytest.approx(wrong.mean(), abs=0.005)
        low, high = binomial_interval(rate.estimate * 800, 800)
        assert rate.low <= low and high <= rate.high < high + 0.02
        covered += rate.low <= 0.2 <= rate.high
    assert covered >= 9  # of 12 at 95 %: fewer has a chance of less than 1 in 1,000


def test_a_class_that_lies_in_the_group_as_a_whole_may_be_right_or_wrong() -> None:
    signal, wrong = two_groups(3, 0.1)
    labels = np.arange(800) % 2
    labels[np.flatnonzero(wrong)[:20]] = 2
    rate, before = mixture_noise_rate(signal, labels), mixture_noise_rate(signal, np.arange(800) % 2)
    assert rate.low == pytest.approx(before.low - 20 / 800)
    assert (rate.estimate, rate.high, rate.identified) == (before.estimate, before.high, True)
    assert not mixture_noise_rate(signal, np.where(wrong, 2, labels)).low > 0


@pytest.mark.parametrize(
    "signal",
    [
        two_groups(0, 0.2, apart=2.5)[0],  # one runs into the other
        two_groups(0, 0.2)[0] - 9.0,  # the label is preferred in both
        np.random.default_rng(0).gamma(2.0, 1.0, 800),  # a tail
        np.zeros(50),
    ],
)
def test_what_is_no_group_of_its_own_tells_nothing(signal: np.ndarray) -> None:
    rate = mixture_noise_rate(signal, np.arange(len(signal)) % 2)
    assert (rate.low, rate.high, rate.identified) == (0.0, 1.0, False)
    assert str(rate) == "how many labels are wrong cannot be told from hardness here"
