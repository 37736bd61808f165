"""What a format cannot hold as it was is in the manifest and in the notes; copies of tables are what they seem."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from exported_data import contents, image_folder, image_parquet, picture, stays
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import datadiet as dd
from datadiet.jobs.decisions import Decisions
from datadiet.jobs.export import export, read_back
from datadiet.jobs.export.csv_records import CsvWriter

pytestmark = pytest.mark.usefixtures("few_threads")

TEXT = [f"text {i}" for i in range(12)]
LABEL = ["a", "b"] * 6


def facts(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "manifest.json").read_text())
    assert isinstance(found, dict)
    return found


def everything(examples: dd.Examples, folder: Path, format: str) -> tuple[dict[str, Any], str]:
    exported = export(examples, folder, kept=examples.train.ids, format=format)
    said = " ".join(exported.notes)
    assert facts(folder)["notes"] == list(exported.notes)
    return facts(folder), said


VALUES = st.text(st.sampled_from('a1,;"\r\n\t \x00'), max_size=6) | st.integers() | st.none()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(VALUES, min_size=2, max_size=3), max_size=4), st.sampled_from(",;\t"), st.booleans())
def test_a_csv_of_any_values_is_read_as_those_values(
    rows: list[list[Any]], delimiter: str, dos: bool
) -> None:
    file = io.StringIO(newline="")
    writer = CsvWriter(file, delimiter, "\r\n" if dos else "\n")
    for row in rows:
        writer.writerow(row)
    wanted = [["" if value is None else str(value) for value in row] for row in rows]
    assert list(csv.reader(io.StringIO(file.getvalue(), newline=""), delimiter=delimiter)) == wanted
    # Outside quotes, a line ends where a row ends and nowhere else: readers take a bare carriage return for an end.
    outside = "".join(file.getvalue().split('"')[::2])
    end = "\r\n" if dos else "\n"
    assert outside.count(end) == len(rows)
    assert not set("\r\n") & set(outside.replace(end, ""))


SHOWN = st.sampled_from(
    ["a, b", 'say "x"', "two\nlines", "bare\rreturn", "dos\r\nend", " lead", "=1+1", "é", "plain"]
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(SHOWN, SHOWN), min_size=12, max_size=20),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["utf-8", "utf-8-sig"]),
    st.data(),
)
def test_a_copied_csv_is_read_as_the_rows_that_stay(
    texts: list[tuple[str, str]], delimiter: str, end: str, quoting: Any, encoding: str, data: st.DataObject
) -> None:
    rows = [(f"{text} {i}", note, "xy"[i % 2]) for i, (text, note) in enumerate(texts)]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(
        [("text", "note", "label"), *rows]
    )
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "a.csv"
        source.write_bytes(file.getvalue().encode(encoding))
        examples = dd.load(source)
        kept = examples.train.ids[: data.draw(st.integers(4, len(examples.train)))]
        one = int(kept[0])
        new = {"x": "y", "y": "x"}[rows[one][2]]
        decisions = Decisions({one: "relabel"}, {one: new}, fingerprint=examples.fingerprint)
        keep = data.draw(st.booleans())
        export(source, Path(place) / "out", kept=kept, decisions=decisions, keep_formulas=keep)
        written = (Path(place) / "out" / "train.csv").read_bytes()
    found = list(csv.reader(io.StringIO(written.decode(encoding), newline=""), delimiter=delimiter))
    wanted = [list(rows[i]) for i in kept]
    wanted[0][2] = new
    if not keep:
        wanted = [[f"'{v}" if v.startswith("=") else v for v in row] for row in wanted]
    assert found == [["text", "note", "label"], *wanted]


def test_what_is_no_utf8_is_written_anew_and_that_is_said(tmp_path: Path) -> None:
    rows = [{"text": text, "label": label, "n": 1} for text, label in zip(TEXT, LABEL, strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples = dd.load(tmp_path / "a.jsonl")
    # What the file says is not what was loaded from it any more.
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "caf\xe9", "label": "a", "n": 1}\n' * 12)
    kept = examples.train.ids
    one = next(int(id_) for id_ in kept if LABEL[id_] == "a")
    decisions = Decisions({one: "relabel"}, {one: "b"}, fingerprint=examples.fingerprint)
    exported = export(examples, tmp_path / "out", kept=kept, decisions=decisions)
    assert "could not be copied as it is (it is no JSON in UTF-8); it is written anew" in str(exported)
    again = dd.load(tmp_path / "out")
    assert again.train.dataset["text"][:] == [TEXT[i] for i in kept]


def test_nan_in_json_is_counted_for_each_column(tmp_path: Path) -> None:
    nan = float("nan")
    table = pa.table(
        {
            "text": TEXT,
            "label": LABEL,
            "scores": [[1.0, nan], [2.0, 3.0]] * 6,
            "one": [nan, 1.0, None, 2.0] * 3,
        }
    )
    examples = dd.load(table)
    for format in ("jsonl", "webdataset"):
        found, said = everything(examples, tmp_path / format, format)
        assert set(found["columns_changed"]) == {"scores", "one"}
        assert found["columns_changed"]["scores"].startswith(
            "6 values are read again as others, [1.0, nan] as"
        )
        assert found["columns_changed"]["one"].startswith("3 values are read again as others, nan as None")
        assert "'scores' (6 values" in said
    assert everything(examples, tmp_path / "parquet", "parquet")[0]["columns_changed"] == {}


def test_columns_called_id_and_label_come_back_from_shards(tmp_path: Path) -> None:
    table = {
        "said": TEXT,
        "intent": LABEL,
        "id": list(range(100, 112)),
        "label": [1.5] * 12,
        "text": ["own"] * 12,
    }
    examples = dd.load(pa.table(table), input="said", label="intent")
    found, said = everything(examples, tmp_path / "out", "webdataset")
    assert found["load_options"] == {"label": "intent", "input": "said"}
    assert "label='intent' (--label intent)" in said and "input='said' (--input said)" in said
    again = dd.load(tmp_path / "out", **found["load_options"])
    rows = again.train.dataset.with_format("arrow")[:].to_pydict()
    rows["intent"] = [again.class_names[index] for index in rows["intent"]]
    assert rows == {name: [table[name][i] for i in examples.train.ids] for name in rows}
    assert set(rows) == set(table)


def test_the_id_that_an_export_adds_to_shards_is_no_column_of_the_data(tmp_path: Path) -> None:
    examples = dd.load(pa.table({"text": TEXT, "label": LABEL, "n": list(range(12))}))
    everything(examples, tmp_path / "out", "webdataset")
    assert set(dd.load(tmp_path / "out").train.dataset.column_names) == {"text", "label", "n"}
    # Exports of earlier versions say nothing of it: it stays what it was.
    manifest = tmp_path / "out" / "manifest.json"
    old = {
        k: v for k, v in facts(tmp_path / "out").items() if k not in ("own_columns", "label_column_written")
    }
    manifest.write_text(json.dumps(old))
    again = dd.load(tmp_path / "out")
    assert again.class_names == ("a", "b") and "id" in again.train.dataset.column_names


@pytest.mark.parametrize("format", ["imagefolder", "csv", "fiftyone"])
def test_classes_with_another_name_in_the_files_are_listed_and_said(tmp_path: Path, format: str) -> None:
    names = ["=cmd", "plain", "@home"]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    images = [{"bytes": picture(i), "path": None} for i in range(12)]
    table = pa.table({"image": images, "label": [i % 3 for i in range(12)]}, features.arrow_schema)
    examples = dd.load(table)
    if format == "imagefolder":
        names[0] = "a/b"
        features["label"] = datasets.ClassLabel(names=names)
        examples = dd.load(pa.table(table.to_pydict(), features.arrow_schema))
    found, said = everything(examples, tmp_path / "out", format)
    wanted = {"a_b": "a/b"} if format == "imagefolder" else {"'=cmd": "=cmd", "'@home": "@home"}
    assert found["class_names_written"] == wanted
    for written, real in wanted.items():
        assert f"'{real}' as '{written}'" in said
    assert ("datadiet.load gives the real names back" in said) == (format != "fiftyone")
    if format != "fiftyone":
        assert dd.load(tmp_path / "out").class_names == tuple(names)


def test_two_classes_or_columns_never_become_one(tmp_path: Path) -> None:
    for table in (
        {"text": TEXT, "label": ["=x", "'=x"] * 6},
        {"text": TEXT, "label": LABEL, "=x": TEXT, "'=x": TEXT},
    ):
        examples = dd.load(pa.table(table), input="text")
        with pytest.raises(dd.BadInputError, match=r"would have one name in a CSV.*--keep-formulas"):
            export(examples, tmp_path / "out", kept=examples.train.ids, format="csv")
        export(
            examples, tmp_path / str(len(table)), kept=examples.train.ids, format="csv", keep_formulas=True
        )


def test_a_column_that_a_spreadsheet_would_run_comes_back_under_its_name(tmp_path: Path) -> None:
    examples = dd.load(pa.table({"text": TEXT, "label": LABEL, "=note": TEXT}))
    found, said = everything(examples, tmp_path / "out", "csv")
    assert found["column_names_written"] == {"'=note": "=note"} and "'=note' as ''=note'" in said
    assert "=note" in dd.load(tmp_path / "out").train.dataset.column_names


def test_an_input_or_label_that_a_format_cannot_hold_is_refused_with_one_that_can(tmp_path: Path) -> None:
    numbers = dd.load(pa.table({"text": ["007", "7", "07"] * 4, "label": LABEL}), input="text")
    dates = dd.load(
        pa.table({"text": ["2024-01-01", "2024-01-02", "2024-01-03"] * 4, "label": LABEL}), input="text"
    )
    labels = dd.load(pa.table({"text": TEXT, "label": ["1.0", "2.0"] * 6}))
    for examples, format, shown in (
        (numbers, "csv", "Column 'text'"),
        (dates, "jsonl", "Column 'text'"),
        (labels, "csv", "The label '"),
    ):
        try:
            export(examples, tmp_path / "out", kept=examples.train.ids, format=format)
        except dd.BadInputError as error:
            assert shown in str(error) and "export them to parquet or datasets" in str(error)
            assert not (tmp_path / "out").exists()
        else:  # the reader takes them for what they are
            again = dd.load(tmp_path / "out", **facts(tmp_path / "out")["load_options"])
            assert contents(again.train, again.class_names) == stays(examples, examples.train.ids)
            (tmp_path / "out").rename(tmp_path / f"out-{format}-{len(shown)}")


def test_numbers_of_a_list_never_take_the_place_of_another_column(tmp_path: Path) -> None:
    table: dict[str, Any] = {
        "v": [[1.0, float(i)] for i in range(12)],
        "label": LABEL,
        "v_1": list(range(12)),
    }
    examples = dd.load(pa.table(table), input="v")
    with pytest.raises(dd.BadInputError, match="'v_1' is there already"):
        export(examples, tmp_path / "out", kept=examples.train.ids, format="csv")
    table["n"] = table.pop("v_1")
    renamed = dd.load(pa.table(table), input="v")
    found, said = everything(renamed, tmp_path / "out", "csv")
    assert found["load_options"] == {"input": ["v_0", "v_1"]} and "--input v_0,v_1" in said
    assert dd.load(tmp_path / "out", input=["v_0", "v_1"]).input_columns == ("v_0", "v_1")


def test_a_type_that_a_format_cannot_hold_is_one_sentence(tmp_path: Path) -> None:
    empty = pa.array([{}] * 12, pa.struct([]))
    examples = dd.load(pa.table({"text": TEXT, "label": LABEL, "nothing": empty}))
    with pytest.raises(dd.BadInputError, match="The format parquet cannot hold these data") as caught:
        export(examples, tmp_path / "out", kept=examples.train.ids, format="parquet")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_what_lists_and_other_tools_leave_out_is_said(tmp_path: Path) -> None:
    examples = dd.load(image_parquet(tmp_path / "a.parquet"))
    held = {
        "ids": (),
        "indices": ("label",),
        "fiftyone": ("image", "label"),
        "imagefolder": ("image", "label"),
    }
    for format, columns in held.items():
        found, said = everything(examples, tmp_path / format, format)
        left = [c for c in ("image", "label", "taken") if c not in columns]
        assert found["columns_left_out"] == left and all(repr(c) in said for c in left)
        assert ("holds the train part only" in said) == (format in ("ids", "indices"))
    files = dd.load(image_folder(tmp_path / "pets"))
    assert "holds the train part only" in everything(files, tmp_path / "files", "files")[1]


def test_a_class_that_only_test_examples_have_is_said_and_the_export_loads(tmp_path: Path) -> None:
    table = pa.table({"text": TEXT * 2, "label": ["a", "b", "c"] * 8})
    examples = dd.load(table)
    kept = examples.train.ids[examples.train.labels != 2]
    exported = export(examples, tmp_path / "out", kept=kept)
    lost = int((examples.test.labels == 2).sum())
    assert f"{lost} test examples have a class, label or tag that no training example has" in str(exported)
    options = facts(tmp_path / "out")["load_options"]
    assert options == {"on_bad_example": "skip"} and "--on-bad-example skip" in str(exported)
    assert len(dd.load(tmp_path / "out", **options).test) == len(examples.test) - lost


def test_what_is_too_large_to_be_read_again_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = dd.load(pa.table({"text": TEXT, "label": LABEL}))
    monkeypatch.setattr(read_back, "too_large", lambda paths: True)
    assert "was not compared with the source" in everything(examples, tmp_path / "out", "csv")[1]


def test_an_exported_csv_keeps_the_order_of_its_classes_when_it_is_exported_again(tmp_path: Path) -> None:
    names = ["z", "=a", "unused"]
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    rows = datasets.Dataset.from_dict({"text": TEXT, "label": [0, 1] * 6}, features=features)
    examples = dd.load(rows)
    everything(examples, tmp_path / "one", "csv")
    again = dd.load(tmp_path / "one")
    one = int(again.train.ids[0])
    other = names[1 - again.train.labels[0]]
    decisions = Decisions({one: "relabel"}, {one: other}, fingerprint=again.fingerprint)
    export(tmp_path / "one", tmp_path / "two", kept=again.train.ids, decisions=decisions)
    last = dd.load(tmp_path / "two")
    assert last.class_names == tuple(names)
    assert contents(last.train, last.class_names) == stays(again, again.train.ids, {one: other})


def shard(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return path


def test_numbers_to_predict_keep_their_last_bit(tmp_path: Path) -> None:
    numbers = [*np.random.default_rng(0).normal(size=11).tolist(), 1 / 3]
    examples = dd.load(pa.table({"text": TEXT, "price": numbers}), label="price", task="regression")
    for format in ("csv", "jsonl", "webdataset"):
        found, said = everything(examples, tmp_path / format, format)
        again = dd.load(tmp_path / format, **found["load_options"])
        column = found["label_column_written"]
        assert again.train.dataset[column][:] == [numbers[i] for i in examples.train.ids]
        assert "--task regression" in said


ODD = st.floats() | st.sampled_from([0.0, -0.0, 1.0, float("nan"), None])


@given(st.lists(st.tuples(ODD, ODD), min_size=1, max_size=5))
def test_numbers_are_the_same_if_nothing_tells_them_apart(
    pairs: list[tuple[float | None, float | None]],
) -> None:
    before, after = (pa.array([pair[side] for pair in pairs], pa.float64()) for side in (0, 1))
    # As they are written, nothing but NaN of another sign is the same.
    wanted = [repr(one) != repr(other) for one, other in pairs]
    assert read_back.differing_values(before, after).tolist() == wanted
    lists = (pa.array([[pair[side]] for pair in pairs], pa.list_(pa.float64())) for side in (0, 1))
    assert read_back.differing_values(*lists).tolist() == wanted


def test_class_names_that_are_numbers_keep_their_order_and_those_without_rows(tmp_path: Path) -> None:
    for names in (["7", "0", "12"], ["True", "False", "Neither"]):
        features = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
        )
        rows = datasets.Dataset.from_dict({"text": TEXT, "label": [0, 1] * 6}, features=features)
        examples = dd.load(rows)
        for format in ("csv", "jsonl", "webdataset"):
            everything(examples, tmp_path / f"{names[0]}-{format}", format)
            assert dd.load(tmp_path / f"{names[0]}-{format}").class_names == tuple(names)


def test_class_names_of_another_column_that_are_lost_are_said(tmp_path: Path) -> None:
    text, coarse = datasets.Value("string"), datasets.ClassLabel(names=["u", "v"])
    features = datasets.Features({"text": text, "label": text, "coarse": coarse})
    rows = datasets.Dataset.from_dict({"text": TEXT, "label": LABEL, "coarse": [0, 1] * 6}, features=features)
    for format in ("csv", "jsonl", "webdataset", "datasets"):
        found, said = everything(dd.load(rows), tmp_path / format, format)
        assert ("coarse" in found["columns_changed"]) == (format != "datasets")
        assert ("'coarse' (the class names of its numbers are not kept)" in said) == (format != "datasets")


def test_tags_and_labels_that_only_test_examples_have_are_counted(tmp_path: Path) -> None:
    for column, task in (("tags", "token_classification"), ("labels", "multilabel")):
        train = pa.table({"tokens": [["a", "b"], ["c"], ["d"]] * 2, column: [["x", "y"], ["x"], ["z"]] * 2})
        test = pa.table({"tokens": [["a"], ["b", "c"], ["d"]], column: [["z"], ["x", "z"], ["y"]]})
        examples = dd.load(train, test=test, input="tokens", task=task)
        exported = export(examples, tmp_path / task, kept=[0, 1, 3, 4])
        assert "2 test examples have a class, label or tag" in str(exported)
        options = facts(tmp_path / task)["load_options"]
        assert dd.load(tmp_path / task, **options).test.ids.tolist() == [2]


@pytest.mark.parametrize(
    ("label", "values"),
    [("=f", [True, False]), ("truth", [True, False]), ("cls", ["007", "7"]), ("=z", ["007", "7"])],
)
def test_labels_under_any_name_of_their_column_come_back_from_csv(tmp_path, label, values):
    rows = datasets.Dataset.from_dict({"text": [f"day {i}" for i in range(16)], label: values * 8})
    if isinstance(values[0], str):
        rows = rows.cast_column(label, datasets.ClassLabel(names=["7", "007"]))
    examples = dd.load(rows, input="text", label=label)
    export(examples, tmp_path / "out", kept=examples.train.ids, format="csv")
    options = json.loads((tmp_path / "out" / "manifest.json").read_text())["load_options"]
    again = dd.load(tmp_path / "out", **options)
    assert again.class_names == examples.class_names
    assert again.train.labels.tolist() == examples.train.labels.tolist()
