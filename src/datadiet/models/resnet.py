"""Residual networks for small images: the CIFAR family, and ResNet-18/50 with a low-resolution stem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from datadiet.models.context import ModelContext
from datadiet.models.registry import model


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(in_channels, width, stride)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = F.relu(self.norm1(self.conv1(inputs)))
        return F.relu(self.norm2(self.conv2(hidden)) + self.shortcut(inputs))


class Bottleneck(nn.Module):
    """A 3×3 convolution between two 1×1 convolutions that narrow and widen, beside a shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = F.relu(self.norm1(self.conv1(inputs)))
        hidden = F.relu(self.norm2(self.conv2(hidden)))
        return F.relu(self.norm3(self.conv3(hidden)) + self.shortcut(inputs))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The identity, or a projection where the shape changes (option B of He et al., 2016)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class ResNet(nn.Module):
    """Stages of residual blocks after a 3×3 stem with stride 1 and no pooling; logits from a linear `head`.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        depths: blocks in each stage; each stage but the first halves the resolution and doubles the width.
        num_classes: number of logits.
        in_channels: channels of an image.
        width: channels of the first stage.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        num_classes: int,
        in_channels: int,
        width: int,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        channels = width
        stages = []
        for stage, depth in enumerate(depths):
            blocks = []
            for position in range(depth):
                stride = 2 if stage > 0 and position == 0 else 1
                blocks.append(block(channels, width * 2**stage, stride))
                channels = width * 2**stage * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits, shape (batch, classes), of images (batch, channels, height, width)."""
        hidden = F.relu(self.norm(self.conv(inputs)))
        logits: torch.Tensor = self.head(self.stages(hidden).mean((2, 3)))
        return logits


Builder = TypeVar("Builder", bound=Callable[..., nn.Module])


def image_model(summary: str) -> Callable[[Builder], Builder]:
    """Register `build(num_classes, in_channels, **options)` as a model of images under the function's name."""

    def register(build: Builder) -> Builder:
        @model(build.__name__, kinds=("image",), summary=summary)
        def factory(context: ModelContext, **options: Any) -> nn.Module:
            return build(context.num_outputs, in_channels=context.input_shape[0], **options)

        return build

    return register


@image_model("ResNet-18 with the papers' low-resolution stem")
def resnet18(num_classes: int, in_channels: int = 3, width: int = 64) -> ResNet:
    """ResNet-18 with the low-resolution stem that the data-diet papers use on CIFAR.

    Source: He et al. 2016, table 1; stem as in Paul, Ganguli, Dziugaite 2021, appendix B.

    Example:
        >>> resnet18(10, width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, in_channels, width)


@image_model("ResNet-50 with the papers' low-resolution stem")
def resnet50(num_classes: int, in_channels: int = 3, width: int = 64) -> ResNet:
    """ResNet-50 with the low-resolution stem.

    Source: He et al. 2016, table 1.

    Example:
        >>> resnet50(100, width=4)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 100])
    """
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, in_channels, width)


@image_model("ResNet-20 of the CIFAR family")
def resnet20(num_classes: int, in_channels: int = 3, width: int = 16) -> ResNet:
    """The 20-layer CIFAR network: three stages of three basic blocks, with projection shortcuts.

    Source: He et al. 2016, section 4.2.

    Example:
        >>> sum(p.numel() for p in resnet20(10).parameters()) // 1000
        272
    """
    return ResNet(BasicBlock, (3, 3, 3), num_classes, in_channels, width)


@image_model("ResNet-32 of the CIFAR family")
def resnet32(num_classes: int, in_channels: int = 3, width: int = 16) -> ResNet:
    """The 32-layer CIFAR network: three stages of five basic blocks.

    Source: He et al. 2016, section 4.2.
    """
    return ResNet(BasicBlock, (5, 5, 5), num_classes, in_channels, width)


@image_model("ResNet-56 of the CIFAR family")
def resnet56(num_classes: int, in_channels: int = 3, width: int = 16) -> ResNet:
    """The 56-layer CIFAR network: three stages of nine basic blocks.

    Source: He et al. 2016, section 4.2.
    """
    return ResNet(BasicBlock, (9, 9, 9), num_classes, in_channels, width)
