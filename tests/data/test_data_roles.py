"""Columns get their roles by name, by type, or by what the user says."""

import datasets
import numpy as np
import pytest

from datadiet.data.columns.roles import find_roles
from datadiet.foundation.errors import BadInputError

N = 4
TEXT = ["a", "b", "c", "d"]
NUMBER = [0.5, 1.0, 2.0, 3.0]
LABEL = [0, 1, 0, 1]
LIST = [[1.0, 2.0]] * N
ARRAY = [[[1, 2], [3, 4]]] * N
STRUCT = [{"bytes": b"x", "path": None}] * N


def roles(columns, **named):
    return find_roles(datasets.Dataset.from_dict(columns), **named)


@pytest.mark.parametrize(
    ("columns", "kind", "inputs", "label"),
    [
        ({"text": TEXT, "label": LABEL}, "text", ("text",), "label"),
        ({"Sentence": TEXT, "Label": LABEL}, "text", ("Sentence",), "Label"),
        ({"words": TEXT, "intent": TEXT}, "text", ("words",), "intent"),
        ({"text": TEXT, "slots": TEXT, "intent": TEXT}, "text", ("text",), "intent"),
        ({"text": TEXT, "label": LABEL, "fine_label": TEXT}, "text", ("text",), "label"),
        (
            {"premise": TEXT, "hypothesis": TEXT, "idx": LABEL, "label": LABEL},
            "text",
            ("premise", "hypothesis"),
            "label",
        ),
        ({"id": LABEL, "text": TEXT, "length": NUMBER, "label": LABEL}, "text", ("text",), "label"),
        ({"a": NUMBER, "b": LABEL, "class": TEXT}, "vector", ("a", "b"), "class"),
        ({"id": LABEL, "a": NUMBER, "y": LABEL}, "vector", ("a",), "y"),
        ({"embedding": LIST, "age": NUMBER, "label": LABEL}, "vector", ("embedding",), "label"),
        ({"v": LIST, "target": LABEL}, "vector", ("v",), "target"),
        ({"img": STRUCT, "label": LABEL}, "image", ("img",), "label"),
        ({"picture": STRUCT, "caption": TEXT, "label": LABEL}, "image", ("picture",), "label"),
        ({"pixel_values": ARRAY, "label": LABEL}, "image", ("pixel_values",), "label"),
        (
            {"file_name": ["a.png", "b.PNG", "c.jpg", "d.webp"], "label": LABEL},
            "image",
            ("file_name",),
            "label",
        ),
    ],
)
def test_roles_are_found_by_type_and_convention(columns, kind, inputs, label):
    found = roles(columns)
    assert (found.kind, found.inputs, found.label) == (kind, inputs, label)


def test_a_single_class_label_feature_is_the_label_whatever_its_name():
    rows = datasets.Dataset.from_dict({"text": TEXT, "animal": LABEL})
    rows = rows.cast_column("animal", datasets.ClassLabel(names=["cat", "dog"]))
    assert find_roles(rows).label == "animal"


def test_named_columns_win():
    columns = {"text": TEXT, "title": TEXT, "a": NUMBER, "b": NUMBER, "label": LABEL, "topic": TEXT}
    assert roles(columns, inputs="title", label="topic").inputs == ("title",)
    assert roles(columns, inputs=["b", "a"], label="label").inputs == ("b", "a")
    assert roles(columns, inputs=["text", "title"]).kind == "text"
    assert roles(columns, label="topic").label == "topic"


def test_row_numbers_are_named_as_not_used():
    assert roles({"id": LABEL, "a": NUMBER, "y": LABEL}).ignored == ("id",)


@pytest.mark.parametrize(
    ("columns", "named", "message"),
    [
        (
            {"text": TEXT, "label": LABEL},
            {"label": "lable"},
            r"no column 'lable'.*did you mean 'label'.*'text', 'label'",
        ),
        ({"text": TEXT, "label": LABEL}, {"inputs": "txt"}, r"no column 'txt'.*did you mean 'text'"),
        ({"text": TEXT, "label": LABEL}, {"inputs": "label", "label": "label"}, "at once"),
        ({"text": TEXT, "other": TEXT}, {}, r"No label column is to be found among 'text', 'other'"),
        ({"text": TEXT, "intent": TEXT, "topic": TEXT}, {}, "Both 'intent' and 'topic'"),
        ({"foo": TEXT, "bar": TEXT, "label": LABEL}, {}, "Any of the text columns 'foo', 'bar'"),
        ({"title": TEXT, "body": TEXT, "label": LABEL}, {}, "Any of the text columns 'title', 'body'"),
        ({"sex": TEXT, "age": NUMBER, "label": LABEL}, {}, r"could be text \('sex'\) or numbers \('age'\)"),
        ({"v": LIST, "age": NUMBER, "label": LABEL}, {}, r"could be lists \('v'\) or numbers \('age'\)"),
        ({"u": LIST, "v": LIST, "label": LABEL}, {}, "Any of the vector columns"),
        ({"label": LABEL}, {}, "No input column is to be found"),
        ({"text": TEXT, "a": NUMBER, "label": LABEL}, {"inputs": ["text", "a"]}, "cannot be inputs together"),
        (
            {"a": TEXT, "b": TEXT, "c": TEXT, "label": LABEL},
            {"inputs": ["a", "b", "c"]},
            "cannot be inputs together",
        ),
        ({"text": TEXT, "label": LABEL}, {"inputs": []}, "at least one"),
    ],
)
def test_what_cannot_be_told_is_an_error_that_says_what_to_name(columns, named, message):
    with pytest.raises(BadInputError, match=message):
        roles(columns, **named)


def test_two_class_labels_are_ambiguous():
    rows = datasets.Dataset.from_dict({"text": TEXT, "fine": LABEL, "coarse": LABEL})
    for column in ("fine", "coarse"):
        rows = rows.cast_column(column, datasets.ClassLabel(names=["x", "y"]))
    with pytest.raises(BadInputError, match="Any of 'fine', 'coarse' could be the label"):
        find_roles(rows)


def test_array_features_are_images():
    features = datasets.Features(
        {"x": datasets.Array3D((3, 2, 2), "uint8"), "label": datasets.Value("int64")}
    )
    rows = datasets.Dataset.from_dict(
        {"x": np.zeros((N, 3, 2, 2), "uint8"), "label": LABEL}, features=features
    )
    found = find_roles(rows)
    assert (found.kind, found.form) == ("image", "array")


def test_the_features_of_a_wide_table_are_copied_a_few_times_and_not_once_a_column(monkeypatch):
    copied = []
    real = datasets.Features.copy
    monkeypatch.setattr(datasets.Features, "copy", lambda self: copied.append(1) or real(self))
    wide = datasets.Dataset.from_dict({**{f"x{number}": NUMBER for number in range(200)}, "label": LABEL})
    copied.clear()
    assert len(find_roles(wide).inputs) == 200
    assert len(copied) < 20
