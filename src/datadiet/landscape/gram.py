"""The kernel from explicit Jacobians, a block of parameters at a time, or column by column from products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel

from datadiet.landscape.jacobians import LogitRows, Pullback
from datadiet.pergrad.parameters import require_gradients

# Columns of one matrix product: its float32 result is added to a wider sum, so that rounding does not grow with
# the number of parameters.
PANEL = 65_536
# Rows of one matrix product: only what lies on or above the diagonal is computed, in steps of so many rows.
STRIP = 256


@dataclass(frozen=True)
class Piece:
    """Entries start to stop of a flattened parameter, written to a block's columns from `column` on."""

    name: str
    start: int
    stop: int
    column: int


def blocks_of(sizes: dict[str, int], columns: int) -> list[list[Piece]]:
    """Cut parameters, in order, into blocks of at most so many entries; a large parameter is cut too.

    Example:
        >>> [[(p.name, p.start, p.stop) for p in block] for block in blocks_of({"a": 3, "b": 4}, 5)]
        [[('a', 0, 3), ('b', 0, 2)], [('b', 2, 4)]]
    """
    blocks: list[list[Piece]] = [[]]
    room = columns
    for name, size in sizes.items():
        start = 0
        while start < size:
            if room == 0:
                blocks.append([])
                room = columns
            stop = min(size, start + room)
            blocks[-1].append(Piece(name, start, stop, columns - room))
            room -= stop - start
            start = stop
    return blocks


def explicit_gram(
    rows: LogitRows,
    chosen: dict[str, torch.Tensor],
    columns: int,
    spare: int,
    wide: torch.dtype,
    narrow: torch.dtype,
    report: Callable[[int, int], None],
) -> torch.Tensor:
    """`J Jᵀ`, summed over blocks of parameters: `Σ_b J_b J_bᵀ`.

    A block's gradients need a backward pass only down to its lowest parameter, so the many parameters of the last
    layers are cheap to go through in several blocks. Blocks of examples would need every pair of them.

    Args:
        columns: parameters in a block.
        spare: bytes that the gradients of one example may take before they are copied into the block.
        wide: precision of the sum.
        narrow: precision of the Jacobian.
        report: called with examples done and to do, over all blocks.
    """
    sizes = {name: parameter.numel() for name, parameter in chosen.items()}
    columns = min(columns, sum(sizes.values()))
    blocks = blocks_of(sizes, columns)
    device = next(iter(chosen.values())).device
    gram = torch.zeros(rows.total, rows.total, dtype=wide, device=device)
    jacobian = torch.empty(rows.total, columns, dtype=narrow, device=device)
    pullback = Pullback()
    for number, block in enumerate(blocks):
        members = [chosen[piece.name] for piece in block]
        require_gradients(rows.model, members)
        # Twice: what autograd returns, and the sum it was made from.
        one_row = 2 * sum(member.numel() * member.element_size() for member in members)
        at_once = max(1, min(rows.classes, spare // one_row))
        for example in range(rows.examples):
            _fill(jacobian, rows, example, block, members, at_once, pullback)
            report(number * rows.examples + example + 1, len(blocks) * rows.examples)
        _add_products(gram, jacobian[:, : block[-1].column + block[-1].stop - block[-1].start])
    mirror(gram)
    return gram


def _fill(
    jacobian: torch.Tensor,
    rows: LogitRows,
    example: int,
    block: list[Piece],
    members: list[torch.Tensor],
    at_once: int,
    pullback: Pullback,
) -> None:
    """Write the gradients of one example's logits into its rows of the block."""
    with torch.enable_grad():
        logits = rows.of(example, example + 1).reshape(-1)
    units = torch.eye(rows.classes, dtype=logits.dtype, device=logits.device)
    for first in range(0, rows.classes, at_once):
        vectors = units[first : first + at_once]
        place = jacobian[example * rows.classes + first :][: len(vectors)]
        found: list[torch.Tensor | None] = [None] * len(members)
        if logits.requires_grad:
            found = pullback([logits], members, [vectors])
        for piece, gradient in zip(block, found, strict=True):
            target = place[:, piece.column : piece.column + piece.stop - piece.start]
            if gradient is None:
                target.zero_()
            else:
                target.copy_(gradient.reshape(len(vectors), -1)[:, piece.start : piece.stop])


def _add_products(gram: torch.Tensor, jacobian: torch.Tensor) -> None:
    """Add the upper triangle of `J Jᵀ`."""
    for left in range(0, jacobian.shape[1], PANEL):
        panel = jacobian[:, left : left + PANEL]
        for top in range(0, len(gram), STRIP):
            gram[top : top + STRIP, top:] += panel[top : top + STRIP] @ panel[top:].T


def mirror(gram: torch.Tensor) -> None:
    """Copy the upper triangle below the diagonal, in place."""
    for top in range(0, len(gram), STRIP):
        bottom = min(top + STRIP, len(gram))
        square = gram[top:bottom, top:bottom]
        square.copy_(square.triu() + square.triu(1).T)
        gram[bottom:, top:bottom] = gram[top:bottom, bottom:].T


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
