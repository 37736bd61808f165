"""Keeping a model as it was found: gradient flags, buffers and random generators are put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from datadiet.errors import BadInputError


@contextmanager
def as_found(model: nn.Module) -> Iterator[None]:
    """Restore flags, buffers and random generators on the way out, after an exception too.

    `.grad`, hooks and the training mode are never touched here.
    """
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    cpu_state = torch.get_rng_state()
    devices = sorted({p.device.index or 0 for p, _ in flags if p.device.type == "cuda"})
    cuda_states = [torch.cuda.get_rng_state(index) for index in devices]
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
        torch.set_rng_state(cpu_state)
        for index, state in zip(devices, cuda_states, strict=True):
            torch.cuda.set_rng_state(state, index)


def require_gradients(model: nn.Module, wanted: Iterable[torch.Tensor]) -> None:
    """Let only the wanted parameters require gradients, so that a backward pass ends at the lowest of them."""
    wanted_ids = {id(parameter) for parameter in wanted}
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(id(parameter) in wanted_ids)


def refuse_training_mode(model: nn.Module) -> None:
    """Raise unless every module is in evaluation mode and BatchNorm has running statistics.

    Raises:
        BadInputError: naming the module; one that acts otherwise while training, if there is one.
    """
    training = [(name, module) for name, module in model.named_modules() if module.training]
    acting = [pair for pair in training if isinstance(pair[1], (_BatchNorm, _DropoutNd))]
    for name, module in (*acting, *training):
        raise BadInputError(f"{_label(name, module)} is in training mode: call model.eval() first.")
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise BadInputError(
                f"{_label(name, module)} keeps no running statistics and normalises with those of the batch, so an "
                "example has no gradient of its own: use track_running_stats=True."
            )


def _label(name: str, module: nn.Module) -> str:
    return f"`{name}` ({type(module).__name__})" if name else f"The model ({type(module).__name__})"
