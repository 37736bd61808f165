"""Masks by magnitude, over the whole network or layer by layer, and by chance; levels of pruning."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from datadiet.foundation.errors import BadInputError
from datadiet.sparse.mask import Mask

Scope = Literal["global", "layer"]
_LAYERS = (nn.Linear, _ConvNd)
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


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
    return mask_of(
        {name: weight.detach() for name, weight in weights.items()},
        sparsity,
        scope,
        within=None if within is None else within.parts,
        allow_empty_layer=allow_empty_layer,
    )


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
