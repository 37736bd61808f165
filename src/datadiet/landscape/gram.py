"""The kernel from explicit Jacobians, a block of parameters at a time, or column by column from products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.batches import autocast_on, batch_size, saved_bytes, take
from datadiet.pergrad.calls import ForwardFunction, logits_of
from datadiet.pergrad.parameters import require_gradients
from datadiet.pergrad.randomness import Generators, refuse_randomness

# Columns of one matrix product: its float32 result is added to a wider sum, so that rounding does not grow with
# the number of parameters.
PANEL = 65_536
# Rows of one matrix product: only what lies on or above the diagonal is computed, in steps of so many rows.
STRIP = 256
# The graph of a gradient keeps the activations again, with their gradients and the buffers of the way back.
GRAPHS = 4
# Copies of a gradient that live at a time: as autograd sums it, as it returns it, and as the product reads it.
COPIES = 3


class LogitRows:
    """The chosen logits of a model for any stretch of the examples.

    Args:
        model: in evaluation mode.
        inputs: a tensor or dict of tensors, examples in the first dimension.
        outputs: positions of the logits that count; all of them where it is None.
        forward: `(model, inputs) -> outputs`, or None to call the model.
        autocast: precision that the model is run in.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        outputs: Sequence[int] | None,
        forward: ForwardFunction | None,
        autocast: torch.dtype | None,
    ) -> None:
        self.examples = batch_size(inputs=inputs)
        if not self.examples:
            raise BadInputError("inputs holds no example.")
        self.inputs = inputs
        self.model, self._forward, self._autocast = model, forward, autocast
        self._outputs: torch.Tensor | None = None
        before = Generators(model)
        with torch.no_grad():
            first = self.of(0, 1)
        if before.moved():
            refuse_randomness(model, lambda: self.of(0, 1))
        width = first.shape[1]
        if outputs is not None:
            chosen = [int(position) for position in outputs]
            if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0 or max(chosen) >= width:
                raise BadInputError(f"outputs={chosen} must be different positions from 0 to {width - 1}.")
            self._outputs = torch.tensor(chosen, device=first.device)
        self.classes = width if outputs is None else len(outputs)
        self.total = self.examples * self.classes

    def of(self, start: int, stop: int) -> torch.Tensor:
        """Logits of the examples from start to stop, shape (stop − start, classes)."""
        part = take(self.inputs, slice(start, stop), self.examples)
        with autocast_on(next(self.model.parameters()).device, self._autocast):
            logits = logits_of(self.model, part, self._forward)
        if not logits.dim() or len(logits) != stop - start or not logits.is_floating_point():
            raise BadInputError(
                f"The model returned {logits.dtype} outputs of shape {tuple(logits.shape)} for {stop - start} "
                "example(s): the first dimension must be the examples."
            )
        logits = logits.reshape(stop - start, -1)
        return logits if self._outputs is None else logits.index_select(1, self._outputs)

    def gradients(
        self, example: int, wrt: Sequence[torch.Tensor], at_once: int, pullback: Pullback
    ) -> Iterator[tuple[slice, list[torch.Tensor | None]]]:
        """Gradients of one example's logits, at most so many at once, each time with their rows of the kernel."""
        with torch.enable_grad():
            logits = self.of(example, example + 1).reshape(-1)
        units = torch.eye(self.classes, dtype=logits.dtype, device=logits.device)
        row = example * self.classes
        for first in range(0, self.classes, at_once):
            vectors = units[first : first + at_once]
            found: list[torch.Tensor | None] = [None] * len(wrt)
            if logits.requires_grad:
                found = pullback([logits], wrt, [vectors])
            yield slice(row + first, row + first + len(vectors)), found


_gradients = partial(torch.autograd.grad, retain_graph=True, allow_unused=True)


class Pullback:
    """Vector-Jacobian products for several vectors: at once under `vmap`, or one by one where that fails.

    What failed once is not tried again.
    """

    def __init__(self) -> None:
        self._at_once = True

    def __call__(
        self, outputs: Sequence[torch.Tensor], wrt: Sequence[torch.Tensor], vectors: Sequence[torch.Tensor]
    ) -> list[torch.Tensor | None]:
        """`vᵀ ∂outputs/∂wrt`, with the vectors in the first dimension; None for what has no influence."""
        if self._at_once:
            try:
                return list(_gradients(outputs, wrt, vectors, is_grads_batched=True))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                # Autograd functions that vmap cannot batch; another reason comes up again below.
                self._at_once = False
        single = [_gradients(outputs, wrt, [v[k] for v in vectors]) for k in range(len(vectors[0]))]
        return [
            None if entries[0] is None else torch.stack([e for e in entries if e is not None])
            for entries in zip(*single, strict=True)
        ]


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
    free = columns
    for name, size in sizes.items():
        start = 0
        while start < size:
            if free == 0:
                blocks.append([])
                free = columns
            stop = min(size, start + free)
            blocks[-1].append(Piece(name, start, stop, columns - free))
            free -= stop - start
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
        one_row = 2 * sum(member.nbytes for member in members)
        at_once = max(1, min(rows.classes, spare // one_row))
        for example in range(rows.examples):
            for place, gradients in rows.gradients(example, members, at_once, pullback):
                _fill(jacobian[place], block, gradients)
            report(number * rows.examples + example + 1, len(blocks) * rows.examples)
        _add_products(gram, jacobian[:, : block[-1].column + block[-1].stop - block[-1].start])
    _mirror(gram)
    return gram


def _fill(place: torch.Tensor, block: list[Piece], gradients: list[torch.Tensor | None]) -> None:
    """Copy the gradients of some logits into their rows of a block."""
    for piece, gradient in zip(block, gradients, strict=True):
        target = place[:, piece.column : piece.column + piece.stop - piece.start]
        if gradient is None:
            target.zero_()
        else:
            target.copy_(gradient.reshape(len(place), -1)[:, piece.start : piece.stop])


def _add_products(gram: torch.Tensor, jacobian: torch.Tensor) -> None:
    """Add the upper triangle of `J Jᵀ`."""
    for left in range(0, jacobian.shape[1], PANEL):
        panel = jacobian[:, left : left + PANEL]
        for top in range(0, len(gram), STRIP):
            gram[top : top + STRIP, top:] += panel[top : top + STRIP] @ panel[top:].T


def _mirror(gram: torch.Tensor) -> None:
    """Copy the upper triangle below the diagonal, in place."""
    for top in range(0, len(gram), STRIP):
        bottom = min(top + STRIP, len(gram))
        square = gram[top:bottom, top:bottom]
        square.copy_(square.triu() + square.triu(1).T)
        gram[bottom:, top:bottom] = gram[top:bottom, bottom:].T


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
    one_gradient = sum(p.nbytes for p in parameters)
    at_once = max(1, min(rows.classes, budget // (2 * COPIES * one_gradient)))
    # Fused attention kernels cannot be differentiated twice.
    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        one_graph = max(1, saved_bytes(lambda: rows.of(0, 1), parameters))
        batch = max(1, min(rows.examples, budget // (2 * GRAPHS * one_graph)))
        starts = range(0, rows.examples, batch)
        total, done = sum(min(start + batch, rows.examples) for start in starts), 0
        pull, push = Pullback(), Pullback()
        for start in starts:
            stop = min(start + batch, rows.examples)
            logits = rows.of(start, stop).reshape(-1)
            weights = torch.zeros_like(logits, requires_grad=True)
            found = torch.autograd.grad(logits, parameters, weights, create_graph=True, allow_unused=True)
            used = [
                (p, g) for p, g in zip(parameters, found, strict=True) if g is not None and g.requires_grad
            ]
            columns = slice(start * rows.classes, stop * rows.classes)
            for example in range(stop):
                for place, gradients in rows.gradients(example, [p for p, _ in used], at_once, pull):
                    pairs = [(g, v) for (_, g), v in zip(used, gradients, strict=True) if v is not None]
                    if not pairs:
                        continue
                    products = push([g for g, _ in pairs], [weights], [v for _, v in pairs])[0]
                    if products is not None:
                        gram[place, columns] = products.to(wide)
                done += 1
                report(done, total)
    _mirror(gram)
    return gram
