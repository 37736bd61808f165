"""The rule for functions without one: per-example vector-Jacobian products of that function alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from datadiet.pergrad.calls import replaced, tensors_in
from datadiet.pergrad.factors import Dense, Factor, widened
from datadiet.pergrad.rules import fallback_rule

if TYPE_CHECKING:
    from datadiet.pergrad.calls import Call
    from datadiet.pergrad.layout import Layout


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
