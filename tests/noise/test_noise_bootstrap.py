"""How far a bootstrap reaches, and how views and rates are put together, against what theory says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from datadiet.foundation.errors import BadInputError
from datadiet.noise import NoiseRate, calibration, combine, fit_label_model, mixture_noise_rate, signals
from datadiet.noise.calibration import (
    binomial_interval,
    bootstrapped_rate,
    combined_rate,
    separation,
    with_wider_interval,
)
from datadiet.noise.label_model import label_noise_rate, probability_from_signal, shifted_to_mean


def reach_of(values: np.ndarray, draws: int = 400) -> float:
    rate = bootstrapped_rate(
        float(values.mean()), len(values), lambda rows: float(values[rows].mean()), draws, [3]
    )
    return (rate.high - rate.low) / 2


def test_the_bootstrap_reaches_as_far_as_the_error_of_a_mean_also_where_draws_are_smaller(
    monkeypatch,
) -> None:
    # Numbers that vary more than those of a binomial distribution, so that its interval is inside.
    values = np.random.default_rng(0).normal(0.5, 2.0, 4000) / 10 + 0.45
    values = np.where(np.arange(4000) % 50 == 0, values + 8, values) - 0.15
    expected = 1.959964 * values.std() / np.sqrt(4000)
    low, high = binomial_interval(values.mean() * 4000, 4000)
    assert expected > (high - low) / 2
    assert reach_of(values) == pytest.approx(expected, rel=0.12)
    monkeypatch.setattr(calibration, "_LARGEST_DRAW", 250)
    sizes = []

    def again(rows: np.ndarray) -> float:
        sizes.append(len(rows))
        return float(values[rows].mean())

    rate = bootstrapped_rate(float(values.mean()), 4000, again, 400, [3])
    assert set(sizes) == {250} and len(sizes) == 400
    assert (rate.high - rate.low) / 2 == pytest.approx(expected, rel=0.12)


def test_a_few_draws_have_the_deviation_of_a_sample() -> None:
    outcomes = iter([0.3, 0.5])
    rate = bootstrapped_rate(0.4, 1_000_000, lambda rows: next(outcomes), 2, [0])
    # Draws of 10,000: ddof=1 gives sqrt(0.02).
    expected = 1.959964 * np.sqrt(0.02) * np.sqrt(10_000 / 1_000_000)
    assert (rate.low, rate.high) == pytest.approx((0.4 - expected, 0.4 + expected), abs=1e-6)


def test_the_interval_stays_within_shares() -> None:
    outcomes = iter([0.0, 1.0] * 2)
    rate = bootstrapped_rate(0.5, 100, lambda rows: next(outcomes), 4, [0])
    assert (rate.low, rate.high) == (0.0, 1.0)


def test_draws_begin_with_the_seed_and_another_seed_draws_anew() -> None:
    generator = np.random.default_rng(1)
    signal = np.r_[generator.normal(0, 1, 150), generator.normal(4, 1, 50)]
    one, same, other = (mixture_noise_rate(signal, draws=6, seed=seed) for seed in (0, 0, 1))
    assert one == same and (one.low, one.high) != (other.low, other.high)
    given = np.arange(150) % 3
    views = [2 * np.eye(3)[(given + (np.arange(150) % 5 == 0)) % 3] + generator.normal(size=(150, 3))]
    fitted = fit_label_model(views, given)
    one, same, other = (label_noise_rate(views, given, fitted, draws=6, seed=seed) for seed in (0, 0, 1))
    assert one == same and (one.low, one.high) != (other.low, other.high)


def test_the_interval_of_a_mixture_is_as_wide_as_that_of_its_labels_were_known() -> None:
    generator = np.random.default_rng(2)
    signal = np.r_[generator.normal(0, 1, 1600), generator.normal(9, 1, 400)]  # apart: the groups are seen
    rate = mixture_noise_rate(signal, draws=60)
    half = (rate.high - rate.low) / 2
    assert half == pytest.approx(1.96 * np.sqrt(0.2 * 0.8 / 2000), rel=0.25)


def combined(seed: int, **more):
    generator = np.random.default_rng(seed)
    given = generator.integers(0, 3, 120)
    wrong = generator.random(120) < 0.2
    true = np.where(wrong, (given + 1) % 3, given)
    views = [3 * np.eye(3)[true] + 1.2 * generator.normal(size=(120, 3))]
    loss = np.where(wrong, 3.0, 0.5) + 0.8 * generator.normal(size=120)
    return combine(views, given, late_loss=loss, seed=seed, **more), views, given, loss


def test_log_odds_of_two_views_count_half_and_those_of_one_whole() -> None:
    found, views, given, loss = combined(4)
    assert ((found.probability_wrong > 0) & (found.probability_wrong < 1)).all()
    odds = logit(found.probability_wrong)
    np.testing.assert_allclose(odds - odds[0], 0.5 * (found.suspicion - found.suspicion[0]), atol=1e-6)
    model = found.label_model
    second = logit(probability_from_signal(model.probability_wrong, loss))
    np.testing.assert_allclose(found.suspicion, np.clip(model.log_odds_wrong, -15, 15) + second)
    alone = combine(views, given)
    odds = logit(alone.probability_wrong)
    np.testing.assert_allclose(odds - odds[0], alone.suspicion - alone.suspicion[0], atol=1e-6)


def test_two_views_that_say_the_same_are_not_surer_than_one() -> None:
    # The loss is the first view over again: with whole log odds the probabilities would be those of twice the evidence.
    generator = np.random.default_rng(5)
    logits = 2.0 * generator.normal(size=(3000, 2))
    true = (generator.random(3000) < expit(logits[:, 1] - logits[:, 0])).astype(int)
    wrong = generator.random(3000) < 0.2
    given = np.where(wrong, 1 - true, true)
    own = logits[np.arange(3000), given] - logits[np.arange(3000), 1 - given]
    found = combine([logits], given, late_loss=np.log1p(np.exp(-own)))

    def error(probability: np.ndarray) -> float:
        parts = np.array_split(np.argsort(probability), 6)
        return float(np.mean([abs(probability[part].mean() - wrong[part].mean()) for part in parts]))

    whole = shifted_to_mean(found.suspicion, found.noise_rate.estimate)
    assert error(found.probability_wrong) < 0.8 * error(whole)


def test_the_first_views_certainty_is_bounded() -> None:
    given = np.arange(40) % 2
    sure = 60.0 * np.eye(2)[given]
    sure[0] = sure[0][::-1]
    found = combine([sure], given)
    assert np.abs(found.suspicion).max() <= 15.0
    assert found.suspicion.argmax() == 0 and found.proposed[0] == 1


def test_margins_raise_the_rate_and_models_that_saw_the_labels_say_nothing_of_it() -> None:
    generator = np.random.default_rng(6)
    given = generator.integers(0, 3, 400)
    wrong = np.arange(400) % 5 == 0
    knows_by_heart = [8.0 * np.eye(3)[given] + generator.normal(size=(400, 3))]
    margin = np.where(wrong, -4.0, 4.0) + generator.normal(size=400)
    shifted = np.where(np.arange(400) % 4 == 0, -4.0, 4.0) + generator.normal(size=400)
    of_margin = mixture_noise_rate(-margin)
    inside = combine(knows_by_heart, given, aum=margin, out_of_sample=False)
    assert inside.noise_rate == of_margin and inside.noise_rate.estimate == pytest.approx(0.2, abs=0.01)
    assert inside.probability_wrong.mean() == pytest.approx(0.2, abs=0.01)
    both = combine(knows_by_heart, given, aum=margin)
    of_labels = label_noise_rate(knows_by_heart, given, both.label_model)
    assert both.noise_rate.estimate == pytest.approx((of_labels.estimate + of_margin.estimate) / 2)
    parts = combine(knows_by_heart, given, aum=margin, aum_parts=[margin, shifted], out_of_sample=False)
    assert parts.noise_rate.estimate == of_margin.estimate
    assert parts.noise_rate.high == mixture_noise_rate(-shifted).high > of_margin.high
    one_group = generator.gamma(4.0, 1.0, 400)  # a tail of hard examples: nothing to ask
    parts = combine(knows_by_heart, given, aum=margin, aum_parts=[one_group], out_of_sample=False)
    assert parts.noise_rate == of_margin != with_wider_interval(of_margin, [mixture_noise_rate(-one_group)])


def test_the_seed_of_a_combination_is_that_of_its_draws(monkeypatch) -> None:
    monkeypatch.setattr(calibration, "binomial_interval", lambda found, count: (found / count, found / count))
    generator = np.random.default_rng(7)
    given = np.arange(60) % 3
    views = [2 * np.eye(3)[(given + (np.arange(60) % 5 == 0)) % 3] + generator.normal(size=(60, 3))]
    margin = np.where(np.arange(60) % 5 == 0, -4.0, 4.0) + generator.normal(size=60)
    for more in ({}, {"aum": margin, "out_of_sample": False}):
        one, other = (combine(views, given, seed=seed, **more).noise_rate for seed in (0, 1))
        assert one.estimate == pytest.approx(other.estimate)
        assert (one.low, one.high) != (other.low, other.high)


def test_one_view_and_one_class_are_not_enough() -> None:
    with pytest.raises(BadInputError, match="at least two classes"):
        signals.checked_logits(np.zeros((3, 1)), [0, 0, 0])
    assert signals.checked_logits(np.zeros((3, 2)), [0, 1, 0])[0].shape == (3, 2)


def test_how_far_groups_are_apart_is_in_units_of_their_spread() -> None:
    signal, upper = np.array([0.0, 2.0, 10.0, 16.0]), np.array([0.0, 0.0, 1.0, 1.0])
    # Means 1 and 13, variances 1 and 9.
    assert separation(signal, upper) == pytest.approx(np.sqrt(2) * 12 / np.sqrt(10))
    assert separation(signal, 1 - upper) == pytest.approx(separation(signal, upper))
    assert separation(signal, np.zeros(4)) == separation(signal, np.ones(4)) == 0.0


def test_rates_are_put_together_with_the_least_confidence_and_the_widest_interval() -> None:
    rates = [NoiseRate(0.2, 0.1, 0.25, 0.95), NoiseRate(0.4, 0.35, 0.5, 0.9), NoiseRate(0.3, 0.3, 0.3, 0.99)]
    assert combined_rate(rates) == NoiseRate(pytest.approx(0.3), 0.1, 0.5, 0.9)
    assert with_wider_interval(rates[0], []) == rates[0]
    assert with_wider_interval(rates[1], rates[:1]) == NoiseRate(0.4, 0.1, 0.5, 0.9)


def test_a_draw_of_one_value_says_what_all_examples_said() -> None:
    rate = mixture_noise_rate([0.0] * 39 + [9.0], draws=30, seed=0)  # a third of the draws miss the one
    assert rate.low <= rate.estimate <= rate.high and rate.estimate == pytest.approx(1 / 40, abs=1e-6)
