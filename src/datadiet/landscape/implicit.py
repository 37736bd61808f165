"""The kernel column by column from products with vectors, without ever holding a Jacobian."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel

from datadiet.landscape.explicit import mirror
from datadiet.landscape.rows import LogitRows, Pullback
from datadiet.module_state import require_gradients

# The graph of a gradient keeps the activations again, with their gradients and the buffers of the way back.
GRAPHS = 4
# Copies of a gradient that live at a time: as autograd sums it, as it returns it, and as the product reads it.
COPIES = 3


def implicit_gram(
    rows: LogitRows,
    chosen: dict[str, torch.Tensor],
    budget: int,
    wide: torch.dtype,
    report: Callable[[int, int], None],
) -> torch.Tensor:
    """`J Jᵀ e` for every unit vector e: pull e back to the parameters, push the result forward to the logits.

    The push forward, a Jacobian-vector product, is the derivative of the pullback `u ↦ Jᵀ u`, which is linear: its
    graph is made once for a batch of examples and used for every column.

    Args:
        budget: bytes for graphs and gradients; at least a single example and a single gradient are held.
        wide: precision of the result.
        report: called with pairs of an example and a batch done and to do.
    """
    parameters = list(chosen.values())
    require_gradients(rows.model, parameters)
    device = parameters[0].device
    gram = torch.zeros(rows.total, rows.total, dtype=wide, device=device)
    one_gradient = sum(p.numel() * p.element_size() for p in parameters)
    at_once = max(1, min(rows.classes, budget // (2 * COPIES * one_gradient)))
    # Fused attention kernels cannot be differentiated twice.
    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        batch = max(1, min(rows.examples, budget // (2 * GRAPHS * _saved_bytes(rows, parameters))))
        starts = range(0, rows.examples, batch)
        total, done = sum(min(start + batch, rows.examples) for start in starts), 0
        pull, push = Pullback(), Pullback()
        for start in starts:
            stop = min(start + batch, rows.examples)
            logits = rows.of(start, stop).reshape(-1)
            weights = torch.zeros_like(logits, requires_grad=True)
            found = torch.autograd.grad(logits, parameters, weights, create_graph=True, allow_unused=True)
            used = [k for k, gradient in enumerate(found) if gradient is not None and gradient.requires_grad]
            pulled = [found[k] for k in used]
            place = slice(start * rows.classes, stop * rows.classes)
            for example in range(stop):
                _columns(gram, rows, example, place, parameters, used, pulled, weights, at_once, pull, push)
                done += 1
                report(done, total)
    mirror(gram)
    return gram


def _columns(
    gram: torch.Tensor,
    rows: LogitRows,
    example: int,
    place: slice,
    parameters: list[torch.Tensor],
    used: list[int],
    pulled: list[torch.Tensor],
    weights: torch.Tensor,
    at_once: int,
    pull: Pullback,
    push: Pullback,
) -> None:
    """Write the kernel between one example's logits and those of a batch, whose pullback is given."""
    logits = rows.of(example, example + 1).reshape(-1)
    units = torch.eye(rows.classes, dtype=logits.dtype, device=logits.device)
    for first in range(0, rows.classes, at_once):
        vectors = units[first : first + at_once]
        gradients = pull([logits], [parameters[k] for k in used], [vectors])
        both = [(p, g) for p, g in zip(pulled, gradients, strict=True) if g is not None]
        if not both:
            continue
        products = push([p for p, _ in both], [weights], [g for _, g in both])[0]
        if products is not None:
            row = example * rows.classes + first
            gram[row : row + len(vectors), place] = products.to(gram.dtype)


def _saved_bytes(rows: LogitRows, parameters: list[torch.Tensor]) -> int:
    """What autograd keeps of one example's forward pass, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in parameters}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = rows.of(0, 1)
    del logits
    return max(1, sum(kept.values()))
