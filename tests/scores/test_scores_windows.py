"""Dyn-Unc, DUAL and TDDS against direct loops."""

import math

import numpy as np
import pytest

from datadiet.foundation.errors import BadInputError
from datadiet.scores.dynamics import dual, dyn_unc, tdds


def dual_by_hand(probabilities, window):
    epochs, n = probabilities.shape
    scores = []
    for example in range(n):
        parts = []
        for start in range(epochs - window + 1):
            values = probabilities[start : start + window, example].tolist()
            mean = sum(values) / window
            deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (window - 1))
            parts.append(deviation * (1 - mean))
        scores.append(sum(parts) / len(parts))
    return scores


def tdds_by_hand(probabilities, window, decay):
    epochs, n, classes = probabilities.shape
    scores = []
    for example in range(n):
        p = probabilities[:, example]
        change = [
            sum(
                abs(p[t][c] * (math.log(p[t][c] + 1e-8) - math.log(p[t - 1][c] + 1e-8)))
                for c in range(classes)
            )
            for t in range(1, epochs)
        ]
        total = 0.0
        for start in range(epochs - window + 1):
            part = change[start : start + window - 1]
            mean = sum(part) / len(part)
            norm = math.sqrt(sum((k - mean) ** 2 for k in part))
            total += norm * decay * (1 - decay) ** (epochs - window - start)
        scores.append(total)
    return scores


@pytest.mark.parametrize("window", [2, 5, 12])
def test_dual_is_the_mean_over_windows_of_spread_times_one_minus_mean(window):
    probabilities = np.random.default_rng(0).random((12, 7))
    np.testing.assert_allclose(dual(probabilities, window), dual_by_hand(probabilities, window), rtol=1e-12)


@pytest.mark.parametrize(("window", "decay"), [(3, 0.9), (6, 0.3), (10, 1.0)])
def test_tdds_is_the_decayed_sum_over_windows_of_the_spread_of_changes(window, decay):
    logits = np.random.default_rng(1).standard_normal((10, 6, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(
        tdds(probabilities, window, decay), tdds_by_hand(probabilities, window, decay), rtol=1e-9
    )


def test_tdds_of_the_label_alone_is_the_sum_over_one_class():
    probabilities = np.random.default_rng(2).random((8, 5))
    np.testing.assert_allclose(
        tdds(probabilities, 4), tdds_by_hand(probabilities[:, :, None], 4, 0.9), rtol=1e-9
    )


def test_examples_that_never_change_score_zero():
    steady = np.full((10, 3), 0.4)
    assert dual(steady, 5).tolist() == pytest.approx([0.0] * 3, abs=1e-12)
    assert tdds(steady, 5).tolist() == pytest.approx([0.0] * 3, abs=1e-12)


def slow_dyn_unc(probability: np.ndarray, window: int) -> np.ndarray:
    width = min(window, len(probability))
    stds = [probability[k : k + width].std(axis=0, ddof=1) for k in range(len(probability) - width + 1)]
    return np.mean(stds, axis=0)


@pytest.mark.parametrize("epochs", [2, 9, 10, 11, 40])
@pytest.mark.parametrize("window", [2, 10])
def test_dyn_unc_is_the_mean_over_sliding_windows(epochs: int, window: int) -> None:
    rows = np.random.default_rng(epochs).random((epochs, 40))
    np.testing.assert_allclose(dyn_unc(rows, window), slow_dyn_unc(rows, window), rtol=1e-9)


def test_dyn_unc_of_one_epoch_is_zero() -> None:
    assert dyn_unc(np.array([[0.3, 0.9]])).tolist() == [0.0, 0.0]


def test_dyn_unc_leaves_out_what_was_not_seen() -> None:
    rows = np.array([[0.1], [np.nan], [0.5], [0.9]])
    seen = np.array([[1], [0], [1], [1]], bool)
    windows = [np.std([0.1, 0.5], ddof=1), np.std([0.5, 0.9], ddof=1)]
    np.testing.assert_allclose(dyn_unc(rows, 3, seen), [np.mean(windows)], rtol=1e-9)


def test_dyn_unc_of_an_example_that_settles_is_small_but_of_one_that_wavers_is_not() -> None:
    settled = np.r_[np.linspace(0, 1, 10), np.ones(30)]
    wavering = np.tile([0.0, 1.0], 20)
    score = dyn_unc(np.stack([settled, wavering, np.full(40, 0.25)], axis=1))
    assert score[1] > 4 * score[0]
    assert score[2] == 0


def test_windows_longer_than_the_trace_are_shortened_to_it():
    rows = np.random.default_rng(3).random((5, 4))
    for score in (dual, dyn_unc, tdds):
        np.testing.assert_array_equal(score(rows, 10), score(rows, 5))


@pytest.mark.parametrize("score", [dual, dyn_unc, tdds])
def test_an_example_that_misses_an_epoch_scores_as_if_it_were_not_there_in_its_windows(score):
    """In one window over all epochs, what was not presented is as if the epoch did not exist for it."""
    generator = np.random.default_rng(4)
    rows = generator.random((7, 3))
    seen = np.ones((7, 3), bool)
    seen[3, 1] = False
    spoilt = np.where(seen, rows, np.nan)
    found = score(spoilt, 7, seen=seen)
    np.testing.assert_allclose(found[1], score(np.delete(rows[:, [1]], 3, axis=0), 6)[0], rtol=1e-9)
    np.testing.assert_allclose(found[[0, 2]], score(rows[:, [0, 2]], 7), rtol=1e-9)


@pytest.mark.parametrize("score", [dual, dyn_unc, tdds])
def test_never_seen_is_no_score_and_one_epoch_is_zero(score):
    seen = np.array([[True, False], [True, False], [True, False]])
    found = score(np.full((3, 2), 0.5), seen=seen)
    assert found[0] == 0.0 and np.isnan(found[1])
    assert score(np.array([[0.3, 0.9]])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("score", "shape", "window", "message"),
    [
        (dual, (5, 3, 2), 2, "must be .epochs, n"),
        (dual, (5, 3), 1, "window must be at least 2"),
        (dyn_unc, (5, 3), 1, "window must be at least 2"),
        (tdds, (5,), 3, "must be .epochs, n"),
        (tdds, (5, 3), 2, "window must be at least 3"),
    ],
)
def test_traces_that_do_not_fit_are_refused(score, shape, window, message):
    with pytest.raises(BadInputError, match=message):
        score(np.full(shape, 0.5), window)


def test_a_decay_outside_zero_to_one_is_refused():
    with pytest.raises(BadInputError, match="decay is 0"):
        tdds(np.full((5, 2), 0.5), 3, decay=0.0)
