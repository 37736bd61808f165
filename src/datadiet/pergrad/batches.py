"""Nested tensors and their examples, in any container that batches come in, and the names of modules."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from datadiet.foundation.errors import BadInputError

# What holds no tensors and goes by most often, told apart before the slow questions.
LEAVES = frozenset([int, float, bool, str, type(None), slice, torch.dtype, torch.device, type(...)])


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


def entries(value: Any) -> Iterable[tuple[str, Any]]:
    """The entries of a tuple, list, mapping or dataclass, each with the way to it; nothing of anything else.

    Example:
        >>> list(entries({"ids": 1}))
        [("['ids']", 1)]
    """
    if type(value) in LEAVES or isinstance(value, torch.Tensor):
        return ()
    if isinstance(value, (tuple, list)):
        names = getattr(value, "_fields", None)
        labels = [f"[{place}]" for place in range(len(value))] if names is None else [f".{n}" for n in names]
        return zip(labels, value, strict=True)
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", entry) for key, entry in value.items()]
    if is_dataclass(value) and not isinstance(value, type):
        return [(f".{field.name}", getattr(value, field.name)) for field in fields(value)]
    return ()


def map_tensors(function: Callable[[torch.Tensor], Any], value: Any) -> Any:
    """A container of the same type with every tensor in it exchanged for what the function makes of it.

    Containers are those of `entries`, nested in any way; a mapping that cannot be changed becomes a dict.

    Example:
        >>> map_tensors(lambda tensor: tensor.shape[0], {"a": [torch.zeros(2)], "b": "text"})
        {'a': [2], 'b': 'text'}
    """
    if isinstance(value, torch.Tensor):
        return function(value)
    if type(value) in LEAVES:
        return value
    if isinstance(value, (tuple, list)):
        mapped = [map_tensors(function, entry) for entry in value]
        return type(value)(*mapped) if hasattr(value, "_fields") else type(value)(mapped)
    if isinstance(value, Mapping):
        pairs = {key: map_tensors(function, entry) for key, entry in value.items()}
        if type(value) is dict or not isinstance(value, MutableMapping):
            return pairs
        mapping = copy.copy(value)
        for key, entry in pairs.items():
            mapping[key] = entry
        return mapping
    if is_dataclass(value) and not isinstance(value, type):
        same = copy.copy(value)
        for field in fields(value):
            # Past the refusal of a frozen dataclass: the copy is nobody's yet.
            object.__setattr__(same, field.name, map_tensors(function, getattr(value, field.name)))
        return same
    return value


def tensors_in(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """Every tensor in nested containers."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif type(value) not in LEAVES:
            yield from tensors_in([entry for _, entry in entries(value)])


def shape_key(value: Any) -> Any:
    """The shapes and types of nested tensors, to be compared."""
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), value.dtype)
    return (type(value).__name__, *((label, shape_key(entry)) for label, entry in entries(value)))


def fresh(value: Any) -> Any:
    """Nested tensors copied, cut off from the caller's graph: a model may write to what it is given."""

    def copy_of(tensor: torch.Tensor) -> torch.Tensor:
        own = tensor.detach().clone()
        return (
            own.requires_grad_()
            if tensor.requires_grad and tensor.is_leaf and not own.is_inference()
            else own
        )

    return map_tensors(copy_of, value)


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
    empty = [name for name, value in parts.items() if not any(t.dim() for t in tensors_in((value,)))]

    def collect(label: str, value: Any) -> None:
        if isinstance(value, torch.Tensor) and value.dim():
            sizes[label] = len(value)
        for way, entry in entries(value):
            collect(label + way, entry)

    for name, value in parts.items():
        collect(name, value)
    if "inputs" in empty or not sizes:
        raise BadInputError(
            "inputs must be a tensor or a dict of tensors, with the examples in the first dimension, not "
            f"{type(parts.get('inputs')).__name__}."
        )
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise BadInputError(f"The tensors of a batch differ in their number of examples ({listed}).")
    return next(iter(sizes.values()))


def autocast_on(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """The autocast context of a device, or one that changes nothing where no precision is asked for."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


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
