"""Which parameters of a network are open to pruning."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from datadiet.errors import BadInputError

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
        layers = {
            name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | _ConvNd)
        }
        linears = [name for name, module in layers.items() if isinstance(module, nn.Linear)]
        if not head and linears:
            del layers[linears[-1]]
        wanted = [f"{name}.weight" for name in layers]
        if biases:
            wanted += [f"{name}.bias" for name in layers]
        if norms:
            parts = ("weight", "bias") if biases else ("weight",)
            wanted += [
                f"{name}.{part}"
                for name, module in model.named_modules()
                if isinstance(module, _NORMS)
                for part in parts
            ]
        open_to_it = {name.removeprefix(".") for name in wanted}
        chosen = [name for name in trained if name in open_to_it]
    if not chosen:
        raise BadInputError(
            "This model has no weights to prune: no linear or convolutional layer that is trained; name "
            "parameters with include=."
        )
    return {name: trained[name] for name in sorted(chosen)}
