"""Single signals against loops in plain Python, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datadiet.foundation.errors import BadInputError
from datadiet.noise import el2n, label_probability
from datadiet.noise.signals import checked_signal


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
