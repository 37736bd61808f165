"""The neighbour search and the balanced tree behind the rules on embeddings."""

import numpy as np
import pytest

from datadiet.foundation.errors import BadInputError
from datadiet.selection import neighbours
from datadiet.selection.geometry import balanced_parts
from datadiet.selection.neighbours import nearest_neighbours


def all_pairs(vectors, count):
    gaps = np.sqrt(((vectors[:, None] - vectors[None]) ** 2).sum(axis=2))
    np.fill_diagonal(gaps, np.inf)
    rows = np.argsort(gaps, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(gaps, rows, axis=1), rows


def test_exact_search_finds_what_all_pairs_find():
    vectors = np.random.default_rng(0).standard_normal((120, 6))
    distances, rows = nearest_neighbours(vectors, 7, np.random.default_rng(0))
    wanted_distances, wanted_rows = all_pairs(vectors, 7)
    assert rows.tolist() == wanted_rows.tolist()
    np.testing.assert_allclose(distances, wanted_distances, rtol=1e-6)


def test_a_row_is_never_its_own_neighbour_even_among_duplicates():
    vectors = np.repeat(np.random.default_rng(0).standard_normal((10, 3)), 4, axis=0)
    _, rows = nearest_neighbours(vectors, 5, np.random.default_rng(0))
    assert not (rows == np.arange(40)[:, None]).any()


def test_more_neighbours_than_there_are_rows_gives_all_others():
    distances, rows = nearest_neighbours(np.arange(3.0)[:, None], 9, np.random.default_rng(0))
    assert distances.shape == rows.shape == (3, 2)
    _, alone = nearest_neighbours(np.ones((1, 2)), 3, np.random.default_rng(0))
    assert alone.shape == (1, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tree_search_finds_nearly_all_neighbours_with_true_distances(monkeypatch, dtype):
    monkeypatch.setattr(neighbours, "LEAF", 64)
    monkeypatch.setattr(neighbours, "REFINED_TOGETHER", 100)
    vectors = np.random.default_rng(0).standard_normal((900, 4)).astype(dtype)
    distances, rows = nearest_neighbours(vectors, 6, np.random.default_rng(1), "trees")
    _, wanted = all_pairs(vectors.astype(np.float64), 6)
    found = np.mean([len(set(a) & set(b)) / 6 for a, b in zip(rows.tolist(), wanted.tolist(), strict=True)])
    assert found > 0.9
    true = np.linalg.norm(vectors[:, None].astype(np.float64) - vectors[rows], axis=2)
    np.testing.assert_allclose(distances, true, atol=2e-3)
    assert all(len(set(row)) == 6 for row in rows.tolist())
    assert not (rows == np.arange(900)[:, None]).any()


def test_tree_search_repeats_with_the_seed(monkeypatch):
    monkeypatch.setattr(neighbours, "LEAF", 32)
    vectors = np.random.default_rng(0).standard_normal((300, 4))
    first, second = (nearest_neighbours(vectors, 4, np.random.default_rng(3), "trees")[1] for _ in range(2))
    assert first.tolist() == second.tolist()


def test_hnswlib_search_finds_nearly_all_neighbours_and_repeats():
    pytest.importorskip("hnswlib", reason="the extra 'neighbours' is not installed")
    vectors = np.random.default_rng(0).standard_normal((500, 5))
    first, second = (nearest_neighbours(vectors, 5, np.random.default_rng(3), "hnswlib")[1] for _ in range(2))
    assert first.tolist() == second.tolist()
    _, wanted = all_pairs(vectors, 5)
    assert (
        np.mean([len(set(a) & set(b)) / 5 for a, b in zip(first.tolist(), wanted.tolist(), strict=True)])
        > 0.95
    )
    assert not (first == np.arange(500)[:, None]).any()


def test_hnswlib_asked_for_but_absent_is_refused_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "hnswlib", None)
    with pytest.raises(BadInputError, match="pip install"):
        nearest_neighbours(np.ones((4, 2)), 1, np.random.default_rng(0), "hnswlib")


def test_leaves_part_the_rows_evenly_and_neighbours_stay_together():
    vectors = np.random.default_rng(0).standard_normal((103, 2))
    parts = balanced_parts(vectors, np.eye(2)[:, [0, 1, 0]])
    assert sorted(np.concatenate(parts).tolist()) == list(range(103))
    sizes = [len(rows) for rows in parts]
    assert len(sizes) == 8
    assert max(sizes) - min(sizes) <= 1
    first_half, second_half = np.concatenate(parts[:4]), np.concatenate(parts[4:])
    assert vectors[first_half, 0].max() <= vectors[second_half, 0].min()
