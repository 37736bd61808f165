"""Modules taken as a whole: those whose class has a rule, and those that cannot be seen inside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.factors import Dense, Factor, widened
from datadiet.pergrad.layout import OpaqueError
from datadiet.pergrad.rules import LAYER_RULES, LayerRule

if TYPE_CHECKING:
    from datadiet.pergrad.watch import Watch


Gradients = Mapping[str, Any]
# Module, positional and keyword inputs, output gradient.
Rule = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], torch.Tensor], Gradients]


@contextmanager
def layer_rules(model: nn.Module, watch: Watch, opaque: Collection[str]) -> Iterator[None]:
    """Hook the modules with a registered rule and the opaque ones; the hooks are gone on the way out."""
    handles: list[Any] = []
    try:
        for name, module in model.named_modules():
            own = {n: p for n, p in module.named_parameters(recurse=False) if id(p) in watch.ledger.accounts}
            registered = LAYER_RULES.get(type(module))
            if not own or (registered is None and name not in opaque):
                continue
            rule: Rule = per_example_products
            if registered is not None:
                rule = partial(_registered, registered)
            hooks = _Hooks(watch, f"`{name}` ({type(module).__name__})", rule, own)
            handles.append(module.register_forward_pre_hook(hooks.before))
            handles.append(module.register_forward_hook(hooks.after, with_kwargs=True, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _registered(
    rule: LayerRule, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], gradient: torch.Tensor
) -> Gradients:
    return rule(layer, args, gradient)


class _Hooks:
    """Makes a module's own parameters constants while it runs, and taps its output."""

    def __init__(self, watch: Watch, label: str, rule: Rule, own: Mapping[str, torch.Tensor]) -> None:
        self.watch = watch
        self.label = label
        self.rule = rule
        self.own = own

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        # Before the watch exchanges them: it would hand this very call a copy.
        for parameter in self.own.values():
            parameter.requires_grad_(False)
        self.watch.look_away(self.own.values())

    def after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        self.watch.look_back(self.own.values())
        for parameter in self.own.values():
            parameter.requires_grad_(True)
        batch = self.watch.batch
        if output is None:  # the module raised: the hook only had to clean up
            return None
        if not isinstance(output, torch.Tensor):
            raise OpaqueError(f"{self.label} returns something other than one tensor")
        given = [t for t in (*args, *kwargs.values()) if isinstance(t, torch.Tensor)]
        if any(t.dim() == 0 or len(t) != batch for t in (output, *given)):
            raise OpaqueError(
                f"{self.label} does not have the examples in the first dimension of its tensors"
            )
        plain_args = tuple(_cut(value) for value in args)
        plain_kwargs = {key: _cut(value) for key, value in kwargs.items()}
        results: list[Gradients] = []

        def maker(name: str) -> Callable[[torch.Tensor], Factor]:
            def make(gradient: torch.Tensor) -> Factor:
                if not results:
                    results.append(self.rule(module, plain_args, plain_kwargs, gradient))
                return self._checked(results[0], name)

            return make

        return self.watch.tap(output, [(p, maker(n)) for n, p in self.own.items()], given)

    def _checked(self, found: Gradients, name: str) -> Factor:
        if name not in found:
            raise BadInputError(f"The rule of {self.label} returned nothing for its parameter `{name}`.")
        value = found[name]
        if not isinstance(value, torch.Tensor):
            factor: Factor = value
            return factor
        expected = (self.watch.batch, *self.own[name].shape)
        if tuple(value.shape) != expected:
            raise BadInputError(
                f"The rule of {self.label} returned shape {tuple(value.shape)} for `{name}`; expected the "
                f"gradient of each example, {expected}."
            )
        return Dense(widened(value))


def _cut(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def per_example_products(
    layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], gradient: torch.Tensor
) -> Gradients:
    """Vector-Jacobian products of one module with respect to its own parameters, example by example.

    Through `torch.func.vmap`; where an operation of the module has no batching rule, one after the other.
    """
    weights = {name: p.detach() for name, p in layer.named_parameters(recurse=False)}
    examples = [i for i, value in enumerate(args) if isinstance(value, torch.Tensor)]
    keys = [key for key, value in kwargs.items() if isinstance(value, torch.Tensor)]
    batched = [*(args[i] for i in examples), *(kwargs[key] for key in keys)]

    def run(own: dict[str, torch.Tensor], parts: list[torch.Tensor]) -> torch.Tensor:
        given, named = list(args), dict(kwargs)
        for position, part in zip(examples, parts, strict=False):
            given[position] = part.unsqueeze(0)
        for key, part in zip(keys, parts[len(examples) :], strict=True):
            named[key] = part.unsqueeze(0)
        output: torch.Tensor = torch.func.functional_call(layer, own, tuple(given), named)
        return output.squeeze(0)

    def product(cotangent: torch.Tensor, *parts: torch.Tensor) -> dict[str, torch.Tensor]:
        pull: Any = torch.func.vjp(lambda own: run(own, list(parts)), weights)[1]
        return dict(pull(cotangent)[0])

    try:
        stacked: dict[str, torch.Tensor] = torch.func.vmap(product)(gradient, *batched)
        return stacked
    except RuntimeError:
        rows = [_by_autograd(run, weights, g, [b[i] for b in batched]) for i, g in enumerate(gradient)]
        return {name: torch.stack([row[name] for row in rows]) for name in weights}


def _by_autograd(
    run: Callable[[dict[str, torch.Tensor], list[torch.Tensor]], torch.Tensor],
    weights: dict[str, torch.Tensor],
    gradient: torch.Tensor,
    parts: list[torch.Tensor],
) -> dict[str, torch.Tensor]:
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    with torch.enable_grad():
        output = run(leaves, parts)
    found = torch.autograd.grad(output, list(leaves.values()), gradient, allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if g is None else g
        for (name, leaf), g in zip(leaves.items(), found, strict=True)
    }
