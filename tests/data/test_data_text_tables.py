"""CSV and JSON as people have them: encodings, delimiters, spellings, layouts, shards, test parts of other types."""

from __future__ import annotations

import csv
import gzip
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import datadiet as dd
from datadiet.data.sources import tables
from datadiet.data.sources.delimited import csv_dialect

SETTINGS = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
N = 24


def texts(n=N, word="warm day"):
    return [f"{word} {place}" for place in range(n)]


def write(path, columns, *, delimiter=",", encoding="utf-8", index=False, **options):
    pd.DataFrame(columns).to_csv(path, sep=delimiter, encoding=encoding, index=index, **options)
    return path


def by_id(examples):
    """Id -> class name, of both parts."""
    found = {}
    for part in (examples.train, examples.test):
        found |= {int(i): examples.class_names[label] for i, label in zip(part.ids, part.labels, strict=True)}
    return found


def column_of(examples, name):
    rows = dict(zip(examples.train.ids.tolist(), examples.train.dataset[name], strict=True))
    rows |= dict(zip(examples.test.ids.tolist(), examples.test.dataset[name], strict=True))
    return [rows[id_] for id_ in sorted(rows)]


# ---- encodings


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp1252", ["café crème", "naïve idée", "“quoted” – 5 €"]),
        ("cp1251", ["хорошая книга", "плохой фильм", "привет мир"]),
        ("shift_jis", ["とても良い本です", "こんにちは世界", "悪い映画"]),
        ("gb18030", ["非常好的书", "你好世界", "不好看的电影"]),
        ("cp949", ["안녕하세요 여러분", "좋은 책입니다", "나쁜 영화"]),
        ("cp1253", ["Καλημέρα κόσμε", "πολύ καλό βιβλίο", "κακή ταινία"]),
        ("utf-16", ["café", "日本", "x"]),
        ("utf-8-sig", ["café", "日本", "x"]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_encoding_is_found_and_said(tmp_path, encoding, words, packed):
    content = {"text": [f"{words[i % 3]} {i}" for i in range(N)], "label": [words[i % 2] for i in range(N)]}
    path = write(tmp_path / "a.csv", content, encoding=encoding)
    if packed:
        path = tmp_path / "a.csv.gz"
        path.write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    examples = dd.load(path)
    assert column_of(examples, "text") == content["text"]
    assert by_id(examples) == dict(enumerate(content["label"]))
    said = [note for note in examples.notes if "encoding" in note]
    assert bool(said) == (encoding != "utf-8-sig")
    lines = tmp_path / "a.jsonl"
    rows = pd.DataFrame(content).to_dict("records")
    lines.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(encoding))
    assert dd.load(lines).fingerprint == examples.fingerprint


def test_an_encoding_can_be_named(tmp_path, refused):
    path = write(
        tmp_path / "a.csv", {"text": texts(word="Grüße"), "label": ["ja", "nö"] * 12}, encoding="cp850"
    )
    assert "nö" in dd.load(path, encoding="cp850").class_names
    refused("no encoding 'klingon'", path, encoding="klingon")
    refused("not in the encoding utf-8", path, encoding="utf8")


# ---- delimiters


@SETTINGS
@given(
    names=st.lists(
        st.text(st.sampled_from("ab ,;|.é"), min_size=1, max_size=5).filter(str.strip),
        min_size=2,
        max_size=5,
        unique_by=str.strip,
    ),
    delimiter=st.sampled_from(",;\t|"),
    cells=st.lists(st.text(st.sampled_from('ab ,;|."\n'), max_size=5), min_size=5, max_size=5),
    packed=st.booleans(),
)
def test_the_delimiter_is_that_of_the_file(names, delimiter, cells, packed, tmp_path):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    for place in range(12):
        writer.writerow([f"{cells[(place + column) % 5]}z" for column in range(len(names))])
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    content = buffer.getvalue().encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    assert csv_dialect(path).delimiter == delimiter
    assert csv_dialect(path).columns == tuple(names)


def test_unquoted_texts_with_other_delimiters_do_not_mislead(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "text,label\n" + "".join(f"one; two; {'three;' * (i % 3)} {i},{'ab'[i % 2]}\n" for i in range(N))
    )
    assert dd.load(path).class_names == ("a", "b")
    path.write_text("text|label\n" + "".join(f"one, two {i}|{'ab'[i % 2]}\n" for i in range(N)))
    assert dd.load(path).class_names == dd.load(path, delimiter="|").class_names == ("a", "b")


def test_a_quote_that_is_never_closed_swallows_nothing(tmp_path, refused):
    path = tmp_path / "a.csv"
    path.write_text(
        "label,text\n" + "".join(f"{'ab'[i % 2]},warm {i}\n" for i in range(N)) + 'a,"open\nb,cold\na,wet\n'
    )
    refused("quote in .* is never closed.*last [34] lines", path)
    path.write_text(
        "label,text\n" + "".join(f"{'ab'[i % 2]},warm {i}\n" for i in range(N)) + 'a,"two\nlines"\n'
    )
    assert len(by_id(dd.load(path))) == N + 1


def test_two_columns_of_one_name_are_refused(tmp_path, refused):
    path = tmp_path / "a.csv"
    path.write_text("a,b,b,label\n" + "1,2,3,x\n4,5,6,y\n" * 9)
    refused("2 columns called 'b'", path)


# ---- spellings


@SETTINGS
@given(codes=st.lists(st.sampled_from(["007", "7", "0", "00", "12", "-0", "3"]), min_size=N, max_size=N))
def test_columns_that_are_not_used_stay_as_they_are_written(codes, tmp_path):
    path = write(
        tmp_path / "a.csv",
        {"text": texts(), "zip": codes, "flag": ["1", "true"] * 12, "label": ["x", "y"] * 12},
    )
    examples = dd.load(path)
    found = column_of(examples, "zip")
    if all(str(int(code)) == code for code in codes):
        assert found == list(map(int, codes))
    else:
        assert found == codes
    assert column_of(examples, "flag") == ["1", "true"] * 12
    assert any("not used: 'zip', 'flag'" in note for note in examples.notes)


@SETTINGS
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["NA", "None", "", "x"]), st.sampled_from(["NA", "1", "2.5", ""])),
        min_size=12,
        max_size=12,
    )
)
def test_what_is_missing_is_told_by_one_rule(rows, tmp_path):
    """A word such as NA is a missing number where all others are numbers, and a text anywhere else."""
    path = tmp_path / "a.csv"
    path.write_text(
        "word,number,text,label\n"
        + "".join(f"{a},{b},t {i},{'pq'[i % 2]}\n" for i, (a, b) in enumerate(rows))
    )
    rows_read, _ = tables.read_tables([path], tables.Reading())
    first, second = ([row[place] for row in rows] for place in (0, 1))
    if any(first):
        assert rows_read["word"][:] == first
    if {"1", "2.5"} & set(second):
        wanted = [None if cell in ("NA", "") else float(cell) for cell in second]
        assert rows_read["number"][:] == wanted
    elif "NA" in second:
        assert rows_read["number"][:] == second


def test_ids_beyond_float_precision_are_no_inputs(tmp_path, refused):
    base = 1_372_636_858_620_000_589
    content = {"tweet": [base + 7919 * i for i in range(N)], "x": np.arange(N) / 7, "label": ["p", "q"] * 12}
    examples = dd.load(write(tmp_path / "a.csv", content))
    assert examples.input_columns == ("x",)
    assert any("'tweet' holds whole numbers beyond 2^53" in note for note in examples.notes)
    assert column_of(examples, "tweet") == content["tweet"]
    assert dd.load(tmp_path / "a.csv", input=["tweet", "x"]).input_columns == ("tweet", "x")


@pytest.mark.parametrize(
    "cells", [["1,200", "3,400"], ["1.200,5", "3.400,5"], ["1,5", "2,75"], ["12 %", "7 %"], ["$5", "$ 6.5"]]
)
def test_numbers_with_separators_or_units_are_no_silent_texts(tmp_path, refused, cells):
    path = write(tmp_path / "a.csv", {"amount": cells * 12, "label": ["p", "q"] * 12}, delimiter=";")
    refused("'amount' holds numbers with separators or units", path)
    assert dd.load(path, input="amount").kind == "text"


@pytest.mark.parametrize(
    "cells",
    [
        ["2024-01-01", "2024-02-01"],
        ["2024-01-01 10:00", "2024-01-01T11:30:00Z"],
        ["10:30", "11:45:12"],
        ["1/2/2024", "31.12.2024"],
    ],
)
def test_dates_beside_numbers_are_not_used_and_as_labels_they_are_classes(tmp_path, cells):
    path = write(tmp_path / "a.csv", {"x": np.arange(N) / 7, "when": cells * 12, "label": ["p", "q"] * 12})
    assert dd.load(path).input_columns == ("x",)
    assert dd.load(path, input="x", label="when").class_names == tuple(sorted(cells))


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (["cat", "cat ", "dog"], ["'cat' and 'cat '"]),
        (["Cat", "cat"], ["'Cat' and 'cat'"]),
        (["7", "007"], ["'007' and '7'"]),
        (["a", "b"], []),
        (["1", "1.0", "x"], ["'1' and '1.0'"]),
    ],
)
def test_class_names_that_are_spellings_of_one_another_are_said(tmp_path, names, alike):
    path = write(tmp_path / "a.csv", {"text": texts(), "label": [names[i % len(names)] for i in range(N)]})
    examples = dd.load(path)
    assert set(examples.class_names) == set(names)
    said = [note for note in examples.notes if "differ only in" in note]
    assert len(said) == len(alike) and all(pair in said[0] for pair in alike)


# ---- JSON


@SETTINGS
@given(
    optional=st.lists(st.sets(st.sampled_from("abc")), min_size=N, max_size=N),
    form=st.sampled_from(["lines", "list", "indented", "within", "columns", "split", "lists", "apart"]),
)
def test_json_of_any_layout_has_the_union_of_keys(optional, form, tmp_path):
    rows = [
        {**dict.fromkeys(sorted(keys), place / 2), "text": f"day {place}", "label": ["u", "v"][place % 2]}
        for place, keys in enumerate(optional)
    ]
    frame = pd.DataFrame(rows)
    content = {
        "lines": "".join(json.dumps(row) + "\n" for row in rows),
        "list": json.dumps(rows),
        "indented": json.dumps(rows, indent=2),
        "within": json.dumps({"version": 1.1, "data": rows}),
        "columns": frame.to_json(),
        "split": frame.to_json(orient="split"),
        "lists": json.dumps({name: [row.get(name) for row in rows] for name in frame.columns}),
        "apart": "\n".join(json.dumps(row, indent=1) for row in rows),
    }[form]
    path = tmp_path / "a.json"
    path.write_text(content)
    examples = dd.load(path)
    assert by_id(examples) == {place: row["label"] for place, row in enumerate(rows)}
    for key in {key for keys in optional for key in keys}:
        assert column_of(examples, key) == [row.get(key) for row in rows]


def test_json_texts_that_look_like_dates_stay_texts(tmp_path):
    days = ["2024-01-01", "2024-02-01T10:00:00"] * 12
    rows = [{"text": f"day {i}", "label": day, "more": {"at": [day]}} for i, day in enumerate(days)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples = dd.load(tmp_path / "a.jsonl")
    assert by_id(examples) == dict(enumerate(days))
    assert column_of(examples, "more") == [row["more"] for row in rows]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": "x", "b": 3}', "one JSON object .*'a', 'b'.* no list of rows"),
        ("[1, 2]", "list of objects, one a row, and holds 1"),
        ('"x"', "holds no JSON objects"),
        ("[]", "has no rows"),
        ('{"train": [{"a": 1}], "test": [{"a": 2}]}', "several lists of rows .'train', 'test'"),
        ('{"a": 1}\n{"a": "x"}\n', "key 'a' of .* holds a number in one row and a string in another"),
        ('[{"a": 1}, {"a": ', "cannot be read as json"),
    ],
)
def test_json_that_holds_no_rows_is_one_sentence(tmp_path, refused, content, said):
    (tmp_path / "a.json").write_text(content)
    refused(said, tmp_path / "a.json")


# ---- shards, and test parts


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_shards_of_whole_and_real_numbers_are_real(tmp_path, form):
    whole = pd.DataFrame({"a": range(N), "b": np.arange(N) / 3, "label": [0, 1] * 12})
    real = pd.DataFrame({"a": np.arange(N) + 0.5, "b": range(N), "label": [0.0, 1.0] * 12})
    for place, frame in enumerate((whole, real, whole)):
        path = tmp_path / f"train-{place:05d}-of-00003.{form}"
        frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    examples = dd.load(tmp_path)
    assert column_of(examples, "a") == [*range(N), *(np.arange(N) + 0.5).tolist(), *range(N)]
    labels = by_id(examples)
    if form == "parquet":
        assert examples.class_names == ("0", "1")
    else:  # as they are written
        assert [labels[i] for i in (0, N, 2 * N)] == ["0", "0.0", "0"]
        assert any("'0' and '0.0'" in note for note in examples.notes)


def test_shards_that_are_numbers_here_and_texts_there_are_texts(tmp_path):
    write(tmp_path / "train-0.csv", {"text": texts(), "code": ["01"] * N, "label": ["x", "y"] * 12})
    write(tmp_path / "train-1.csv", {"text": texts(), "code": ["A1"] * N, "label": ["x", "y"] * 12})
    examples = dd.load(tmp_path)
    assert column_of(examples, "code") == ["01"] * N + ["A1"] * N


@SETTINGS
@given(
    cells=st.lists(st.sampled_from(["5", "2024-01-01", "true", "x y", "NA"]), min_size=6, max_size=6),
    digits=st.booleans(),
)
def test_texts_of_a_test_part_are_texts_whatever_they_look_like(cells, digits, tmp_path):
    write(tmp_path / "train.csv", {"text": texts(), "label": ["007", "x"] * 12})
    write(tmp_path / "test.csv", {"text": cells, "label": ["007"] * 6 if digits else ["007", "x"] * 3})
    examples = dd.load(tmp_path)
    assert examples.test.dataset["text"][:] == cells
    assert examples.class_names == ("007", "x") and examples.test.labels[0] == 0


@pytest.mark.parametrize(
    ("cell", "said"),
    [("?", r"'hours' holds texts in the test part \(row 3: '\?'\), where the train part holds numbers")],
)
def test_a_test_part_of_another_type_is_one_sentence(tmp_path, refused, cell, said):
    numbers = {"age": range(N), "hours": range(N), "label": [0, 1] * 12}
    write(tmp_path / "train.csv", numbers)
    write(tmp_path / "test.csv", {**numbers, "hours": [cell if i == 3 else i for i in range(N)]})
    refused(said, tmp_path)
    refused(said, pd.DataFrame(numbers), test=tmp_path / "test.csv")
    train, test = (pd.DataFrame({"text": column, "label": [0, 1] * 12}) for column in (texts(), range(N)))
    refused("holds numbers in the test part .*where the train part holds texts", train, test=test)


def test_labels_of_a_test_part_are_read_as_those_of_the_train_part(tmp_path):
    write(tmp_path / "train.csv", {"text": texts(), "label": ["1.0", "x"] * 12})
    write(tmp_path / "test.csv", {"text": texts(), "label": ["1.0"] * N})
    assert dd.load(tmp_path).class_names == ("1.0", "x")
    write(tmp_path / "train.csv", {"text": texts(), "label": ["1", "2"] * 12})
    examples = dd.load(tmp_path)
    assert examples.class_names == ("1", "2") and set(examples.test.labels) == {0}


def test_a_test_part_without_labels_or_with_other_classes_is_one_sentence(tmp_path, refused):
    write(tmp_path / "train.csv", {"text": texts(), "label": ["True", "False"] * 12})
    write(tmp_path / "test.csv", {"text": texts(), "label": [""] * N})
    refused(
        "label column 'label' of the test part is empty", tmp_path / "train.csv", test=tmp_path / "test.csv"
    )
    assert any("'test.csv' has nothing in its column 'label'" in note for note in dd.load(tmp_path).notes)
    write(tmp_path / "test.csv", {"text": texts(), "label": [0, 1] * 12})
    refused(
        "No class of the test part is one of the train part, which has 'False', 'True' .*label '0'", tmp_path
    )
