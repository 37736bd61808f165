"""Rules for affine maps of the last dimension, products with a weight matrix, and tables of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from datadiet.pergrad.calls import plain
from datadiet.pergrad.factors import Dense, Factor, Gram, LowRank, Rows, widened
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


@function_rule(F.embedding)
def embedding(call: Call) -> Any:
    """`y_t = W[i_t]`: the gradient adds `g_t` to row `i_t`, except at the padding index."""
    indices, weight = call.option("input", 0), call.option("weight", 1)
    padding = call.option("padding_idx", 2)
    if not call.is_batched(indices) or call.is_batched(weight):
        return NotImplemented
    rows, width = weight.shape
    output = F.embedding(indices, plain(weight))
    layout = call.layout(indices, range(indices.dim()))

    def make(gradient: torch.Tensor) -> Factor:
        ids = layout.examples_first(indices)
        ids = ids.reshape(ids.shape[0], -1)
        values = layout.examples_first(gradient).reshape(*ids.shape, width)
        return Rows(ids, _without_padding(ids, values, padding, rows), rows)

    return call.watch.tap(output, [(call.known(weight), make)], [indices])


@function_rule(F.embedding_bag)
def embedding_bag(call: Call) -> Any:
    """Sums or means of rows, each bag an example: a bag's gradient is added to each of its rows."""
    first, second = call.option("input", 0), call.option("weight", 1)
    mode = call.option("mode", 6, "mean")
    offsets, weights = call.option("offsets", 2), call.option("per_sample_weights", 8)
    if (
        call.is_batched(second)
        or not call.is_batched(first)
        or first.dim() != 2
        or offsets is not None
        or mode == "max"
    ):
        return NotImplemented
    if (
        call.is_tracked(weights)
        or call.option("scale_grad_by_freq", 5, False)
        or call.option("max_norm", 3) is not None
    ):
        return NotImplemented
    padding = call.option("padding_idx", 10)
    indices, weight = first, second
    rows, width = weight.shape
    kwargs = {key: plain(value) for key, value in call.kwargs.items()}
    output = F.embedding_bag(*[plain(a) for a in call.args], **kwargs)
    layout = call.layout(indices, (0,))

    def make(gradient: torch.Tensor) -> Factor:
        ids = _bags(layout, indices)
        spread = layout.examples_first(gradient).unsqueeze(-2)
        if mode == "mean":
            counts = indices.shape[1] if padding is None else (indices != padding % rows).sum(1).clamp_min(1)
            shares = torch.ones_like(indices, dtype=gradient.dtype) / _column(counts)
        else:
            shares = torch.ones_like(indices, dtype=gradient.dtype) if weights is None else weights
        values = (layout.examples_first(shares).unsqueeze(-1) * spread).reshape(*ids.shape, width)
        return Rows(ids, _without_padding(ids, values, padding, rows), rows)

    return call.watch.tap(output, [(call.known(weight), make)], [indices])


def _bags(layout: Layout, indices: torch.Tensor) -> torch.Tensor:
    first = layout.examples_first(indices)
    return first.reshape(first.shape[0], -1)


def _column(counts: int | torch.Tensor) -> int | torch.Tensor:
    return counts.unsqueeze(1) if isinstance(counts, torch.Tensor) else counts


def _without_padding(ids: torch.Tensor, values: torch.Tensor, padding: int | None, rows: int) -> torch.Tensor:
    if padding is None:
        return values
    return values * (ids != padding % rows).unsqueeze(-1)
