"""The module, or modules, that make a model's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from datadiet.errors import BadInputError


def find_heads(model: nn.Module, outputs_of_one: Callable[[], Any]) -> list[nn.Module]:
    """The module that makes the logits: the last nn.Linear called whose output has as many features as they.

    Of a model that puts out a dict of tensors, one such layer for each of them, told apart by the number of
    dimensions. Without any such layer, the last module called that has parameters of its own.
    """
    called: list[tuple[nn.Module, Any]] = []
    handles = []
    try:
        for module in model.modules():
            if any(True for _ in module.parameters(recurse=False)):
                handles.append(
                    module.register_forward_hook(lambda m, _, output: called.append((m, _shape(output))))
                )
        with torch.no_grad():
            outputs = outputs_of_one()
    finally:
        for handle in handles:
            handle.remove()
    if not called:
        raise BadInputError(
            "The model calls no module with parameters, so it has no head: choose parameters by name."
        )
    several = isinstance(outputs, Mapping)
    heads: list[nn.Module] = []
    for output in reversed(list(outputs.values())) if several else [outputs]:
        wanted = _shape(output)
        for module, shape in reversed(called):
            fits = wanted and shape and shape[-1] == wanted[-1] and (not several or len(shape) == len(wanted))
            if isinstance(module, nn.Linear) and fits and module not in heads:
                heads.append(module)
                break
    return heads or [called[-1][0]]


def _shape(output: Any) -> tuple[int, ...]:
    return tuple(output.shape) if isinstance(output, torch.Tensor) else ()
