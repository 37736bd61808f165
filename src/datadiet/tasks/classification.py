"""Single-label classification: cross-entropy on logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Classification:
    """Softmax cross-entropy over `(batch, classes)` logits and int64 targets `(batch,)`.

    Args:
        label_smoothing: share of the target mass that is spread evenly over all classes, in the loss only.

    Example:
        >>> task = Classification()
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
        >>> task.correct(logits, torch.tensor([0, 0])).tolist()
        [True, False]
    """

    label_smoothing: float = 0.0
    name: str = "classification"

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of each example in float32 or wider, shape (batch,)."""
        return F.cross_entropy(
            outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs,
            targets,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )

    def error(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """`softmax(outputs) - one_hot(targets)`, shape (batch, classes)."""
        probabilities = torch.softmax(outputs.float(), dim=-1)
        rows = torch.arange(len(targets), device=targets.device)
        probabilities[rows, targets] -= 1.0
        return probabilities

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Whether the largest logit is the target's: bool, shape (batch,)."""
        return outputs.argmax(dim=-1) == targets
