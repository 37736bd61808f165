"""Rules for the affine part of layer, RMS, group, instance and evaluation-mode batch normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from datadiet.pergrad.factors import Dense, widened
from datadiet.pergrad.layout import Layout
from datadiet.pergrad.tape import Call, Operand, constant, function_rule


@function_rule(F.layer_norm)
def layer_norm(call: Call) -> Any:
    """`y = x̂ w + b` over the last dimensions: `dw = Σ_t g_t x̂_t`, `db = Σ_t g_t`."""
    inputs, shape, weight, bias, eps = call.arguments(
        input=None, normalized_shape=None, weight=None, bias=None, eps=1e-5
    )
    if not call.maps_batch(inputs, weight, bias):
        return NotImplemented
    output = F.layer_norm(inputs, shape, constant(weight), constant(bias), eps)
    return _tapped_trailing(
        call, inputs, output, weight, bias, lambda: F.layer_norm(widened(inputs), shape, None, None, eps)
    )


@function_rule(F.rms_norm, torch.rms_norm)
def rms_norm(call: Call) -> Any:
    """`y = x̂ w` with `x̂ = x / rms(x)` over the last dimensions."""
    inputs, shape, weight, eps = call.arguments(input=None, normalized_shape=None, weight=None, eps=None)
    if not call.maps_batch(inputs, weight):
        return NotImplemented
    output = F.rms_norm(inputs, shape, constant(weight), eps)
    own_eps = torch.finfo(inputs.dtype).eps if eps is None else eps
    return _tapped_trailing(
        call, inputs, output, weight, None, lambda: F.rms_norm(widened(inputs), shape, None, own_eps)
    )


@function_rule(F.group_norm)
def group_norm(call: Call) -> Any:
    """One scale and shift a channel after normalising each example's groups of channels."""
    inputs, groups, weight, bias, eps = call.arguments(
        input=None, num_groups=None, weight=None, bias=None, eps=1e-5
    )
    if not call.maps_batch(inputs, weight, bias):
        return NotImplemented
    output = F.group_norm(inputs, groups, constant(weight), constant(bias), eps)
    return _tapped_channels(
        call, inputs, output, weight, bias, lambda: F.group_norm(widened(inputs), groups, None, None, eps)
    )


@function_rule(F.instance_norm)
def instance_norm(call: Call) -> Any:
    """One scale and shift a channel after normalising each channel of each example."""
    inputs, mean, variance, weight, bias = call.arguments(
        input=None, running_mean=None, running_var=None, weight=None, bias=None
    )
    use_input, eps = call.option("use_input_stats", 5, True), call.option("eps", 7, 1e-5)
    if not call.maps_batch(inputs, weight, bias) or (use_input and mean is not None):
        return NotImplemented
    output = F.instance_norm(inputs, mean, variance, constant(weight), constant(bias), use_input, 0.0, eps)

    def normalised() -> torch.Tensor:
        wide = widened(inputs)
        if use_input:
            return F.instance_norm(wide, None, None, None, None, True, 0.0, eps)
        return F.instance_norm(wide, widened(mean), widened(variance), None, None, False, 0.0, eps)

    return _tapped_channels(call, inputs, output, weight, bias, normalised)


@function_rule(F.batch_norm)
def batch_norm(call: Call) -> Any:
    """In evaluation mode an affine map of each channel: two sums over its positions."""
    inputs, mean, variance, weight, bias = call.arguments(
        input=None, running_mean=None, running_var=None, weight=None, bias=None
    )
    eps = call.option("eps", 7, 1e-5)
    if not call.maps_batch(inputs, weight, bias):
        return NotImplemented
    output = F.batch_norm(inputs, mean, variance, constant(weight), constant(bias), False, 0.0, eps)
    layout = call.layout(inputs, (0,))
    sums: list[Dense] = []

    def shifts(gradient: torch.Tensor) -> Dense:
        if not sums:
            sums.append(channel_sums(layout, gradient))
        return sums[0]

    def scales(gradient: torch.Tensor) -> Dense:
        # Σ g (x - μ) / σ = (Σ g x - μ Σ g) / σ needs no normalised copy of the input.
        scale = torch.rsqrt(widened(variance) + eps)
        products = _channel_products(layout, widened(gradient), widened(inputs)).values
        return Dense((products - widened(mean) * shifts(gradient).values) * scale)

    return call.tape.tap(output, Operand(weight, scales, [inputs]), Operand(bias, shifts))


def _tapped_trailing(
    call: Call,
    inputs: torch.Tensor,
    output: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    normalised: Callable[[], torch.Tensor],
) -> torch.Tensor:
    """Scale and shift have the shape of the last dimensions."""
    affine = weight if weight is not None else bias
    shape = () if affine is None else tuple(affine.shape)
    layout = call.layout(inputs, range(inputs.dim() - len(shape)))

    def sums(values: torch.Tensor) -> Dense:
        return Dense(layout.rows(values, *shape).sum(1))

    of_weight = Operand(weight, lambda gradient: sums(normalised().mul_(gradient)), [inputs])
    return call.tape.tap(output, of_weight, Operand(bias, lambda gradient: sums(widened(gradient))))


def _tapped_channels(
    call: Call,
    inputs: torch.Tensor,
    output: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    normalised: Callable[[], torch.Tensor],
) -> torch.Tensor:
    """One scale and shift for each channel, the second dimension."""
    layout = call.layout(inputs, (0,))

    def products(gradient: torch.Tensor) -> Dense:
        return _channel_products(layout, widened(gradient), normalised())

    of_weight = Operand(weight, products, [inputs])
    return call.tape.tap(output, of_weight, Operand(bias, lambda gradient: channel_sums(layout, gradient)))


def channel_sums(layout: Layout, gradient: torch.Tensor) -> Dense:
    """Sums over positions, shape (batch, channels), of a tensor (images, channels, *positions)."""
    values = widened(gradient)
    return _by_example(layout, values.flatten(2).sum(2) if values.dim() > 2 else values)


def _channel_products(layout: Layout, first: torch.Tensor, second: torch.Tensor) -> Dense:
    """Sums over positions of the product of two tensors, shape (batch, channels)."""
    if first.dim() == 2:
        return _by_example(layout, first * second)
    return _by_example(layout, torch.linalg.vecdot(first.flatten(2), second.flatten(2)))


def _by_example(layout: Layout, images: torch.Tensor) -> Dense:
    return Dense(layout.rows(images, images.shape[-1]).sum(1))
