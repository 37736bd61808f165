"""Label columns of every type become class indices in a fixed order."""

import datasets
import numpy as np
import pyarrow as pa
import pytest

from datadiet.data.columns.labels import label_values, match_names
from datadiet.foundation.errors import BadInputError


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["dog", "ant", "cat", "ant"], ["ant", "cat", "dog"]),
        ([3, -1, 10, 3], ["-1", "3", "10"]),
        ([1.0, 0.0, 2.0, 1.0], ["0", "1", "2"]),
        (["10", "9", "-2"], ["-2", "9", "10"]),
        (["10", "9", "a"], ["10", "9", "a"]),
        ([True, False, True], ["False", "True"]),
        (["Z", "a", "Ä"], ["Z", "a", "Ä"]),
    ],
)
def test_classes_have_a_deterministic_order_and_rows_point_at_their_own(values, names):
    found, indices, fixed = label_values(pa.array(values), None, "label")
    assert found == names and fixed is None
    spelled = [str(int(v)) if isinstance(v, float) else str(v) for v in values]
    assert [found[index] for index in indices] == spelled


def test_class_label_names_keep_their_order_also_unused_ones():
    feature = datasets.ClassLabel(names=["zebra", "ape", "cow"])
    found, indices, fixed = label_values(pa.array([2, 0, -1]), feature, "label")
    assert found == ["zebra", "ape", "cow"] and fixed == ("zebra", "ape", "cow")
    assert indices.tolist() == [2, 0, -1]


def test_dictionary_columns_and_missing_values_are_understood():
    found, indices, _ = label_values(pa.array(["b", None, " ", "a"]).dictionary_encode(), None, "label")
    assert found == ["a", "b"] and indices.tolist() == [1, -1, -1, 0]
    _, indices, _ = label_values(pa.array([1.0, float("nan"), None, 0.0]), None, "label")
    assert indices.tolist() == [1, -1, -1, 0]


def test_real_valued_labels_are_refused_with_their_row():
    with pytest.raises(BadInputError, match=r"row 1: 0.5.*task=.regression"):
        label_values(pa.array([1.0, 0.5]), None, "price")


def test_infinite_labels_are_refused():
    with pytest.raises(BadInputError, match="row 0"):
        label_values(pa.array([float("inf"), 1.0]), None, "price")


def test_an_index_without_a_class_name_is_refused():
    with pytest.raises(BadInputError, match="the label 7 in row 1, but only 2"):
        label_values(pa.array([0, 7]), datasets.ClassLabel(names=["a", "b"]), "label")


def test_lists_of_one_label_are_labels_and_longer_ones_are_refused():
    names, indices, _ = label_values(pa.array([[7], [2], [], None, [7]]), None, "label")
    assert (names, indices.tolist()) == (["2", "7"], [1, 0, -1, -1, 1])
    with pytest.raises(BadInputError, match=r"2 labels in row 1.*task='multilabel'"):
        label_values(pa.array([[1], [2, 3]]), None, "label")


def test_names_of_another_order_are_matched_by_name():
    matched = match_names(["b", "a", "new"], np.array([0, 1, 2, -1]), ["a", "b"])
    assert matched.tolist() == [1, 0, -2, -1]
