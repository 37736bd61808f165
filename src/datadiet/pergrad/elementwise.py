"""Rules for pointwise functions of a parameter and the examples, and for functions that have no rule of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch

from datadiet.pergrad.factors import Dense, Factor, widened
from datadiet.pergrad.layout import Layout, NeedsPlanError
from datadiet.pergrad.tape import Call, Operand, function_rule, jointly

_NAMES = """
    add sub subtract mul multiply div divide true_divide rsub pow rpow maximum minimum where lerp addcmul addcdiv
    radd rmul rtruediv truediv iadd isub imul itruediv ipow hypot atan2 logaddexp fmax fmin clamp xlogy masked_fill
"""
POINTWISE = frozenset(_NAMES.split())


def pointwise(call: Call) -> Any:
    """Each tracked operand is given to every example as a copy of its own, whose gradient autograd sums.

    The copy is an expanded view: nothing is copied in memory.
    """
    if call.name.strip("_") not in POINTWISE:
        return NotImplemented
    # Where the examples lie, with dimensions counted from the right, as broadcasting does.
    places: set[tuple[int, Layout]] = set()
    for tensor in filter(call.is_batched, call.tensors()):
        layout = call.layout(tensor, range(tensor.dim()))
        from_right = 0 if layout.dim is None else tensor.dim() - layout.dim
        places.add((from_right, replace(layout, dim=None)))
    if len(places) != 1:
        return NotImplemented
    from_right, layout = places.pop()
    copies: dict[int, tuple[torch.Tensor, Operand]] = {}
    for tensor in call.tracked_tensors():
        copy = _copy(call, tensor, from_right, layout)
        if copy is None:
            return NotImplemented
        expanded, layout_of_copy = copy
        make = partial(summed, layout_of_copy, shape=tuple(tensor.shape))
        copies[id(tensor)] = expanded, Operand(tensor, make)
    return call.run({key: call.tape.tap_copy(copy, operand) for key, (copy, operand) in copies.items()})


def _copy(
    call: Call, tensor: torch.Tensor, from_right: int, layout: Layout
) -> tuple[torch.Tensor, Layout] | None:
    """A tracked operand expanded to a copy for each example, with its layout; None where it does not broadcast."""
    copy = tensor.detach()
    if from_right == 0:
        return copy, layout
    copy = copy.reshape((1,) * max(0, from_right - copy.dim()) + tuple(copy.shape))
    dim = copy.dim() - from_right
    layout = replace(layout, dim=dim)
    before, after = copy.shape[:dim], copy.shape[dim + 1 :]
    if copy.shape[dim] == layout.inner > 1:
        repeated = copy.unsqueeze(dim).expand(*before, layout.batch, *copy.shape[dim:])
        return (repeated.flatten(dim, dim + 1), layout) if layout.major else None
    if copy.shape[dim] == 1:
        return copy.expand(*before, layout.batch * layout.inner, *after), layout
    if call.tape.plan is None:
        raise NeedsPlanError(call.description())
    return None


def summed(layout: Layout, gradient: torch.Tensor, shape: tuple[int, ...]) -> Factor:
    """Gradient of each example's copy, summed over what was expanded beside it: shape (batch, *shape)."""
    first = widened(layout.examples_first(gradient))
    extra = first.dim() - 1 - len(shape)
    if extra > 0:
        first = first.sum(tuple(range(1, 1 + extra)))
    surplus = tuple(d + 1 for d, size in enumerate(shape) if size == 1 and first.shape[d + 1] != 1)
    if surplus:
        first = first.sum(surplus, keepdim=True)
    return Dense(first)


@function_rule(torch.prelu, torch.nn.functional.prelu)
def prelu(call: Call) -> Any:
    """`y = max(x, 0) + a min(x, 0)`: `da = Σ g min(x, 0)`, over each channel or everything."""
    inputs, weight = call.arguments(input=None, weight=None)
    if not call.maps_batch(inputs, weight) or not call.is_tracked(weight):
        return NotImplemented
    output = torch.prelu(inputs, weight.detach())
    layout = call.layout(inputs, range(inputs.dim()) if weight.numel() == 1 else (0,))

    def make(gradient: torch.Tensor) -> Factor:
        products = widened(gradient) * widened(inputs).clamp_max(0)
        if weight.numel() > 1 and inputs.dim() > 1:
            first = layout.examples_first(products)
            first = first.flatten(3).sum(3) if first.dim() > 3 else first
            return Dense(first.sum(1))
        return Dense(layout.rows(products).sum(1, keepdim=True))

    return call.tape.tap(output, Operand(weight, make, [inputs]))


def by_example(call: Call) -> Any:
    """In the backward pass the function is run again on each example's part of its arguments, under `vmap`."""
    if hasattr(call.func, "__code__") and "has_torch_function" in " ".join(call.func.__code__.co_names):
        return NotImplemented
    tracked = {id(t): t for t in call.tracked_tensors()}
    batched = {id(t): t for t in call.tensors() if call.is_batched(t)}
    layouts = {key: call.layout(t, range(t.dim())) for key, t in batched.items()}
    if call.name.endswith("_") and not call.name.endswith("__"):
        return NotImplemented
    weights = {key: t.detach() for key, t in tracked.items()}
    output = call.run(weights)
    if not isinstance(output, torch.Tensor):
        return NotImplemented
    output_layout = call.resolved(output, range(output.dim()), call.planned_output(output)[1])

    def run(own: dict[int, torch.Tensor], parts: list[torch.Tensor]) -> torch.Tensor:
        result: torch.Tensor = call.run({**own, **dict(zip(batched, parts, strict=True))})
        return result

    def gradients(gradient: torch.Tensor) -> dict[int, Factor]:
        parts = [layouts[key].examples_first(tensor.detach()) for key, tensor in batched.items()]
        found = gradients_by_example(run, weights, parts, output_layout.examples_first(gradient))
        return {key: Dense(widened(values)) for key, values in found.items()}

    return call.tape.tap(output, *jointly(tracked, gradients, list(batched.values())))


#: Tried one after the other for functions without a rule, and where their rule declines.
FALLBACK_RULES = (pointwise, by_example)

Key = TypeVar("Key")


def gradients_by_example(
    run: Callable[[dict[Key, torch.Tensor], list[torch.Tensor]], torch.Tensor],
    weights: dict[Key, torch.Tensor],
    parts: Sequence[torch.Tensor],
    gradient: torch.Tensor,
) -> dict[Key, torch.Tensor]:
    """Vector-Jacobian products with respect to weights, example by example.

    Through `torch.func.vmap`; where an operation has no batching rule, or control flow depends on values,
    one after the other.

    Args:
        run: gives the output of one example from the weights and its parts.
        weights: by some key, without gradients.
        parts: tensors with the examples in the first dimension.
        gradient: gradient of the output, examples in the first dimension.
    """

    def by_vjp(cotangent: torch.Tensor, *of_one: torch.Tensor) -> dict[Key, torch.Tensor]:
        pull: Any = torch.func.vjp(lambda own: run(own, list(of_one)), weights)[1]
        return dict(pull(cotangent)[0])

    def by_autograd(cotangent: torch.Tensor, *of_one: torch.Tensor) -> dict[Key, torch.Tensor]:
        copies = {key: weight.clone().requires_grad_() for key, weight in weights.items()}
        with torch.enable_grad():
            output = run(copies, list(of_one))
        found = torch.autograd.grad(output, list(copies.values()), cotangent, materialize_grads=True)
        return dict(zip(weights, found, strict=True))

    try:
        stacked: dict[Key, torch.Tensor] = torch.func.vmap(by_vjp)(gradient, *parts)
        return stacked
    except RuntimeError:
        rows = [by_autograd(*one) for one in zip(gradient, *parts, strict=True)]
        return {key: torch.stack([row[key] for row in rows]) for key in weights}
