"""Scores of training dynamics: toy cases by hand, and loops over one example at a time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datadiet.foundation.errors import BadInputError
from datadiet.scores import training_dynamics as dynamics
from datadiet.scores.training_dynamics import dual, dyn_unc, tdds, tdds_label, tdds_of_probabilities


def slow_forgetting(correct: np.ndarray, seen: np.ndarray) -> list[float]:
    result = []
    for column in range(correct.shape[1]):
        history = [
            bool(value) for value, shown in zip(correct[:, column], seen[:, column], strict=True) if shown
        ]
        if not history:
            result.append(np.nan)
        elif not any(history):
            result.append(float(len(correct)))
        else:
            result.append(float(sum(a and not b for a, b in itertools.pairwise(history))))
    return result


def test_an_example_never_learnt_has_the_maximum() -> None:
    correct = np.array([[0, 1, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]], bool)
    score = dynamics.forgetting(correct)
    assert score.tolist() == [4.0, 2.0, 0.0, 0.0]
    assert score[0] > score[1:].max()


def test_learnt_once_and_never_forgotten_is_zero() -> None:
    assert dynamics.forgetting(np.array([[0], [0], [1], [1]], bool)).tolist() == [0.0]


def test_being_wrong_at_first_is_no_forgetting() -> None:
    assert dynamics.forgetting(np.array([[0], [1], [0], [1]], bool)).tolist() == [1.0]


def test_an_epoch_without_a_presentation_is_skipped() -> None:
    correct = np.array([[1, 1], [0, 0], [1, 0]], bool)
    seen = np.array([[1, 1], [0, 0], [1, 1]], bool)
    assert dynamics.forgetting(correct, seen).tolist() == [0.0, 1.0]


def test_an_example_never_seen_has_no_score() -> None:
    seen = np.array([[1, 0], [1, 0]], bool)
    values = np.array([[0.5, np.nan], [0.5, np.nan]])
    for score in (dynamics.aum, dynamics.confidence, dynamics.variability):
        result = score(values, seen=seen)
        assert np.isfinite(result[0]) and np.isnan(result[1])
    assert np.isnan(dynamics.forgetting(values > 0, seen)[1])


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 12), st.integers(1, 8))
def test_forgetting_is_the_count_over_each_examples_history(
    data: st.DataObject, epochs: int, count: int
) -> None:
    correct = data.draw(hnp.arrays(bool, (epochs, count)))
    seen = data.draw(hnp.arrays(bool, (epochs, count)))
    np.testing.assert_array_equal(dynamics.forgetting(correct, seen), slow_forgetting(correct, seen))


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 12))
def test_never_learnt_is_above_every_count_that_is_possible(data: st.DataObject, epochs: int) -> None:
    correct = data.draw(hnp.arrays(bool, (epochs, 6)))
    correct[:, 0] = False
    score = dynamics.forgetting(correct)
    learnt = correct.any(axis=0)
    assert (score[~learnt] == epochs).all()
    assert (score[learnt] <= epochs // 2).all()


def test_means_and_spreads_are_those_of_numpy() -> None:
    rows = np.random.default_rng(0).random((7, 50))
    np.testing.assert_allclose(dynamics.aum(rows * 4 - 2), (rows * 4 - 2).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(dynamics.confidence(rows), rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(dynamics.variability(rows), rows.std(axis=0), rtol=1e-12)


def test_means_and_spreads_are_over_what_was_seen() -> None:
    generator = np.random.default_rng(1)
    rows, seen = generator.random((9, 30)), generator.random((9, 30)) < 0.6
    seen[0] = True
    hidden = np.where(seen, rows, np.nan)
    np.testing.assert_allclose(dynamics.confidence(hidden, seen), np.nanmean(hidden, axis=0), rtol=1e-12)
    np.testing.assert_allclose(dynamics.variability(hidden, seen), np.nanstd(hidden, axis=0), atol=1e-12)


def test_float32_columns_give_float32_scores() -> None:
    rows = np.random.default_rng(0).random((5, 4), dtype=np.float32)
    for score in (dynamics.aum, dynamics.confidence, dynamics.variability, dyn_unc):
        assert score(rows).dtype == np.float32
        np.testing.assert_allclose(score(rows), score(rows.astype(np.float64)), rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(8)))
def test_an_examples_score_does_not_depend_on_its_place(order: list[int]) -> None:
    rows = np.random.default_rng(3).random((6, 8))
    for score in (dynamics.aum, dynamics.confidence, dynamics.variability, dyn_unc):
        np.testing.assert_array_equal(score(rows[:, order]), score(rows)[order])
    np.testing.assert_array_equal(
        dynamics.forgetting(rows[:, order] > 0.5), dynamics.forgetting(rows > 0.5)[order]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dynamics.aum(np.zeros(3)), "must be \\(epochs, n\\)"),
        (lambda: dynamics.aum(np.zeros((0, 3))), "at least one epoch"),
        (lambda: dynamics.aum(np.zeros((2, 3)), np.ones((3, 2))), "they must be equal"),
        (lambda: dynamics.aum(np.array([[0.0], [np.nan]])), "epoch row 1, column 0"),
        (lambda: dyn_unc(np.zeros((2, 3)), window=1), "at least 2"),
    ],
)
def test_columns_that_do_not_fit_are_refused(call: object, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        call()  # type: ignore[operator]


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
        tdds_of_probabilities(probabilities, window, decay),
        tdds_by_hand(probabilities, window, decay),
        rtol=1e-9,
    )


def test_tdds_of_the_label_alone_is_the_sum_over_one_class():
    probabilities = np.random.default_rng(2).random((8, 5))
    np.testing.assert_allclose(
        tdds_label(probabilities, 4), tdds_by_hand(probabilities[:, :, None], 4, 0.9), rtol=1e-9
    )


def test_tdds_of_changes_does_not_look_at_an_examples_first_presentation():
    probabilities = np.random.default_rng(3).dirichlet(np.ones(3), size=(6, 4))
    seen = np.ones((6, 4), bool)
    seen[:2, 1] = seen[3, 2] = seen[:, 3] = False
    change = np.full((6, 4), np.nan)
    for example in range(3):
        shown = np.flatnonzero(seen[:, example])
        for before, now in itertools.pairwise(shown):
            p, q = probabilities[now, example], probabilities[before, example]
            change[now, example] = np.abs(p * (np.log(p + 1e-8) - np.log(q + 1e-8))).sum()
    scores = tdds(change, 4, seen=seen)
    np.testing.assert_allclose(scores, tdds_of_probabilities(probabilities, 4, seen=seen), rtol=1e-12)
    change[0, 0] = change[2, 1] = 99.0
    np.testing.assert_array_equal(tdds(change, 4, seen=seen), scores)
    change[1, 0] = np.nan
    with pytest.raises(BadInputError, match="change is not finite in epoch row 1, column 0"):
        tdds(change, 4, seen=seen)


def test_examples_that_never_change_score_zero():
    steady = np.full((10, 3), 0.4)
    assert dual(steady, 5).tolist() == pytest.approx([0.0] * 3, abs=1e-12)
    assert tdds_label(steady, 5).tolist() == pytest.approx([0.0] * 3, abs=1e-12)


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
    for score in (dual, dyn_unc, tdds_label):
        np.testing.assert_array_equal(score(rows, 10), score(rows, 5))


@pytest.mark.parametrize("score", [dual, dyn_unc, tdds_label])
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


@pytest.mark.parametrize("score", [dual, dyn_unc, tdds_label])
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
        (tdds_label, (5,), 3, "must be .epochs, n"),
        (tdds_of_probabilities, (5, 3), 3, "must be .epochs, n, classes"),
        (tdds, (5, 3), 2, "window must be at least 3"),
    ],
)
def test_traces_that_do_not_fit_are_refused(score, shape, window, message):
    with pytest.raises(BadInputError, match=message):
        score(np.full(shape, 0.5), window)


def test_a_decay_outside_zero_to_one_is_refused():
    with pytest.raises(BadInputError, match="decay is 0"):
        tdds(np.full((5, 2), 0.5), 3, decay=0.0)
