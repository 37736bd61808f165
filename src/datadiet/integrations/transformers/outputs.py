"""A loss made of a model's outputs outside of any loss function that is known, weighed where the outputs lie."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd.graph import Node

from datadiet.dynamic.weighing import tolerance_of

Key = tuple[Any, ...]


class OutputWeigher:
    """Weighs any loss that depends on the weights of a model through outputs with one row an example.

    Where a loss is a sum of losses of examples, its gradient with respect to a row of the outputs is that of one
    example, and is multiplied by the example's weight on its way back: nothing of the loss itself has to be known.
    """

    def __init__(self) -> None:
        self._keys: list[Key] = []
        #: Whether the loss is linear in these outputs, so that it says what each example's loss is.
        self.is_linear = False

    @contextmanager
    def watching(self, model: torch.nn.Module) -> Iterator[list[Any]]:
        """Collects what the model returns meanwhile."""
        outputs: list[Any] = []
        handle = model.register_forward_hook(lambda *given: outputs.append(given[-1]))
        try:
            yield outputs
        finally:
            handle.remove()

    def learn(self, loss: torch.Tensor, outputs: list[Any], batch: int) -> bool:
        """See from a batch which outputs the loss depends on; False where it depends on more, or on one twice."""
        found = {
            key: tensor
            for key, tensor in _tensors(outputs, ())
            if tensor.grad_fn is not None and tensor.dim() and len(tensor) == batch
        }
        nodes = {tensor.grad_fn for tensor in found.values()}
        met, past = _walk([loss.grad_fn], nodes)
        if past or not met:
            return False
        beyond, _ = _walk([after for node in met for after, _ in node.next_functions], met)
        if beyond:
            return False
        self._keys = [key for key, tensor in found.items() if tensor.grad_fn in met]
        if not self._gradients(loss, outputs):  # one compiled function makes the loss beside them
            return False
        parts, _ = self.parts(loss, outputs)
        whole = float(loss.detach().double().sum())
        size = max(float(parts.abs().sum()), abs(whole), 1e-12)
        self.is_linear = abs(float(parts.sum()) - whole) <= tolerance_of(loss) * size
        return True

    def _gradients(self, loss: torch.Tensor, outputs: list[Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each output that the loss depends on, and the gradient with respect to it."""
        there = dict(_tensors(outputs, ()))
        tensors = [there[key] for key in self._keys]
        found = torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)
        pairs = zip(tensors, found, strict=True)
        return [(tensor, gradient) for tensor, gradient in pairs if gradient is not None]

    def parts(self, loss: torch.Tensor, outputs: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch,) the part of each example in a linear loss, and its loss, the mean over its elements."""
        sums, scales = [], []
        for tensor, gradient in self._gradients(loss, outputs):
            rows, slopes = (each.detach().double().flatten(1) for each in (tensor, gradient))
            sums.append((rows * slopes).sum(1))
            scales.append((slopes.abs() * (rows != 0)).sum(1))
        total = torch.stack(sums).sum(0)
        return total, total / torch.stack(scales).sum(0).clamp_min(1e-30)

    def weigh(self, loss: torch.Tensor, outputs: list[Any], weights: torch.Tensor) -> torch.Tensor:
        """The loss, whose gradients are weighed from now on; its value too, where it is linear."""
        there = dict(_tensors(outputs, ()))
        value = torch.zeros_like(loss)
        if self.is_linear:
            parts, _ = self.parts(loss, outputs)
            value = (parts * (weights.to(parts) - 1)).sum().to(loss)
        for key in self._keys:
            tensor = there[key]
            shape = (-1,) + (1,) * (tensor.dim() - 1)
            factor = weights.to(tensor).reshape(shape)
            tensor.register_hook(functools.partial(torch.mul, factor))  # type: ignore[no-untyped-call]
        return loss + value


def _tensors(value: Any, key: Key) -> Iterator[tuple[Key, torch.Tensor]]:
    """Floating tensors in nested outputs, each with its path."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield key, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _tensors(part, (*key, name))
    elif isinstance(value, tuple | list):
        for place, part in enumerate(value):
            yield from _tensors(part, (*key, place))
    elif hasattr(value, "__dict__"):
        yield from _tensors(vars(value), key)


def _walk(start: list[Any], stops: set[Any]) -> tuple[set[Node], bool]:
    """Which of the stops a graph leads to first, and whether it leads past them to a weight."""
    met: set[Node] = set()
    seen: set[Node] = set()
    past, stack = False, [node for node in start if node is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in stops:
            met.add(node)
            continue
        past = past or getattr(node, "variable", None) is not None
        stack.extend(after for after, _ in node.next_functions if after is not None)
    return met, past
