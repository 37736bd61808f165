"""Re-estimating the running statistics of BatchNorm from data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from datadiet.errors import BadInputError
from datadiet.landscape.outputs import ForwardFunction, moved, outputs_of


def tracking_layers(model: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers of a model that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def reestimate_statistics(
    model: nn.Module, inputs: Iterable[Any], device: torch.device, forward: ForwardFunction | None
) -> None:
    """Replace running means and variances, in place, by the plain average over the given batches' own.

    Only BatchNorm layers go into training mode meanwhile: nothing is dropped out. Every batch counts the same, so
    equal batches are best.

    Args:
        inputs: the inputs of each batch.

    Raises:
        BadInputError: if there is no batch, or one too small to have a variance.
    """
    layers = tracking_layers(model)
    momenta = [layer.momentum for layer in layers]
    model.eval()
    seen = 0
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        with torch.no_grad():
            for batch in inputs:
                outputs_of(model, moved(batch, device), forward)
                seen += 1
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise BadInputError(
            f"Batch {seen} for re-estimating BatchNorm statistics has one value per channel: use larger batches, or "
            "leave out a last one of a single example."
        ) from error
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
    if not seen:
        raise BadInputError("There is no batch to re-estimate BatchNorm statistics on.")
