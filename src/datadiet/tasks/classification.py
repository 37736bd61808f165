"""Single-label classification: cross-entropy on logits, and softmax measures of single rows of logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from datadiet.tasks.base import IGNORED, Task, at_least_float32, mean_of, on_cpu, register_task


@dataclass(frozen=True)
class SoftmaxRows:
    """Everything of `(..., classes)` logits and their targets `(...)`; each attribute has the targets' shape.

    Rows whose target is `IGNORED` hold 0 everywhere, and False in `real`.

    Attributes:
        real: whether the row has a target.
        probability: softmax of the target.
        el2n: `|softmax - one_hot|_2`.
        l1_error: `|softmax - one_hot|_1 = 2 (1 - probability)`.
        entropy: `-sum_j p_j log p_j` in nats.
        loss: cross-entropy in nats, without label smoothing.
        margin: probability of the target minus the largest other.
        logit_margin: logit of the target minus the largest other.
        prediction: class of the largest logit, int64.
        correct: whether it is the target's; False where there is none.
    """

    real: torch.Tensor
    probability: torch.Tensor
    el2n: torch.Tensor
    l1_error: torch.Tensor
    entropy: torch.Tensor
    loss: torch.Tensor
    margin: torch.Tensor
    logit_margin: torch.Tensor
    prediction: torch.Tensor
    correct: torch.Tensor


def softmax_rows(logits: torch.Tensor, targets: torch.Tensor) -> SoftmaxRows:
    """Measure each row of logits against its target.

    The target's logit is taken out first: `1 - p_target` is a sum of the other classes and never a difference of
    nearly equal numbers, so that easy rows keep distinct scores in float32.

    Args:
        logits: (..., classes), at least one class.
        targets: (...) int64, a class or `IGNORED`.

    Example:
        >>> rows = softmax_rows(torch.zeros(1, 2, 2), torch.tensor([[0, IGNORED]]))
        >>> rows.loss
        tensor([[0.6931, 0.0000]])
    """
    real = targets != IGNORED
    index = torch.where(real, targets, torch.zeros_like(targets)).unsqueeze(-1)
    values = at_least_float32(logits.detach())
    label = values.gather(-1, index).squeeze(-1)
    others = values.scatter(-1, index, float("-inf"))
    largest_other = others.amax(-1).clamp(min=torch.finfo(values.dtype).min)
    top = torch.maximum(label, largest_other)
    others = (others - largest_other.unsqueeze(-1)).exp_()
    scale, at_label = (largest_other - top).exp_(), (label - top).exp_()
    unscaled = others.sum(-1)
    total = unscaled * scale + at_label
    log_total = torch.log1p(unscaled * scale + (at_label - 1))
    # Scaled after the root: the square of a probability of 1e-20 would be 0 in float32.
    el2n = (others.square().sum(-1) + unscaled.square()).sqrt() * scale / total
    entropy = torch.special.entr(others).sum(-1) * scale + unscaled * scale * (top - largest_other)
    entropy = (entropy + torch.special.entr(at_label)) / total + log_total
    prediction = values.argmax(-1)

    def kept(measure: torch.Tensor) -> torch.Tensor:
        return torch.where(real, measure, torch.zeros_like(measure))

    return SoftmaxRows(
        real=real,
        probability=kept(at_label / total),
        el2n=kept(el2n),
        l1_error=kept(2 * unscaled * scale / total),
        entropy=kept(entropy),
        loss=kept(log_total - (label - top)),
        margin=kept((at_label - scale) / total),
        logit_margin=kept(label - largest_other),
        prediction=prediction,
        correct=(prediction == targets) & real,
    )


def cross_entropies(logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """Cross-entropy of each row of `(..., classes)` logits, with gradients; 0 where there is no target."""
    flat = F.cross_entropy(
        at_least_float32(logits).reshape(-1, logits.shape[-1]),
        targets.reshape(-1),
        reduction="none",
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
    )
    return flat.reshape(targets.shape)


def softmax_errors(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """`softmax - one_hot` of each row, shape (..., classes); 0 in rows without a target."""
    real = (targets != IGNORED).unsqueeze(-1)
    index = torch.where(targets != IGNORED, targets, torch.zeros_like(targets)).unsqueeze(-1)
    errors = torch.softmax(at_least_float32(logits), dim=-1)
    errors = errors - torch.zeros_like(errors).scatter(-1, index, 1.0)
    return torch.where(real, errors, torch.zeros_like(errors))


def per_word(values: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Mean over the words of each example: (batch, tokens) -> (batch,); 0 where there is no word."""
    total = torch.where(real, values, torch.zeros_like(values)).sum(1)
    return total / real.sum(1).clamp(min=1)


@register_task
@dataclass(frozen=True)
class Classification(Task):
    """Softmax cross-entropy over `(batch, classes)` logits and int64 targets `(batch,)`.

    Args:
        label_smoothing: share of the target mass that is spread evenly over all classes, in the loss only.

    Example:
        >>> task = Classification()
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
        >>> task.correct(logits, torch.tensor([0, 0])).tolist()
        [True, False]
    """

    name: ClassVar[str] = "classification"
    single_label: ClassVar[bool] = True
    label_smoothing: float = 0.0

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
        rows = vars(softmax_rows(outputs, targets))
        measures = {name: values for name, values in rows.items() if name != "real"}
        return measures | {"prediction": measures["prediction"].to(torch.int32)}

    def predictions(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """`prediction`: the class of the largest logit, int64 (batch,)."""
        return {"prediction": outputs.argmax(dim=-1)}

    def metrics(
        self, predictions: Sequence[Mapping[str, torch.Tensor]], truths: Sequence[torch.Tensor]
    ) -> dict[str, float]:
        """`accuracy` over all batches."""
        pairs = zip(on_cpu(predictions), on_cpu(truths), strict=True)
        return {"accuracy": mean_of([found["prediction"] == truth for found, truth in pairs])}
