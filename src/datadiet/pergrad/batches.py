"""A model called on a batch: nested tensors and their examples, outputs, logits, and the names of modules."""

from __future__ import annotations

import inspect
from collections import UserDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from datadiet.foundation.errors import BadInputError

LossFunction = Callable[[Any, Any], torch.Tensor]
ForwardFunction = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True)
class Batch:
    """Nested inputs and targets of `size` examples, in the first dimension of every tensor; ids play no part here."""

    inputs: Any
    targets: Any
    size: int

    def part(self, start: int, stop: int) -> Batch:
        """The examples from start to stop."""
        if stop - start == self.size:
            return self
        inputs, targets = take((self.inputs, self.targets), slice(start, stop), self.size)
        return Batch(inputs, targets, stop - start)

    def example(self, position: int) -> Batch:
        """One example alone."""
        return self.part(position, position + 1)


def map_tensors(function: Callable[[torch.Tensor], Any], value: Any) -> Any:
    """Nested tuples, lists and dicts with every tensor exchanged for what the function makes of it.

    Example:
        >>> map_tensors(lambda tensor: tensor.shape[0], {"a": [torch.zeros(2)], "b": "text"})
        {'a': [2], 'b': 'text'}
    """
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, (tuple, list)):
        return type(value)([map_tensors(function, entry) for entry in value])
    if isinstance(value, Mapping):
        return {key: map_tensors(function, entry) for key, entry in value.items()}
    return value


def tensors_in(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """Every tensor in nested tuples, lists and dicts."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from tensors_in(value)
        elif isinstance(value, (dict, UserDict)):  # not Mapping, whose check is slow for what goes by here
            yield from tensors_in(value.values())


def moved(value: Any, device: str | torch.device) -> Any:
    """Nested tensors on a device."""
    return map_tensors(lambda tensor: tensor.to(device), value)


def device_of(model: nn.Module) -> torch.device:
    """Where the first parameter or buffer of a model is."""
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


def uncompiled(model: nn.Module) -> nn.Module:
    """The module that a compiled one was made from: its graph shows no parameters."""
    original: nn.Module = getattr(model, "_orig_mod", model)
    return original


def take(value: Any, examples: slice, batch: int) -> Any:
    """The examples' part of nested tensors whose first dimension is the batch."""
    return map_tensors(lambda t: t[examples] if t.dim() and len(t) == batch else t, value)


def batch_size(**parts: Any) -> int:
    """Number of examples: the first dimension that every tensor of the batch shares.

    Raises:
        BadInputError: if there is no tensor, or they disagree; the message names them.

    Example:
        >>> batch_size(inputs={"ids": torch.zeros(4, 7)}, targets=torch.zeros(4))
        4
    """
    sizes: dict[str, int] = {}

    def collect(label: str, value: Any) -> None:
        if isinstance(value, torch.Tensor) and value.dim():
            sizes[label] = len(value)
        elif isinstance(value, Mapping):
            for key, entry in value.items():
                collect(f"{label}[{key!r}]", entry)
        elif isinstance(value, (tuple, list)):
            for position, entry in enumerate(value):
                collect(f"{label}[{position}]", entry)

    for name, value in parts.items():
        collect(name, value)
    if not sizes:
        raise BadInputError(
            "inputs must be a tensor or a dict of tensors, with the examples in the first dimension."
        )
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise BadInputError(f"The tensors of a batch differ in their number of examples ({listed}).")
    return next(iter(sizes.values()))


def outputs_of(model: nn.Module, inputs: Any, forward: ForwardFunction | None = None) -> Any:
    """Call a model on a tensor, or on a dict by keyword where its `forward` takes the names.

    Returns:
        The logits of an output object that has them; any other output as it is.
    """
    if forward is not None:
        outputs = forward(model, inputs)
    elif isinstance(inputs, Mapping) and _takes(model, inputs):
        outputs = model(**inputs)
    else:
        outputs = model(inputs)
    if isinstance(outputs, torch.Tensor):
        return outputs
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    return logits if isinstance(logits, torch.Tensor) else outputs


def _takes(model: nn.Module, inputs: Mapping[str, Any]) -> bool:
    arguments = inspect.signature(model.forward).parameters
    if any(a.kind is inspect.Parameter.VAR_KEYWORD for a in arguments.values()):
        return any(name in arguments for name in inputs)
    return all(name in arguments for name in inputs)


def logits_of(model: nn.Module, inputs: Any, forward: ForwardFunction | None = None) -> torch.Tensor:
    """The logits of a model, called as in `outputs_of`.

    Raises:
        BadInputError: if what it returns is neither a tensor nor something with `logits`.
    """
    outputs = outputs_of(model, inputs, forward)
    if not isinstance(outputs, torch.Tensor):
        raise BadInputError(
            f"The model returned {type(outputs).__name__} without logits: pass forward=, a function "
            "(model, inputs) -> logits."
        )
    return outputs


def autocast_on(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """The autocast context of a device, or one that changes nothing where no precision is asked for."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def cross_entropy(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each example's logits, at least in float32, shape (batch,)."""
    if not isinstance(outputs, torch.Tensor):
        raise BadInputError(
            f"The model returned {type(outputs).__name__}, not logits: pass loss= or forward=."
        )
    half = outputs.dtype in (torch.float16, torch.bfloat16)
    return F.cross_entropy(outputs.float() if half else outputs, targets, reduction="none")


def module_label(name: str, module: nn.Module) -> str:
    """How messages call a module of a model: by its name and class."""
    return f"`{name}` ({type(module).__name__})" if name else f"The model ({type(module).__name__})"


def saved_bytes(run: Callable[[], Any], weights: Iterable[torch.Tensor]) -> int:
    """Bytes that autograd keeps for the backward pass while something runs, the weights left out."""
    own = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        _ = run()  # kept until the end, so that no storage takes the place of another
    return sum(kept.values())
