"""One forward pass in evaluation mode: outputs by id, with no dropout, no augmentation, no shuffling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from datadiet.data import Batch, Store
from datadiet.engine.training.devices import autocast, memory_format_of
from datadiet.engine.training.recipe import Recipe
from datadiet.pergrad.batches import map_tensors


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode inside; afterwards each in the mode it was in."""
    before = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in before:
            module.training = training


def evaluate(
    model: nn.Module,
    store: Store,
    recipe: Recipe,
    accelerator: Accelerator,
    visit: Callable[[Batch, Any], None],
    *,
    ids: np.ndarray | None = None,
    batch_size: int | None = None,
) -> None:
    """Call `visit(batch, outputs)` for every batch of this process's share, in id order, or texts by length.

    Texts of similar length go together, which makes for fewer pads and the same numbers; streamed ones only where
    the recipe asks for it, since they have to be read once more for it.

    Args:
        model: on the accelerator's device.
        store: the part to go over.
        recipe: gives precision, memory format and (times two) the batch size.
        accelerator: gives device and share.
        visit: receives the batch and what the model puts out for it, in float32.
        ids: which ids; None for all.
        batch_size: examples a pass; None for twice the training batch.
    """
    batches = share_of(store, recipe, accelerator, ids=ids, batch_size=batch_size or 2 * recipe.batch_size)
    with evaluation_mode(model), torch.inference_mode():
        for batch in batches:
            with autocast(recipe, accelerator.device):
                outputs = model(batch.inputs)
            visit(batch, in_float32(outputs))


def share_of(
    store: Store, recipe: Recipe, accelerator: Accelerator, *, ids: np.ndarray | None, batch_size: int
) -> Iterator[Batch]:
    """The batches of this process's share, in the order of `evaluate`; arguments as there."""
    batches = store.epoch(
        ids,
        batch_size=batch_size,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        device=accelerator.device,
        memory_format=memory_format_of(recipe),
        bucket_by_length=store.in_memory or recipe.bucket_by_length,
    )
    return (batch for batch in batches if len(batch))


def in_float32(outputs: Any) -> Any:
    """Every floating point tensor of a model's outputs in float32."""
    return map_tensors(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor, outputs)
