"""Keeping a model as it was found: gradient flags, buffers and random generators are put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def as_found(model: nn.Module, *, buffers: bool = True) -> Iterator[None]:
    """Restore flags, buffers and random generators on the way out, after an exception too.

    `.grad`, hooks and the training mode are never touched here.

    Args:
        model: what to put back.
        buffers: whether to; False saves copies where nothing writes to them.

    Example:
        >>> model = nn.BatchNorm1d(2)
        >>> with as_found(model):
        ...     _ = model.requires_grad_(False)(torch.ones(3, 2))
        >>> model.weight.requires_grad, int(model.num_batches_tracked)
        (True, 0)
    """
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    copies = [(buffer, buffer.detach().clone()) for buffer in model.buffers()] if buffers else []
    cpu_state = torch.get_rng_state()
    devices = sorted({p.device.index or 0 for p, _ in flags if p.device.type == "cuda"})
    cuda_states = [torch.cuda.get_rng_state(index) for index in devices]
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        with torch.no_grad():
            for buffer, before in copies:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
        torch.set_rng_state(cpu_state)
        for index, state in zip(devices, cuda_states, strict=True):
            torch.cuda.set_rng_state(state, index)


def require_gradients(model: nn.Module, wanted: Iterable[torch.Tensor]) -> None:
    """Let only the wanted parameters require gradients, so that a backward pass ends at the lowest of them.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> require_gradients(model, [model.bias])
        >>> [parameter.requires_grad for parameter in model.parameters()]
        [False, True]
    """
    wanted_ids = {id(parameter) for parameter in wanted}
    for parameter in model.parameters():
        if parameter.is_floating_point() or parameter.is_complex():
            parameter.requires_grad_(id(parameter) in wanted_ids)
