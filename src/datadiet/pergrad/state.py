"""Keeping a model as it was found: gradient flags, buffers and random generators are put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def as_found(model: nn.Module, wanted: Iterable[torch.Tensor]) -> Iterator[None]:
    """Let only the wanted parameters require gradients meanwhile, and restore everything on the way out.

    `.grad`, hooks and the training mode are never touched here. Buffers are copied only in training mode, the
    only one in which well-behaved modules write to them.
    """
    wanted_ids = {id(p) for p in wanted}
    flags = [(p, p.requires_grad) for p in model.parameters()]
    buffers = [(b, b.detach().clone()) for b in model.buffers()] if _any_training(model) else []
    cpu_state = torch.get_rng_state()
    devices = sorted({p.device.index for p, _ in flags if p.device.type == "cuda"})
    cuda_states = [torch.cuda.get_rng_state(index) for index in devices]
    try:
        for parameter, _ in flags:
            if parameter.is_floating_point() or parameter.is_complex():
                parameter.requires_grad_(id(parameter) in wanted_ids)
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


def _any_training(model: nn.Module) -> bool:
    return any(module.training for module in model.modules())
