"""The test part seen by a trained model: what it predicts, what is right, and the metrics of the task."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import nn

from datadiet.data import Batch
from datadiet.engine.setup import Setup
from datadiet.engine.training.evaluation import evaluate


def predict_test_part(
    setup: Setup, model: nn.Module
) -> tuple[torch.Tensor, torch.Tensor, dict[str, float | None]]:
    """Predict the test part in evaluation mode, on every process its share.

    Returns:
        In id order `prediction` int64 (n,), as the task's measures have it (classes, intents), and `correct` bool
        (n,); and the task's metrics beside accuracy by name, None where one is not defined: none for single-label
        classification.
    """
    if setup.task.single_label:
        prediction = _predict_classes(setup, model)
        return prediction, prediction == torch.from_numpy(setup.examples.test.labels), {}
    ids = setup.examples.test.ids
    prediction = torch.zeros(len(ids), dtype=torch.int64)
    correct = torch.zeros(len(ids), dtype=torch.bool)
    task = setup.plain_task
    seen: list[tuple[np.ndarray, torch.Tensor, torch.Tensor, dict[str, torch.Tensor], Any]] = []

    def visit(batch: Batch, outputs: Any) -> None:
        measured = task.measures(outputs, batch.targets)
        found = {name: values.cpu() for name, values in task.predictions(outputs, batch.targets).items()}
        places = np.searchsorted(ids, batch.ids.cpu().numpy())
        seen.append(
            (places, measured["prediction"].cpu(), measured["correct"].cpu(), found, _on_cpu(batch.targets))
        )

    evaluate(model, setup.test, setup.recipe, setup.accelerator, visit)
    if setup.accelerator.num_processes > 1:
        seen = gather_object(seen)
    for places, predicted, right, _, _ in seen:
        prediction[torch.from_numpy(places)] = predicted.long()
        correct[torch.from_numpy(places)] = right
    metrics = task.metrics([batch[3] for batch in seen], [batch[4] for batch in seen])
    further = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    further.pop("accuracy")
    return prediction, correct, further


def _predict_classes(setup: Setup, model: nn.Module) -> torch.Tensor:
    part = setup.examples.test
    prediction = torch.zeros(len(part), dtype=torch.int64)

    def visit(batch: Batch, logits: torch.Tensor) -> None:
        prediction[torch.from_numpy(part.positions_of(batch.ids.cpu().numpy()))] = logits.argmax(dim=-1).cpu()

    evaluate(model, setup.test, setup.recipe, setup.accelerator, visit)
    if setup.accelerator.num_processes > 1:
        device = setup.accelerator.device
        prediction = setup.accelerator.reduce(prediction.to(device), "sum").cpu()
    return prediction


def _on_cpu(targets: Any) -> Any:
    if isinstance(targets, dict):
        return {name: part.cpu() for name, part in targets.items()}
    return targets.cpu()
