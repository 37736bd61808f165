"""Rule for pointwise functions of a parameter and the examples, and the rule for functions without one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from datadiet.pergrad.calls import replaced, tensors_in
from datadiet.pergrad.factors import Dense, Factor, widened
from datadiet.pergrad.layout import Layout, NeedsPlanError
from datadiet.pergrad.rules import fallback_rule, function_rule

if TYPE_CHECKING:
    from datadiet.pergrad.calls import Call
    from datadiet.pergrad.layout import Layout
    from datadiet.pergrad.ledger import Derived


POINTWISE = frozenset(
    [
        "add",
        "sub",
        "subtract",
        "mul",
        "multiply",
        "div",
        "divide",
        "true_divide",
        "rsub",
        "pow",
        "rpow",
        "maximum",
        "minimum",
        "where",
        "lerp",
        "addcmul",
        "addcdiv",
        "radd",
        "rmul",
        "rtruediv",
        "truediv",
        "iadd",
        "isub",
        "imul",
        "itruediv",
        "ipow",
        "hypot",
        "atan2",
        "logaddexp",
        "fmax",
        "fmin",
        "clamp",
        "xlogy",
        "masked_fill",
    ]
)


@fallback_rule(0)
def pointwise(call: Call) -> Any:
    """Each tracked operand is given to every example as a copy of its own, whose gradient autograd sums.

    The copy is an expanded view: nothing is written out.
    """
    if getattr(call.func, "__name__", "").strip("_") not in POINTWISE:
        return NotImplemented
    batched = [t for t in tensors_in((*call.args, *call.kwargs.values())) if call.is_batched(t)]
    seats: set[tuple[int, int, int, bool]] = set()
    for tensor in batched:
        layout = call.layout(tensor, range(tensor.dim()))
        if layout.dim is None:
            seats.add((0, 1, 1, True))
        else:
            seats.add((tensor.dim() - layout.dim, layout.batch, layout.inner, layout.major))
    if len(seats) != 1:
        return NotImplemented
    seat, batch, inner, major = next(iter(seats))
    return _with_copies(call, seat, batch, inner, major)


def _with_copies(call: Call, seat: int, batch: int, inner: int, major: bool) -> Any:
    """Run the function with expanded copies of tracked operands; `seat` counts dimensions from the right."""
    copies: dict[int, torch.Tensor] = {}
    pending: list[tuple[torch.Tensor, torch.Tensor | Derived, Layout, tuple[int, ...]]] = []
    for tensor in call.tracked_tensors():
        if id(tensor) in copies:
            continue
        shape = tuple(tensor.shape)
        copy = tensor.detach()
        if seat == 0:
            layout = Layout(None, 1)
        else:
            copy = copy.reshape((1,) * max(0, seat - copy.dim()) + shape)
            dim = copy.dim() - seat
            if copy.shape[dim] == inner and inner > 1:
                if not major:
                    return NotImplemented
                repeated = copy.unsqueeze(dim).expand(*copy.shape[:dim], batch, *copy.shape[dim:])
                copy = repeated.flatten(dim, dim + 1)
                layout = Layout(dim, batch, inner)
            elif copy.shape[dim] == 1:
                copy = copy.expand(*copy.shape[:dim], batch * inner, *copy.shape[dim + 1 :])
                layout = Layout(dim, batch, inner, major)
            elif call.watch.plan is None:
                raise NeedsPlanError(call.where())
            else:
                return NotImplemented
        entered = call.watch.entry(copy)
        copies[id(tensor)] = entered
        pending.append((entered, call.known(tensor), layout, shape))
    for entered, weight, layout, shape in pending:
        call.watch.listen(entered, weight, partial(summed, layout, shape=shape))
    args, kwargs = replaced(call.args, copies), replaced(call.kwargs, copies)
    return call.func(*args, **kwargs)


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
    inputs, weight = call.option("input", 0), call.option("weight", 1)
    if not call.is_batched(inputs) or call.is_batched(weight) or not call.is_tracked(weight):
        return NotImplemented
    output = torch.prelu(inputs, weight.detach())
    layout = call.layout(inputs, range(inputs.dim()) if weight.numel() == 1 else (0,))

    def make(gradient: torch.Tensor) -> Factor:
        first = layout.examples_first(widened(gradient) * widened(inputs).clamp_max(0))
        if weight.numel() > 1 and inputs.dim() > 1:
            first = first.flatten(3).sum(3) if first.dim() > 3 else first
            return Dense(first.sum(1))
        return Dense(first.reshape(first.shape[0], -1).sum(1, keepdim=True))

    return call.watch.tap(output, [(call.known(weight), make)], [inputs])


@fallback_rule(9)
def by_example(call: Call) -> Any:
    """In the backward pass the function is run again on each example's part of its arguments, under `vmap`."""
    name = getattr(call.func, "__name__", "")
    if hasattr(call.func, "__code__") and "has_torch_function" in " ".join(call.func.__code__.co_names):
        return NotImplemented
    tracked = {id(t): t for t in call.tracked_tensors()}
    batched = {id(t): t for t in tensors_in((*call.args, *call.kwargs.values())) if call.is_batched(t)}
    layouts = {key: call.layout(t, range(t.dim())) for key, t in batched.items()}
    if name.endswith("_") and not name.endswith("__"):
        return NotImplemented
    plain = {key: t.detach() for key, t in tracked.items()}
    output = call.func(*replaced(call.args, plain), **replaced(call.kwargs, plain))
    if not isinstance(output, torch.Tensor):
        return NotImplemented
    out_layout = call.output_layout(output)
    results: list[dict[int, torch.Tensor]] = []

    def gradients(gradient: torch.Tensor) -> dict[int, torch.Tensor]:
        if not results:
            results.append(_products(call, plain, batched, layouts, out_layout.examples_first(gradient)))
        return results[0]

    def maker(key: int) -> Any:
        def make(gradient: torch.Tensor) -> Factor:
            return Dense(widened(gradients(gradient)[key]))

        return make

    uses = [(call.known(tensor), maker(key)) for key, tensor in tracked.items()]
    return call.watch.tap(output, uses, list(batched.values()))


def _products(
    call: Call,
    tracked: dict[int, torch.Tensor],
    batched: dict[int, torch.Tensor],
    layouts: dict[int, Layout],
    gradient: torch.Tensor,
) -> dict[int, torch.Tensor]:
    parts = {key: layouts[key].examples_first(tensor.detach()) for key, tensor in batched.items()}

    def one(part: dict[int, torch.Tensor], cotangent: torch.Tensor) -> dict[int, torch.Tensor]:
        def run(weights: dict[int, torch.Tensor]) -> torch.Tensor:
            known = {**weights, **part}
            result: torch.Tensor = call.func(*replaced(call.args, known), **replaced(call.kwargs, known))
            return result

        pull: Any = torch.func.vjp(run, tracked)[1]
        (found,) = pull(cotangent)
        return dict(found)

    try:
        stacked: dict[int, torch.Tensor] = torch.func.vmap(one)(parts, gradient)
        return stacked
    except RuntimeError:  # no batching rule, or control flow on values: one example after the other
        rows = [one({k: p[i] for k, p in parts.items()}, g) for i, g in enumerate(gradient)]
        return {key: torch.stack([row[key] for row in rows]) for key in tracked}
