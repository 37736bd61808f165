"""Stratified hold-out: exact sizes, every class on both sides, deterministic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.data.load import hold_out
from datadiet.foundation.errors import BadInputError


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=8),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
)
def test_sizes_are_exact_and_every_class_is_on_both_sides(counts, fraction, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(0).permutation(labels)
    names = tuple(map(str, range(len(counts))))
    train, test = hold_out(labels, names, fraction=fraction, seed=seed)
    n, k = len(labels), len(counts)
    assert len(test) == min(max(round(fraction * n), k), n - k)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(n))
    assert (np.diff(test) > 0).all() and (np.diff(train) > 0).all()
    assert set(labels[train]) == set(labels[test]) == set(range(k))


def test_each_class_gives_its_share_to_within_one():
    labels = np.repeat([0, 1, 2], [500, 333, 167])
    _, test = hold_out(labels, ("a", "b", "c"), fraction=0.2, seed=1)
    assert np.abs(np.bincount(labels[test]) - np.array([100, 66.6, 33.4])).max() < 1


def test_the_split_depends_on_the_seed_alone():
    labels = np.arange(100) % 4
    names = ("a", "b", "c", "d")
    first = hold_out(labels, names, fraction=0.25, seed=3)[1].tolist()
    assert hold_out(labels, names, fraction=0.25, seed=3)[1].tolist() == first
    assert hold_out(labels, names, fraction=0.25, seed=4)[1].tolist() != first


def test_a_class_with_one_example_is_named_with_its_row():
    with pytest.raises(BadInputError, match=r"Class 'b' has one example \(row 2\)"):
        hold_out(np.array([0, 0, 1, 0]), ("a", "b"), fraction=0.5, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction):
    with pytest.raises(BadInputError, match="test_fraction"):
        hold_out(np.array([0, 0, 1, 1]), ("a", "b"), fraction=fraction, seed=0)


def test_a_class_without_examples_takes_no_part():
    labels = np.array([0, 0, 2, 2, 2, 2])
    _, test = hold_out(labels, ("a", "b", "c"), fraction=0.5, seed=0)
    assert np.bincount(labels[test], minlength=3).tolist() == [1, 0, 2]
