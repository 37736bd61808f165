"""What a report is made of is checked when it is put together."""

import numpy as np
import pytest

from datadiet.foundation.errors import BadInputError
from datadiet.pages.report import ReportContents, subset_key


def test_a_score_of_another_length_is_refused():
    with pytest.raises(BadInputError, match=r"the score 'el2n' has shape \(3,\)"):
        ReportContents("t", {}, scores={"el2n": np.zeros(3)}, labels=np.zeros(2, int), class_names=("a",))


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(BadInputError, match="the subset 'half'"):
        ReportContents("t", {}, kept={"half": np.ones(3, bool)}, labels=np.zeros(2, int), class_names=("a",))


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_without_a_class_name_is_refused_with_its_row(label):
    with pytest.raises(BadInputError, match=f"the label {label} of row 1"):
        ReportContents("t", {}, labels=np.array([0, label]), class_names=("a", "b"))


def test_labels_in_a_matrix_are_refused():
    with pytest.raises(BadInputError, match=r"shape \(n,\)"):
        ReportContents("t", {}, labels=np.zeros((2, 2), int), class_names=("a",))


def test_the_key_of_a_subset_names_score_rule_and_fraction():
    assert subset_key({"score": "el2n", "rule": "hardest", "keep": 1.0}) == "el2n hardest 1"
