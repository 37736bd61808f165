"""Label noise: exact counts, never the own class, and the old labels kept."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datadiet as dd

KINDS = ("symmetric", "class_dependent", "instance_dependent")


def made(n: int = 300, classes: int = 4, seed: int = 0) -> dd.Examples:
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return dd.load((generator.normal(size=(n, 3)) + labels[:, None], labels), name="points")


POINTS = made()


@settings(deadline=None, max_examples=40)
@given(kind=st.sampled_from(KINDS), fraction=st.floats(0, 1), seed=st.integers(0, 10))
def test_exactly_the_asked_share_is_wrong_and_nothing_else_changes(kind, fraction, seed):
    found = dd.corrupt(POINTS, fraction, kind, seed=seed)
    old, new = POINTS.train.labels, found.examples.train.labels
    assert found.mask.sum() == round(fraction * len(old))
    np.testing.assert_array_equal(old != new, found.mask)
    np.testing.assert_array_equal(found.old_labels, old)
    assert new.min() >= 0 and new.max() < POINTS.num_classes
    np.testing.assert_array_equal(found.examples.train.ids, POINTS.train.ids)
    np.testing.assert_array_equal(found.examples.test.labels, POINTS.test.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_noise_and_another_seed_another(kind):
    first, again, other = (dd.corrupt(POINTS, 0.3, kind, seed=seed).examples for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.train.labels, again.train.labels)
    assert first.fingerprint == again.fingerprint
    assert (first.train.labels != other.train.labels).any()
    assert len({first.fingerprint, other.fingerprint, POINTS.fingerprint}) == 3


def test_symmetric_noise_goes_to_all_other_classes_alike():
    big = made(20_000, classes=5, seed=3)
    found = dd.corrupt(big, 0.5, seed=4)
    table = np.zeros((5, 5))
    np.add.at(table, (found.old_labels[found.mask], found.examples.train.labels[found.mask]), 1)
    expected = 0.5 * len(big.train) / (5 * 4)
    assert (np.diag(table) == 0).all()
    off = table[~np.eye(5, dtype=bool)]
    assert np.abs(off - expected).max() < 5 * np.sqrt(expected)  # five standard deviations of a count


def test_class_dependent_noise_takes_the_same_share_of_every_class_to_the_class_named():
    found = dd.corrupt(POINTS, 0.2, "class_dependent")
    old, new = found.old_labels[found.mask], found.examples.train.labels[found.mask]
    np.testing.assert_array_equal(new, (old + 1) % 4)
    shares = np.bincount(old) / np.bincount(found.old_labels)
    assert np.abs(shares - 0.2).max() <= 1 / np.bincount(found.old_labels).min()


def test_a_transition_says_where_labels_go_and_its_diagonal_is_not_used():
    only_to_zero = np.array([[9, 1, 0, 0], [1, 5, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    found = dd.corrupt(POINTS, 0.5, "class_dependent", transition=only_to_zero)
    old, new = found.old_labels[found.mask], found.examples.train.labels[found.mask]
    np.testing.assert_array_equal(new, np.where(old == 0, 1, 0))


def test_instance_dependent_noise_mistakes_like_examples_in_the_same_way():
    """Within a class, what a label turns into follows the features: nearest neighbours agree more than chance."""
    big = made(4_000, classes=6, seed=5)
    features = np.random.default_rng(6).normal(size=(len(big.train), 2)) * 3
    found = dd.corrupt(big, 0.5, "instance_dependent", features=features, seed=7)
    agreement, chance = [], []
    for label in range(6):
        rows = np.flatnonzero(found.mask & (found.old_labels == label))
        new, places = found.examples.train.labels[rows], features[rows]
        distances = np.linalg.norm(places[:, None] - places[None], axis=2)
        np.fill_diagonal(distances, np.inf)
        agreement.append((new[distances.argmin(1)] == new).mean())
        chance.append((np.bincount(new) / len(new)) @ (np.bincount(new) / len(new)))
    assert np.mean(agreement) > np.mean(chance) + 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_noise_works_on_pictures_and_texts(kind):
    digits = dd.corrupt(dd.load("digits"), 0.1, kind)
    assert digits.mask.sum() == 144
    texts = dd.load((["good day", "bad day", "fine day", "poor day"] * 5, [1, 0, 1, 0] * 5))
    assert dd.corrupt(texts, 0.25, kind).mask.sum() == round(0.25 * len(texts.train))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("words", [False, True])
def test_noise_on_texts_with_tags_is_on_their_intents(kind, words):
    texts, tags = ["fly to rome", "rain in oslo"] * 20, ["O O B-city"] * 40
    table = {
        "text": [text.split() for text in texts] if words else texts,
        "tags": [row.split() for row in tags] if words else tags,
        "intent": ["travel", "weather"] * 20,
    }
    examples = dd.load(pa.table(table))
    assert examples.task == "intent_slots"
    found = dd.corrupt(examples, 0.25, kind)
    old, new = examples.train, found.examples.train
    assert (old.labels != new.labels).sum() == found.mask.sum() == 8
    assert found.examples.task == "intent_slots" and found.examples.fingerprint != examples.fingerprint
    assert new.targets is not None and new.targets.digest() == old.targets.digest()


def test_labels_that_are_no_classes_are_not_made_wrong():
    texts = [f"text {row}" for row in range(20)]
    examples = dd.load(pa.table({"text": texts, "label": np.arange(20) / 3}), task="regression")
    with pytest.raises(dd.BadInputError, match=r"one class an example; .* task 'regression'"):
        dd.corrupt(examples, 0.1)


def test_the_mask_and_the_old_labels_can_be_written(tmp_path):
    found = dd.corrupt(POINTS, 0.1)
    found.write(tmp_path / "noise.parquet")
    table = pq.read_table(tmp_path / "noise.parquet").to_pydict()
    assert table["id"] == POINTS.train.ids.tolist()
    assert table["corrupted"] == found.mask.tolist()
    assert [int(name) for name in table["old_label"]] == found.old_labels.tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fraction": 1.5}, "from 0 to 1"),
        ({"kind": "salty"}, "no noise of kind 'salty'"),
        ({"seed": -1}, "seed is -1"),
        ({"transition": np.eye(4)}, "class_dependent"),
        ({"kind": "class_dependent", "transition": np.eye(4)}, "another class to turn into"),
        ({"kind": "class_dependent", "transition": np.ones((2, 2))}, "each of 4 classes"),
        ({"features": np.ones((2, 2))}, "instance_dependent"),
        ({"kind": "instance_dependent", "features": np.ones((2, 2))}, "one row of finite numbers"),
    ],
)
def test_what_cannot_be_is_refused(arguments, words):
    with pytest.raises(dd.BadInputError, match=words):
        dd.corrupt(POINTS, **{"fraction": 0.1, **arguments})
