"""What a recorder notes of a batch of any task: its measures, and a number that tells each example's target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from datadiet.errors import BadInputError
from datadiet.tasks import Task

#: Below 2**24, so that float32 holds every remainder exactly; prime, so that few targets share one.
_MODULUS = 16_777_213
_IGNORED = -100


def read_task_batch(task: Task, outputs: Any, targets: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The measures that the task has of a batch, and the numbers of its targets.

    Args:
        task: of several labels, tags or numbers an example.
        outputs: as the task takes them.
        targets: as the task takes them.

    Returns:
        The measures by name, each (batch,); and (batch,) int64 from `target_numbers`.
    """
    with torch.no_grad():
        return task.measures(_detached(outputs), targets), target_numbers(targets)


def target_numbers(targets: Any) -> torch.Tensor:
    """A number for each example's target, by which one that changed is noticed: (batch,) int64, below 2**24.

    Padding does not count: a sequence has the same number in every batch.

    Args:
        targets: (batch, ...) tensor, -100 where there is nothing, or a dict of such tensors.

    Raises:
        BadInputError: targets of another type.

    Example:
        >>> target_numbers(torch.tensor([[1, -100, 2], [1, 2, -100], [2, 1, -100]])).tolist()
        [8, 8, 7]
    """
    if isinstance(targets, Mapping):
        return sum(
            (target_numbers(targets[name]) * (1 + place) for place, name in enumerate(sorted(targets))),
            start=torch.zeros((), dtype=torch.int64),
        ).remainder(_MODULUS)
    if not isinstance(targets, torch.Tensor):
        raise BadInputError(f"targets must be a tensor or a dict of tensors, not {type(targets).__name__}.")
    values = targets.detach()
    if values.is_floating_point():
        values = values.float().contiguous().view(torch.int32)
    rows = values.to(torch.int64).flatten(1) if values.ndim > 1 else values.to(torch.int64)[:, None]
    real = rows != _IGNORED
    weights = real.cumsum(1)  # the place among what is there, so that padding moves nothing
    terms = ((rows + 1).remainder(_MODULUS) * weights).masked_fill(~real, 0)
    return terms.sum(1).remainder(_MODULUS)


def _detached(outputs: Any) -> Any:
    if isinstance(outputs, Mapping):
        return {name: _detached(part) for name, part in outputs.items()}
    return outputs.detach() if isinstance(outputs, torch.Tensor) else outputs
