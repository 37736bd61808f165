"""Scores of embeddings against direct loops."""

import numpy as np

from datadiet.scores.inputs import centre_distance, prototype_distance


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
