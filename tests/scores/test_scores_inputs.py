"""Input norm and distances of embeddings against direct loops, and chance that knows no order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.foundation.errors import BadInputError
from datadiet.scores.inputs import centre_distance, input_norm, prototype_distance, random


def test_input_norm_is_over_everything_but_the_batch() -> None:
    images = np.random.default_rng(0).standard_normal((5, 3, 4, 4))
    expected = [np.sqrt((image**2).sum()) for image in images]
    np.testing.assert_allclose(input_norm(images), expected)
    np.testing.assert_allclose(input_norm(torch.from_numpy(images).float()).numpy(), expected, rtol=1e-6)


def test_bytes_are_read_as_numbers_and_do_not_wrap_around() -> None:
    assert input_norm(np.array([[200, 200]], np.uint8))[0] == pytest.approx(200 * np.sqrt(2))


def test_a_row_of_numbers_has_no_input_norm() -> None:
    with pytest.raises(BadInputError, match=r"\(batch, \.\.\.\)"):
        input_norm(np.zeros(3))


@settings(deadline=None)
@given(
    st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=50, unique=True),
    st.integers(0, 2**63),
    st.randoms(use_true_random=False),
)
def test_chance_is_a_function_of_id_and_seed_alone(ids: list[int], seed: int, shuffler: object) -> None:
    whole = dict(zip(ids, random(ids, seed), strict=True))
    shuffled = sorted(ids, key=lambda _: shuffler.random())  # type: ignore[attr-defined]
    for example in shuffled:
        assert random([example], seed)[0] == whole[example]
    assert all(0 <= value < 1 for value in whole.values())


def test_chance_is_uniform_and_has_no_ties() -> None:
    values = random(np.arange(100_000), 0)
    assert len(np.unique(values)) == len(values)
    counts = np.bincount((values * 100).astype(int), minlength=100)
    chi_squared = ((counts - 1000.0) ** 2 / 1000.0).sum()
    assert chi_squared < 160  # 99 degrees of freedom: beyond 160 with probability 1e-4


def test_seeds_and_neighbouring_ids_are_uncorrelated() -> None:
    ids = np.arange(50_000)
    rows = np.stack([random(ids, seed) for seed in (0, 1, 2, 2**40)])
    off_diagonal = np.corrcoef(rows)[np.triu_indices(4, 1)]
    assert np.abs(off_diagonal).max() < 0.025
    assert abs(np.corrcoef(rows[0, :-1], rows[0, 1:])[0, 1]) < 0.025
    assert abs(np.corrcoef(rows[0, 1:], rows[1, :-1])[0, 1]) < 0.025


def test_chance_leaves_the_global_generator_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002  (the global state is what is looked at)
    random(np.arange(10), 3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_ids_that_are_no_integers_are_refused() -> None:
    with pytest.raises(BadInputError, match="ids must be integers"):
        random(np.array([0.5]), 0)


def test_centre_distance_is_the_distance_to_the_mean_of_the_own_class():
    generator = np.random.default_rng(0)
    vectors, labels = generator.standard_normal((30, 5)), generator.integers(0, 3, 30)
    slow = []
    for vector, label in zip(vectors, labels, strict=True):
        members = [v for v, other in zip(vectors, labels, strict=True) if other == label]
        centre = [sum(column) / len(members) for column in zip(*members, strict=True)]
        slow.append(sum((a - b) ** 2 for a, b in zip(vector, centre, strict=True)) ** 0.5)
    np.testing.assert_allclose(centre_distance(vectors, labels), slow, rtol=1e-6)


def test_prototype_distance_is_small_within_clusters_and_large_between_them():
    generator = np.random.default_rng(1)
    centres = np.eye(6)[:3] * 10
    labels = np.repeat([0, 1, 2], 40)
    vectors = centres[labels] + 0.1 * generator.standard_normal((120, 6))
    vectors[0] = centres.sum(axis=0)  # as far from every centre as can be
    found = prototype_distance(vectors, labels, seed=4)
    assert found.argmax() == 0
    assert found[1:].max() < 0.01 < 0.3 < found[0]
    np.testing.assert_array_equal(found, prototype_distance(vectors, labels, seed=4))
