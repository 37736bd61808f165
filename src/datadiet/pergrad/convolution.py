"""Rules for convolutions and transposed convolutions of one to three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from datadiet.pergrad.calls import plain
from datadiet.pergrad.convolution_norms import Convolution, Geometry
from datadiet.pergrad.factors import Dense, Factor, widened
from datadiet.pergrad.normalisation import channel_sums
from datadiet.pergrad.rules import function_rule

if TYPE_CHECKING:
    from datadiet.pergrad.calls import Call
    from datadiet.pergrad.ledger import Derived

Use = tuple["torch.Tensor | Derived", Callable[[torch.Tensor], Factor]]


def _spread(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dims
    values = tuple(value)
    return values * dims if len(values) == 1 else values


@function_rule(F.conv1d, F.conv2d, F.conv3d)
def convolution(call: Call) -> Any:
    """`y = W * x + b`: `dW` is the correlation of the input's patches with the output gradient."""
    inputs, weight, bias = call.option("input", 0), call.option("weight", 1), call.option("bias", 2)
    if call.is_tracked(inputs) or call.is_batched(weight) or call.is_batched(bias):
        return NotImplemented
    dims = weight.dim() - 2
    if inputs.dim() != weight.dim():
        return NotImplemented
    stride, dilation = (
        _spread(call.option("stride", 3, 1), dims),
        _spread(call.option("dilation", 5, 1), dims),
    )
    padding, groups = call.option("padding", 4, 0), call.option("groups", 6, 1)
    output = call.func(inputs, plain(weight), plain(bias), stride, padding, dilation, groups)
    kernel = tuple(weight.shape[2:])
    before, after = _padding(padding, kernel, dilation)
    geometry = Geometry(kernel, stride, before, after, dilation, groups)
    return _tap(call, inputs, output, weight, bias, lambda n, g: Convolution(inputs, g, geometry, n))


@function_rule(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
def transposed_convolution(call: Call) -> Any:
    """The same with the roles of the input and the output gradient exchanged."""
    inputs, weight, bias = call.option("input", 0), call.option("weight", 1), call.option("bias", 2)
    if call.is_tracked(inputs) or call.is_batched(weight) or call.is_batched(bias):
        return NotImplemented
    dims = weight.dim() - 2
    if inputs.dim() != weight.dim():
        return NotImplemented
    stride, padding = _spread(call.option("stride", 3, 1), dims), _spread(call.option("padding", 4, 0), dims)
    extra, groups = _spread(call.option("output_padding", 5, 0), dims), call.option("groups", 6, 1)
    dilation = _spread(call.option("dilation", 7, 1), dims)
    output = call.func(inputs, plain(weight), plain(bias), stride, padding, extra, groups, dilation)
    geometry = Geometry(tuple(weight.shape[2:]), stride, padding, padding, dilation, groups)
    return _tap(call, inputs, output, weight, bias, lambda n, g: Convolution(g, inputs, geometry, n))


def _padding(
    padding: str | int | Sequence[int], kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Zeros before and after each dimension; "same" puts the odd one after."""
    if padding == "valid":
        return (0,) * len(kernel), (0,) * len(kernel)
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    assert not isinstance(padding, str)
    both = _spread(padding, len(kernel))
    return both, both


def _tap(
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
    uses: list[Use] = []
    saved = []
    if call.is_tracked(weight):
        saved.append(inputs)
        uses.append((call.known(weight), lambda g: make(images, g)))
    if bias is not None and call.is_tracked(bias):
        uses.append((call.known(bias), lambda g: Dense(channel_sums(layout, widened(g)))))
    return call.watch.tap(output, uses, saved)
