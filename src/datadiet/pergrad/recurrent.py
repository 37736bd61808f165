"""Rules for LSTM, GRU and plain recurrent networks, run step by step as the affine maps they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from datadiet.pergrad.rules import function_rule

if TYPE_CHECKING:
    from datadiet.pergrad.calls import Call


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


def _recurrent(call: Call, step: Any) -> Any:
    if len(call.args) != 9 or isinstance(call.args[3], (tuple, list)):
        return NotImplemented  # a packed sequence: its rows are not laid out by example
    inputs, state, weights, biased, layers, _, _, both_ways, batch_first = call.args
    if not call.is_batched(inputs):
        return NotImplemented
    states = tuple(state) if isinstance(state, (tuple, list)) else (state,)
    for one in states:
        if not call.is_tracked(one):
            call.watch.mark(one)  # zeros made for the batch belong to its examples
    return call.watch.inside(
        _layers,
        inputs,
        states,
        list(weights),
        biased,
        layers,
        both_ways,
        batch_first and inputs.dim() == 3,
        step,
    )


def _layers(
    inputs: torch.Tensor,
    states: State,
    weights: Sequence[torch.Tensor],
    biased: bool,
    layers: int,
    both_ways: bool,
    batch_first: bool,
    step: Any,
) -> Any:
    directions = 2 if both_ways else 1
    projected = len(weights) // (layers * directions) - (4 if biased else 2)
    each = len(weights) // (layers * directions)
    last: list[State] = []
    sequence = inputs
    time = 1 if batch_first else 0
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            own = weights[index * each : (index + 1) * each]
            project = own[-1] if projected else None
            state = tuple(s[index] for s in states)
            output, state = _run(sequence, state, own, biased, project, time, direction == 1, step)
            outputs.append(output)
            last.append(state)
        sequence = torch.cat(outputs, -1) if both_ways else outputs[0]
    return (sequence, *[torch.stack([state[part] for state in last]) for part in range(len(last[0]))])


def _run(
    sequence: torch.Tensor,
    state: State,
    own: Sequence[torch.Tensor],
    biased: bool,
    project: torch.Tensor | None,
    time: int,
    backwards: bool,
    step: Any,
) -> tuple[torch.Tensor, State]:
    gates = F.linear(sequence, own[0], own[2] if biased else None)
    moments = gates.unbind(time)
    outputs = []
    for moment in reversed(moments) if backwards else moments:
        state = step(moment, F.linear(state[0], own[1], own[3] if biased else None), state)
        if project is not None:
            state = (F.linear(state[0], project), *state[1:])
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backwards else outputs, time), state
