"""Rules for affine maps of the last dimension and tables of rows, and for recurrent networks made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from datadiet.pergrad.factors import Dense, Factor, LowRank, Rows, widened
from datadiet.pergrad.layout import Layout
from datadiet.pergrad.tape import Call, Operand, constant, function_rule


@function_rule(F.linear)
def linear(call: Call) -> Any:
    """`y = x Wᵀ + b`: with T tokens an example, `dW = Σ_t g_t x_tᵀ` and `db = Σ_t g_t`."""
    inputs, weight, bias = call.arguments(input=None, weight=None, bias=None)
    if not call.maps_batch(inputs, weight, bias) or weight.dim() != 2:
        return NotImplemented
    output = F.linear(inputs, constant(weight), constant(bias))
    gram = call.tape.gram_of(inputs) if call.is_tracked(weight) else None

    def outer_products(layout: Layout, gradient: torch.Tensor) -> Factor:
        return LowRank(_tokens(layout, gradient), _tokens(layout, inputs), gram)

    return _tapped(call, inputs, output, weight, outer_products, bias)


@function_rule(torch.addmm)
def addmm(call: Call) -> Any:
    """`y = b + x W`, the affine map of GPT-2's `Conv1D`."""
    bias, inputs, weight = call.arguments(input=None, mat1=None, mat2=None)
    scaled = any(call.kwargs.get(name, 1) != 1 for name in ("alpha", "beta"))
    if scaled or len(call.args) > 3 or not call.maps_batch(inputs, weight, bias) or bias.dim() > 1:
        return NotImplemented
    output = torch.addmm(constant(bias), inputs, constant(weight))
    return _tapped(call, inputs, output, weight, _transposed(inputs), bias)


@function_rule(torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.mm, torch.Tensor.mm)
def matmul(call: Call) -> Any:
    """`y = x W` for a weight matrix on the right."""
    inputs, weight = call.arguments(input=None, other=call.kwargs.get("mat2"))
    if not call.is_batched(inputs) or not call.is_tracked(weight) or weight.dim() != 2 or inputs.dim() < 2:
        return NotImplemented
    output = torch.matmul(inputs, constant(weight))
    return _tapped(call, inputs, output, weight, _transposed(inputs))


def _transposed(inputs: torch.Tensor) -> Callable[[Layout, torch.Tensor], Factor]:
    return lambda layout, gradient: LowRank(_tokens(layout, inputs), _tokens(layout, gradient))


def _tapped(
    call: Call,
    inputs: torch.Tensor,
    output: torch.Tensor,
    weight: torch.Tensor,
    outer_products: Callable[[Layout, torch.Tensor], Factor],
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    layout = call.layout(inputs, range(inputs.dim() - 1))

    def token_sums(gradient: torch.Tensor) -> Factor:
        assert bias is not None
        sums = widened(_tokens(layout, gradient)).sum(1)
        if bias.numel() != sums.shape[1]:  # a bias of one element, spread over the outputs
            sums = sums.sum(1, keepdim=True)
        return Dense(sums.reshape(-1, *bias.shape))

    of_weight = Operand(weight, lambda gradient: outer_products(layout, gradient), [inputs])
    return call.tape.tap(output, of_weight, Operand(bias, token_sums))


def _tokens(layout: Layout, tensor: torch.Tensor) -> torch.Tensor:
    """Shape (batch, tokens, features)."""
    return layout.rows(tensor, tensor.shape[-1])


@function_rule(F.embedding)
def embedding(call: Call) -> Any:
    """`y_t = W[i_t]`: the gradient adds `g_t` to row `i_t`, except at the padding index."""
    indices, weight, padding = call.arguments(input=None, weight=None, padding_idx=None)
    if not call.maps_batch(indices, weight):
        return NotImplemented
    output = F.embedding(indices, constant(weight))
    layout = call.layout(indices, range(indices.dim()))

    def make(gradient: torch.Tensor) -> Factor:
        return _rows(layout.rows(indices), layout.examples_first(gradient), weight, padding)

    return call.tape.tap(output, Operand(weight, make, [indices]))


@function_rule(F.embedding_bag)
def embedding_bag(call: Call) -> Any:
    """Sums or means of rows, each bag an example: a bag's gradient is added to each of its rows."""
    indices, weight, offsets, max_norm = call.arguments(input=None, weight=None, offsets=None, max_norm=None)
    by_frequency, mode = call.option("scale_grad_by_freq", 5, False), call.option("mode", 6, "mean")
    shares, padding = call.option("per_sample_weights", 8), call.option("padding_idx", 10)
    if not call.maps_batch(indices, weight) or indices.dim() != 2 or offsets is not None or mode == "max":
        return NotImplemented
    if call.is_tracked(shares) or by_frequency or max_norm is not None:
        return NotImplemented
    output = F.embedding_bag(*constant(call.args), **constant(call.kwargs))
    layout = call.layout(indices, (0,))

    def make(gradient: torch.Tensor) -> Factor:
        ones = torch.ones_like(indices, dtype=gradient.dtype)
        each = ones if shares is None else shares
        if mode == "mean" and padding is None:
            each = ones / indices.shape[1]
        elif mode == "mean":
            each = ones / (indices != padding % len(weight)).sum(1).clamp_min(1).unsqueeze(1)
        spread = layout.examples_first(gradient).unsqueeze(-2)
        values = layout.examples_first(each).unsqueeze(-1) * spread
        return _rows(layout.rows(indices), values, weight, padding)

    return call.tape.tap(output, Operand(weight, make, [indices]))


def _rows(ids: torch.Tensor, values: torch.Tensor, weight: torch.Tensor, padding: int | None) -> Rows:
    rows, width = weight.shape
    values = values.reshape(*ids.shape, width)
    if padding is not None:
        values = values * (ids != padding % rows).unsqueeze(-1)
    return Rows(ids, values, rows)


State = tuple[torch.Tensor, ...]


@function_rule(torch.lstm)
def lstm(call: Call) -> Any:
    """Long short-term memory: gates `i, f, g, o` of `W x + U h`, cell `c = f c + i g`, output `o tanh c`."""

    def step(gates: torch.Tensor, from_state: torch.Tensor, state: State) -> State:
        i, f, g, o = (gates + from_state).chunk(4, -1)
        cell = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell

    return _recurrent(call, step)


@function_rule(torch.gru)
def gru(call: Call) -> Any:
    """Gated recurrent unit: `n = tanh(W x + r U h)`, `h = (1 - z) n + z h`."""

    def step(gates: torch.Tensor, from_state: torch.Tensor, state: State) -> State:
        reset, update, new = gates.chunk(3, -1)
        reset_state, update_state, new_state = from_state.chunk(3, -1)
        keep = torch.sigmoid(update + update_state)
        candidate = torch.tanh(new + torch.sigmoid(reset + reset_state) * new_state)
        return (candidate + keep * (state[0] - candidate),)

    return _recurrent(call, step)


@function_rule(torch.rnn_tanh)
def rnn_tanh(call: Call) -> Any:
    """`h = tanh(W x + U h)`."""
    return _recurrent(call, lambda gates, from_state, state: (torch.tanh(gates + from_state),))


@function_rule(torch.rnn_relu)
def rnn_relu(call: Call) -> Any:
    """`h = relu(W x + U h)`."""
    return _recurrent(call, lambda gates, from_state, state: (torch.relu(gates + from_state),))


def _recurrent(call: Call, step: Callable[[torch.Tensor, torch.Tensor, State], State]) -> Any:
    """Every layer and direction, run under the tape: the affine maps in it are taken apart like any other."""
    if len(call.args) != 9 or isinstance(call.args[3], (tuple, list)):
        return NotImplemented  # a packed sequence: its rows are not laid out by example
    sequence, initial, weights, biased, layers, _, _, both_ways, batch_first = call.args
    if not call.is_batched(sequence):
        return NotImplemented
    initial = tuple(initial) if isinstance(initial, (tuple, list)) else (initial,)
    for state in initial:
        if not call.is_tracked(state):
            call.tape.mark(state)  # zeros made for the batch belong to its examples
    time = 1 if batch_first and sequence.dim() == 3 else 0
    directions = 2 if both_ways else 1
    each = len(weights) // (layers * directions)
    projected = each > (4 if biased else 2)

    def run(sequence: torch.Tensor, index: int) -> tuple[torch.Tensor, State]:
        own = weights[index * each : (index + 1) * each]
        state = tuple(part[index] for part in initial)
        backwards = index % directions == 1
        moments = F.linear(sequence, own[0], own[2] if biased else None).unbind(time)
        outputs = []
        for gates in reversed(moments) if backwards else moments:
            state = step(gates, F.linear(state[0], own[1], own[3] if biased else None), state)
            if projected:
                state = (F.linear(state[0], own[-1]), *state[1:])
            outputs.append(state[0])
        return torch.stack(outputs[::-1] if backwards else outputs, time), state

    last: list[State] = []
    with call.tape:
        for layer in range(layers):
            found = [run(sequence, layer * directions + direction) for direction in range(directions)]
            sequence = torch.cat([output for output, _ in found], -1) if both_ways else found[0][0]
            last.extend(state for _, state in found)
        return (sequence, *[torch.stack(parts) for parts in zip(*last, strict=True)])
