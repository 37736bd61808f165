"""Any data in any format that can be loaded again: the same examples come back, or what does not is said."""

from __future__ import annotations

import datetime
import io
import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from PIL import Image

import datadiet as dd
from datadiet.jobs.export import Exported, export

pytestmark = pytest.mark.usefixtures("few_threads")

ROWS = 16
#: What a reader of text may take for something else than a text.
LOOK_ALIKE = re.compile(
    r"[+-]?[0-9.,:eE+_TZ /-]*|0x[0-9a-f]+|[+-]?(inf|infinity)|true|false|y|n|yes|no|t|f"
    r"|#?n/?a( n/a)?|-?nan|-?1\.#(ind|qnan)|<na>|nil|null|none|undefined",
    re.IGNORECASE,
)
TEXTS = st.sampled_from(
    ["007", "7", "1e5", "nan", "NA", "None", "null", "2024-01-01", "2024-01-01 10:00:00", "true", "-5", "1.0", "x\ry",
     "x\r\ny", "\ra", "a\n", 'say "hi"', '"', "a,b;c\td|e", " lead", "trail ", "\tx", "nul\x00in", "\u2028sep\u2029",
     "🙂", "é", "e\u0301", "\ufeffmark", "=cmd()", "@home", "+x", "-x", "'=cmd()", "'tis", "a\\nb", "{}", "[1]",
     "b'x'", "a\x85b", "a\x1cb", "z" * 3000]
)  # fmt: skip
TEXTS |= st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
    lambda t: any(map(str.isalnum, t))
)
NAMES = st.sampled_from(
    ["id", "ID", "label", "Label", "text", "image", "features", "file_name", "json", "cls", "key", "__key__", "part",
     "a.b", "a/b", "a b", "two\nlines", "=f", "'=f", "é", "x;y;z;w", "tab\tin", 'q"q', "features_0", "index", "0",
     "written", "None", "note "]
)  # fmt: skip


def column(
    values: st.SearchStrategy[Any], kind: pa.DataType, missing: bool = True
) -> st.SearchStrategy[pa.Array]:
    values = st.one_of(values, st.none()) if missing else values
    return st.lists(values, min_size=ROWS, max_size=ROWS).map(lambda rows: pa.array(rows, kind))


#: Columns in which every value looks like something else than a text.
LOOK_ALIKES = st.sampled_from(
    [["007", "7", "70"], ["1e5", "1.0", "-5"], ["nan", "NA", "None", "null"], ["true", "false", "True"],
     ["2024-01-01", "2024-12-31"], ["2024-01-01 10:00:00", "2024-01-01 10:00:01"], ["10:00", "11:30"], ["inf", "-inf"]]
).map(st.sampled_from)  # fmt: skip


def texts(missing: bool) -> st.SearchStrategy[pa.Array]:
    alike = LOOK_ALIKES.flatmap(lambda words: column(words, pa.string(), missing))
    return st.one_of(*[column(TEXTS, pa.string(), missing)] * 3, alike)


FLOATS = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1e300, 0.1])
UTC = datetime.timezone.utc
OTHERS = st.one_of(
    column(TEXTS | st.just(""), pa.string()),
    texts(missing=True),
    column(st.integers(-(2**63), 2**63 - 1), pa.int64()),
    column(st.integers(0, 2**64 - 1), pa.uint64()),
    column(st.integers(-100, 100), pa.int8()),
    column(FLOATS, pa.float64()),
    column(st.floats(width=16), pa.float16()),
    column(st.floats(width=32), pa.float32()),
    column(st.decimals(-1000, 1000, places=2, allow_nan=False), pa.decimal128(12, 2)),
    column(st.booleans(), pa.bool_()),
    column(st.binary(max_size=5), pa.binary()),
    column(st.dates(), pa.date32()),
    column(st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2200, 1, 1)), pa.timestamp("us", "UTC")),
    column(st.timedeltas(datetime.timedelta(-9), datetime.timedelta(9)), pa.duration("us")),
    column(st.times(), pa.time64("us")),
    column(st.lists(FLOATS, max_size=3), pa.list_(pa.float64())),
    column(st.lists(TEXTS, max_size=3), pa.list_(pa.string())),
    column(st.lists(st.lists(st.integers(0, 9), max_size=2), max_size=2), pa.list_(pa.list_(pa.int64()))),
    column(
        st.fixed_dictionaries({"a": st.integers(0, 9), "b c": st.none() | TEXTS}),
        pa.struct([("a", pa.int64()), ("b c", pa.string())]),
    ),
    column(TEXTS, pa.string()).map(lambda array: array.dictionary_encode()),
    st.just(pa.nulls(ROWS)),
)  # fmt: skip


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 4, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, ("png", "jpeg", "webp", "tiff")[seed % 4])
    return buffer.getvalue()


@st.composite
def inputs(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    if kind == "text":
        return {draw(st.sampled_from(["text", "said", "a.b"])): draw(texts(missing=False))}
    if kind == "pair":
        return {name: draw(texts(missing=False)) for name in ("premise", "hypothesis")}
    if kind == "words":
        words = st.lists(TEXTS, min_size=1, max_size=3)
        return {"tokens": draw(column(words, pa.list_(pa.string()), missing=False))}
    numbers = st.floats(-1e30, 1e30) | st.sampled_from([0.0, -0.0, 1.0, 1e-300])
    if kind == "vector":
        wide = st.lists(numbers, min_size=3, max_size=3)
        name = draw(st.sampled_from(["features", "v"]))
        return {name: draw(column(wide, pa.list_(pa.float64()), missing=False))}
    if kind == "numbers":
        return {f"x{place}": draw(column(numbers, pa.float64(), missing=False)) for place in range(2)}
    images = [{"bytes": picture(seed), "path": None} for seed in range(ROWS)]
    return {draw(st.sampled_from(["image", "photo"])): pa.array(images, datasets.Image().pa_type)}


LABELS = ["class numbers", "texts", "texts like others", "whole", "truth", "floats"]
NAME = TEXTS | st.sampled_from(
    [" cat", "cat ", "Cat", "cat", "a/b", "..", "CON", "y" * 300, ".hidden", "-5", "True"]
)


@st.composite
def labels(draw: st.DrawFn, form: str) -> tuple[Any, Any]:
    """A label column of two or three classes with at least four rows each, and its feature."""
    count = draw(st.integers(2, 3))
    index = draw(st.permutations([place % count for place in range(ROWS)]))
    if form == "class numbers":
        names = draw(st.lists(NAME, min_size=count + 1, max_size=count + 1, unique=True))
        return pa.array(index), datasets.ClassLabel(names=names)
    if form == "texts":
        names = draw(st.lists(NAME.filter(lambda t: not LOOK_ALIKE.fullmatch(t.strip())), min_size=count,
                              max_size=count, unique=True))  # fmt: skip
    elif form == "texts like others":
        alike = LOOK_ALIKES.flatmap(lambda words: st.lists(words, min_size=2, max_size=2, unique=True))
        names = draw(alike | st.lists(NAME, min_size=2, max_size=2, unique=True))
        index = [place % 2 for place in index]
    else:
        return pa.array([{"whole": i - 1, "truth": i > 0, "floats": float(i)}[form] for i in index]), None
    return pa.array([names[i] for i in index], pa.string()), datasets.Value("string")


@st.composite
def data(draw: st.DrawFn, kind: str) -> tuple[datasets.Dataset, dict[str, Any]]:
    columns = draw(inputs(kind))
    chosen = list(columns)
    label = draw(st.sampled_from(["label", "intent", "cls", "=f"]))
    columns[label], feature = draw(labels(draw(st.sampled_from(LABELS))))
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        if name not in columns:
            columns[name] = draw(OTHERS)
    order = draw(st.permutations(list(columns)))
    table = pa.table({name: columns[name] for name in order})
    features = datasets.Features.from_arrow_schema(table.schema)
    if feature is not None:
        features[label] = feature
    if kind == "image":
        features[chosen[0]] = datasets.Image()
    rows = datasets.Dataset(table.cast(features.arrow_schema), info=datasets.DatasetInfo(features=features))
    return rows, {"input": chosen, "label": label}


def simple(value: Any) -> Any:
    """A value that is equal to itself, and to nothing of another sort: NaN, -0.0, true and 1."""
    if isinstance(value, dict):
        return {key: simple(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [simple(item) for item in value]
    if isinstance(value, bool) or value is None:
        return f"{value}"
    if isinstance(value, int | float):
        if isinstance(value, float) and math.isfinite(value) and value == int(value) and str(value) != "-0.0":
            value = int(value)
        return ("number", str(value))
    return (type(value).__name__, value)


def values(part: Any, name: str) -> list[Any]:
    return [simple(v) for v in part.dataset.select_columns([name]).with_format("arrow")[:][name].to_pylist()]


def given_to_the_model(part: Any) -> list[Any]:
    """What each example is: its texts (words with a space between any two), its numbers, or the bytes of its image."""
    rows = part.dataset.select_columns(list(part.input_columns)).with_format("arrow")[:].to_pylist()
    found = []
    for row in rows:
        if part.kind == "image":
            (image,) = row.values()
            found.append(image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes())
        elif part.kind == "text":
            found.append([value if isinstance(value, str) else " ".join(value) for value in row.values()])
        else:
            found.append([float(number) for value in row.values() for number in np.ravel(value)])
    return found


def check_round_trip(rows: datasets.Dataset, roles: dict[str, Any], format: str, folder: Path) -> None:
    try:
        examples = dd.load(rows, **roles, test_fraction=0.3)
    except dd.BadInputError:
        reject()  # what may be loaded at all is tested elsewhere
    try:
        exported = export(examples, folder, kept=examples.train.ids, format=format)
    except dd.BadInputError as error:
        assert "Traceback" not in str(error) and not folder.exists()
        assert_refused_for_a_reason(rows, roles, examples.kind, format, str(error))
        return
    check_export(examples, exported, folder)


def assert_refused_for_a_reason(
    rows: datasets.Dataset, roles: dict[str, Any], kind: str, format: str, said: str
) -> None:
    assert format in ("jsonl", "csv", "webdataset", "imagefolder"), said
    assert "parquet" in said or "--keep-formulas" in said, said


def check_export(examples: dd.Examples, exported: Exported, folder: Path) -> None:
    facts = json.loads((folder / "manifest.json").read_text())
    try:
        again = dd.load(folder, **facts["load_options"])
    except dd.BadInputError as error:
        assert "on_bad_example" in facts["load_options"] and "No example of the test part is left" in str(
            error
        )
        return
    assert (again.kind, again.task) == (examples.kind, examples.task)
    classes = examples.task in ("classification", "intent_slots")
    assert not classes or again.class_names == examples.class_names
    said = " ".join(exported.notes)
    told = {**facts["columns_changed"], **dict.fromkeys(facts["columns_left_out"], "")}
    for name in told:
        assert repr(name) in said or f"'{name}'" in said or "more" in said
    for name, part, before in (("train", again.train, examples.train), ("test", again.test, examples.test)):
        if facts["export_format"] == "imagefolder":
            pairs = (zip(given_to_the_model(p), p.labels.tolist(), strict=True) for p in (part, before))
            assert sorted(next(pairs)) == sorted(next(pairs))
            continue
        if name == "test" and "on_bad_example" in facts["load_options"]:
            before = before.take(part.ids)
            assert "left out when the export is loaded" in said
        assert not classes or part.labels.tolist() == before.labels.tolist()
        assert examples.task == "classification" or answers(again, part) == answers(examples, before)
        touched = np.isin(before.ids, facts["neutralised"].get(name, []))
        pairs = zip(given_to_the_model(part), given_to_the_model(before), touched, strict=True)
        for after, was, harmless in pairs:
            assert after == was or harmless
        roles = {*examples.input_columns, examples.label_column, facts["tag_column"]}
        others = [c for c in before.dataset.column_names if c not in roles and c not in told]
        for column in others:
            found = zip(values(part, column), values(before, column), touched, strict=True)
            assert all(after == was or harmless for after, was, harmless in found), column
        extra = set(part.dataset.column_names) - set(before.dataset.column_names)
        assert extra <= {*facts["input_columns_written"], facts["label_column_written"]}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data_=st.data())
@pytest.mark.parametrize("format", ["same", "parquet", "datasets", "jsonl", "csv", "webdataset"])
def test_any_data_come_back_or_what_does_not_is_said(format: str, data_: st.DataObject) -> None:
    kind = data_.draw(st.sampled_from(["text", "pair", "words", "vector", "numbers"]))
    with tempfile.TemporaryDirectory() as place:
        check_round_trip(*data_.draw(data(kind)), format, Path(place) / "out")


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data_=st.data())
@pytest.mark.parametrize("format", ["parquet", "datasets", "imagefolder", "jsonl", "csv", "webdataset"])
def test_any_pictures_come_back_or_what_does_not_is_said(format: str, data_: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        check_round_trip(*data_.draw(data("image")), format, Path(place) / "out")


@st.composite
def answered(draw: st.DrawFn, task: str) -> tuple[datasets.Dataset, dict[str, Any]]:
    """Texts or words with tags, sets of labels, or numbers, beside another column."""
    words = draw(st.lists(st.lists(TEXTS.map(lambda t: re.sub(r"\s", "_", t)), min_size=1, max_size=3),
                          min_size=ROWS, max_size=ROWS))  # fmt: skip
    columns: dict[str, Any] = {"said": draw(texts(missing=False))}
    roles: dict[str, Any] = {"input": "said", "task": task}
    names = draw(st.lists(NAME.map(lambda t: re.sub(r"\s", "_", t)), min_size=3, max_size=3, unique=True))
    if task == "regression":
        numbers = st.floats(-1e30, 1e30) | st.sampled_from([0.1, 1 / 3, 2.0, -0.0])
        columns[draw(st.sampled_from(["label", "price"]))] = draw(
            column(numbers, pa.float64(), missing=False)
        )
    elif task == "multilabel":
        sets = st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)
        columns[draw(st.sampled_from(["label", "kinds"]))] = draw(
            column(sets, pa.list_(pa.string()), missing=False)
        )
    else:
        roles["input"] = "tokens"
        columns = {"tokens": pa.array(words)}
        tags = draw(st.sampled_from(["tags", "id", "label"]))
        columns[tags] = pa.array(
            [[names[(len(word) + i) % 3] for i, word in enumerate(row)] for row in words]
        )
        roles["tags"] = tags
        if task == "intent_slots":
            columns["intent"] = pa.array(["come", "go"] * (ROWS // 2))
    if task != "token_classification":
        roles["label"] = list(columns)[1] if task != "intent_slots" else "intent"
    for name in draw(st.lists(NAMES, max_size=2, unique=True)):
        if name not in columns:
            columns[name] = draw(OTHERS)
    return datasets.Dataset(pa.table(columns)), roles


def answers(examples: dd.Examples, part: Any) -> list[Any]:
    targets = part.targets
    if examples.task == "regression":
        return [float(value) for value in targets.values]
    if examples.task == "multilabel":
        return [{targets.names[i] for i in np.flatnonzero(row)} for row in targets.values]
    return [[targets.names[tag] for tag in row] for row in targets.rows()]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data_=st.data())
@pytest.mark.parametrize("format", ["parquet", "datasets", "jsonl", "csv", "webdataset"])
def test_any_answers_come_back_or_what_does_not_is_said(format: str, data_: st.DataObject) -> None:
    task = data_.draw(st.sampled_from(["regression", "multilabel", "token_classification", "intent_slots"]))
    rows, roles = data_.draw(answered(task))
    with tempfile.TemporaryDirectory() as place:
        check_round_trip(rows, roles, format, Path(place) / "out")
