"""Where and how precisely a run computes: device, deterministic kernels, precision, memory layout."""

from __future__ import annotations

import itertools
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from datadiet.data import Batch
from datadiet.engine.training.randomness import local_randomness
from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.errors import BadInputError
from datadiet.tasks import Task

# A choice must be this much faster than plain float32 to be taken, so that noise decides nothing.
MIN_SPEEDUP = 1.15
MAX_SLOWDOWN = 2.0  # a first step this much slower is not tried again


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
    state = AcceleratorState._shared_state
    if state and device != "auto" and state["device"].type != device:
        AcceleratorState._reset_state(reset_partial_state=True)  # an earlier run was on another device
    return Accelerator(cpu=device == "cpu", mixed_precision="no")


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


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """The recipe's precision as a context for the forward pass."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bfloat16")


def memory_format_of(recipe: Recipe) -> torch.memory_format:
    """How batches of images lie in memory."""
    return torch.channels_last if recipe.memory_format == "channels_last" else torch.contiguous_format


def on_device(recipe: Recipe, model: nn.Module, device: torch.device) -> nn.Module:
    """The model on the device, in the recipe's memory layout."""
    model = model.to(device)
    if recipe.memory_format == "channels_last":
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def fastest_precision(
    recipe: Recipe,
    build: Callable[[], nn.Module],
    batch: Batch,
    task: Task,
    device: torch.device,
    *,
    rounds: int = 5,
) -> tuple[str, str]:
    """Time training steps in each allowed combination and name the fastest.

    Args:
        recipe: fields that are not "auto" are kept as they are.
        build: gives a fresh model.
        batch: a training batch, on the device.
        task: gives the loss.
        device: where to measure.
        rounds: timed steps of each combination, interleaved; their median counts.

    Returns:
        (precision, memory_format).
    """
    image_like = isinstance(batch.inputs, torch.Tensor) and batch.inputs.ndim == 4
    layouts = ["contiguous", "channels_last"] if image_like else ["contiguous"]
    precisions = ["float32", "bfloat16"] if _has_bfloat16(device) else ["float32"]
    if recipe.memory_format != "auto":
        layouts = [recipe.memory_format]
    if recipe.precision != "auto":
        precisions = [recipe.precision]
    candidates = list(itertools.product(precisions, layouts))
    if len(candidates) == 1:
        return candidates[0]
    steps: dict[tuple[str, str], Callable[[], float]] = {}
    with local_randomness(device):
        for precision, layout in candidates:
            fixed = recipe.replace(precision=precision, memory_format=layout)
            steps[precision, layout] = _timed_step(fixed, build(), batch, task, device)
        first = {choice: step() for choice, step in steps.items()}
        first = {choice: min(first[choice], steps[choice]()) for choice in steps}
        hopeful = [c for c in candidates if first[c] <= MAX_SLOWDOWN * first[candidates[0]]]
        times = [{choice: steps[choice]() for choice in hopeful} for _ in range(rounds)]
    medians = {choice: statistics.median(taken[choice] for taken in times) for choice in hopeful}
    best = min(medians, key=medians.__getitem__)
    return best if medians[candidates[0]] > MIN_SPEEDUP * medians[best] else candidates[0]


def _has_bfloat16(device: torch.device) -> bool:
    return device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())


def _timed_step(
    recipe: Recipe, model: nn.Module, batch: Batch, task: Task, device: torch.device
) -> Callable[[], float]:
    model = on_device(recipe, model, device).train()
    inputs = batch.inputs
    if isinstance(inputs, torch.Tensor) and inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=memory_format_of(recipe))

    def step() -> float:
        _wait_for(device)
        before = time.perf_counter()
        with autocast(recipe, device):
            outputs = model(inputs)
        task.loss(outputs, batch.targets).mean().backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        _wait_for(device)
        return time.perf_counter() - before

    return step


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
