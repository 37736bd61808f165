"""Batches that do not fit are taken in parts: by a budget that was given, or by what the device refuses."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from datadiet.errors import BadInputError
from datadiet.pergrad.engine import Engine, take
from datadiet.pergrad.factors import WORKSPACE_BYTES

# Beside what autograd keeps: gradients on the way back, and the working buffers of one layer.
HEADROOM = 1.5


def in_parts(
    engine: Engine, inputs: Any, targets: Any, batch: int, max_memory: int | None
) -> dict[str, torch.Tensor]:
    """Squared norms by parameter name, computed on as many examples at a time as fit.

    Raises:
        BadInputError: if not even one example fits.
    """
    size = batch if max_memory is None else min(batch, _fitting(engine, inputs, targets, batch, max_memory))
    found: list[dict[str, torch.Tensor]] = []
    start = 0
    while start < batch:
        stop = min(start + size, batch)
        part = (
            (inputs, targets) if stop - start == batch else take((inputs, targets), slice(start, stop), batch)
        )
        try:
            found.append(engine.squared_norms(part[0], part[1], stop - start))
            start = stop
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            if stop - start == 1:
                raise BadInputError(
                    "One example alone does not fit into the memory of the device: use a device with more, "
                    "half precision (autocast=torch.bfloat16) or shorter inputs."
                ) from error
            size = max(1, (stop - start) // 2)
        if torch.cuda.is_available() and size < batch:
            torch.cuda.empty_cache()
    if len(found) == 1:
        return found[0]
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}


def _out_of_memory(error: RuntimeError) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return True
    told = str(error)
    return "not enough memory" in told or "can't allocate memory" in told or "out of memory" in told


def _fitting(engine: Engine, inputs: Any, targets: Any, batch: int, max_memory: int) -> int:
    """How many examples fit in a budget, from what autograd keeps for one."""
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in engine.model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        part = take((inputs, targets), slice(0, 1), batch)
        engine.checked(engine.plain_losses(*part), 1)
    each = int(HEADROOM * sum(kept.values())) + 1
    fitting = (max_memory - min(WORKSPACE_BYTES, max_memory // 2)) // each
    if fitting < 1:
        raise BadInputError(
            f"One example takes about {each + WORKSPACE_BYTES} bytes, more than max_memory={max_memory}: "
            "raise it to at least that."
        )
    return fitting
