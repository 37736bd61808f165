"""Odd but loadable tables in every kind of source: the outcome is `Examples`, or one sentence."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import tarfile
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import datadiet as dd
from datadiet.data.sources import delimited, tables
from datadiet.foundation.errors import BadInputError

ROWS = 12
SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = [
    "",
    " ",
    "NA",
    "None",
    "nan",
    "null",
    "007",
    "7",
    "7.0",
    "1E5",
    "1e400",
    "-0",
    "+5",
    "inf",
    "true",
    "True",
]
WORDS += [
    "2024-01-01",
    "12:30",
    "1,5",
    "1;5",
    "café",
    "a b",
    '"',
    "'x",
    "=1+1",
    "\x00",
    "\u2028",
    "x" * 300,
    "0x1F",
]
WORDS += ["99999999999999999999", "3.14", "1_000", "é", "-", "?", "\ud7ff", "😀"]
NAMES = [
    "text",
    "label",
    "label ",
    "Label",
    "x",
    "y",
    "id",
    "",
    " ",
    "image",
    "tags",
    "a.b",
    "a\nb",
    "é",
    "0",
    "features",
]


def words(size):
    return st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=6)), min_size=size, max_size=size)


def classes(size):
    """Few distinct values, so that the column may be a label."""
    few = st.lists(st.sampled_from(WORDS), min_size=2, max_size=3, unique=True)
    return few.flatmap(lambda names: st.lists(st.sampled_from(names), min_size=size, max_size=size))


def values(size):
    """A column of any type that Arrow can hold."""

    def of(one):
        return st.lists(st.one_of(st.none(), one), min_size=size, max_size=size)

    numbers = st.integers(-(2**62), 2**62) | st.integers(-3, 3)
    kinds = [
        words(size),
        classes(size),
        of(numbers),
        of(st.floats()),
        of(st.booleans()),
        of(st.dates()),
        of(st.datetimes(datetime.datetime(1990, 1, 1), datetime.datetime(2100, 1, 1))),
        of(st.binary(max_size=4)),
        of(st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=9))),
        of(st.just(None)),
        of(st.decimals(-9, 9, places=1)),
        of(st.lists(st.integers(0, 3), max_size=3)),
        of(st.lists(st.text(max_size=3), max_size=3)),
        of(st.fixed_dictionaries({"a": st.integers(0, 3), "b": st.text(max_size=2)})),
        of(st.just([[1.0, 2.0], [3.0, 4.0]])),
    ]
    return st.one_of(kinds)


@st.composite
def columns(draw, of=values, least=1):
    names = draw(st.lists(st.sampled_from(NAMES), min_size=least, max_size=4, unique=True))
    return {name: draw(of(ROWS)) for name in names}


def outcome(source, **options):
    """The examples, or None where there is one sentence that says why not."""
    try:
        examples = dd.load(source, **options)
    except BadInputError as error:
        said = str(error)
        assert said and "\n" not in said and "Traceback" not in said and len(said) < 1500, said
        return None
    assert isinstance(examples, dd.Examples)
    assert len(np.intersect1d(examples.train.ids, examples.test.ids)) == 0 or examples.holdout_seed is None
    return examples


def arrow_table(drawn):
    return pa.table({name: pa.array(column) for name, column in drawn.items()})


@SETTINGS
@given(drawn=columns())
def test_arrow_tables_and_parquet(drawn, tmp_path):
    table = arrow_table(drawn)
    found = outcome(table)
    pq.write_table(table, tmp_path / "a.parquet")
    again = outcome(tmp_path / "a.parquet")
    assert (found is None) == (again is None)
    assert found is None or found.fingerprint == again.fingerprint
    outcome(table, on_bad_example="skip")
    outcome(table, task="regression")


ODD = [
    pa.array([[("k", 1)]] * ROWS, pa.map_(pa.string(), pa.int64())),
    pa.array(["x", "y"] * 6, pa.string_view()),
    pa.array(["x", "y"] * 6, pa.large_string()),
    pa.array([b"x", b"\xff"] * 6, pa.binary_view()),
    pa.array([b"xy", b"zz"] * 6, pa.binary(2)),
    pa.array([1.5, 2.5] * 6, pa.float16()),
    pa.array([Decimal(1), Decimal(2)] * 6, pa.decimal256(40, 0)),
    pa.array([1, 2] * 6, pa.uint64()),
    pa.array([1, 2] * 6, pa.duration("s")),
    pa.array([1, 2] * 6, pa.time64("us")),
    pa.array([(1, 2, 3)] * ROWS, pa.month_day_nano_interval()),
    pa.array(["x", "y"] * 6).dictionary_encode(),
    pa.array([1, 2] * 6).dictionary_encode(),
    pa.RunEndEncodedArray.from_arrays([6, ROWS], pa.array(["x", "y"])),
    pa.nulls(ROWS),
    pa.array([[1, 2]] * ROWS, pa.list_(pa.int8(), 2)),
    pa.UnionArray.from_dense(
        pa.array([0] * ROWS, pa.int8()), pa.array(range(ROWS), pa.int32()), [pa.array(range(ROWS))]
    ),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda array: str(array.type)[:30])
def test_columns_of_odd_types_are_read_or_said(odd):
    numbers = pa.array(np.arange(ROWS) / 7)
    beside = outcome(pa.table({"a": numbers, "odd": odd, "label": ["p", "q"] * 6}), input="a")
    assert beside is not None and len(beside.train) + len(beside.test) == ROWS
    assert any("odd" in note for note in beside.notes)
    outcome(pa.table({"a": numbers, "label": odd}))
    outcome(pa.table({"odd": odd, "label": ["p", "q"] * 6}), input="odd")


def test_maps_are_lists_of_pairs_and_what_only_pandas_has_is_text():
    table = pa.table({"text": [f"day {i}" for i in range(ROWS)], "map": ODD[0], "label": ["p", "q"] * 6})
    assert dd.load(table).train.dataset["map"][0] == [{"key": "k", "value": 1}]
    months = pd.period_range("2020-01", periods=2, freq="M")
    frame = pd.DataFrame(
        {"text": table["text"].to_pylist(), "month": [*months] * 6, "label": pd.cut(range(ROWS), 2)}
    )
    examples = dd.load(frame)
    assert examples.class_names == ("(-0.011, 5.5]", "(5.5, 11.0]")
    assert set(examples.train.dataset["month"]) == {"2020-01", "2020-02"}
    assert sum("read as texts" in note for note in examples.notes) == 2


@SETTINGS
@given(drawn=columns(), data=st.data())
def test_frames(drawn, data):
    frame = pd.DataFrame(dict(enumerate(drawn.values())))
    frame.columns = list(drawn)
    if data.draw(st.booleans()):
        frame.columns = [
            data.draw(st.sampled_from([*NAMES, 0, 1.5, ("a", "b"), None])) for _ in frame.columns
        ]
    if data.draw(st.booleans()):
        frame["mixed"] = data.draw(
            st.lists(st.sampled_from([1, "1", "a", None, 2.5, True, (1,)]), min_size=ROWS, max_size=ROWS)
        )
    outcome(frame)


@SETTINGS
@given(
    inputs=st.one_of(
        words(ROWS),
        st.just(np.zeros((ROWS, 2))),
        st.just(np.zeros((ROWS, 4, 4), np.uint8)),
        st.just(np.ma.masked_all((ROWS, 2))),
    ),
    labels=st.one_of(
        classes(ROWS),
        st.just(np.eye(3)[np.arange(ROWS) % 3]),
        st.just(np.ones((ROWS, 2))),
        st.just(np.full((ROWS, 2), 0.5)),
        st.lists(
            st.sampled_from([0, "0", "a", None, 1.5, b"x", True, (1, 2)]), min_size=ROWS, max_size=ROWS
        ).map(lambda v: np.array([*v, None], dtype=object)[:-1]),
        st.just(np.array(["2020-01-01", "2021-01-01"] * 6, "datetime64[D]")),
        st.just(np.zeros(ROWS) * 1j),
    ),
)
def test_arrays_and_map_style_data_sets(inputs, labels):
    outcome((inputs, labels))
    outcome(list(zip(inputs, labels, strict=True)))


@SETTINGS
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(NAMES),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers(-(2**70), 2**70)
                | st.floats()
                | st.sampled_from(WORDS),
                lambda inner: (
                    st.lists(inner, max_size=2)
                    | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
                ),
                max_leaves=3,
            ),
            max_size=4,
        ),
        min_size=1,
        max_size=8,
    ),
    form=st.sampled_from(["lines", "list", "within", "columns"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_json(rows, form, mark, tmp_path):
    text = {
        "lines": "\n".join(map(json.dumps, rows)),
        "list": json.dumps(rows, indent=1),
        "within": json.dumps({"version": "1", "data": rows}),
        "columns": pd.DataFrame(rows).astype(object).to_json() if form == "columns" else "",
    }[form]
    path = tmp_path / ("a.jsonl" if form == "lines" else "a.json")
    path.write_text(mark + text, encoding="utf-8")
    outcome(path)
    (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    outcome(tmp_path / f"{path.name}.gz")


@SETTINGS
@given(
    members=st.lists(
        st.tuples(
            st.sampled_from(["txt", "cls", "json", "png", "npy", "jpg", "seg.png"]),
            st.binary(max_size=8) | st.sampled_from([b"1", b'{"label": 1}', b"a"]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_shards(members, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for place, (suffix, content) in enumerate(members):
            info = tarfile.TarInfo(f"{place // 2:03d}.{suffix}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    outcome(tmp_path / "a.tar")


def written(drawn, delimiter=",", **options):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, **options)
    writer.writerow(drawn)
    writer.writerows(zip(*drawn.values(), strict=True))
    return buffer.getvalue()


@SETTINGS
@given(
    drawn=columns(of=lambda size: words(size) | classes(size)),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_csv(drawn, delimiter, encoding, end, tmp_path):
    text = written(drawn, delimiter, lineterminator=end)
    (tmp_path / "a.csv").write_bytes(text.encode(encoding, "replace"))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode(encoding, "replace")))
    plain, packed = outcome(tmp_path / "a.csv"), outcome(tmp_path / "a.csv.gz")
    assert (plain is None) == (packed is None) and (plain is None or plain.fingerprint == packed.fingerprint)


def as_written(name):
    """What a class is called that is written like this: real numbers that are whole lose their `.0`."""
    return name


@SETTINGS
@given(
    names=st.lists(
        st.sampled_from([word for word in WORDS if word.strip() and "\x00" not in word]),
        min_size=2,
        max_size=4,
        unique=True,
    ),
    delimiter=st.sampled_from(",;\t"),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
)
def test_labels_of_a_csv_file_are_as_they_are_written(names, delimiter, encoding, tmp_path):
    rows = [(f"some text {place}", names[place % len(names)]) for place in range(24)]
    text = written({"text": [row[0] for row in rows], "label": [row[1] for row in rows]}, delimiter)
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    examples = outcome(tmp_path / "a.csv", encoding=encoding)
    missing = {"", *tables.MISSING_WORDS}
    numbers = [name for name in names if name not in missing]
    if examples is None:
        # Real numbers, or numbers with a word for a missing one among them.
        assert len(numbers) < len(names) or any("." in name or "e" in name for name in names), names
        return
    back = {}
    for part in (examples.train, examples.test):
        back |= {
            int(id_): examples.class_names[label] for id_, label in zip(part.ids, part.labels, strict=True)
        }
    whole = all(name.endswith(".0") for name in numbers)
    for place, (_, name) in enumerate(rows):
        assert back[place] == (name.removesuffix(".0") if whole else name)


def late(size):
    """A column whose type is told only by some of its values, wherever they stand."""
    kinds = [
        ["1", "2.5"],
        ["1", "0", "true"],
        ["", "7"],
        ["", "NA", "x"],
        ["5", "2024-01-01"],
        ["1", "2.5", "x", ""],
    ]
    return st.sampled_from(kinds).flatmap(
        lambda few: st.lists(st.sampled_from(few), min_size=size, max_size=size)
    )


@SETTINGS
@given(
    drawn=columns(of=lambda size: words(size) | classes(size) | late(size)),
    again=st.integers(1, 3),
)
def test_a_large_csv_file_is_read_by_the_same_rules_as_a_small_one(drawn, again, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    paths = []
    for number in range(again):
        paths.append(tmp_path / f"{number}.csv")
        rotated = {name: column[number:] + column[:number] for name, column in drawn.items()}
        part = {name: column[: ROWS - number * 5] for name, column in rotated.items()}
        paths[-1].write_text(written(part), encoding="utf-8", newline="")

    def read(large):
        monkeypatch.setattr(tables, "too_large", lambda _: large)
        # Blocks of a record or two, so that types change from block to block.
        monkeypatch.setattr(delimited, "_BLOCK", 48 if large else 16 << 20)
        try:
            return tables.read_tables(paths, tables.Reading())[0]
        except BadInputError as error:
            return str(error)

    small, large = read(False), read(True)
    if isinstance(small, str) or isinstance(large, str):
        assert isinstance(small, str) and isinstance(large, str), (small, large)
        return
    assert large.cache_files and not small.cache_files
    assert small.data.schema.types == large.data.schema.types
    one, other = (rows.with_format("arrow")[:] for rows in (small, large))
    for name in one.column_names:
        if pa.types.is_floating(one.schema.field(name).type):
            assert np.array_equal(one[name].to_numpy(), other[name].to_numpy(), equal_nan=True)
        else:
            assert one[name].to_pylist() == other[name].to_pylist()
