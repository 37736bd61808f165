"""Rules for tables of rows: `F.embedding` and `F.embedding_bag`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from datadiet.pergrad.calls import plain
from datadiet.pergrad.factors import Factor, Rows
from datadiet.pergrad.rules import function_rule

if TYPE_CHECKING:
    from datadiet.pergrad.calls import Call
    from datadiet.pergrad.layout import Layout


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
