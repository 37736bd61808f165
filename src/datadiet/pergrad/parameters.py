"""Which parameters a gradient norm is taken over: all, the head, a pattern or a predicate."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from datadiet.errors import BadInputError

Selection = str | Callable[[str, torch.nn.Parameter], bool]


def choose_parameters(
    model: nn.Module, selection: Selection, logits_of_one: Callable[[], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The chosen parameters by name; a shared one appears once, under its first name.

    "all" and "head" leave out frozen parameters; a pattern or a predicate is taken at its word.

    Raises:
        BadInputError: if nothing is chosen, or a pattern is no regular expression.
    """
    named = {name: p for name, p in model.named_parameters() if p.is_floating_point()}
    if callable(selection):
        chosen = {name: p for name, p in named.items() if selection(name, p)}
        hint = "the given function accepts none of its parameters"
    elif selection == "all":
        chosen = {name: p for name, p in named.items() if p.requires_grad}
        hint = "every parameter is frozen; pass parameters='.*' to include frozen ones"
    elif selection == "head":
        owned = {id(p) for p in find_head(model, logits_of_one).parameters(recurse=False)}
        chosen = {name: p for name, p in named.items() if id(p) in owned and p.requires_grad}
        hint = "the parameters of its head are frozen"
    else:
        try:
            pattern = re.compile(selection)
        except re.error as error:
            raise BadInputError(f"parameters={selection!r} is not a regular expression: {error}.") from error
        chosen = {name: p for name, p in named.items() if pattern.search(name)}
        some = ", ".join(list(named)[:5])
        hint = f"no name matches parameters={selection!r}; names look like {some}"
    if not chosen:
        raise BadInputError(f"There is no parameter of the model to take gradients of: {hint}.")
    return dict(chosen)


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
