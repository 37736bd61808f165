"""Which parameters a gradient norm is taken over: all, the head, a pattern or a predicate."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from datadiet.errors import BadInputError

Selection = str | Callable[[str, torch.nn.Parameter], bool]


def choose_parameters(
    model: nn.Module, selection: Selection, outputs_of_one: Callable[[], Any]
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
        heads = find_heads(model, outputs_of_one)
        owned = {id(p) for head in heads for p in head.parameters(recurse=False)}
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
