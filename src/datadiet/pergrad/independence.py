"""A check that the loss of an example depends on that example alone."""

from __future__ import annotations

from typing import Any

import torch

from datadiet.errors import BadInputError
from datadiet.pergrad.engine import Engine, take

EXAMPLES_CHECKED = 4


def check_independence(engine: Engine, inputs: Any, targets: Any, batch: int) -> None:
    """Compare the losses of a few examples in their batch with their losses alone.

    The tolerance leaves room for kernels that round differently for other batch sizes, and for nothing else.

    Raises:
        BadInputError: if a loss changes; the message names the first module whose output does.
    """
    if batch < 2:
        return
    together, outputs = _run(engine, inputs, targets, batch)
    half = engine.autocast is not None or any(
        p.dtype in (torch.float16, torch.bfloat16) for p in engine.chosen.values()
    )
    tolerance = 5e-2 if half else 1e-3
    for position in sorted(
        {round(i * (batch - 1) / (EXAMPLES_CHECKED - 1)) for i in range(EXAMPLES_CHECKED)}
    ):
        part = take((inputs, targets), slice(position, position + 1), batch)
        alone, one = _run(engine, part[0], part[1], 1)
        for (name, whole), (_, single) in zip(outputs, one, strict=False):
            if _differs(whole, single, batch, position, tolerance):
                raise BadInputError(
                    f"{name} gives example {position} another output in its batch than alone, so examples "
                    "interact and have no gradients of their own (statistics over the batch, attention or "
                    "sampling across it?)."
                )
        if not torch.allclose(together[position], alone[0], rtol=tolerance, atol=tolerance):
            raise BadInputError(
                f"The loss of example {position} is {together[position].item():.6g} in its batch and "
                f"{alone[0].item():.6g} alone: the loss or the model compares examples with each other (a "
                "contrastive loss, batch statistics), so an example has no gradient of its own."
            )


def _run(
    engine: Engine, inputs: Any, targets: Any, batch: int
) -> tuple[torch.Tensor, list[tuple[str, torch.Tensor]]]:
    """Losses of a batch, and the output of each module that returns one tensor, in the order of calls."""
    outputs: list[tuple[str, torch.Tensor]] = []
    handles = []

    def keep(label: str) -> Any:
        def hook(module: torch.nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point():
                outputs.append((label, output.detach()))

        return hook

    try:
        for name, module in engine.model.named_modules():
            label = f"`{name}` ({type(module).__name__})" if name else f"The model ({type(module).__name__})"
            handles.append(module.register_forward_hook(keep(label)))
        with torch.no_grad(), engine.precision():
            losses = engine.loss(engine.forward(engine.model, inputs), targets)
    finally:
        for handle in handles:
            handle.remove()
    return engine.checked(losses, batch).detach(), outputs


def _differs(whole: torch.Tensor, single: torch.Tensor, batch: int, position: int, tolerance: float) -> bool:
    """Whether an example's rows differ; outputs without the examples in the first dimension pass."""
    if whole.dim() == 0 or len(whole) != batch or single.shape != (1, *whole.shape[1:]):
        return False
    mine = whole[position : position + 1]
    scale = max(float(mine.abs().amax()), float(single.abs().amax())) if mine.numel() else 0.0
    return bool((mine - single).abs().amax() > tolerance * max(scale, 1e-6)) if mine.numel() else False
