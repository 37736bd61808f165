"""Rows with the same content, held against a dictionary of their bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import datadiet as dd
from datadiet.data import Part
from datadiet.data.duplicates import Repeats, find_repeats
from datadiet.data.fingerprint import read_content


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (3, 2), shade).save(buffer, format="PNG")
    return buffer.getvalue()


# What differs only in where one value ends and the next begins, and values that are written in two ways.
TEXTS = ["", "a", "ab", "a b", "b", "é", "e\u0301", "a\x00", "a" * 70]
PAIRS = [
    ("a", "bc"),
    ("a", "b"),
    ("ab", "c"),
    ("", "abc"),
    ("abc", ""),
    ("c", "ab"),
    ("bc", "a"),
    ("c", "bc"),
]
WORDS = [["a", "bc"], ["ab", "c"], ["abc"], ["a", "b", "c"], [], ["", "abc"], ["abc", ""]]
VECTORS = [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.5, -1.0], [1e300, 5e-324], [2.0**53, 1.0]]
IMAGES = [png(0), png(1), png(2), b"no image", b"no image\x00"]

Make = Callable[[Sequence[Any]], datasets.Dataset]
KINDS: dict[str, tuple[str, tuple[str, ...], list[Any], Make]] = {
    "texts": ("text", ("x",), TEXTS, lambda rows: datasets.Dataset.from_dict({"x": list(rows)})),
    "pairs": (
        "text",
        ("x", "y"),
        PAIRS,
        lambda rows: datasets.Dataset.from_dict({"x": [a for a, _ in rows], "y": [b for _, b in rows]}),
    ),
    "words": (
        "text",
        ("x",),
        WORDS,
        lambda rows: datasets.Dataset(pa.table({"x": pa.array(list(rows), pa.list_(pa.string()))})),
    ),
    "vectors": ("vector", ("x",), VECTORS, lambda rows: datasets.Dataset.from_dict({"x": list(rows)})),
    "columns": (
        "vector",
        ("x", "y"),
        VECTORS,
        lambda rows: datasets.Dataset.from_dict({"x": [a for a, _ in rows], "y": [b for _, b in rows]}),
    ),
    "images": (
        "image",
        ("x",),
        IMAGES,
        lambda rows: datasets.Dataset(pa.table({"x": [{"bytes": row, "path": None} for row in rows]})),
    ),
}


def part_of(kind: str, chosen: Sequence[int], *, minus_zero: Sequence[bool] = ()) -> Part:
    """A part whose rows are the chosen contents of a kind, with ids 3, 5, 7, ...; zeros may be -0.0."""
    kind_of_part, columns, contents, make = KINDS[kind]
    rows = [contents[index] for index in chosen]
    if kind_of_part == "vector":
        signs = [-1.0 if minus else 1.0 for minus in minus_zero] or [1.0] * len(rows)
        rows = [[sign * v if v == 0 else v for v in row] for sign, row in zip(signs, rows, strict=True)]
    ids = 3 + 2 * np.arange(len(rows))
    return Part(make(rows), ids, np.zeros(len(rows), np.int64), columns, kind_of_part)


def slowly(train: Sequence[int], test: Sequence[int]) -> dict[str, list[int]]:
    """What `Repeats` holds, from the numbers of the contents, one row after the other."""
    rows: dict[int, list[int]] = {}
    for place, content in enumerate(train):
        rows.setdefault(content, []).append(3 + 2 * place)
    several = sorted((id_, ids[0]) for ids in rows.values() if len(ids) > 1 for id_ in ids)
    leaked, again, seen = [], [], set()
    for place, content in enumerate(test):
        if content in rows:
            leaked.append((3 + 2 * place, rows[content][0]))
        if content in seen:
            again.append(3 + 2 * place)
        seen.add(content)
    return {
        "train": [id_ for id_, _ in several],
        "train_first": [first for _, first in several],
        "leaked": [id_ for id_, _ in leaked],
        "leaked_from": [first for _, first in leaked],
        "test": again,
    }


def found_in(train: Part, test: Part) -> dict[str, list[int]]:
    repeats = find_repeats((train.ids, test.ids), read_content((), (train, test)).rows)
    return {name: getattr(repeats, name).tolist() for name in slowly((), ())}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_exactly_the_rows_of_equal_content_are_repeats_of_each_other(kind: str, data: st.DataObject) -> None:
    of_kind = st.integers(0, len(KINDS[kind][2]) - 1)
    train, test = (data.draw(st.lists(of_kind, min_size=1, max_size=12)) for _ in range(2))
    signs = [data.draw(st.lists(st.booleans(), min_size=len(p), max_size=len(p))) for p in (train, test)]
    parts = [part_of(kind, some, minus_zero=minus) for some, minus in zip((train, test), signs, strict=True)]
    assert found_in(*parts) == slowly(train, test)


@pytest.mark.parametrize("kind", KINDS)
def test_hashes_are_of_the_content_and_not_of_how_it_is_stored_or_read(kind, tmp_path, monkeypatch) -> None:
    chosen = np.random.default_rng(0).integers(0, len(KINDS[kind][2]), 50).tolist()
    part = part_of(kind, chosen)
    expected = read_content(("a",), (part,))
    path = tmp_path / "rows.parquet"
    pq.write_table(part.dataset.with_format("arrow")[:], path, row_group_size=7)
    mapped = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert mapped.cache_files
    stored = Part(mapped, part.ids, part.labels, part.input_columns, part.kind)
    sliced = datasets.concatenate_datasets(
        [part.dataset.select(range(20)), part.dataset.select(range(20, 50))]
    )
    for other in (stored, Part(sliced, part.ids, part.labels, part.input_columns, part.kind)):
        found = read_content(("a",), (other,))
        assert found.fingerprint == expected.fingerprint
        assert (found.rows[0] == expected.rows[0]).all()
    monkeypatch.setattr("datadiet.data.arrow.CHUNK_ROWS", 3)
    found = read_content(("a",), (part,))
    assert (found.rows[0] == expected.rows[0]).all()
    # The fingerprint of lists of words counts lengths of lists and of words in turn, chunk by chunk.
    assert kind == "words" or found.fingerprint == expected.fingerprint


def test_thousands_of_rows_have_hashes_of_their_own() -> None:
    values = np.arange(50_000, dtype=np.float64).reshape(-1, 2)
    values = np.concatenate([values, values[:10]])
    columns = datasets.Dataset.from_dict({"x": values[:, 0], "y": values[:, 1]})
    part = Part(columns, np.arange(len(values)), np.zeros(len(values), np.int64), ("x", "y"))
    hashes = read_content((), (part,)).rows[0]
    assert len(np.unique(hashes, axis=0)) == 25_000
    assert len(np.unique(hashes[:, 0])) == len(np.unique(hashes[:, 1])) == 25_000


def test_rows_that_share_half_of_their_hash_are_told_apart() -> None:
    hashes = np.array([[1, 5], [1, 6], [1, 5], [2, 5], [1, 6]], dtype=np.uint64)
    found = find_repeats((np.arange(4), np.array([0])), (hashes[:4], hashes[4:]))
    assert found.train.tolist() == [0, 2] and found.train_first.tolist() == [0, 0]
    assert found.leaked.tolist() == [0] and found.leaked_from.tolist() == [1]


def test_a_part_of_the_same_rows_that_is_held_out_shares_what_is_repeated() -> None:
    texts = [f"text {index % 10}" for index in range(40)]
    examples = dd.load((texts, [0, 1] * 20), test_fraction=0.25)
    train = {texts[id_] for id_ in examples.train.ids.tolist()}
    shared = [id_ for id_ in examples.test.ids.tolist() if texts[id_] in train]
    assert examples.repeats.leaked.tolist() == shared != []


def test_bad_rows_that_are_left_out_repeat_nothing() -> None:
    texts = ["a", "", "b", "", "c", "a"]
    examples = dd.load((texts, [0, 1] * 3), test=(["x", ""], [0, 1]), on_bad_example="skip")
    assert examples.left_out == (1, 3)
    assert examples.repeats.train.tolist() == [0, 5] and not len(examples.repeats.leaked)


def test_examples_made_by_hand_have_none() -> None:
    repeats = Repeats()
    assert all(len(values) == 0 for values in vars(repeats).values())
