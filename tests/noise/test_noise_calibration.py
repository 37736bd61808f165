"""Probabilities from suspicions: against densities written out, and against an isotonic regression by pooling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from datadiet.foundation.errors import BadInputError
from datadiet.noise import along_reference, mixture_posterior


def pooled(values: list[float]) -> list[float]:
    """Isotonic regression by pooling neighbours that fall, one pair at a time."""
    blocks = [[value, 1] for value in values]
    place = 0
    while place < len(blocks) - 1:
        (a, m), (b, n) = blocks[place], blocks[place + 1]
        if a > b:
            blocks[place : place + 2] = [[(a * m + b * n) / (m + n), m + n]]
            place = max(0, place - 1)
        else:
            place += 1
    return [value for value, count in blocks for _ in range(count)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_a_reference_is_followed_by_pooling_what_falls(reference: list[float]) -> None:
    found = along_reference(np.arange(len(reference)), reference)
    np.testing.assert_allclose(found, pooled(reference), atol=1e-9)
    assert math.isclose(found.mean(), np.mean(reference), abs_tol=1e-9)


def test_the_mixture_finds_the_posterior_of_two_known_normal_components() -> None:
    generator = np.random.default_rng(0)
    wrong = generator.random(20_000) < 0.15
    signal = np.where(wrong, generator.normal(3, 1.5, 20_000), generator.normal(-3, 1, 20_000))
    found = mixture_posterior(signal)
    ratio = 0.15 * norm.pdf(signal, 3, 1.5), 0.85 * norm.pdf(signal, -3, 1)
    middle = np.abs(signal) < 3
    np.testing.assert_allclose(found[middle], (ratio[0] / (ratio[0] + ratio[1]))[middle], atol=0.06)
    assert abs(found.mean() - wrong.mean()) < 0.01


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=60))
def test_the_mixture_never_falls_as_the_suspicion_rises(values: list[float]) -> None:
    signal = np.array(values)
    if np.ptp(signal) < 1e-6:
        return
    found = mixture_posterior(signal)
    assert ((found >= 0) & (found <= 1)).all()
    order = np.argsort(signal, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_one_value_is_no_mixture() -> None:
    with pytest.raises(BadInputError, match="two different"):
        mixture_posterior([1.0, 1.0])
