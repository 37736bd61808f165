"""Which parameters gradients are taken over: all, the head, a pattern; and the state of a model preserved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.randomness import Generators

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
    named = {n: p for n, p in model.named_parameters() if p.is_floating_point() or p.is_complex()}
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


@contextmanager
def preserved_state(model: nn.Module, *, buffers: bool = True) -> Iterator[None]:
    """Restore flags, buffers and random generators on the way out, after an exception too.

    `.grad`, hooks and the training mode are never touched here.

    Args:
        model: what to put back.
        buffers: whether to; False saves copies where nothing writes to them.

    Example:
        >>> model = nn.BatchNorm1d(2)
        >>> with preserved_state(model):
        ...     _ = model.requires_grad_(False)(torch.ones(3, 2))
        >>> model.weight.requires_grad, int(model.num_batches_tracked)
        (True, 0)
    """
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    copies = [(buffer, buffer.detach().clone()) for buffer in model.buffers()] if buffers else []
    generators = Generators(model)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        with torch.no_grad():
            for buffer, before in copies:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
        generators.restore()


def require_gradients(model: nn.Module, wanted: Iterable[torch.Tensor]) -> None:
    """Let only the wanted parameters require gradients, so that a backward pass ends at the lowest of them.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> require_gradients(model, [model.bias])
        >>> [parameter.requires_grad for parameter in model.parameters()]
        [False, True]
    """
    wanted_ids = {id(parameter) for parameter in wanted}
    for parameter in model.parameters():
        if parameter.is_floating_point() or parameter.is_complex():
            parameter.requires_grad_(id(parameter) in wanted_ids)


def find_heads(model: nn.Module, outputs_of_one: Callable[[], Any]) -> list[nn.Module]:
    """The module that makes the logits: the last nn.Linear called whose output has as many features as they.

    Of a model that puts out a dict of tensors, one such layer for each of them, told apart by the number of
    dimensions. Without any such layer, the last module called that has parameters of its own.
    """
    called: list[tuple[nn.Module, Any]] = []

    def keep(module: nn.Module, given: Any, output: Any) -> None:
        called.append((module, _shape(output)))

    with ExitStack() as handles, torch.no_grad():
        for module in model.modules():
            if any(True for _ in module.parameters(recurse=False)):
                handles.enter_context(module.register_forward_hook(keep))
        outputs = outputs_of_one()
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
