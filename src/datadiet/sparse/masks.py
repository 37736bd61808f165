"""Masks: which weights of a network stay; by magnitude or by chance; and how removed ones are held at exactly zero."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from datadiet.engine.training.checkpoint import read_tensors, weights_hash, write_tensors
from datadiet.foundation.errors import BadInputError

Scope = Literal["global", "layer"]
_LAYERS = (nn.Linear, _ConvNd)
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


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
        odd = next(
            (name for name, part in tensors.items() if part.dtype not in (torch.bool, torch.uint8)), None
        )
        if odd is not None or not tensors:
            raise BadInputError(f"{str(path)!r} holds no mask; give a file that a sparse training wrote.")
        return cls({name: tensors[name].bool() for name in sorted(tensors)})


def prunable_weights(
    model: nn.Module,
    *,
    biases: bool = False,
    norms: bool = False,
    head: bool = True,
    include: Sequence[str] | None = None,
) -> dict[str, nn.Parameter]:
    """Parameters that magnitude pruning chooses from, by name, in the order of their names.

    By default the weights of linear and convolutional layers. What takes no gradient is never among them, and a
    parameter that is shared counts once.

    Args:
        model: any module.
        biases: the biases of those layers as well.
        norms: scales of normalisation layers as well (their shifts with `biases`).
        head: the last linear layer as well.
        include: names or patterns such as "blocks.*.weight" in place of all these rules.

    Raises:
        BadInputError: no parameter is left to prune, or a pattern matches none.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        >>> list(prunable_weights(net)), list(prunable_weights(net, head=False))
        (['0.weight', '2.weight'], ['0.weight'])
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if include is not None:
        for pattern in include:
            if not any(fnmatchcase(name, pattern) for name in trained):
                near = difflib.get_close_matches(pattern, trained, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else "."
                raise BadInputError(f"No trained parameter matches {pattern!r}{hint}")
        chosen = [name for name in trained if any(fnmatchcase(name, pattern) for pattern in include)]
    else:
        layers = {name: module for name, module in model.named_modules() if isinstance(module, _LAYERS)}
        linears = [name for name, module in layers.items() if isinstance(module, nn.Linear)]
        if not head and linears:
            del layers[linears[-1]]
        pruned = [*layers]
        if norms:
            pruned += [name for name, module in model.named_modules() if isinstance(module, _NORMS)]
        parts = ("weight", "bias") if biases else ("weight",)
        wanted = {f"{name}.{part}".removeprefix(".") for name in pruned for part in parts}
        chosen = [name for name in trained if name in wanted]
    if not chosen:
        raise BadInputError(
            "This model has no weights to prune: no linear or convolutional layer that is trained; name "
            "parameters with include=."
        )
    return {name: trained[name] for name in sorted(chosen)}


def magnitude_mask(
    model: nn.Module,
    sparsity: float,
    scope: Scope = "global",
    *,
    biases: bool = False,
    norms: bool = False,
    head: bool = True,
    include: Sequence[str] | None = None,
    within: Mask | None = None,
    allow_empty_layer: bool = False,
) -> Mask:
    """The weights of largest magnitude: exactly `round((1 - sparsity) * n)` of n stay.

    With `scope="global"` n counts the weights of all layers together, with "layer" each layer keeps its own
    exact count. Of equal magnitudes those stay that come first by parameter name, then by position.

    Args:
        model: any module; it is not changed.
        sparsity: share that is removed of all weights open to pruning, in [0, 1).
        scope: "global" or "layer".
        biases: see `prunable_weights`; so are `norms`, `head` and `include`.
        within: a mask of the same model; what it removed stays removed.
        allow_empty_layer: go on where no weight of some layer stays; `Mask.emptied` names them.

    Raises:
        BadInputError: a sparsity outside [0, 1) or one that empties a layer, weights that are not finite, a
            mask of another model, or one that keeps fewer than are asked for.

    Source:
        Frankle and Carbin 2019, "The Lottery Ticket Hypothesis", section 2; globally as in Frankle,
        Dziugaite, Roy, Carbin 2020.

    Example:
        >>> net = nn.Linear(4, 1, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[0.1, -3.0, 2.0, -0.5]]))
        >>> magnitude_mask(net, 0.5).parts["weight"].tolist()
        [[False, True, True, False]]
    """
    weights = prunable_weights(model, biases=biases, norms=norms, head=head, include=include)
    if within is not None:
        within.check_model(model)
        if list(within.parts) != list(weights):
            raise BadInputError(
                "The mask to prune further was made over other parameters than are open to pruning now."
            )
    before = None if within is None else within.parts
    return mask_of(weights, sparsity, scope, within=before, allow_empty_layer=allow_empty_layer)


def mask_of(
    weights: Mapping[str, torch.Tensor],
    sparsity: float,
    scope: Scope = "global",
    *,
    within: Mapping[str, torch.Tensor] | None = None,
    allow_empty_layer: bool = False,
) -> Mask:
    """`magnitude_mask` over named tensors in place of a model."""
    check_sparsity(sparsity)
    if scope not in ("global", "layer"):
        raise BadInputError(f"scope is {scope!r}; it must be 'global' or 'layer'.")
    names = sorted(weights)
    sizes = {name: _magnitudes(name, weights[name], within) for name in names}
    if scope == "global":
        flat = _largest(np.concatenate([sizes[name] for name in names]), sparsity, "all layers")
        ends = np.cumsum([len(sizes[name]) for name in names])[:-1]
        stays = dict(zip(names, np.split(flat, ends), strict=True))
    else:
        stays = {name: _largest(sizes[name], sparsity, name) for name in names}
    mask = Mask({name: torch.from_numpy(stays[name]).reshape(weights[name].shape) for name in names})
    if mask.emptied and not allow_empty_layer:
        raise BadInputError(
            f"A sparsity of {sparsity:g} leaves no weight of {', '.join(map(repr, mask.emptied))}; take a lower one, "
            "scope='layer', or say allow_empty_layer=True (--allow-empty-layer)."
        )
    return mask


def random_mask(like: Mask, seed: int) -> Mask:
    """As many weights of every layer as a mask keeps, drawn by chance: the baseline of a ticket.

    Args:
        like: gives layers and counts.
        seed: of the draws.

    Example:
        >>> like = Mask({"weight": torch.tensor([True] * 3 + [False] * 7)})
        >>> random_mask(like, 0).kept
        3
    """
    parts = {}
    for index, (name, part) in enumerate(like.parts.items()):
        generator = np.random.default_rng([seed % 2**64, index, 0x6D61736B])
        drawn = generator.permutation(part.reshape(-1).numpy())
        parts[name] = torch.from_numpy(drawn).reshape(part.shape)
    return Mask(parts)


def full_mask(model: nn.Module, **which: Any) -> Mask:
    """The mask that removes nothing; `which` as for `prunable_weights`."""
    weights = prunable_weights(model, **which)
    return Mask({name: torch.ones(weight.shape, dtype=torch.bool) for name, weight in weights.items()})


def check_sparsity(sparsity: float) -> None:
    """Raise `BadInputError` unless a sparsity is in [0, 1)."""
    if not (math.isfinite(sparsity) and 0 <= sparsity < 1):
        raise BadInputError(
            f"sparsity is {sparsity:g}; it is the share of weights that is removed and must be in [0, 1)."
        )


def _magnitudes(name: str, weight: torch.Tensor, within: Mapping[str, torch.Tensor] | None) -> Any:
    """Magnitudes of one tensor, flat; -1 where the weight is removed already."""
    values = weight.detach().reshape(-1).abs().cpu()
    values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    if not bool(torch.isfinite(values).all()):
        raise BadInputError(f"Some weights of {name!r} are not finite; there is no order to prune them by.")
    if within is not None:
        values = values.masked_fill(~within[name].reshape(-1).cpu(), -1.0)
    return values.numpy()


def _largest(values: Any, sparsity: float, where: str) -> Any:
    """Which of the values are the exact number of largest ones; the first of equal ones: bool (n,)."""
    count = round((1 - sparsity) * len(values))
    have = int((values >= 0).sum())
    if count > have:
        raise BadInputError(
            f"{count:,} weights are to stay of {where}, but the mask to prune further has only {have:,} left."
        )
    if count == 0:
        return np.zeros(len(values), dtype=bool)
    cutoff = np.partition(values, len(values) - count)[len(values) - count]
    stays = np.asarray(values > cutoff)
    equal = np.flatnonzero(values == cutoff)
    stays[equal[: count - int(stays.sum())]] = True
    return stays


def sparsity_schedule(levels: int, rate: float = 0.2) -> list[float]:
    """Sparsity at level 0 (dense) to `levels`: each removes `rate` of what is left, `1 - (1 - rate)^level`.

    Raises:
        BadInputError: fewer than one level, or a rate outside (0, 1).

    Example:
        >>> [round(sparsity, 3) for sparsity in sparsity_schedule(3)]
        [0.0, 0.2, 0.36, 0.488]
    """
    _check_levels(levels)
    if not 0 < rate < 1:
        raise BadInputError(f"rate is {rate:g}; it is the share removed at each level and must be in (0, 1).")
    return [1 - (1 - rate) ** level for level in range(levels + 1)]


def schedule_to(sparsity: float, levels: int = 1) -> list[float]:
    """The same, with the rate that reaches a sparsity in so many levels.

    Example:
        >>> [round(step, 3) for step in schedule_to(0.75, 2)]
        [0.0, 0.5, 0.75]
    """
    _check_levels(levels)
    check_sparsity(sparsity)
    return [*(1 - (1 - sparsity) ** (level / levels) for level in range(levels)), sparsity]


def _check_levels(levels: int) -> None:
    if levels < 1:
        raise BadInputError(f"levels is {levels}; pruning takes one level or more.")


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
