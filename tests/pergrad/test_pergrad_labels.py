"""Labels and logits that are no classification are one sentence before anything is computed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pergrad_oracle import norms_by_loop, relative_error
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad import gradient_norms, grand

INPUTS = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 2, 1, 0, 1])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS + 1, "target 3 in row 1 is outside the 3 classes of the logits; labels must be 0 to 2"),
        (LABELS - 1, "target -1 in row 0 is outside the 3 classes"),
        (LABELS.float(), r"targets are torch.float32 of shape \(5,\).*targets.long\(\)"),
        (LABELS[:, None], r"need targets of shape \(5,\), one label each, not \(5, 1\)"),
        (F.one_hot(LABELS, 3), r"one label each, not \(5, 3\)"),
        (LABELS.numpy(), "must be a tensor of class numbers, not ndarray"),
    ],
)
def test_labels_that_do_not_fit_the_logits_are_refused(labels, words):
    with pytest.raises(BadInputError, match=words):
        gradient_norms(nn.Linear(4, 3), INPUTS, labels)
    with pytest.raises(BadInputError, match=words):
        grand([nn.Linear(4, 3)], [(range(5), INPUTS, labels)])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(4, 1), r"one logit an example.*binary_cross_entropy_with_logits.*Regression"),
        (nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), r"not logits of shape \(batch, classes\)"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(model, words):
    with pytest.raises(BadInputError, match=words):
        gradient_norms(model, INPUTS, LABELS.clamp_max(1))


@pytest.mark.parametrize(
    "labels", [LABELS.int(), LABELS.to(torch.uint8), LABELS > 0, F.one_hot(LABELS, 3).double()]
)
def test_labels_of_other_types_and_probabilities_are_class_numbers(labels):
    model = nn.Linear(4, 3)
    plain = labels.float() if labels.is_floating_point() else labels.long()
    expected = norms_by_loop(model, lambda i: F.cross_entropy(model(INPUTS[i : i + 1]), plain[i : i + 1]), 5)
    assert relative_error(gradient_norms(model, INPUTS, labels), expected) <= 1e-4


def test_an_ignored_label_has_no_gradient():
    labels = torch.where(LABELS == 2, -100, LABELS)
    assert gradient_norms(nn.Linear(4, 3), INPUTS, labels)[1] == 0


def test_one_logit_is_binary_where_the_loss_says_so():
    def binary(outputs, targets):
        return F.binary_cross_entropy_with_logits(outputs[:, 0], targets.float(), reduction="none")

    model, labels = nn.Linear(4, 1), LABELS.clamp_max(1)
    expected = norms_by_loop(model, lambda i: binary(model(INPUTS[i : i + 1]), labels[i : i + 1]).sum(), 5)
    assert relative_error(gradient_norms(model, INPUTS, labels, loss=binary), expected) <= 1e-4
