"""Several labels an example: binary cross-entropy on each logit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from datadiet.foundation.errors import BadInputError
from datadiet.tasks.base import Task, at_least_float32, mean_of, norm_of_rows, on_cpu, register_task


@register_task
@dataclass(frozen=True)
class MultiLabel(Task):
    """Each of the labels is there or not: logits `(batch, labels)`, targets 0 or 1 `(batch, labels)`, float32.

    Args:
        label_smoothing: s in the targets `y (1 - s) + s / 2` of the loss; nothing else is smoothed.

    Example:
        >>> task = MultiLabel()
        >>> task.correct(torch.tensor([[2.0, -1.0], [2.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])).tolist()
        [True, False]
    """

    name: ClassVar[str] = "multilabel"
    label_smoothing: float = 0.0

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean over the labels of the binary cross-entropy, shape (batch,)."""
        logits = _logits(outputs, targets)
        smoothed = targets.to(logits.dtype) * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none").mean(1)

    def error(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """`sigmoid(outputs) - targets`, shape (batch, labels).

        The gradient, with respect to the logits, of the *sum* over labels of the binary cross-entropy, not
        smoothed; that of the mean is this divided by the number of labels, which changes no order.
        """
        logits = _logits(outputs, targets)
        return torch.sigmoid(logits) - targets.to(logits.dtype)

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Whether exactly the right labels have a probability above 0.5: bool, shape (batch,)."""
        return ((_logits(outputs, targets) > 0) == (targets > 0.5)).all(dim=1)

    def measures(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Measures of each example, shape (batch,); all are ours, by the derivation of EL2N.

        With `q_j` the probability that the model gives to what is true of label j (there, or not there):

        - el2n: `|sigmoid - y|_2 = sqrt(sum_j (1 - q_j)²)`; l1_error: `sum_j (1 - q_j)`.
        - loss: mean of `-log q_j`, never smoothed.
        - probability: `exp(-loss)`, the geometric mean of the `q_j`.
        - entropy: mean over labels of the entropy of there or not there, in nats.
        - margin: the smallest `q_j - (1 - q_j)`; logit_margin: the smallest logit for what is true.
        - prediction: the number of labels that are wrong at 0.5, int32; 0 if and only if `correct`.
        - correct: as `correct`.
        """
        logits = _logits(outputs.detach(), targets)
        toward = torch.where(targets > 0.5, logits, -logits)
        errors = torch.sigmoid(-toward)
        loss = F.softplus(-toward).mean(1)
        # Of the less likely outcome with probability p: p log(1/p) + (1 - p) log(1/(1 - p)), from |logit| alone.
        size = logits.abs()
        entropy = F.softplus(-size) + size * torch.sigmoid(-size)
        wrong = ((logits > 0) != (targets > 0.5)).sum(1)
        return {
            "probability": torch.exp(-loss),
            "el2n": norm_of_rows(errors),
            "l1_error": errors.sum(1),
            "entropy": entropy.mean(1),
            "loss": loss,
            "margin": torch.tanh(toward / 2).amin(1),
            "logit_margin": toward.amin(1),
            "prediction": wrong.to(torch.int32),
            "correct": wrong == 0,
        }

    def predictions(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """`labels` bool (batch, labels): those with a probability above 0.5."""
        return {"labels": outputs > 0}

    def metrics(
        self, predictions: Sequence[Mapping[str, torch.Tensor]], truths: Sequence[torch.Tensor]
    ) -> dict[str, float]:
        """Metrics over all batches.

        - accuracy: share of examples with exactly the right labels.
        - micro_f1: `2 tp / (2 tp + fp + fn)` over all labels together.
        - macro_f1: the mean of that over labels, those left out that are neither true nor predicted anywhere.

        Where no label is true or predicted at all, both are 1: there was nothing to find and nothing was found.
        """
        pairs = [
            (batch["labels"], truth > 0.5)
            for batch, truth in zip(on_cpu(predictions), on_cpu(truths), strict=True)
        ]
        if not pairs or not sum(len(truth) for _, truth in pairs):
            return dict.fromkeys(("accuracy", "micro_f1", "macro_f1"), float("nan"))
        both = torch.stack([(found & truth).sum(0) for found, truth in pairs]).sum(0).double()
        either = torch.stack([found.sum(0) + truth.sum(0) for found, truth in pairs]).sum(0).double()
        present = either > 0
        return {
            "accuracy": mean_of([(found == truth).all(dim=1) for found, truth in pairs]),
            "micro_f1": float(2 * both.sum() / either.sum()) if present.any() else 1.0,
            "macro_f1": float((2 * both[present] / either[present]).mean()) if present.any() else 1.0,
        }


def _logits(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The logits, one for each target.

    Raises:
        BadInputError: other shapes, which would be stretched to each other.
    """
    if outputs.ndim != 2 or outputs.shape != targets.shape:
        raise BadInputError(
            f"logits of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)} do not fit the task "
            "'multilabel': both are (batch, labels)."
        )
    return at_least_float32(outputs)
