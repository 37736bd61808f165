"""The account of a backward pass: the open uses of each parameter, and the norms of the closed ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
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
    example_slices,
    squared_norm_of_sum,
    widened,
)


@dataclass
class Account:
    """One parameter: its uses in the forward pass and what the backward pass has brought so far."""

    name: str
    parameter: torch.Tensor
    uses: int = 0
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


class Ledger:
    """Squared gradient norms of every chosen parameter, summed as soon as its last use has its gradient."""

    def __init__(self, chosen: dict[str, torch.Tensor], batch: int, device: torch.device) -> None:
        self.batch = batch
        self.accounts = {id(p): Account(name, p) for name, p in chosen.items()}
        # float64 does not exist on MPS; everywhere else the sum over layers costs nothing in it.
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._device = device
        self.squared: dict[str, torch.Tensor] = {}

    def open_use(self, weight: torch.Tensor | Derived) -> None:
        """Note one more use, whose gradient will be handed to `add`."""
        if isinstance(weight, torch.Tensor):
            self.accounts[id(weight)].uses += 1
        elif not weight.linked:
            weight.linked = True
            for root in roots_of(weight.tensor):
                if id(root) in self.accounts:
                    self.accounts[id(root)].through.append(weight)

    def add(self, weight: torch.Tensor | Derived, factor: Factor) -> None:
        """Take in the gradient of one use; a parameter whose last use this was is summed and forgotten."""
        if isinstance(weight, Derived):
            weight.factors.append(factor)
            return
        account = self.accounts[id(weight)]
        account.arrived += 1
        account.factors.append(factor)
        if account.arrived == account.uses and not account.through:
            self._close(account, squared_norm_of_sum(self._merged(account), account.parameter.numel()))
        elif len(account.factors) > 1:
            self._write_out_when_smaller(account)

    def add_missed(self, parameter: torch.Tensor, factor: Factor) -> None:
        """Add a gradient that autograd brought to a parameter of `keep_open` directly."""
        self.accounts[id(parameter)].factors.append(factor)

    def keep_open(self, parameters: Sequence[torch.Tensor]) -> None:
        """Do not sum these parameters before `close`: more of their gradient comes from elsewhere."""
        for parameter in parameters:
            self.accounts[id(parameter)].uses += 1

    def close(self) -> None:
        """Sum what is still open: parameters reached through derived tensors, uses that got no gradient."""
        for account in self.accounts.values():
            if account.through and any(d.factors for d in account.through):
                self._close(account, self._with_derived(account))
            elif account.factors:
                self._close(account, squared_norm_of_sum(self._merged(account), account.parameter.numel()))
            elif account.name not in self.squared:
                self.squared[account.name] = torch.zeros(self.batch, dtype=self._dtype, device=self._device)

    def _close(self, account: Account, squared_norm: torch.Tensor) -> None:
        self.squared[account.name] = squared_norm.detach().to(self._device, self._dtype).clamp_min(0)
        account.factors = []

    def _merged(self, account: Account) -> list[Factor]:
        """Outer products of many calls are joined where writing them out is less work than Gram matrices."""
        products = [f for f in account.factors if isinstance(f, LowRank)]
        if len(products) < 2:
            return account.factors
        tokens = sum(f.left.shape[1] for f in products)
        p, d = products[0].left.shape[2], products[0].right.shape[2]
        others = [f for f in account.factors if not isinstance(f, LowRank)]
        if tokens * (p + d) <= 2 * p * d or any(isinstance(f, Rows) for f in others):
            return account.factors
        joint = LowRank(torch.cat([f.left for f in products], 1), torch.cat([f.right for f in products], 1))
        return [joint, *others]

    def _write_out_when_smaller(self, account: Account) -> None:
        """Many held uses of one parameter are replaced by their sum once that takes less memory."""
        held = sum(f.held_bytes() for f in account.factors)
        size = (
            self.batch
            * account.parameter.numel()
            * torch.finfo(compute_dtype(account.parameter.dtype)).bits
            // 8
        )
        if held <= 2 * size or any(isinstance(f, SquaredNorm) for f in account.factors):
            return
        whole = slice(0, self.batch)
        first = account.factors[0]
        total = first.values if isinstance(first, Dense) else first.dense(whole)
        for factor in account.factors[1:]:
            if isinstance(factor, LowRank) and total.dim() == 3:
                total = total.baddbmm_(factor.left.mT, factor.right)
            else:
                total = total.add_(factor.dense(whole))
        account.factors = [Dense(total)]

    def _with_derived(self, account: Account) -> torch.Tensor:
        parameter = account.parameter
        through = [d for d in account.through if d.factors]
        if all(d.rows is not None and d.rows[0] is parameter for d in through):
            rows: list[Factor] = [r for d in through for r in _as_rows(d, parameter)]
            return squared_norm_of_sum([*account.factors, *rows], parameter.numel())
        if not account.factors and _are_disjoint_views(through, parameter):
            return sum((squared_norm_of_sum(d.factors, d.tensor.numel()) for d in through), torch.zeros(()))
        norms = []
        for part in example_slices(self.batch, parameter.numel() * 8):
            total = parameter.new_zeros(
                (part.stop - part.start, *parameter.shape), dtype=compute_dtype(parameter.dtype)
            )
            for factor in account.factors:
                total = total + factor.dense(part).reshape(total.shape)
            for derived in through:
                total = total + _pulled_back(derived, parameter, part)
            norms.append(total.reshape(len(total), -1).square().sum(1))
        return torch.cat(norms)


def _as_rows(derived: Derived, parameter: torch.Tensor) -> list[Rows]:
    assert derived.rows is not None
    indices = derived.rows[1].reshape(1, -1)
    found = []
    for factor in derived.factors:
        values = factor.dense(slice(0, factor.batch)).reshape(
            factor.batch, indices.shape[1], parameter.shape[1]
        )
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
    spans.sort()
    return all(before[1] < after[0] for before, after in itertools.pairwise(spans))


def _pulled_back(derived: Derived, parameter: torch.Tensor, part: slice) -> torch.Tensor:
    """Gradients with respect to the parameter behind a derived tensor, one an example."""
    total = sum((f.dense(part) for f in derived.factors[1:]), derived.factors[0].dense(part))
    cotangents = total.reshape(len(total), *derived.tensor.shape).to(derived.tensor.dtype)
    with torch.enable_grad():
        try:
            (found,) = torch.autograd.grad(
                derived.tensor, [parameter], cotangents, is_grads_batched=True, retain_graph=True
            )
        except RuntimeError:  # an operation without a batching rule: one example after the other
            found = torch.stack(
                [
                    torch.autograd.grad(derived.tensor, [parameter], c, retain_graph=True)[0]
                    for c in cotangents
                ]
            )
    return widened(found)


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
