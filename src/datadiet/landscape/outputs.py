"""Calling a model on some of the examples, and reading its logits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from datadiet.errors import BadInputError

ForwardFunction = Callable[[nn.Module, Any], Any]


def outputs_of(model: nn.Module, inputs: Any, forward: ForwardFunction | None = None) -> torch.Tensor:
    """The logits of a model: called with a tensor, or with a dict by keyword where its `forward` takes the names.

    Raises:
        BadInputError: if what it returns is neither a tensor nor something with `logits`.
    """
    if forward is not None:
        returned = forward(model, inputs)
    elif isinstance(inputs, Mapping) and _takes(model, inputs):
        returned = model(**inputs)
    else:
        returned = model(inputs)
    logits = returned
    if isinstance(returned, Mapping):
        logits = returned.get("logits")
    elif not isinstance(returned, torch.Tensor):
        logits = getattr(returned, "logits", None)
    if not isinstance(logits, torch.Tensor):
        raise BadInputError(
            f"The model returned {type(returned).__name__} without logits: pass forward=, a function "
            "(model, inputs) -> logits."
        )
    return logits


def _takes(model: nn.Module, inputs: Mapping[str, Any]) -> bool:
    arguments = inspect.signature(model.forward).parameters
    if any(argument.kind is inspect.Parameter.VAR_KEYWORD for argument in arguments.values()):
        return any(name in arguments for name in inputs)
    return all(name in arguments for name in inputs)


def count_examples(inputs: Any) -> int:
    """The number of examples: the first dimension that every tensor shares.

    Raises:
        BadInputError: if there is no tensor, no example, or the tensors disagree.
    """
    sizes = [len(tensor) for tensor in _tensors(inputs) if tensor.dim()]
    if not sizes or len(set(sizes)) > 1:
        raise BadInputError(
            "inputs must be a tensor or a dict of tensors with the examples in the first dimension"
            + (f"; here the sizes are {sizes}." if sizes else ".")
        )
    if sizes[0] == 0:
        raise BadInputError("inputs holds no example.")
    return sizes[0]


def _tensors(inputs: Any) -> Iterator[torch.Tensor]:
    if isinstance(inputs, torch.Tensor):
        yield inputs
    elif isinstance(inputs, Mapping):
        for entry in inputs.values():
            yield from _tensors(entry)


def take(inputs: Any, rows: slice) -> Any:
    """Some examples of a batch, cut off from any graph."""
    if isinstance(inputs, torch.Tensor):
        return inputs[rows].detach() if inputs.dim() else inputs
    if isinstance(inputs, Mapping):
        return {key: take(entry, rows) for key, entry in inputs.items()}
    return inputs


def moved(value: Any, device: torch.device) -> Any:
    """A tensor or a dict of tensors on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: moved(entry, device) for key, entry in value.items()}
    return value


def device_of(model: nn.Module) -> torch.device:
    """Where the first parameter or buffer of a model is."""
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device if tensors else torch.device("cpu")
