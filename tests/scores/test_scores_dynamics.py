"""Scores of training dynamics: toy cases by hand, and loops over one example at a time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datadiet.foundation.errors import BadInputError
from datadiet.scores import dynamics
from datadiet.scores import dynamics as windows


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
    for score in (dynamics.aum, dynamics.confidence, dynamics.variability, windows.dyn_unc):
        assert score(rows).dtype == np.float32
        np.testing.assert_allclose(score(rows), score(rows.astype(np.float64)), rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(8)))
def test_an_examples_score_does_not_depend_on_its_place(order: list[int]) -> None:
    rows = np.random.default_rng(3).random((6, 8))
    for score in (dynamics.aum, dynamics.confidence, dynamics.variability, windows.dyn_unc):
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
        (lambda: windows.dyn_unc(np.zeros((2, 3)), window=1), "at least 2"),
    ],
)
def test_columns_that_do_not_fit_are_refused(call: object, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        call()  # type: ignore[operator]
