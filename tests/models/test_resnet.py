"""The residual networks: sizes as in the paper, a low-resolution stem, a linear head."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from datadiet.models.resnet import resnet18, resnet20, resnet32, resnet50, resnet56


def basic_parameters(depths: list[int], width: int, classes: int) -> int:
    """Counted by hand: 3×3 convolutions without bias, two numbers a normalised channel, projections."""
    total, channels = 3 * 9 * width + 2 * width, width
    for stage, depth in enumerate(depths):
        out = width * 2**stage
        for _ in range(depth):
            total += 9 * channels * out + 9 * out * out + 4 * out
            if channels != out:
                total += channels * out + 2 * out
            channels = out
    return total + (channels + 1) * classes


@pytest.mark.parametrize(
    ("factory", "depths", "width"),
    [
        (resnet18, [2, 2, 2, 2], 64),
        (resnet20, [3, 3, 3], 16),
        (resnet32, [5, 5, 5], 16),
        (resnet56, [9, 9, 9], 16),
    ],
)
def test_the_number_of_parameters_is_the_paper_s(factory, depths, width):
    assert sum(p.numel() for p in factory(10).parameters()) == basic_parameters(depths, width, 10)


@pytest.mark.parametrize("factory", [resnet18, resnet50, resnet20, resnet32, resnet56])
def test_the_first_convolution_keeps_the_resolution_and_the_head_is_linear(factory):
    model = factory(7, in_channels=1, width=4).eval()
    assert isinstance(model.head, nn.Linear) and model.head.out_features == 7
    assert not any(isinstance(module, nn.MaxPool2d) for module in model.modules())
    assert model.conv(torch.zeros(1, 1, 16, 16)).shape == (1, 4, 16, 16)
    assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 7)


def test_every_stage_but_the_first_halves_the_resolution():
    model = resnet50(3, width=4).eval()
    hidden, sizes = torch.zeros(1, 4, 16, 16), []
    for stage in model.stages:
        hidden = stage(hidden)
        sizes.append(tuple(hidden.shape[1:]))
    assert sizes == [(16, 16, 16), (32, 8, 8), (64, 4, 4), (128, 2, 2)]
