"""The closed form of the last layer against gradients that autograd computes, one example at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from datadiet.foundation.errors import BadInputError
from datadiet.scores.gradients import grand_last_layer
from datadiet.scores.outputs import el2n


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_norm_of_the_last_layers_gradient(bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(7, 4, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    features = torch.randn(9, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 4, (9,), generator=generator)
    expected = []
    for row, target in zip(features, targets, strict=True):
        loss = F.cross_entropy(layer(row[None]), target[None], reduction="none")[0]
        gradients = torch.autograd.grad(loss, tuple(layer.parameters()))
        expected.append(torch.cat([gradient.flatten() for gradient in gradients]).norm())
    result = grand_last_layer(layer(features), targets, features, bias=bias)
    torch.testing.assert_close(result, torch.stack(expected))


def test_it_is_not_el2n() -> None:
    logits, targets = np.zeros((2, 3)), np.array([0, 0])
    features = np.array([[3.0, 0.0], [0.0, 0.5]])
    ratio = grand_last_layer(logits, targets, features, bias=False) / el2n(logits, targets)
    np.testing.assert_allclose(ratio, [3.0, 0.5])


def test_features_of_another_batch_are_refused() -> None:
    with pytest.raises(BadInputError, match="2 rows like the logits"):
        grand_last_layer(np.zeros((2, 3)), np.array([0, 1]), np.zeros((3, 4)))
