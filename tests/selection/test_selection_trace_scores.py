"""DUAL and TDDS against direct loops."""

import math

import numpy as np
import pytest

from datadiet.errors import BadInputError
from datadiet.selection.trace_scores import dual, tdds


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


@pytest.mark.parametrize(
    ("score", "shape", "window", "message"),
    [
        (dual, (5, 3, 2), 2, "give"),
        (dual, (5, 3), 1, "window of 1"),
        (dual, (5, 3), 6, "window of 6 epochs does not fit a trace of 5"),
        (tdds, (5,), 3, "give"),
        (tdds, (5, 3), 2, "window of 2"),
    ],
)
def test_traces_that_do_not_fit_are_refused(score, shape, window, message):
    with pytest.raises(BadInputError, match=message):
        score(np.full(shape, 0.5), window)


def test_a_decay_outside_zero_to_one_is_refused():
    with pytest.raises(BadInputError, match="decay is 0"):
        tdds(np.full((5, 2), 0.5), 3, decay=0.0)
