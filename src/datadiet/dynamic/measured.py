"""The one number that a selector wants of each example, from whatever the loop has at hand."""

from __future__ import annotations

from typing import Any

import torch

from datadiet.errors import BadInputError
from datadiet.scores.outputs import measures_of, read_batch
from datadiet.tasks.base import Task


def numbers_of(measure: str, losses_or_logits: Any, targets: Any) -> torch.Tensor:
    """(batch,) loss, el2n or probability.

    Args:
        measure: one of MEASURES.
        losses_or_logits: (batch,) per-example losses when `targets` is None, else (batch, classes) logits.
        targets: (batch,) integer labels, or None.

    Raises:
        BadInputError: a reduced loss, losses where the measure is another, shapes that do not fit.
    """
    with torch.no_grad():
        if targets is not None:
            if losses_or_logits is None:
                raise BadInputError("targets came without logits; give update(ids, logits, targets).")
            return measures_of(read_batch(losses_or_logits, targets), (measure,))[measure]
        losses = as_numbers(losses_or_logits)
        if losses.ndim == 0:
            raise BadInputError(
                "update got one loss for the whole batch; give one an example: reduction='none', then take the mean."
            )
        if losses.ndim != 1:
            raise BadInputError(
                f"update got a tensor of shape {tuple(losses.shape)} and no targets; give one loss an example, "
                "or logits and targets."
            )
        if measure != "loss":
            raise BadInputError(
                f"this selector ranks by {measure}, which losses do not give: call update(ids, logits, targets), "
                "or update(ids, measured=...) with numbers of your own."
            )
        return losses


def numbers_of_task(measure: str, task: Task, outputs: Any, targets: Any) -> torch.Tensor:
    """(batch,) loss, el2n (length of the error vector) or probability (`exp(-loss)`) by a task's own definitions."""
    with torch.no_grad():
        if measure == "el2n":
            lengths: torch.Tensor = torch.linalg.vector_norm(task.error(outputs, targets).float(), dim=1)
            return lengths
        losses = task.loss(outputs, targets)
        return torch.exp(-losses) if measure == "probability" else losses


def as_numbers(given: Any) -> torch.Tensor:
    """A detached tensor of float values.

    Raises:
        BadInputError: nothing was given, or no numbers.
    """
    if given is None:
        raise BadInputError("update got ids alone; give losses, or logits and targets.")
    try:
        numbers = given.detach() if isinstance(given, torch.Tensor) else torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInputError(
            f"update takes tensors or arrays of numbers, got {type(given).__name__}."
        ) from error
    return numbers if numbers.is_floating_point() else numbers.float()
