"""What a task is: how outputs and targets become a loss, an error vector and a correctness per example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import torch

from datadiet.foundation.registry import Registry

#: Target of a position that has none: special tokens, padding, and all but the first sub-token of a word.
IGNORED = -100


class Task(Protocol):
    """How model outputs and targets of a batch are read, one example at a time.

    Every method but `metrics` returns one row an example and never mixes examples, so that a score cannot
    depend on the batch that an example happened to be in, nor on how far that batch was padded.

    Attributes:
        name: what the task is called: one of `datadiet.tasks.TASKS`.
        single_label: whether outputs are logits (batch, classes) with one class an example, as `datadiet.scores` has
            it; the measures of every other task come from `measures`.
    """

    name: ClassVar[str]
    single_label: ClassVar[bool] = False

    def loss(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Loss of each example that is trained on, shape (batch,)."""

    def error(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Gradient of the example's loss with respect to its outputs, shape (batch, any); its norm is EL2N."""

    def correct(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Whether each example is predicted right: bool, shape (batch,)."""

    def measures(self, outputs: Any, targets: Any) -> dict[str, torch.Tensor]:
        """What is recorded of each example: names of `datadiet.scores.outputs.MEASURES`, as far as defined.

        "probability", "el2n", "loss", "prediction" and "correct" are always there. Real ones are float32 or
        wider and of shape (batch,); "prediction" is int32; "correct" is bool.
        """

    def predictions(self, outputs: Any, targets: Any) -> dict[str, torch.Tensor]:
        """What has to be kept of a test batch for `metrics`; first dimension (batch,)."""

    def metrics(
        self, predictions: Sequence[Mapping[str, torch.Tensor]], truths: Sequence[Any]
    ) -> dict[str, float]:
        """Test metrics of many batches: what `predictions` gave for each, and the targets of each.

        Batches may be of any size and padded to any length. "accuracy" (the mean of `correct`) is always there.
        """


#: Every task by its name, in the order in which they are defined.
TASKS: Registry[type[Task]] = Registry("task")
TaskClass = TypeVar("TaskClass", bound=type[Task])


def register_task(task: TaskClass) -> TaskClass:
    """Make a dataclass known as a task by its `name`; its fields are the options of `task_for` that it takes."""
    TASKS.add(task.name, task)
    return task


def at_least_float32(outputs: torch.Tensor) -> torch.Tensor:
    """The outputs in float32, or as they are in float64."""
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs


def norm_of_rows(rows: torch.Tensor) -> torch.Tensor:
    """L2 norm over the last dimension; the squares of tiny entries do not vanish in float32.

    Args:
        rows: (batch, entries), no entry below zero.

    Example:
        >>> norm_of_rows(torch.tensor([[3e-30, 4e-30], [0.0, 0.0]]))
        tensor([5.0000e-30, 0.0000e+00])
    """
    if rows.shape[-1] == 0:
        return rows.sum(-1)
    largest = rows.amax(-1, keepdim=True)
    scale = torch.where(largest > 0, largest, torch.ones_like(largest))
    return (rows / scale).square().sum(-1).sqrt() * scale.squeeze(-1)


def on_cpu(batches: Sequence[Any]) -> list[Any]:
    """Tensors, or dicts of tensors, brought to the processor: what a test pass kept may lie on several devices."""
    return [
        {key: part.cpu() for key, part in batch.items()} if isinstance(batch, Mapping) else batch.cpu()
        for batch in batches
    ]


def mean_of(right: Sequence[torch.Tensor]) -> float:
    """Mean of bool tensors taken together; NaN where there is nothing."""
    count = sum(len(part) for part in right)
    return sum(int(part.sum()) for part in right) / count if count else float("nan")
