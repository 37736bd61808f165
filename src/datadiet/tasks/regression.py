"""Regression: one real number an example, half its squared error in standard deviations of the training targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from datadiet.foundation.errors import BadInputError
from datadiet.tasks.base import Task, at_least_float32, mean_of, register_task

#: An example counts as predicted right within this many standard deviations of the training targets; our choice.
TOLERANCE = 0.5


@register_task
@dataclass(frozen=True)
class Regression(Task):
    """A real target: outputs `(batch,)` or `(batch, 1)`, targets float `(batch,)` in their own unit.

    The model works in standard deviations: its prediction is `target_mean + target_scale * output`, so that a
    network with a fresh head learns prices in the thousands as easily as shares below one.

    Args:
        target_scale: standard deviation of the training targets.
        target_mean: mean of the training targets; 0 leaves finding it to the bias of the network.

    Raises:
        BadInputError: the scale is not a number above zero, or the mean is no number.

    Example:
        >>> task = Regression(target_scale=10.0, target_mean=100.0)
        >>> task.loss(torch.tensor([[1.0]]), torch.tensor([90.0]))
        tensor([2.])
    """

    name: ClassVar[str] = "regression"
    target_scale: float = 1.0
    target_mean: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.target_scale) and self.target_scale > 0):
            raise BadInputError(
                f"The scale of the targets must be a number above zero, not {self.target_scale}; targets that "
                "are all equal leave nothing to learn."
            )
        if not math.isfinite(self.target_mean):
            raise BadInputError(f"The mean of the targets must be a number, not {self.target_mean}.")

    def _residual(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        values = at_least_float32(outputs)
        # Centred in the targets' own precision: 1e6 and 1e6 + 1 stay apart.
        wanted = (targets - self.target_mean) / self.target_scale
        return self._flat(values, targets) - wanted.to(values.dtype)

    @staticmethod
    def _flat(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if outputs.shape not in (targets.shape, (*targets.shape, 1)):
            raise BadInputError(
                f"Regression takes one output an example, shape ({len(targets)},) or ({len(targets)}, 1), not "
                f"{tuple(outputs.shape)}; build the model with one output."
            )
        return outputs.reshape(targets.shape)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """`½ r²`, r being the difference to the target in standard deviations; shape (batch,)."""
        return self._residual(outputs, targets).square() / 2

    def error(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """r, the gradient of the loss with respect to the output; shape (batch, 1)."""
        return self._residual(outputs, targets).unsqueeze(1)

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Whether the prediction is within half a standard deviation of the target (ours): bool, shape (batch,)."""
        return self._residual(outputs, targets).abs() <= TOLERANCE

    def measures(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Measures of each example, shape (batch,); all are ours. Entropy and margins have no meaning here.

        - el2n, l1_error: `|r|`, the difference to the target in standard deviations.
        - loss: `½ r²`.
        - probability: `exp(-loss)`, the density of a unit Gaussian against its peak.
        - prediction: the difference in whole standard deviations, rounded, int32; 0 if and only if `correct`.
        - correct: as `correct`.
        """
        distance = self._residual(outputs.detach(), targets).abs()
        loss = distance.square() / 2
        away = torch.nan_to_num(torch.round(distance), nan=2.0**30).clamp(max=2.0**30)
        return {
            "probability": torch.exp(-loss),
            "el2n": distance,
            "l1_error": distance.clone(),
            "loss": loss,
            "prediction": away.to(torch.int32),
            "correct": distance <= TOLERANCE,
        }

    def predictions(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """`value` (batch,): predictions in the targets' own unit."""
        return {
            "value": self._flat(at_least_float32(outputs), targets) * self.target_scale + self.target_mean
        }

    def metrics(
        self, predictions: Sequence[Mapping[str, torch.Tensor]], truths: Sequence[torch.Tensor]
    ) -> dict[str, float]:
        """Metrics over all batches, computed in float64.

        - accuracy: share of examples within half a standard deviation of the training targets (ours).
        - rmse, mae: in the targets' own unit.
        - r2: `1 - sum r² / sum (y - mean y)²` of these examples; NaN where all targets are equal.
        - spearman: correlation of the ranks, equal values at their mean rank; NaN where all of one side are equal.
        """
        if not sum(len(truth) for truth in truths):
            return dict.fromkeys(("accuracy", "rmse", "mae", "r2", "spearman"), float("nan"))
        found = torch.cat([batch["value"].reshape(-1).cpu().double() for batch in predictions])
        true = torch.cat([truth.reshape(-1).cpu().double() for truth in truths])
        residual = found - true
        around_mean = (true - true.mean()).square().sum()
        return {
            "accuracy": mean_of([residual.abs() <= TOLERANCE * self.target_scale]),
            "rmse": float(residual.square().mean().sqrt()),
            "mae": float(residual.abs().mean()),
            "r2": float(1 - residual.square().sum() / around_mean) if around_mean > 0 else float("nan"),
            "spearman": _correlation(_mean_ranks(found), _mean_ranks(true)),
        }


def _mean_ranks(values: torch.Tensor) -> torch.Tensor:
    """Ranks from 0, equal values at the mean of theirs."""
    _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0) - 1
    mean_ranks: torch.Tensor = last - (counts - 1) / 2
    return mean_ranks[place].double()


def _correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    a, b = first - first.mean(), second - second.mean()
    size = a.square().sum().sqrt() * b.square().sum().sqrt()
    return float((a * b).sum() / size) if size > 0 else float("nan")
