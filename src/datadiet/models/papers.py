"""The papers' residual networks under their names, for images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from datadiet.models import resnet
from datadiet.models.context import ModelContext
from datadiet.models.registry import model


def _register(name: str, build: Callable[..., nn.Module], summary: str) -> None:
    @model(name, kinds=("image",), summary=summary)
    def factory(context: ModelContext, **options: Any) -> nn.Module:
        return build(context.num_outputs, in_channels=context.input_shape[0], **options)


_register("resnet18", resnet.resnet18, "ResNet-18 with the papers' low-resolution stem")
_register("resnet50", resnet.resnet50, "ResNet-50 with the papers' low-resolution stem")
_register("resnet20", resnet.resnet20, "ResNet-20 of the CIFAR family")
_register("resnet32", resnet.resnet32, "ResNet-32 of the CIFAR family")
_register("resnet56", resnet.resnet56, "ResNet-56 of the CIFAR family")
