"""The registry of rules that turn a layer's inputs and output gradient into per-example gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from datadiet.pergrad.calls import Call
    from datadiet.pergrad.factors import Factor


LayerRule = Callable[[Any, tuple[Any, ...], torch.Tensor], Mapping[str, "torch.Tensor | Factor"]]
FunctionRule = Callable[["Call"], Any]

LAYER_RULES: dict[type[nn.Module], LayerRule] = {}
FUNCTION_RULES: dict[Any, FunctionRule] = {}
_FALLBACKS: list[tuple[int, FunctionRule]] = []

R = TypeVar("R", bound=LayerRule)
F = TypeVar("F", bound=FunctionRule)


def gradient_norm_rule(*layers: type[nn.Module]) -> Callable[[R], R]:
    """Register how the per-example gradients of a layer class follow from its inputs and output gradient.

    The decorated function takes `(layer, inputs, output_gradient)`: the module, the tuple of its positional
    inputs, and the gradient of the summed losses with respect to its output; both have the examples in
    dimension 0. It returns, for each of the layer's own parameters by name, one of

    - a tensor of shape (batch, *parameter shape): the gradient of each example;
    - `LowRank(left, right)` with shapes (batch, T, p) and (batch, T, d): `Σ_t left[b, t] right[b, t]ᵀ`;
    - `Rows(indices, values, num_rows)`: rows added at indices;
    - `SquaredNorm(values)`, shape (batch,), where the gradient itself is never needed because the parameter
      is used nowhere else.

    Most layers need no rule: parameters are recognised wherever a torch function takes them. A rule is for a
    cheaper contraction, or for code that torch functions do not show (custom autograd functions, kernels).

    Args:
        layers: the classes, exactly; subclasses are not included.

    Returns:
        The decorator, which returns the function unchanged.

    Example:
        >>> class Scale(torch.nn.Module):
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.factor = torch.nn.Parameter(torch.ones(width))
        ...     def forward(self, inputs):
        ...         return inputs * self.factor
        >>> @gradient_norm_rule(Scale)
        ... def scale_rule(layer, inputs, output_gradient):
        ...     return {"factor": output_gradient * inputs[0]}
        >>> from datadiet.pergrad import gradient_norms
        >>> model = torch.nn.Sequential(Scale(2))
        >>> inputs, targets = torch.tensor([[3.0, 0.0]]), torch.tensor([0])
        >>> gradient_norms(model, inputs, targets, loss=lambda outputs, _: outputs.sum(1)).tolist()
        [3.0]
        >>> _ = LAYER_RULES.pop(Scale)
    """

    def register(rule: R) -> R:
        for layer in layers:
            LAYER_RULES[layer] = rule
        return rule

    return register


def function_rule(*functions: Any) -> Callable[[F], F]:
    """Register how calls of torch functions with tracked arguments are computed and tapped.

    The decorated function takes a `Call`, returns the output, or NotImplemented to leave it to the next rule.
    """

    def register(rule: F) -> F:
        for function in functions:
            FUNCTION_RULES[function] = rule
        return rule

    return register


def fallback_rule(order: int) -> Callable[[F], F]:
    """Register a rule that is tried, in ascending order, for functions without one or whose rule declines."""

    def register(rule: F) -> F:
        _FALLBACKS.append((order, rule))
        _FALLBACKS.sort(key=lambda entry: entry[0])
        return rule

    return register


def fallback_rules() -> list[FunctionRule]:
    """The fallback rules in the order in which they are tried."""
    return [rule for _, rule in _FALLBACKS]
