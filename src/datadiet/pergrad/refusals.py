"""What cannot be taken apart example by example, found before or while the model runs, and said by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.batches import module_label
from datadiet.pergrad.tape import Call, registered_for

#: By function: raises BadInputError if a call of it mixes examples or draws at random.
FUNCTION_CHECKS: dict[Any, Callable[[Call], None]] = {}


def refuse_model(model: nn.Module) -> None:
    """Raise BadInputError if a module of the model mixes examples, draws at random or changes itself."""
    if isinstance(model, torch.jit.ScriptModule):
        raise BadInputError(
            "The model is a TorchScript module, which cannot be looked into: pass the module it was made of."
        )
    refuse_parameters(model)
    for name, module in model.named_modules():
        reason = _reason(module)
        if reason is not None:
            raise BadInputError(f"{module_label(name, module)} {reason}")


def refuse_parameters(model: nn.Module) -> None:
    """Raise BadInputError if a parameter has no values yet, or was made where no gradients are possible."""
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise BadInputError(f"`{name}` has no shape yet: call the model on one batch first.")
        if parameter.is_inference():
            raise BadInputError(
                f"`{name}` was made under torch.inference_mode() and can have no gradient: make the model outside "
                "of it."
            )


def _reason(module: nn.Module) -> str | None:
    if isinstance(module, _BatchNorm):
        if module.training:
            return (
                "is in training mode and normalises with the statistics of the batch, so an example has no "
                "gradient of its own: call model.eval() first."
            )
        if module.running_mean is None:
            return (
                "keeps no running statistics and normalises with those of the batch, so an example has no "
                "gradient of its own: use GroupNorm or a BatchNorm with track_running_stats=True."
            )
    if isinstance(module, _InstanceNorm) and module.training and module.track_running_stats:
        return "is in training mode and would change its running statistics: call model.eval() first."
    if isinstance(module, _DropoutNd) and module.training and module.p > 0:
        return "is in training mode and would drop at random: call model.eval() first."
    if isinstance(module, nn.RNNBase) and module.training and module.dropout > 0 and module.num_layers > 1:
        return "is in training mode and would drop at random between its layers: call model.eval() first."
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        if module.scale_grad_by_freq:
            return (
                "has scale_grad_by_freq=True: its gradient depends on how often a token occurs in the batch, "
                "so an example has none of its own. Set it to False."
            )
        if module.max_norm is not None:
            return "has max_norm set and rewrites its weight in every forward pass: set it to None."
    return None


@registered_for(FUNCTION_CHECKS, [F.batch_norm])
def _batch_norm(call: Call) -> None:
    if call.option("training", 5, False) or call.option("running_mean", 1) is None:
        raise BadInputError(
            "The model calls F.batch_norm with the statistics of the batch, so an example has no gradient of "
            "its own: call model.eval() first, or pass training=False with running statistics."
        )


@registered_for(
    FUNCTION_CHECKS,
    [F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout],
)
def _dropout(call: Call) -> None:
    if call.option("training", 2, True) and call.option("p", 1, 0.5) > 0:
        raise BadInputError(
            "The model calls dropout with training=True and would drop at random: call model.eval() first."
        )


@registered_for(FUNCTION_CHECKS, [F.embedding])
def _embedding(call: Call) -> None:
    if call.option("scale_grad_by_freq", 5, False):
        raise BadInputError(
            "The model calls F.embedding with scale_grad_by_freq=True: the gradient depends on how often a "
            "token occurs in the batch, so an example has none of its own. Set it to False."
        )
    if call.option("max_norm", 3) is not None:
        raise BadInputError(
            "The model calls F.embedding with max_norm, which rewrites the weight: set it to None."
        )
