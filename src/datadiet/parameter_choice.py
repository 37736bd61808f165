"""Which parameters of a model gradients are taken over: all, the head, a pattern or a predicate."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import nn

from datadiet.errors import BadInputError

Selection = str | Callable[[str, nn.Parameter], bool]


def choose_parameters(
    model: nn.Module, selection: Selection, heads: Callable[[], Sequence[nn.Module]] | None = None
) -> dict[str, torch.Tensor]:
    """The chosen parameters by name; a shared one appears once, under its first name.

    "all" and "head" leave out frozen parameters; a pattern or a predicate is taken at its word.

    Args:
        model: whose parameters.
        selection: "all", "head", a regular expression that is searched in names, or `(name, parameter) -> bool`.
        heads: finds the modules that "head" stands for; without it "head" is a pattern like any other.

    Raises:
        BadInputError: if nothing is chosen, or a pattern is no regular expression.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> list(choose_parameters(model, "weight"))
        ['0.weight', '1.weight']
        >>> list(choose_parameters(model, "head", lambda: [model[1]]))
        ['1.weight', '1.bias']
    """
    named = {name: p for name, p in model.named_parameters() if p.is_floating_point()}
    if callable(selection):
        chosen = {name: p for name, p in named.items() if selection(name, p)}
        hint = "the given function accepts none of its parameters"
    elif selection == "all":
        chosen = {name: p for name, p in named.items() if p.requires_grad}
        hint = "every parameter is frozen; pass parameters='.*' to include frozen ones"
    elif selection == "head" and heads is not None:
        owned = {id(p) for head in heads() for p in head.parameters(recurse=False)}
        chosen = {name: p for name, p in named.items() if id(p) in owned and p.requires_grad}
        hint = "the parameters of its head are frozen"
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
