"""A multilayer perceptron, for vectors and for small images."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from datadiet.models.context import ModelContext
from datadiet.models.registry import model


class MLP(nn.Module):
    """Flatten, then linear layers with ReLU between them.

    Example:
        >>> MLP(4, (3,), hidden=(8,))(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self, num_classes: int, input_shape: tuple[int, ...], hidden: tuple[int, ...] = (256, 256)
    ) -> None:
        super().__init__()
        sizes = [math.prod(input_shape), *hidden]
        layers: list[nn.Module] = []
        for size_in, size_out in itertools.pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(batch, ...) -> logits (batch, num_classes)."""
        return self.head(self.body(inputs.flatten(1)))  # type: ignore[no-any-return]


@model("mlp", kinds=("vector", "image"), summary="two hidden layers of 256")
def mlp(context: ModelContext, hidden: tuple[int, ...] = (256, 256)) -> MLP:
    """`MLP` for the data at hand."""
    return MLP(context.num_outputs, context.input_shape, tuple(hidden))
