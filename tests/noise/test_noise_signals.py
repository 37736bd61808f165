"""Single signals and the threshold of AUM against loops in plain Python, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datadiet.foundation.errors import BadInputError
from datadiet.noise import el2n, label_probability
from datadiet.noise.signals import (
    checked_signal,
    draw_threshold_examples,
    threshold_margin,
    threshold_suspicion,
)


@given(
    arrays(np.float64, (4, 3), elements=st.floats(-30, 30)),
    arrays(np.int64, 4, elements=st.integers(0, 2)),
)
def test_every_signal_is_its_formula_example_by_example(logits, labels) -> None:
    found = el2n(logits, labels), label_probability(logits, labels)
    for row, label in enumerate(labels):
        powers = [math.exp(z) for z in logits[row]]
        p = [power / sum(powers) for power in powers]
        error = math.sqrt(sum((p[c] - (c == label)) ** 2 for c in range(3)))
        expected = error, p[label]
        np.testing.assert_allclose([values[row] for values in found], expected, rtol=1e-9, atol=1e-9)


def test_logits_that_are_not_finite_are_refused_with_their_rows() -> None:
    logits = np.zeros((4, 2))
    logits[2, 1] = np.nan
    with pytest.raises(BadInputError, match=r"1 of 4 examples \(rows 2\)"):
        el2n(logits, [0, 1, 0, 1])


def test_a_label_outside_the_classes_is_refused() -> None:
    with pytest.raises(BadInputError, match="0 to 1"):
        label_probability(np.zeros((2, 2)), [0, 2])


def test_a_signal_with_nan_names_the_rows() -> None:
    with pytest.raises(BadInputError, match=r"aum is not finite for 2 of 3 examples \(rows 0, 2\)"):
        checked_signal([np.nan, 1.0, np.inf], "aum")


def test_the_threshold_is_the_99th_percentile_of_the_threshold_class() -> None:
    # 101 threshold examples with AUM 0, 1, ..., 100: the 99th percentile is 99; the others do not count.
    aum = np.r_[np.arange(101.0), [1e6, -1e6]]
    mask = np.r_[np.ones(101, bool), [False, False]]
    assert threshold_margin(aum, mask) == 99.0


def test_what_lies_below_the_threshold_is_flagged_in_each_training_by_itself() -> None:
    # Training 1: the threshold class is examples 0 and 1 with AUM -6 and -4: median -5.
    # Training 2: it is examples 2 and 3 with AUM -3 and -1: median -2.
    aums = [[-6.0, -4.0, 3.0, -7.0, -9.0, 4.0], [5.0, -5.0, -3.0, -1.0, -6.0, 2.0]]
    masks = [[True, True, False, False, False, False], [False, False, True, True, False, False]]
    # Example 0: -2 - 5 = -7.  1: -2 + 5 = 3.  2: -5 - 3 = -8.  3: -5 + 7 = 2.
    # Example 4: mean of -5 + 9 = 4 and -2 + 6 = 4.  5: mean of -5 - 4 = -9 and -2 - 2 = -4.
    found = threshold_suspicion(aums, masks, percentile=50)
    np.testing.assert_allclose(found, [-7, 3, -8, 2, 4, -6.5])
    assert (found > 0).tolist() == [False, True, False, True, True, False]


@given(st.integers(6, 200), st.integers(2, 12), st.integers(0, 5))
def test_threshold_classes_are_disjoint_and_as_large_as_a_class(n: int, classes: int, seed: int) -> None:
    size = math.ceil(n / (classes + 1))
    if 2 * size > n:
        with pytest.raises(BadInputError, match="disjoint"):
            draw_threshold_examples(n, classes, 2, seed)
        return
    first, second = draw_threshold_examples(n, classes, 2, seed)
    assert first.sum() == second.sum() == size
    assert not (first & second).any()


def test_another_seed_draws_other_threshold_examples() -> None:
    one, two = (draw_threshold_examples(100, 4, 1, seed)[0] for seed in (0, 1))
    assert (one != two).any()


def test_an_example_that_never_had_its_own_label_is_refused() -> None:
    with pytest.raises(BadInputError, match="1 of 3 examples were in the threshold class of every training"):
        threshold_suspicion([[-3.0, -1.0, 2.0]], [[True, False, False]])


def test_threshold_classes_may_take_every_example() -> None:
    first, second = draw_threshold_examples(4, 1, 2)
    assert (first ^ second).all()
    with pytest.raises(BadInputError, match="2 disjoint"):
        draw_threshold_examples(4, 1, 3)
