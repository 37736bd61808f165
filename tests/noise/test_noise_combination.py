"""How views and margins are put together, against what theory says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from datadiet.foundation.errors import BadInputError
from datadiet.noise import combine, mixture_noise_rate, noise_rate, signals
from datadiet.noise.calibration import separation
from datadiet.noise.label_model import probability_from_signal, shifted_to_mean


def combined(seed: int, **more):
    generator = np.random.default_rng(seed)
    given = generator.integers(0, 3, 120)
    wrong = generator.random(120) < 0.2
    true = np.where(wrong, (given + 1) % 3, given)
    views = [3 * np.eye(3)[true] + 1.2 * generator.normal(size=(120, 3))]
    loss = np.where(wrong, 3.0, 0.5) + 0.8 * generator.normal(size=120)
    return combine(views, given, late_loss=loss, seed=seed, **more), views, given, loss


def test_log_odds_of_predictions_count_twice_those_of_the_loss_and_alone_whole() -> None:
    found, views, given, loss = combined(4)
    assert ((found.probability_wrong > 0) & (found.probability_wrong < 1)).all()
    odds = logit(found.probability_wrong)
    np.testing.assert_allclose(odds - odds[0], (found.suspicion - found.suspicion[0]) / 1.5, atol=1e-6)
    model = found.label_model
    second = logit(probability_from_signal(model.probability_wrong, loss))
    np.testing.assert_allclose(found.suspicion, np.clip(model.log_odds_wrong, -15, 15) + 0.5 * second)
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


def test_where_models_saw_the_labels_only_groups_of_margins_tell_how_many_are_wrong() -> None:
    generator = np.random.default_rng(6)
    given = generator.integers(0, 3, 400)
    wrong = np.arange(400) % 5 == 0
    knows_by_heart = [8.0 * np.eye(3)[given] + generator.normal(size=(400, 3))]
    margin = np.where(wrong, -4.0, 4.0) + generator.normal(size=400)
    inside = combine(knows_by_heart, given, aum=margin, out_of_sample=False)
    assert inside.noise_rate == mixture_noise_rate(-margin, given)
    assert inside.noise_rate.identified and inside.noise_rate.estimate == pytest.approx(0.2, abs=0.01)
    assert inside.probability_wrong.mean() == pytest.approx(0.2, abs=0.01)
    tail = generator.gamma(4.0, 1.0, 400)  # hard examples: no group of their own
    for more in ({}, {"aum": tail}):
        found = combine(knows_by_heart, given, out_of_sample=False, **more).noise_rate
        assert (found.low, found.high, found.identified) == (0.0, 1.0, False)


def test_margins_are_asked_where_predictions_cannot_tell_and_do_not_contradict_them() -> None:
    generator = np.random.default_rng(8)
    true = np.arange(900) % 2
    wrong = np.arange(900) % 3 == 0
    given = np.where(wrong, 1 - true, true)
    even = [np.log(np.where(np.eye(2)[true] > 0, 2 / 3, 1 / 3))]  # as sure everywhere as labels are right
    of_views = noise_rate(even, given)
    assert not of_views.identified and of_views.low == 0.0 and of_views.high > 1 / 3
    groups = np.where(wrong, -5.0, 5.0) + generator.normal(size=900)
    found = combine(even, given, aum=groups)
    assert found.noise_rate == mixture_noise_rate(-groups, given)
    assert found.probability_wrong.mean() == pytest.approx(1 / 3, abs=0.01)
    too_many = np.where(np.arange(900) % 20 < 9, -5.0, 5.0) + generator.normal(size=900)
    assert mixture_noise_rate(-too_many, given).identified
    assert combine(even, given, aum=too_many).noise_rate == of_views


def test_a_group_of_margins_sharpens_what_predictions_tell() -> None:
    generator = np.random.default_rng(9)
    true = np.arange(600) % 3
    wrong = generator.random(600) < 0.2
    given = np.where(wrong, (true + 1) % 3, true)
    views = [generator.uniform(4, 9, 600)[:, None] * np.eye(3)[true]]
    margin = np.where(wrong, -5.0, 5.0) + generator.normal(size=600)
    part = [np.arange(600) < 200]
    alone, found = noise_rate(views, given, part), combine(views, given, aum=margin, held_out=part)
    assert alone.identified and found.noise_rate == mixture_noise_rate(-margin, given) != alone
    assert found.noise_rate.high - found.noise_rate.low < 0.8 * (alone.high - alone.low)
    assert found.probability_wrong.mean() == pytest.approx(wrong.mean(), abs=0.005)


def test_the_loss_counts_whole_where_margins_show_wrong_labels_as_a_group() -> None:
    generator = np.random.default_rng(10)
    true = np.arange(600) % 3
    wrong = generator.random(600) < 0.2
    given = np.where(wrong, (true + 1) % 3, true)
    views = [2.0 * np.eye(3)[true] + generator.normal(size=(600, 3))]
    loss = np.where(wrong, 3.0, 0.5) + generator.normal(size=600)
    groups, tail = np.where(wrong, -5.0, 5.0) + generator.normal(size=600), generator.gamma(4.0, 1.0, 600)
    for margin, share in ((groups, 1.0), (tail, 0.5), (None, 0.5)):
        found = combine(views, given, loss, margin)
        model = found.label_model
        second = logit(probability_from_signal(model.probability_wrong, loss))
        np.testing.assert_allclose(found.suspicion, np.clip(model.log_odds_wrong, -15, 15) + share * second)


def test_nothing_held_out_is_as_if_the_models_had_seen_all_labels() -> None:
    _, views, given, _ = combined(4)
    nothing = [np.zeros(120, bool)]
    assert (
        combine(views, given, held_out=nothing).noise_rate
        == combine(views, given, out_of_sample=False).noise_rate
    )
    part = [np.arange(120) < 90]
    assert combine(views, given, held_out=part).noise_rate == noise_rate(views, given, part)
