"""Whatever cannot be used is refused in one sentence that says where and what to do."""

import numpy as np
import pyarrow as pa
import pytest

import datadiet.data as dd
from datadiet.foundation.errors import BadInputError

TEXT = [f"text {i}" for i in range(8)]
LABEL = ["x", "y"] * 4


def table(**columns):
    return pa.table(columns)


@pytest.mark.parametrize(
    "path", ["/nowhere/at/all", "./nothing.csv", "nothing.parquet", "a/b/c", "~nobody/x"]
)
def test_missing_path(refused, path):
    refused("no file or folder", path)


def test_a_name_that_is_nothing_and_no_network(refused, monkeypatch):
    monkeypatch.setattr("datadiet.data.sources._hub_in_reach", lambda: False)
    refused(
        "neither a built-in name .* nor a file or folder here, and the Hugging Face hub cannot be reached",
        "mnistt",
    )


def test_a_name_that_the_hub_does_not_have(refused, monkeypatch):
    def fail(name):
        raise FileNotFoundError(f"Dataset '{name}' doesn't exist on the Hub\nsecond line")

    monkeypatch.setattr("datadiet.data.sources._hub_in_reach", lambda: True)
    monkeypatch.setattr("datasets.load_dataset", fail)
    refused("could not be fetched .*doesn't exist on the Hub", "someone/nothing")


def test_a_file_that_is_no_table(refused, tmp_path):
    (tmp_path / "a.docx").write_text("x")
    refused("is no table", tmp_path / "a.docx")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"PAR1 not really"),
        ("a.csv", b"text,label\n1,2,3,4\n"),
        ("a.csv", b""),
        ("a.jsonl", b'{"text": "a"\n{{'),
        ("a.json", b"[1, 2]"),
        ("a.json", b"[{"),
    ],
)
def test_a_damaged_file(refused, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(r"cannot be read as|is empty|must be a list of objects", tmp_path / name)


def test_an_empty_folder(refused, tmp_path):
    refused("neither table files nor images", tmp_path)


def test_an_empty_train_part(refused, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n")
    refused("train part .* is empty", tmp_path / "a.csv")


def test_an_empty_test_part(refused):
    refused(
        "test part .* is empty", table(text=TEXT, label=LABEL), test=table(text=TEXT, label=LABEL).slice(0, 0)
    )


def test_unknown_columns_name_the_nearest(refused):
    refused("no column 'lables'.*did you mean 'label'", table(text=TEXT, label=LABEL), label="lables")


def test_a_test_part_without_the_columns(refused):
    refused(
        "no column 'label' in the test part", table(text=TEXT, label=LABEL), test=table(text=TEXT, kind=LABEL)
    )


def test_no_label_column(refused):
    refused("No label column", table(text=TEXT, other=[1] * 8))


def test_only_one_class(refused):
    refused("only one class, 'x'", table(text=TEXT, label=["x"] * 8))


def test_a_class_with_one_example_cannot_be_held_out(refused):
    refused(r"Class 'z' has one example \(row 7\)", table(text=TEXT, label=[*LABEL[:7], "z"]))


def test_a_class_with_one_example_can_be_trained_on_if_there_is_a_test_part():
    source = table(text=TEXT, label=[*LABEL[:7], "z"])
    assert dd.load(source, test=source).num_classes == 3


def test_as_many_classes_as_rows(refused):
    refused("as many classes as rows", table(text=TEXT, label=TEXT))


def test_real_valued_labels(refused):
    refused("ask for task=.regression", table(text=TEXT, label=np.linspace(0, 1, 8)))


def test_missing_labels_are_named_or_left_out(refused):
    source = table(text=TEXT, label=[*LABEL[:6], None, ""])
    refused(
        r"Row 6 of the train rows.*label \(column 'label'\) is missing \(and 1 more bad rows: 7\)", source
    )
    assert dd.load(source, on_bad_example="skip").left_out == (6, 7)


def test_empty_texts_are_named_or_left_out(refused):
    source = table(text=["", " \t\n", None, *TEXT[3:]], label=LABEL)
    refused(r"Row 0 .*text \(column 'text'\) is empty \(and 2 more bad rows: 1, 2\)", source)
    examples = dd.load(source, on_bad_example="skip")
    assert examples.left_out == (0, 1, 2)
    assert sorted([*examples.train.ids, *examples.test.ids]) == [3, 4, 5, 6, 7]


def test_both_texts_of_a_pair_must_be_there(refused):
    refused("column 'sentence2'", table(sentence1=TEXT, sentence2=[*TEXT[:7], ""], label=LABEL))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, None])
def test_numbers_that_are_none_are_named_or_left_out(refused, value):
    source = table(a=list(range(8)), b=[0.5, 1.0, 2.0, value, 3.0, 4.0, value, 5.0], label=LABEL)
    refused(r"Row 3 .*NaN or infinite number \(column 'b'\) \(and 1 more bad rows: 6\)", source)
    assert dd.load(source, on_bad_example="skip").left_out == (3, 6)


def test_a_finite_number_that_is_too_large_is_named_as_that(refused):
    refused(
        r"Row 3 .*has the number 1e\+300, which is too large for float32.*column 'b'",
        table(a=list(range(8)), b=[0.5, 1.0, 2.0, 1e300, 3.0, 4.0, 3e38, -3e38], label=LABEL),
    )
    refused(
        r"Row 2 .*\(column 'label'\) is too large for float32",
        table(text=TEXT, label=[0.5, 1.0, 1e39, 1.0, 3.0, 4.0, 3.5, 5.0]),
        task="regression",
    )


def test_many_bad_rows_are_not_all_listed(refused):
    source = table(a=[np.nan] * 20 + [1.0] * 4, label=["x", "y"] * 12)
    refused(r"and 19 more bad rows: 1, 2, 3, 4, 5, \.\.\.\)", source)


def test_ragged_vectors_are_named_or_left_out(refused):
    source = table(v=[[1.0, 2.0]] * 5 + [[1.0], None, [1.0, np.nan]], label=LABEL)
    refused(r"Row 5 .*has 1 numbers, where others have 2", source)
    assert dd.load(source, on_bad_example="skip").left_out == (5, 6, 7)


def test_test_vectors_of_another_length(refused):
    source = table(v=[[1.0, 2.0]] * 8, label=LABEL)
    refused(
        "Row 0 of the test rows.*has 3 numbers, where others have 2",
        source,
        test=table(v=[[1.0] * 3], label=["x"]),
    )


def test_test_labels_never_seen_in_train_are_named_or_left_out(refused):
    source, held = table(text=TEXT, label=LABEL), table(text=["a", "b", "c"], label=["x", "new", "y"])
    refused("Row 1 of the test rows.*label 'new' is never seen", source, test=held)
    examples = dd.load(source, test=held, on_bad_example="skip")
    assert (
        examples.left_out_test == (1,) and examples.left_out == () and examples.test.labels.tolist() == [0, 1]
    )


def test_a_class_whose_only_rows_are_bad_is_gone_and_unseen_in_the_test_part():
    source = table(text=["", *TEXT[1:]], label=["a", *LABEL[1:]])
    held = table(text=["p", "q", "r"], label=["x", "a", "y"])
    examples = dd.load(source, test=held, on_bad_example="skip")
    assert examples.class_names == ("x", "y")
    assert examples.left_out == (0,) and examples.left_out_test == (1,)
    assert examples.train.labels.tolist() == [1, 0, 1, 0, 1, 0, 1] and examples.test.labels.tolist() == [0, 1]


def test_nothing_left(refused):
    refused("No example of the train part is left", table(text=[""] * 8, label=LABEL), on_bad_example="skip")
    held = table(text=["a"], label=["new"])
    refused(
        "No example of the test part is left", table(text=TEXT, label=LABEL), test=held, on_bad_example="skip"
    )


def test_settings_that_cannot_be(refused):
    source = table(text=TEXT, label=LABEL)
    refused("on_bad_example", source, on_bad_example="ignore")
    refused("image_size", source, image_size=0)
    refused("test_fraction", source, test_fraction=1.5)


def test_nothing_is_written_beside_the_source(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,x\nb,\n")
    with pytest.raises(BadInputError):
        dd.load(tmp_path / "a.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
