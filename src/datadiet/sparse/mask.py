"""A mask: which weights of a network stay, by name; and how removed ones are held at exactly zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datadiet.engine.training.checkpoint import read_tensors, weights_hash, write_tensors
from datadiet.foundation.errors import BadInputError


@dataclass(frozen=True, eq=False)
class Mask:
    """Which weights stay, for every parameter that was open to pruning.

    Attributes:
        parts: parameter name -> bool tensor of the parameter's shape, on the CPU; True stays.

    Example:
        >>> mask = Mask({"weight": torch.tensor([[True, False], [False, False]])})
        >>> mask.kept, mask.total, mask.sparsity
        (1, 4, 0.75)
    """

    parts: Mapping[str, torch.Tensor]

    @property
    def total(self) -> int:
        """Weights that were open to pruning."""
        return sum(part.numel() for part in self.parts.values())

    @property
    def kept(self) -> int:
        """Weights that stay."""
        return sum(int(part.sum()) for part in self.parts.values())

    @property
    def sparsity(self) -> float:
        """Share of the weights that is removed."""
        return 1 - self.kept / self.total

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is removed."""
        return all(bool(part.all()) for part in self.parts.values())

    @property
    def emptied(self) -> tuple[str, ...]:
        """Parameters of which no weight stays."""
        return tuple(name for name, part in self.parts.items() if not bool(part.any()))

    def digest(self) -> str:
        """SHA-256 over names, shapes and bits, 64 hexadecimal digits."""
        return weights_hash(self.parts)

    def check_model(self, model: nn.Module) -> None:
        """Refuse a model that this mask was not made for.

        Raises:
            BadInputError: a parameter is missing or has another shape.
        """
        parameters = dict(model.named_parameters())
        for name, part in self.parts.items():
            if name not in parameters:
                raise BadInputError(
                    f"The mask is of another model: it has weights {name!r}, which this model has not."
                )
            if parameters[name].shape != part.shape:
                raise BadInputError(
                    f"The mask is of another model: {name!r} has shape {tuple(part.shape)} there and "
                    f"{tuple(parameters[name].shape)} here."
                )

    def write(self, path: str | Path) -> None:
        """Write the mask as a safetensors file."""
        write_tensors(Path(path), self.parts, {"kept": self.kept, "total": self.total})

    @classmethod
    def read(cls, path: str | Path) -> Mask:
        """Read what `write` wrote.

        Raises:
            BadInputError: there is no such file.
            RunFailedError: the file is damaged.
        """
        if not Path(path).exists():
            raise BadInputError(f"There is no mask {str(path)!r}.")
        tensors, _ = read_tensors(Path(path))
        return cls({name: tensors[name].bool() for name in sorted(tensors)})


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
    removed = [~part.to(weight.device) for weight, part in zip(weights, chosen.values(), strict=True)]
    inner = getattr(optimizer, "optimizer", optimizer)
    for weight, gone in zip(weights, removed, strict=True):
        weight.detach().masked_fill_(gone, 0.0)
        for value in inner.state.get(weight, {}).values() if inner is not None else ():
            if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                value.masked_fill_(gone, 0.0)
    if inner is None or not weights:
        return SparseTraining([])
    # Ones and zeros in each weight's type and memory layout, so that the product is one pass.
    factors = [
        torch.empty_like(weight, requires_grad=False).copy_(~gone)
        for weight, gone in zip(weights, removed, strict=True)
    ]

    @torch.no_grad()
    def before(*_: Any) -> None:
        pairs = [(w.grad, f) for w, f in zip(weights, factors, strict=True) if w.grad is not None]
        if pairs:
            torch._foreach_mul_([grad for grad, _ in pairs], [factor for _, factor in pairs])

    @torch.no_grad()
    def after(*_: Any) -> None:
        torch._foreach_mul_(weights, factors)

    return SparseTraining([inner.register_step_pre_hook(before), inner.register_step_post_hook(after)])
