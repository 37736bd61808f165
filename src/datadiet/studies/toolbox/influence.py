"""Removing one example from a minibatch, measured: what it does to the loss decrease of every other example."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from datadiet.landscape import ntk_gram
from datadiet.pergrad.batches import logits_of


@dataclass(frozen=True)
class LogitGradients:
    """Inner products of all logit gradients of a sample, and what follows from them; float64 on the CPU.

    Args:
        kernel: `<grad f_c(x_i), grad f_d(x_j)>`, shape (n, classes, n, classes).
        errors: `softmax(f(x_i)) - one_hot(y_i)`, shape (n, classes).
    """

    kernel: np.ndarray
    errors: np.ndarray

    @property
    def loss_gram(self) -> np.ndarray:
        """`<g_i, g_j>` of the loss gradients `g_i = sum_c errors[i, c] grad f_c(x_i)`, shape (n, n)."""
        return np.asarray(np.einsum("ic,icjd,jd->ij", self.errors, self.kernel, self.errors, optimize=True))

    @property
    def norms(self) -> np.ndarray:
        """Norm of each logit's gradient, shape (n, classes)."""
        count, classes = self.errors.shape
        diagonal = np.diagonal(self.kernel.reshape(count * classes, -1))
        return np.asarray(np.sqrt(np.maximum(diagonal, 0)).reshape(count, classes))

    @property
    def cosines(self) -> np.ndarray:
        """Cosines between the gradients of two different logits of the same example, (n, pairs of classes)."""
        count, classes = self.errors.shape
        own = self.kernel[np.arange(count), :, np.arange(count), :]
        norms = self.norms
        scale = np.maximum(norms[:, :, None] * norms[:, None, :], np.finfo(np.float64).tiny)
        rows, columns = np.triu_indices(classes, 1)
        return np.asarray((own / scale)[:, rows, columns])


def logit_gradients(model: nn.Module, inputs: Any, targets: torch.Tensor) -> LogitGradients:
    """Inner products of the logit gradients of a sample, from the exact tangent kernel.

    Args:
        model: in evaluation mode.
        inputs: the sample, as the model takes it.
        targets: int64 (n,).

    Example:
        >>> model = nn.Linear(2, 2, bias=False).eval()
        >>> _ = nn.init.zeros_(model.weight)
        >>> found = logit_gradients(model, torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([0, 1]))
        >>> found.loss_gram.round(6).tolist(), found.cosines.tolist()
        ([[12.5, -4.0], [-4.0, 2.0]], [[0.0], [0.0]])
    """
    with torch.no_grad():
        logits = logits_of(model, inputs).double().cpu()
    errors = (torch.softmax(logits, dim=1) - F.one_hot(targets.cpu(), logits.shape[1])).numpy()
    count, classes = errors.shape
    kernel = ntk_gram(model, inputs).double().cpu().numpy().reshape(count, classes, count, classes)
    return LogitGradients(kernel, errors)


def changes_of_a_step(
    model: nn.Module, inputs: Any, targets: torch.Tensor, rate: float, removed: np.ndarray
) -> np.ndarray:
    """How much less (or more) each loss falls in one step when an example is left out of the minibatch: really done.

    The minibatch is the whole sample; a step is `w - rate / n * (sum of loss gradients)`, without momentum and
    decay. Leaving out example j takes its share `rate / n * g_j` out of the step and rescales nothing, as in the
    lemma. Weights are moved and losses computed anew, in float64 where the device has it.

    Args:
        model: in evaluation mode; a copy is moved.
        inputs: the sample.
        targets: int64 (n,).
        rate: learning rate.
        removed: positions of the examples that are left out, one after the other.

    Returns:
        `loss_i after the step without j - loss_i after the step with all`, shape (removed, n).
    """
    moved = copy.deepcopy(model).eval()
    if targets.device.type != "mps":
        moved = moved.double()
        inputs = _doubled(inputs)
    parameters = [parameter for parameter in moved.parameters() if parameter.requires_grad]
    share = rate / len(targets)
    start = [parameter.detach().clone() for parameter in parameters]

    def gradient_of(loss: torch.Tensor) -> list[torch.Tensor]:
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]

    def losses() -> torch.Tensor:
        return F.cross_entropy(logits_of(moved, inputs), targets, reduction="none")

    whole = gradient_of(losses().sum())
    rows = []
    for position in [None, *removed.tolist()]:
        step = whole
        if position is not None:
            _set(parameters, start)
            alone = gradient_of(losses()[position])
            step = [total - one for total, one in zip(whole, alone, strict=True)]
        _set(parameters, [w - share * g for w, g in zip(start, step, strict=True)])
        with torch.no_grad():
            rows.append(losses().double().cpu().numpy())
    return np.asarray(np.stack(rows[1:]) - rows[0])


def _set(parameters: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def _doubled(inputs: Any) -> Any:
    if isinstance(inputs, torch.Tensor):
        return inputs.double() if inputs.is_floating_point() else inputs
    return {name: _doubled(value) for name, value in inputs.items()}
