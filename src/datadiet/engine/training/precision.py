"""Which precision and memory layout is fastest here, measured on the model itself."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from datadiet.data import Batch
from datadiet.engine.training.loop import autocast
from datadiet.engine.training.recipe import Recipe
from datadiet.engine.training.seeding import local_randomness
from datadiet.tasks import Task

WORTH_IT = (
    1.15  # a choice must be this much faster than plain float32 to be taken, so that noise decides nothing
)
HOPELESS = 2.0  # a first step this much slower is not tried again


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
        hopeful = [c for c in steps if first[c] <= HOPELESS * first[candidates[0]]]
        times: dict[tuple[str, str], list[float]] = {c: [] for c in hopeful}
        for _ in range(rounds):
            for choice in hopeful:
                times[choice].append(steps[choice]())
    medians = {choice: statistics.median(values) for choice, values in times.items()}
    best = min(medians, key=medians.__getitem__)
    return best if medians[candidates[0]] > WORTH_IT * medians[best] else candidates[0]


def _has_bfloat16(device: torch.device) -> bool:
    return device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())


def _timed_step(
    recipe: Recipe, model: nn.Module, batch: Batch, task: Task, device: torch.device
) -> Callable[[], float]:
    model = model.to(device).train()
    inputs = batch.inputs
    if recipe.memory_format == "channels_last" and isinstance(inputs, torch.Tensor):
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inputs = inputs.contiguous(memory_format=torch.channels_last)

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
