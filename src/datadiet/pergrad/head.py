"""The module that makes a model's logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from datadiet.errors import BadInputError


def find_head(model: nn.Module, logits_of_one: Callable[[], torch.Tensor]) -> nn.Module:
    """The module that makes the logits: the last nn.Linear called whose output has as many features as they.

    Without such a layer, the last module called that has parameters of its own.
    """
    called: list[tuple[nn.Module, Any]] = []
    handles = []
    try:
        for module in model.modules():
            if any(True for _ in module.parameters(recurse=False)):
                handles.append(
                    module.register_forward_hook(lambda m, _, output: called.append((m, _width(output))))
                )
        with torch.no_grad():
            logits = logits_of_one()
    finally:
        for handle in handles:
            handle.remove()
    for module, width in reversed(called):
        if isinstance(module, nn.Linear) and isinstance(logits, torch.Tensor) and width == logits.shape[-1]:
            return module
    if not called:
        raise BadInputError(
            "The model calls no module with parameters, so it has no head: choose parameters by name."
        )
    return called[-1][0]


def _width(output: Any) -> int | None:
    return output.shape[-1] if isinstance(output, torch.Tensor) and output.dim() else None
