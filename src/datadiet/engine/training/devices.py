"""Which device a run is on, and the Accelerator that carries it there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.utils.deterministic
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from datadiet.foundation.errors import BadInputError

Device = Literal["auto", "cpu", "cuda", "mps"]


def accelerator_for(device: str = "auto") -> Accelerator:
    """An Accelerator on that device; under `torchrun` or `accelerate launch`, one of several.

    Precision is not left to it: autocast is chosen per recipe, so that runs of different precisions can
    share one process.

    Raises:
        BadInputError: there is no such device on this machine.
    """
    available = {
        "auto": True,
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device not in available:
        raise BadInputError(f"device is {device!r}; it must be one of {', '.join(available)}.")
    if not available[device]:
        raise BadInputError(
            f"device is {device!r}, but this machine or this build of torch has none; use 'auto'."
        )
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    wanted = "cpu" if device == "cpu" else None
    state = AcceleratorState._shared_state
    if state and device != "auto" and state["device"].type != device:
        AcceleratorState._reset_state(reset_partial_state=True)  # an earlier run was on another device
    return Accelerator(cpu=wanted == "cpu", mixed_precision="no")


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """Have cuDNN and cuBLAS choose kernels that give the same bits every time; settings are given back."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filling: Any = torch.utils.deterministic  # a module whose class holds the setting
    fill = filling.fill_uninitialized_memory
    try:
        filling.fill_uninitialized_memory = False  # costs time, and nothing here reads it
        cudnn.deterministic, cudnn.benchmark = True, False
        torch.use_deterministic_algorithms(True, warn_only=True)
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        filling.fill_uninitialized_memory = fill
