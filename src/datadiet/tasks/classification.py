"""Single-label classification: cross-entropy on logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from datadiet.tasks.base import on_cpu, share
from datadiet.tasks.softmax_rows import cross_entropies, softmax_errors, softmax_rows


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

    @property
    def single_label(self) -> bool:
        """True: its measures are those of `datadiet.scores.outputs`."""
        return True

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of each example in float32 or wider, shape (batch,)."""
        return cross_entropies(outputs, targets, self.label_smoothing)

    def error(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """`softmax(outputs) - one_hot(targets)`, shape (batch, classes)."""
        return softmax_errors(outputs, targets)

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Whether the largest logit is the target's: bool, shape (batch,)."""
        return outputs.argmax(dim=-1) == targets

    def measures(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """All measures of `datadiet.scores.outputs`, by the formulas there."""
        rows = softmax_rows(outputs, targets)
        return {
            "probability": rows.probability,
            "el2n": rows.el2n,
            "l1_error": rows.l1_error,
            "entropy": rows.entropy,
            "loss": rows.loss,
            "margin": rows.margin,
            "logit_margin": rows.logit_margin,
            "prediction": rows.prediction.to(torch.int32),
            "correct": rows.correct,
        }

    def predictions(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """`prediction`: the class of the largest logit, int64 (batch,)."""
        return {"prediction": outputs.argmax(dim=-1)}

    def metrics(
        self, predictions: Sequence[Mapping[str, torch.Tensor]], truths: Sequence[torch.Tensor]
    ) -> dict[str, float]:
        """`accuracy` over all batches."""
        pairs = zip(on_cpu(predictions), on_cpu(truths), strict=True)
        return {"accuracy": share([found["prediction"] == truth for found, truth in pairs])}
