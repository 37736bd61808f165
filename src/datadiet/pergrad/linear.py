"""Rules for affine maps of the last dimension: `F.linear`, `addmm` and products with a weight matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from datadiet.pergrad.calls import plain
from datadiet.pergrad.factors import Dense, Factor, Gram, LowRank, widened
from datadiet.pergrad.rules import function_rule

if TYPE_CHECKING:
    from datadiet.pergrad.calls import Call
    from datadiet.pergrad.layout import Layout
    from datadiet.pergrad.ledger import Derived

Use = tuple["torch.Tensor | Derived", Callable[[torch.Tensor], Factor]]


@function_rule(F.linear)
def linear(call: Call) -> Any:
    """`y = x Wᵀ + b`: with T tokens an example, `dW = Σ_t g_t x_tᵀ` and `db = Σ_t g_t`."""
    inputs, weight, bias = call.option("input", 0), call.option("weight", 1), call.option("bias", 2)
    if call.is_tracked(inputs) or call.is_batched(weight) or call.is_batched(bias):
        return NotImplemented
    output = F.linear(inputs, plain(weight), plain(bias))
    if weight.dim() != 2:
        return NotImplemented
    return _tapped(call, inputs, output, weight, bias, transposed=False)


@function_rule(torch.addmm)
def addmm(call: Call) -> Any:
    """`y = b + x W`, the affine map of GPT-2's `Conv1D`."""
    bias, inputs, weight = call.option("input", 0), call.option("mat1", 1), call.option("mat2", 2)
    scaled = {name for name in ("alpha", "beta") if call.kwargs.get(name, 1) != 1}
    if scaled or len(call.args) > 3 or not call.is_batched(inputs) or call.is_tracked(inputs):
        return NotImplemented
    if call.is_batched(weight) or call.is_batched(bias) or bias.dim() > 1:
        return NotImplemented
    output = torch.addmm(plain(bias), inputs, plain(weight))
    return _tapped(call, inputs, output, weight, bias, transposed=True)


@function_rule(torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.mm, torch.Tensor.mm)
def matmul(call: Call) -> Any:
    """`y = x W` for a weight matrix on the right."""
    inputs, weight = call.option("input", 0), call.option("other", 1, call.kwargs.get("mat2"))
    if not call.is_batched(inputs) or not call.is_tracked(weight) or weight.dim() != 2 or inputs.dim() < 2:
        return NotImplemented
    output = torch.matmul(inputs, plain(weight))
    return _tapped(call, inputs, output, weight, None, transposed=True)


def _tapped(
    call: Call,
    inputs: torch.Tensor,
    output: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    transposed: bool,
) -> torch.Tensor:
    layout = call.layout(inputs, range(inputs.dim() - 1))
    uses: list[Use] = []
    saved = []
    if call.is_tracked(weight):
        saved.append(inputs)
        gram = None if transposed else call.watch.gram_of(inputs)
        uses.append((call.known(weight), lambda g: outer_products(layout, g, inputs, transposed, gram)))
    if bias is not None and call.is_tracked(bias):
        uses.append((call.known(bias), lambda g: token_sums(layout, g, bias.shape)))
    return call.watch.tap(output, uses, saved)


def outer_products(
    layout: Layout, gradient: torch.Tensor, inputs: torch.Tensor, transposed: bool, gram: Gram | None
) -> LowRank:
    """`Σ_t g_t x_tᵀ`, shape (p, d), or its transpose; `gram` is of the inputs."""
    left, right = tokens_of(layout, gradient), tokens_of(layout, inputs)
    return LowRank(right, left) if transposed else LowRank(left, right, gram)


def token_sums(layout: Layout, gradient: torch.Tensor, shape: torch.Size) -> Dense:
    """Sum over the tokens of each example, brought to the shape of a bias."""
    sums = widened(tokens_of(layout, gradient)).sum(1)
    if shape.numel() != sums.shape[1]:  # a bias of one element, spread over the outputs
        sums = sums.sum(1, keepdim=True)
    return Dense(sums.reshape(-1, *shape))


def tokens_of(layout: Layout, tensor: torch.Tensor) -> torch.Tensor:
    """Shape (batch, tokens, features)."""
    first = layout.examples_first(tensor)
    return first.reshape(first.shape[0], -1, tensor.shape[-1])
