"""What a model must not do while a kernel is taken of it: act as in training."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from datadiet.errors import BadInputError


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
