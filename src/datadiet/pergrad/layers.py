"""Layers that have a rule of their own: hooks that capture their inputs while the watch looks away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from datadiet.errors import BadInputError
from datadiet.pergrad.factors import Dense, Factor, widened
from datadiet.pergrad.layout import OpaqueError
from datadiet.pergrad.rules import LAYER_RULES, LayerRule

if TYPE_CHECKING:
    from datadiet.pergrad.watch import Watch


@contextmanager
def layer_rules(model: nn.Module, watch: Watch) -> Iterator[None]:
    """Hook every module whose class has a registered rule; the hooks are gone on the way out."""
    handles: list[Any] = []
    try:
        for name, module in model.named_modules():
            rule = LAYER_RULES.get(type(module))
            own = {n: p for n, p in module.named_parameters(recurse=False) if id(p) in watch.ledger.accounts}
            if rule is None or not own:
                continue
            handles.append(module.register_forward_pre_hook(_entering(watch, own)))
            handles.append(module.register_forward_hook(_leaving(watch, name, rule, own), always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _entering(watch: Watch, own: Mapping[str, torch.Tensor]) -> Any:
    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        watch.look_away(own.values())

    return hook


def _leaving(watch: Watch, name: str, rule: LayerRule, own: Mapping[str, torch.Tensor]) -> Any:
    label = f"`{name}`"

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        watch.look_back(own.values())
        if not isinstance(output, torch.Tensor):
            raise BadInputError(f"{label} ({type(module).__name__}) has a rule but does not return one tensor.")
        if output.dim() == 0 or len(output) != watch.batch:
            raise OpaqueError(f"{label} does not have the examples in the first dimension of its output")
        kept = tuple(t.detach() if isinstance(t, torch.Tensor) else t for t in inputs)
        results: list[Mapping[str, Any]] = []

        def maker(parameter: str) -> Any:
            def make(gradient: torch.Tensor) -> Factor:
                if not results:
                    results.append(rule(module, kept, gradient))
                return _checked(results[0], parameter, own[parameter], watch.batch, label)

            return make

        uses = [(p, maker(n)) for n, p in own.items()]
        return watch.tap(output, uses, [t for t in inputs if isinstance(t, torch.Tensor)])

    return hook


def _checked(found: Mapping[str, Any], name: str, parameter: torch.Tensor, batch: int, label: str) -> Factor:
    if name not in found:
        raise BadInputError(f"The rule of {label} returned nothing for its parameter `{name}`.")
    value = found[name]
    if not isinstance(value, torch.Tensor):
        factor: Factor = value
        return factor
    if tuple(value.shape) != (batch, *parameter.shape):
        raise BadInputError(
            f"The rule of {label} returned shape {tuple(value.shape)} for `{name}`; expected the gradient of each "
            f"example, {(batch, *parameter.shape)}."
        )
    return Dense(widened(value))
