"""The straight line between two networks, name by name, with BatchNorm statistics taken again from data."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, overload

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.batches import moved, uncompiled
from datadiet.pergrad.calls import ForwardFunction, outputs_of

StateDict = Mapping[str, Any]
BatchNormChoice = Literal["interpolated", "first", "second"]

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@overload
def interpolate(
    model_a: nn.Module, model_b: nn.Module | StateDict, alpha: float, *, batchnorm: BatchNormChoice = ...
) -> nn.Module: ...


@overload
def interpolate(
    model_a: StateDict, model_b: nn.Module | StateDict, alpha: float, *, batchnorm: BatchNormChoice = ...
) -> dict[str, Any]: ...


def interpolate(
    model_a: nn.Module | StateDict,
    model_b: nn.Module | StateDict,
    alpha: float,
    *,
    batchnorm: BatchNormChoice = "interpolated",
) -> nn.Module | dict[str, Any]:
    """The network at `(1 − α) θ_a + α θ_b`: model a at 0, model b at 1, exactly.

    Parameters and floating-point buffers are interpolated. A counter of batches seen is taken from the nearer
    network (a below one half); any other integer or boolean buffer must be equal in both.

    Args:
        model_a: a module, or its state dict.
        model_b: a module or state dict of the same architecture; it may be on another device.
        alpha: where on the line, without unit; outside of [0, 1] the line is prolonged.
        batchnorm: running statistics "interpolated", or those of the "first" or the "second" network.

    Returns:
        A new module (a copy of model a, in its mode, without gradients) if model a is a module; else a new state
        dict. Nothing is shared with the networks given.

    Raises:
        BadInputError: if the architectures differ, with the first name that does, or alpha is not finite.

    Source:
        Frankle, Dziugaite, Roy, Carbin 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis".

    Example:
        >>> a, b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(a.weight, 1.0), nn.init.constant_(b.weight, 3.0)
        >>> interpolate(a, b, 0.25).weight.item()
        1.5
    """
    if not math.isfinite(alpha):
        raise BadInputError(f"alpha={alpha} is not a finite number.")
    if batchnorm not in ("interpolated", "first", "second"):
        raise BadInputError(f"batchnorm={batchnorm!r} is not one of 'interpolated', 'first', 'second'.")
    first, second = state_of(model_a), state_of(model_b)
    check_same_architecture(first, second)
    mixed = {name: _between(name, value, second[name], alpha, batchnorm) for name, value in first.items()}
    if not isinstance(model_a, nn.Module):
        return mixed
    model = copy.deepcopy(uncompiled(model_a))
    model.load_state_dict(mixed)
    return model


def state_of(model: nn.Module | StateDict) -> dict[str, Any]:
    """The state dict of a module or of itself.

    Raises:
        BadInputError: if it is neither.
    """
    if isinstance(model, nn.Module):
        return dict(uncompiled(model).state_dict())
    if isinstance(model, Mapping):
        return dict(model)
    raise BadInputError(f"A network is a module or a state dict, not {type(model).__name__}.")


def check_same_architecture(first: StateDict, second: StateDict) -> None:
    """Raise on the first name, shape or kind of number that differs between two state dicts."""
    for name, value in first.items():
        if name not in second:
            raise BadInputError(f"The networks differ: `{name}` is in the first one only.")
        other = second[name]
        if isinstance(value, torch.Tensor) != isinstance(other, torch.Tensor):
            raise BadInputError(f"The networks differ: `{name}` is a tensor in only one of them.")
        if not isinstance(value, torch.Tensor):
            continue
        if value.shape != other.shape:
            raise BadInputError(
                f"The networks differ: `{name}` has shape {tuple(value.shape)} in the first one and "
                f"{tuple(other.shape)} in the second."
            )
        if _continuous(value) != _continuous(other):
            raise BadInputError(f"The networks differ: `{name}` is {value.dtype} and {other.dtype}.")
        counter = name.rpartition(".")[2] == "num_batches_tracked"
        if not _continuous(value) and not counter and not torch.equal(value, other.to(value.device)):
            raise BadInputError(
                f"The buffer `{name}` ({value.dtype}) has other values in the two networks and cannot be interpolated."
            )
    for name in second:
        if name not in first:
            raise BadInputError(f"The networks differ: `{name}` is in the second one only.")


def _between(name: str, first: Any, second: Any, alpha: float, batchnorm: BatchNormChoice) -> Any:
    if not isinstance(first, torch.Tensor):
        return copy.deepcopy(first)
    first, second = first.detach(), second.detach().to(first.device)
    if name.rpartition(".")[2] in STATISTICS and batchnorm != "interpolated":
        return (first if batchnorm == "first" else second).to(first.dtype, copy=True)
    if not _continuous(first):
        return (first if alpha < 0.5 else second).clone()
    if first.dtype in (torch.float16, torch.bfloat16):
        return torch.lerp(first.float(), second.float(), alpha).to(first.dtype)
    # lerp is exact at both ends, and wherever both networks agree.
    return torch.lerp(first, second.to(first.dtype), alpha)


def _continuous(value: torch.Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()


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
