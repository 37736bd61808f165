"""Rules for the affine part of layer, RMS, group, instance and evaluation-mode batch normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from datadiet.pergrad.calls import plain
from datadiet.pergrad.factors import Dense, Factor, widened
from datadiet.pergrad.rules import function_rule

if TYPE_CHECKING:
    from datadiet.pergrad.calls import Call
    from datadiet.pergrad.layout import Layout
    from datadiet.pergrad.ledger import Derived


Use = tuple["torch.Tensor | Derived", Callable[[torch.Tensor], Factor]]


def _only_affine_tracked(call: Call, inputs: Any, *affine: Any) -> bool:
    return call.is_batched(inputs) and not any(call.is_batched(a) for a in affine if a is not None)


@function_rule(F.layer_norm)
def layer_norm(call: Call) -> Any:
    """`y = x̂ w + b` over the last dimensions: `dw = Σ_t g_t x̂_t`, `db = Σ_t g_t`."""
    inputs, shape = call.option("input", 0), tuple(call.option("normalized_shape", 1))
    weight, bias, eps = call.option("weight", 2), call.option("bias", 3), call.option("eps", 4, 1e-5)
    if not _only_affine_tracked(call, inputs, weight, bias):
        return NotImplemented
    output = F.layer_norm(inputs, shape, plain(weight), plain(bias), eps)
    layout = call.layout(inputs, range(inputs.dim() - len(shape)))

    def normalised() -> torch.Tensor:
        return F.layer_norm(widened(inputs), shape, None, None, eps)

    return _tap_trailing(call, inputs, output, layout, shape, weight, bias, normalised)


@function_rule(F.rms_norm, torch.rms_norm)
def rms_norm(call: Call) -> Any:
    """`y = x̂ w` with `x̂ = x / rms(x)` over the last dimensions."""
    inputs, shape = call.option("input", 0), tuple(call.option("normalized_shape", 1))
    weight, eps = call.option("weight", 2), call.option("eps", 3)
    if not _only_affine_tracked(call, inputs, weight):
        return NotImplemented
    output = F.rms_norm(inputs, shape, plain(weight), eps)
    layout = call.layout(inputs, range(inputs.dim() - len(shape)))

    def normalised() -> torch.Tensor:
        return F.rms_norm(widened(inputs), shape, None, torch.finfo(inputs.dtype).eps if eps is None else eps)

    return _tap_trailing(call, inputs, output, layout, shape, weight, None, normalised)


@function_rule(F.group_norm)
def group_norm(call: Call) -> Any:
    """One scale and shift a channel after normalising each example's groups of channels."""
    inputs, groups = call.option("input", 0), call.option("num_groups", 1)
    weight, bias, eps = call.option("weight", 2), call.option("bias", 3), call.option("eps", 4, 1e-5)
    if not _only_affine_tracked(call, inputs, weight, bias):
        return NotImplemented
    output = F.group_norm(inputs, groups, plain(weight), plain(bias), eps)
    return _tap_channels(
        call, inputs, output, weight, bias, lambda: F.group_norm(widened(inputs), groups, None, None, eps)
    )


@function_rule(F.instance_norm)
def instance_norm(call: Call) -> Any:
    """One scale and shift a channel after normalising each channel of each example."""
    inputs, mean, variance = (
        call.option("input", 0),
        call.option("running_mean", 1),
        call.option("running_var", 2),
    )
    weight, bias = call.option("weight", 3), call.option("bias", 4)
    use_input, eps = call.option("use_input_stats", 5, True), call.option("eps", 7, 1e-5)
    if not _only_affine_tracked(call, inputs, weight, bias) or (use_input and mean is not None):
        return NotImplemented
    output = F.instance_norm(inputs, mean, variance, plain(weight), plain(bias), use_input, 0.0, eps)

    def normalised() -> torch.Tensor:
        wide = widened(inputs)
        if use_input:
            return F.instance_norm(wide, None, None, None, None, True, 0.0, eps)
        return F.instance_norm(wide, widened(mean), widened(variance), None, None, False, 0.0, eps)

    return _tap_channels(call, inputs, output, weight, bias, normalised)


@function_rule(F.batch_norm)
def batch_norm(call: Call) -> Any:
    """In evaluation mode an affine map of each channel: two sums over its positions."""
    inputs, mean, variance = (
        call.option("input", 0),
        call.option("running_mean", 1),
        call.option("running_var", 2),
    )
    weight, bias, eps = call.option("weight", 3), call.option("bias", 4), call.option("eps", 7, 1e-5)
    if not _only_affine_tracked(call, inputs, weight, bias):
        return NotImplemented
    output = F.batch_norm(inputs, mean, variance, plain(weight), plain(bias), False, 0.0, eps)
    layout = call.layout(inputs, (0,))
    uses: list[Use] = []
    saved = []
    sums: list[torch.Tensor] = []

    def shifts(gradient: torch.Tensor) -> torch.Tensor:
        if not sums:
            sums.append(channel_sums(layout, widened(gradient)))
        return sums[0]

    def scales(gradient: torch.Tensor) -> Factor:
        # Σ g (x - μ) / σ = (Σ g x - μ Σ g) / σ needs no normalised copy of the input.
        scale = torch.rsqrt(widened(variance) + eps)
        products = channel_products(layout, widened(gradient), widened(inputs))
        return Dense((products - widened(mean) * shifts(gradient)) * scale)

    if call.is_tracked(weight):
        saved.append(inputs)
        uses.append((call.known(weight), scales))
    if call.is_tracked(bias):
        uses.append((call.known(bias), lambda g: Dense(shifts(g))))
    return call.watch.tap(output, uses, saved)


def _tap_trailing(
    call: Call,
    inputs: torch.Tensor,
    output: torch.Tensor,
    layout: Layout,
    shape: tuple[int, ...],
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    normalised: Callable[[], torch.Tensor],
) -> torch.Tensor:
    def sums(values: torch.Tensor) -> Dense:
        first = layout.examples_first(values)
        return Dense(first.reshape(first.shape[0], -1, *shape).sum(1))

    uses: list[Use] = []
    saved = []
    if weight is not None and call.is_tracked(weight):
        saved.append(inputs)
        uses.append((call.known(weight), lambda g: sums(normalised().mul_(g))))
    if bias is not None and call.is_tracked(bias):
        uses.append((call.known(bias), lambda g: sums(widened(g))))
    return call.watch.tap(output, uses, saved)


def _tap_channels(
    call: Call,
    inputs: torch.Tensor,
    output: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    normalised: Callable[[], torch.Tensor],
) -> torch.Tensor:
    layout = call.layout(inputs, (0,))
    uses: list[Use] = []
    saved = []
    if weight is not None and call.is_tracked(weight):
        saved.append(inputs)
        uses.append((call.known(weight), lambda g: Dense(channel_products(layout, widened(g), normalised()))))
    if bias is not None and call.is_tracked(bias):
        uses.append((call.known(bias), lambda g: Dense(channel_sums(layout, widened(g)))))
    return call.watch.tap(output, uses, saved)


def channel_sums(layout: Layout, values: torch.Tensor) -> torch.Tensor:
    """Sums over positions, shape (batch, channels), of a tensor (images, channels, *positions)."""
    sums = values.flatten(2).sum(2) if values.dim() > 2 else values
    return _by_example(layout, sums)


def channel_products(layout: Layout, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Sums over positions of the product of two tensors, shape (batch, channels)."""
    if first.dim() == 2:
        return _by_example(layout, first * second)
    return _by_example(layout, torch.linalg.vecdot(first.flatten(2), second.flatten(2)))


def _by_example(layout: Layout, rows: torch.Tensor) -> torch.Tensor:
    first = layout.examples_first(rows)
    return first.reshape(first.shape[0], -1, rows.shape[-1]).sum(1)
