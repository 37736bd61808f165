"""Keep removed weights at exactly zero, now and through every step of an optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from datadiet.sparse.mask import Mask


class SparseTraining:
    """What `apply_mask` leaves on an optimiser; `remove` takes it off again, and zeros may grow."""

    def __init__(self, handles: Sequence[Any]) -> None:
        self._handles = list(handles)

    def remove(self) -> None:
        """Let removed weights be trained again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def apply_mask(
    model: nn.Module, mask: Mask, optimizer: torch.optim.Optimizer | None = None
) -> SparseTraining:
    """Set removed weights to zero, and with an optimiser keep them there.

    With an optimiser its state (momentum, moments) of removed weights is set to zero as well; from then on
    their gradients are zeroed just before every step, so that nothing of them enters the state, and the weights
    just after it, whatever the optimiser did: weight decay, Nesterov's momentum and Adam's division included.
    A mask that removes nothing changes no bit of a training. Make the optimiser first, and load its state first.

    Args:
        model: any module; its parameters stay the same objects under the same names.
        mask: made for this model.
        optimizer: over the model's parameters; a wrapper of `accelerate` is seen through.

    Raises:
        BadInputError: the mask is of another model.

    Example:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        >>> _ = apply_mask(net, Mask({"weight": torch.tensor([[True, False]])}), sgd)
        >>> net(torch.ones(1, 2)).sum().backward(); sgd.step()
        >>> net.weight[0, 1].item()
        0.0
    """
    mask.check_model(model)
    parameters = dict(model.named_parameters())
    # Layers that keep everything cost nothing.
    chosen = {name: part for name, part in mask.parts.items() if not bool(part.all())}
    weights: list[torch.Tensor] = [parameters[name] for name in chosen]
    if not weights:
        return SparseTraining([])
    removed = [~part.to(weight.device) for weight, part in zip(weights, chosen.values(), strict=True)]
    with torch.no_grad():
        for weight, gone in zip(weights, removed, strict=True):
            weight.masked_fill_(gone, 0.0)
    if optimizer is None:
        return SparseTraining([])
    inner = getattr(optimizer, "optimizer", optimizer)
    for weight, gone in zip(weights, removed, strict=True):
        for value in inner.state.get(weight, {}).values():
            if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                value.masked_fill_(gone, 0.0)
    factors = [_factor(weight, gone) for weight, gone in zip(weights, removed, strict=True)]

    @torch.no_grad()
    def before(*_: Any) -> None:
        pairs = [(w.grad, f) for w, f in zip(weights, factors, strict=True) if w.grad is not None]
        if pairs:
            grads, kept = [grad for grad, _ in pairs], [factor for _, factor in pairs]
            torch._foreach_mul_(grads, kept)

    @torch.no_grad()
    def after(*_: Any) -> None:
        torch._foreach_mul_(weights, factors)

    return SparseTraining([inner.register_step_pre_hook(before), inner.register_step_post_hook(after)])


def _factor(weight: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
    """Ones and zeros in the weight's type and memory layout, so that the product is one pass."""
    factor = torch.empty_like(weight, requires_grad=False)
    return factor.copy_(~gone)
