"""Rules for convolutions of one to three dimensions, by the cheaper of two exact contractions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F

from datadiet.pergrad.factors import (
    CACHED_BYTES,
    WORKSPACE_BYTES,
    Factor,
    LowRank,
    example_slices,
    widened,
)
from datadiet.pergrad.normalisation import channel_sums
from datadiet.pergrad.tape import Call, Operand, constant, function_rule


@dataclass(frozen=True)
class Geometry:
    """Kernel, stride, zeros before and after, dilation of each dimension, and the number of groups."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def offsets(self) -> list[tuple[int, ...]]:
        """Position of each kernel element relative to the first."""
        steps = [range(0, k * d, d) for k, d in zip(self.kernel, self.dilation, strict=True)]
        return list(itertools.product(*steps))

    def padded(self, inputs: torch.Tensor, out: tuple[int, ...]) -> torch.Tensor:
        """The input with its zeros, cut to what the outputs reach."""
        pads: list[int] = []
        for dim in range(len(self.kernel)):
            reach = (out[dim] - 1) * self.stride[dim] + (self.kernel[dim] - 1) * self.dilation[dim] + 1
            pads[:0] = [self.before[dim], reach - self.before[dim] - inputs.shape[2 + dim]]
        return F.pad(inputs, pads) if any(pads) else inputs

    def window(self, offset: tuple[int, ...], out: tuple[int, ...]) -> tuple[Any, ...]:
        """What the kernel element at an offset sees of each padded dimension."""
        return tuple(
            slice(first, first + (n - 1) * step + 1, step)
            for first, n, step in zip(offset, out, self.stride, strict=True)
        )


class Convolution(Factor):
    """`dW[o, c, k] = Σ_t g[o, t] x[c, t·stride + k·dilation]` for each example.

    Args:
        inputs: shape (images, channels, *positions).
        gradient: gradient of the convolution's output, shape (images, outputs, *positions).
        geometry: kernel, stride, zeros, dilation, groups.
        images: images an example, consecutive.
    """

    def __init__(self, inputs: torch.Tensor, gradient: torch.Tensor, geometry: Geometry, images: int) -> None:
        super().__init__(inputs, gradient)
        self.inputs = inputs
        self.gradient = gradient
        self.geometry = geometry
        self.images = images

    @property
    def batch(self) -> int:
        return len(self.inputs) // self.images

    def squared_norm(self) -> torch.Tensor:
        groups, out = self.geometry.groups, tuple(self.gradient.shape[2:])
        tokens = prod(out)
        d, p = self.inputs.shape[1] // groups, self.gradient.shape[1] // groups
        offsets = prod(self.geometry.kernel)
        if self.images == 1:
            if offsets == 1:
                return self._pointwise()
            padded = prod(self._padded(slice(0, 1)).shape[2:])
            gram = tokens * tokens * (p + offsets) + padded * padded * d
            if gram < tokens * p * d * offsets:
                return self._by_gram()
        norms = []
        # On an accelerator few large launches matter more than its cache.
        workspace = CACHED_BYTES if self.inputs.device.type == "cpu" else WORKSPACE_BYTES
        patches = self.inputs.shape[1] * prod(self.geometry.kernel[1:])
        weights = patches * self.gradient.shape[1] // groups
        for part in example_slices(self.batch, self.images * (patches * tokens + weights) * 4, workspace):
            squares = [piece.flatten(1).square().sum(1) for _, piece in self._pieces(part)]
            norms.append(torch.stack(squares).sum(0))
        return torch.cat(norms)

    def dense(self, examples: slice) -> torch.Tensor:
        pieces = [piece for _, piece in sorted(self._pieces(examples), key=lambda found: found[0])]
        weights = torch.stack(pieces, 3)
        return weights.reshape(*weights.shape[:4], *self.geometry.kernel[1:])

    def _pieces(self, examples: slice) -> Iterator[tuple[int, torch.Tensor]]:
        """Gradients of `W[:, :, k]` with the position k, in no order; shape (examples, outputs, channels, rest).

        Rows that are `stride` apart, and the positions beside them that the kernel sees, are laid out once;
        the patches of each k are then a slice of them, which needs no copy.
        """
        out = tuple(self.gradient.shape[2:])
        images = slice(examples.start * self.images, examples.stop * self.images)
        padded = self._padded(images)
        count, groups, kernel = len(padded), self.geometry.groups, self.geometry.kernel
        stride, dilation = self.geometry.stride[0], self.geometry.dilation[0]
        tokens, row = prod(out), prod(out[1:])
        left = widened(self.gradient[images]).reshape(count * groups, -1, tokens)
        for phase in range(stride):
            seen = [k for k in range(kernel[0]) if k * dilation % stride == phase]
            if not seen:
                continue
            rows = out[0] + seen[-1] * dilation // stride
            first = slice(phase, phase + (rows - 1) * stride + 1, stride)
            beside = [
                self.geometry.window(offset, out)[1:] for offset in self.geometry.offsets() if not offset[0]
            ]
            windows = [padded[(..., first, *window)] for window in beside]
            laid = torch.stack(windows, 2) if len(windows) > 1 else windows[0]
            patches = laid.reshape(count * groups, -1, rows * row)
            for k in seen:
                start = k * dilation // stride * row
                product = torch.bmm(left, patches[:, :, start : start + tokens].mT)
                piece = product.reshape(count, self.gradient.shape[1], -1, len(windows))
                if self.images > 1:
                    piece = piece.reshape(-1, self.images, *piece.shape[1:]).sum(1)
                yield k, piece

    def _padded(self, images: slice) -> torch.Tensor:
        return self.geometry.padded(widened(self.inputs[images]), tuple(self.gradient.shape[2:]))

    def _pointwise(self) -> torch.Tensor:
        out = tuple(self.gradient.shape[2:])
        seen = self._padded(slice(None))[(..., *self.geometry.window((0,) * len(out), out))]
        groups = self.geometry.groups
        right = seen.reshape(self.batch * groups, -1, prod(out)).mT
        left = self.gradient.reshape(self.batch * groups, -1, prod(out)).mT
        return LowRank(left, right).squared_norm().reshape(self.batch, groups).sum(1)

    def _by_gram(self) -> torch.Tensor:
        """`Σ_{t,s} (g_t · g_s) (patch_t · patch_s)`; products of patches are sums of shifted products of pixels."""
        out, groups = tuple(self.gradient.shape[2:]), self.geometry.groups
        tokens = prod(out)
        size = self._padded(slice(0, 1)).shape[2:]
        norms = []
        for part in example_slices(self.batch, groups * 4 * (size.numel() ** 2 + 2 * tokens**2)):
            padded = self._padded(part)
            pixels = padded.reshape(len(padded) * groups, -1, size.numel())
            gradient = widened(self.gradient[part]).reshape(len(padded) * groups, -1, tokens)
            gram = torch.bmm(pixels.mT, pixels).reshape(-1, *size, *size)
            weights = torch.bmm(gradient.mT, gradient).reshape(-1, *out, *out)
            total = torch.zeros_like(weights)
            for offset in self.geometry.offsets():
                window = self.geometry.window(offset, out)
                total += gram[(slice(None), *window, *window)]
            norms.append((total * weights).reshape(len(padded), -1).sum(1))
        return torch.cat(norms)


@function_rule(F.conv1d, F.conv2d, F.conv3d)
def convolution(call: Call) -> Any:
    """`y = W * x + b`: `dW` is the correlation of the input's patches with the output gradient."""
    inputs, weight, bias, stride, padding, dilation, groups = call.arguments(
        input=None, weight=None, bias=None, stride=1, padding=0, dilation=1, groups=1
    )
    if not call.maps_batch(inputs, weight, bias) or inputs.dim() != weight.dim():
        return NotImplemented
    kernel = tuple(weight.shape[2:])
    stride, dilation = _spread(stride, kernel), _spread(dilation, kernel)
    output = call.func(inputs, constant(weight), constant(bias), stride, padding, dilation, groups)
    before, after = _padding(padding, kernel, dilation)
    geometry = Geometry(kernel, stride, before, after, dilation, groups)
    return _tapped(call, inputs, output, weight, bias, lambda n, g: Convolution(inputs, g, geometry, n))


@function_rule(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
def transposed_convolution(call: Call) -> Any:
    """The same with the roles of the input and the output gradient exchanged."""
    inputs, weight, bias, stride, padding, extra, groups, dilation = call.arguments(
        input=None, weight=None, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
    )
    if not call.maps_batch(inputs, weight, bias) or inputs.dim() != weight.dim():
        return NotImplemented
    kernel = tuple(weight.shape[2:])
    stride, padding, extra, dilation = (_spread(v, kernel) for v in (stride, padding, extra, dilation))
    output = call.func(inputs, constant(weight), constant(bias), stride, padding, extra, groups, dilation)
    geometry = Geometry(kernel, stride, padding, padding, dilation, groups)
    return _tapped(call, inputs, output, weight, bias, lambda n, g: Convolution(g, inputs, geometry, n))


def _spread(value: int | Sequence[int], kernel: tuple[int, ...]) -> tuple[int, ...]:
    """One value for each dimension of the kernel."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * len(kernel) if len(values) == 1 else values


def _padding(
    padding: str | int | Sequence[int], kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Zeros before and after each dimension; "same" puts the odd one after."""
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    both = _spread(0 if isinstance(padding, str) else padding, kernel)
    return both, both


def _tapped(
    call: Call,
    inputs: torch.Tensor,
    output: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    make: Callable[[int, torch.Tensor], Factor],
) -> Any:
    layout = call.layout(inputs, (0,))
    if not layout.major:
        return NotImplemented
    images = layout.inner if layout.dim is not None else inputs.shape[0]
    of_weight = Operand(weight, lambda gradient: make(images, gradient), [inputs])
    return call.tape.tap(output, of_weight, Operand(bias, lambda gradient: channel_sums(layout, gradient)))
