"""What a task is: how outputs and targets become a loss, an error vector and a correctness per example."""

from __future__ import annotations

from typing import Protocol

import torch


class Task(Protocol):
    """How model outputs and targets of a batch are read, one example at a time.

    Every method returns one row an example and never mixes examples, so that a score cannot depend on
    the batch that an example happened to be in.
    """

    @property
    def name(self) -> str:
        """What the task is called."""
        ...

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss of each example, shape (batch,)."""
        ...

    def error(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Gradient of the loss with respect to the outputs, flattened: shape (batch, outputs)."""
        ...

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Whether each example is predicted right: bool, shape (batch,)."""
        ...
