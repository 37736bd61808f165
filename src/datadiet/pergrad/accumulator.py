"""Squared gradient norms by parameter, summed while the backward pass brings the gradient of one use after another."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
from torch.autograd.graph import Node

from datadiet.pergrad.factors import (
    Dense,
    Factor,
    LowRank,
    Rows,
    SquaredNorm,
    compute_dtype,
    joined,
    squared_norm_of_dense_sum,
    squared_norm_of_sum,
    widened,
)


@dataclass
class ParameterUses:
    """One parameter: its uses in the forward pass and what the backward pass has brought so far."""

    name: str
    parameter: torch.Tensor
    expected: int = 0
    arrived: int = 0
    factors: list[Factor] = field(default_factory=list)
    through: list[Derived] = field(default_factory=list)


@dataclass
class Derived:
    """A tensor computed from parameters alone (a slice, a scaled weight, a table of positions).

    `tensor` carries the autograd graph back to its parameters. `rows` is set where it is an embedding of
    constant indices, `view_of` where its elements are distinct elements of one parameter.
    """

    tensor: torch.Tensor
    view_of: torch.Tensor | None = None
    rows: tuple[torch.Tensor, torch.Tensor] | None = None
    factors: list[Factor] = field(default_factory=list)
    linked: bool = False


class Accumulator:
    """Squared gradient norms of every chosen parameter, summed as soon as its last use has its gradient."""

    def __init__(self, chosen: dict[str, torch.Tensor], batch: int, device: torch.device) -> None:
        self.batch = batch
        self.uses = {id(p): ParameterUses(name, p) for name, p in chosen.items()}
        # float64 does not exist on MPS; everywhere else the sum over layers costs nothing in it.
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._device = device
        self.squared: dict[str, torch.Tensor] = {}

    def expect(self, weight: torch.Tensor | Derived) -> None:
        """Note one more use, whose gradient will be handed to `add`."""
        if isinstance(weight, torch.Tensor):
            self.uses[id(weight)].expected += 1
        elif not weight.linked:
            weight.linked = True
            for root in roots_of(weight.tensor):
                if id(root) in self.uses:
                    self.uses[id(root)].through.append(weight)

    def add(self, weight: torch.Tensor | Derived, factor: Factor) -> None:
        """Take in the gradient of one use; a parameter whose last use this was is summed and forgotten."""
        if isinstance(weight, Derived):
            weight.factors.append(factor)
            return
        uses = self.uses[id(weight)]
        uses.arrived += 1
        uses.factors.append(factor)
        if uses.arrived == uses.expected and not uses.through:
            self._sum(uses)
        elif len(uses.factors) > 1:
            self._add_up_when_smaller(uses)

    def close(self) -> None:
        """Sum what is still open: parameters reached through derived tensors, uses that got no gradient."""
        for uses in self.uses.values():
            if uses.factors or any(d.factors for d in uses.through):
                self._sum(uses)
            elif uses.name not in self.squared:
                self.squared[uses.name] = torch.zeros(self.batch, dtype=self._dtype, device=self._device)

    def _sum(self, uses: ParameterUses) -> None:
        parameter, through = uses.parameter, [d for d in uses.through if d.factors]
        if not through:
            total = squared_norm_of_sum(_merged(uses.factors), parameter.numel())
        elif all(d.rows is not None and d.rows[0] is parameter for d in through):
            rows = [row for d in through for row in _as_rows(d, parameter)]
            total = squared_norm_of_sum([*uses.factors, *rows], parameter.numel())
        elif not uses.factors and _are_disjoint_views(through, parameter):
            norms = [squared_norm_of_sum(d.factors, d.tensor.numel()) for d in through]
            total = sum(norms, torch.zeros(()))
        else:
            pulled_back = [PulledBack(d, parameter) for d in through]
            total = squared_norm_of_sum([*uses.factors, *pulled_back], parameter.numel())
        self.squared[uses.name] = total.detach().to(self._device, self._dtype).clamp_min(0)
        uses.factors = []

    def _add_up_when_smaller(self, uses: ParameterUses) -> None:
        """Many open uses of one parameter are replaced by their sum once that takes less memory."""
        bits = torch.finfo(compute_dtype(uses.parameter.dtype)).bits
        size = self.batch * uses.parameter.numel() * bits // 8
        if sum(f.nbytes for f in uses.factors) <= 2 * size:
            return
        if any(isinstance(f, SquaredNorm) for f in uses.factors):
            return
        whole = slice(0, self.batch)
        total = uses.factors[0].dense(whole)
        for factor in uses.factors[1:]:
            if isinstance(factor, LowRank) and total.dim() == 3:
                total = total.baddbmm_(factor.left.mT, factor.right)
            else:
                total = total.add_(factor.dense(whole))
        uses.factors = [Dense(total)]


class PulledBack(Factor):
    """Gradients with respect to the parameter behind a derived tensor."""

    def __init__(self, derived: Derived, parameter: torch.Tensor) -> None:
        super().__init__(*(tensor for factor in derived.factors for tensor in factor.tensors))
        self.derived = derived
        self.parameter = parameter

    @property
    def batch(self) -> int:
        return self.derived.factors[0].batch

    def squared_norm(self) -> torch.Tensor:
        return squared_norm_of_dense_sum([self], self.parameter.numel())

    def dense(self, examples: slice) -> torch.Tensor:
        tensor, factors = self.derived.tensor, self.derived.factors
        total = sum((f.dense(examples) for f in factors[1:]), factors[0].dense(examples))
        cotangents = total.reshape(len(total), *tensor.shape).to(tensor.dtype)
        with torch.enable_grad():
            try:
                (found,) = torch.autograd.grad(
                    tensor, [self.parameter], cotangents, is_grads_batched=True, retain_graph=True
                )
            except RuntimeError:  # an operation without a batching rule: one example after the other
                rows = [
                    torch.autograd.grad(tensor, [self.parameter], c, retain_graph=True) for c in cotangents
                ]
                found = torch.stack([row for (row,) in rows])
        return widened(found)


def _merged(factors: list[Factor]) -> list[Factor]:
    """Outer products of many calls are joined where their dense sum is less work than Gram matrices."""
    products = [f for f in factors if isinstance(f, LowRank)]
    if len(products) < 2:
        return factors
    tokens = sum(f.left.shape[1] for f in products)
    p, d = products[0].left.shape[2], products[0].right.shape[2]
    if tokens * (p + d) <= 2 * p * d or any(isinstance(f, Rows) for f in factors):
        return factors
    return [joined(products), *(f for f in factors if not isinstance(f, LowRank))]


def _as_rows(derived: Derived, parameter: torch.Tensor) -> list[Rows]:
    assert derived.rows is not None
    indices = derived.rows[1].reshape(1, -1)
    found = []
    for factor in derived.factors:
        values = factor.dense(slice(0, factor.batch))
        values = values.reshape(factor.batch, indices.shape[1], parameter.shape[1])
        found.append(Rows(indices.expand(factor.batch, -1), values, parameter.shape[0]))
    return found


def _are_disjoint_views(through: list[Derived], parameter: torch.Tensor) -> bool:
    """Whether each derived tensor is made of elements of the parameter that no other one touches."""
    if any(d.view_of is not parameter for d in through):
        return False
    spans = []
    for derived in through:
        first = derived.tensor.storage_offset()
        extent = sum((n - 1) * s for n, s in zip(derived.tensor.shape, derived.tensor.stride(), strict=True))
        spans.append((first, first + extent))
    return all(before[1] < after[0] for before, after in itertools.pairwise(sorted(spans)))


def is_distinct_view(tensor: torch.Tensor, parameter: torch.Tensor) -> bool:
    """Whether the tensor's elements are distinct elements of the parameter's storage, unchanged."""
    if tensor.dtype != parameter.dtype or tensor.numel() == 0 or tensor.is_sparse:
        return False
    if tensor.untyped_storage().data_ptr() != parameter.untyped_storage().data_ptr():
        return False
    reach = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride < reach:
            return False
        reach = stride * size
    return True


def roots_of(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Leaves that require gradients and that the tensor was computed from, each once."""
    if tensor.grad_fn is None:
        return [tensor] if tensor.requires_grad else []
    found: dict[int, torch.Tensor] = {}
    seen: set[Node] = set()
    stack: list[Node] = [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found[id(leaf)] = leaf
        stack.extend(after for after, _ in node.next_functions if after is not None)
    return list(found.values())
