"""Parts find their ids; fingerprints follow content and nothing else."""

import datasets
import numpy as np
import pyarrow as pa
import pytest

import datadiet.data as dd
from datadiet.foundation.errors import BadInputError

ROWS = datasets.Dataset.from_dict({"x": [0.0, 1.0, 2.0]})


def part(ids=(2, 5, 9), labels=(0, 1, 0)):
    return dd.Part(ROWS, np.array(ids), np.array(labels), ("x",), "vector")


def test_positions_are_given_in_the_order_asked_also_twice():
    assert part().positions_of([9, 2, 9]).tolist() == [2, 0, 2]
    assert part().positions_of([]).tolist() == []
    assert part().positions_of(np.array([5], dtype=np.int32)).dtype == np.int64


def test_unknown_ids_are_named():
    with pytest.raises(BadInputError, match=r"2 of the given ids .*\(the first: 3, 11\)"):
        part().positions_of([11, 2, 3])
    with pytest.raises(BadInputError, match="whole numbers, not float64"):
        part().positions_of([2.0])


@pytest.mark.parametrize(
    ("ids", "labels"), [((0, 1), (0, 1)), ((0, 1, 2), (0, 1)), ((0, 2, 2), (0, 0, 1)), ((3, 2, 1), (0, 0, 1))]
)
def test_ids_and_labels_must_fit_the_rows(ids, labels):
    with pytest.raises(BadInputError):
        part(ids, labels)


BASE = {"text": ["a b", "c", "d", "e"], "label": ["x", "y", "x", "y"]}


def load(changes=None, **options):
    columns = {**BASE, **(changes or {})}
    table = pa.table({k: v for k, v in columns.items() if v is not None})
    return dd.load(table, test=table, **options).fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"text": ["a b", "c", "d", "E"]},
        {"text": ["a bc", "", "d", "e"], "skip": True},
        {"text": ["a", "bc", "d", "e"]},
        {"label": ["y", "x", "x", "y"]},
        {"label": ["x", "z", "x", "z"]},
        {"text": ["c", "a b", "d", "e"]},
    ],
)
def test_any_change_of_content_changes_the_fingerprint(changes):
    changes = dict(changes)
    options = {"on_bad_example": "skip"} if changes.pop("skip", False) else {}
    assert load(changes, **options) != load()


def test_names_of_columns_and_chunks_do_not_count(monkeypatch):
    renamed = {
        "text": None,
        "label": None,
        "sentence": BASE["text"],
        "y": BASE["label"],
        "extra": [1, 2, 3, 4],
    }
    assert load(renamed) == load()
    reference = load()
    monkeypatch.setattr("datadiet.data.arrow.CHUNK_ROWS", 1)
    assert load() == reference


def test_vectors_count_by_value_and_not_by_type():
    whole, floats = (
        pa.table({"a": [1, 2, 3, 4], "label": [0, 1, 0, 1]}),
        pa.table({"a": [1.0, 2.0, 3.0, 4.0], "label": [0, 1, 0, 1]}),
    )
    assert dd.load(whole).fingerprint == dd.load(floats).fingerprint


def test_another_hold_out_is_other_data():
    prints = {
        dd.load(pa.table({"a": list(range(40)), "label": [0, 1] * 20}), holdout_seed=s).fingerprint
        for s in (1, 2)
    }
    assert len(prints) == 2


def test_the_fingerprint_is_sha256():
    assert len(load()) == 64 and int(load(), 16) >= 0
