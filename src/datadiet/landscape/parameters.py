"""Which parameters a kernel is taken over: all, a pattern or a predicate."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import nn

from datadiet.errors import BadInputError

Selection = str | Callable[[str, nn.Parameter], bool]


def choose_parameters(model: nn.Module, selection: Selection) -> dict[str, torch.Tensor]:
    """The chosen parameters by name; a shared one appears once, under its first name.

    "all" leaves out frozen parameters; a pattern or a predicate is taken at its word.

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
    else:
        try:
            pattern = re.compile(selection)
        except re.error as error:
            raise BadInputError(f"parameters={selection!r} is not a regular expression: {error}.") from error
        chosen = {name: p for name, p in named.items() if pattern.search(name)}
        hint = f"no name matches parameters={selection!r}; names look like {', '.join(list(named)[:5])}"
    if not chosen:
        raise BadInputError(f"There is no parameter of the model to take gradients of: {hint}.")
    return dict(chosen)
