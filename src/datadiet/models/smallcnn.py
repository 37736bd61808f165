"""A small, fast convolutional net in the spirit of the CIFAR-10 speed runs."""

from __future__ import annotations

import torch
from torch import nn

from datadiet.models.context import ModelContext
from datadiet.models.registry import model


class ConvBlock(nn.Module):
    """conv - pool - BatchNorm - ReLU - conv - BatchNorm - ReLU; pools only where there is room to."""

    def __init__(self, channels_in: int, channels_out: int, *, pool: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channels_in, h, w) -> (batch, channels_out, h // 2 or h, w // 2 or w)."""
        hidden = self.relu(self.norm1(self.pool(self.conv1(images))))
        return self.relu(self.norm2(self.conv2(hidden)))  # type: ignore[no-any-return]


class SmallCNN(nn.Module):
    """Fixed 2x2 whitening convolution, three convolutional blocks (one for each width), global max pool, linear head.

    Args:
        num_classes: width of the logits.
        input_shape: (channels, height, width) of an image.
        widths: channels of the blocks.
        sample: images (n, channels, height, width) that the whitening filters are computed from; without
            them the filters are random orthogonal ones.

    Example:
        >>> net = SmallCNN(10, (1, 8, 8))
        >>> net(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        widths: tuple[int, ...] = (32, 64, 64),
        sample: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        channels, height, width = input_shape
        patch = channels * 4
        self.whiten = nn.Conv2d(channels, 2 * patch, 2)
        self.whiten.requires_grad_(False)
        self.relu = nn.ReLU()
        side = min(height, width) - 1
        blocks, channels_in = [], 2 * patch
        for channels_out in widths:
            blocks.append(ConvBlock(channels_in, channels_out, pool=side >= 4))
            side = side // 2 if side >= 4 else side
            channels_in = channels_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], num_classes)
        self._whiten_from(sample)

    @torch.no_grad()
    def _whiten_from(self, sample: torch.Tensor | None) -> None:
        """Set the first layer to plus and minus the whitening filters of 2x2 patches."""
        weight, bias = self.whiten.weight, self.whiten.bias
        patch = weight[0].numel()
        if sample is None:
            filters = torch.linalg.qr(torch.randn(patch, patch))[0]
        else:
            patches = nn.functional.unfold(sample.float().cpu(), 2).transpose(1, 2).reshape(-1, patch)
            patches = patches.double() - patches.double().mean(dim=0)
            values, vectors = torch.linalg.eigh(patches.T @ patches / max(len(patches) - 1, 1))
            filters = (vectors / torch.sqrt(values.clamp_min(0) + 1e-2 * values.mean() + 1e-8)).T.float()
        filters = filters.reshape(patch, *weight.shape[1:])
        weight.copy_(torch.cat([filters, -filters]))
        assert bias is not None
        bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channels, height, width) -> logits (batch, num_classes)."""
        hidden = self.blocks(self.relu(self.whiten(images)))
        return self.head(hidden.amax(dim=(2, 3)))  # type: ignore[no-any-return]


@model("smallcnn", kinds=("image",), summary="whitening convolution, three blocks: minutes on a CPU")
def smallcnn(context: ModelContext, widths: tuple[int, ...] | None = None) -> SmallCNN:
    """`SmallCNN` for the data at hand, whitened on a sample of it; two narrow blocks for images below 16 pixels."""
    if widths is None:
        widths = (32, 64, 64) if min(context.input_shape[1:]) >= 16 else (16, 32)
    return SmallCNN(context.num_outputs, context.input_shape, tuple(widths), context.sample)
