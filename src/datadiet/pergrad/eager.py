"""What is set aside while a model is differentiated example by example: compilation, checkpointing, no-grad modes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.utils import checkpoint


@contextmanager
def plainly_differentiable() -> Iterator[None]:
    """Gradients are on, compiled code runs as it was written, and checkpointed blocks keep their activations.

    Compiled code shows no parameters, and a block that is run again on the way back shows other ones.

    Example:
        >>> with torch.no_grad(), plainly_differentiable():
        ...     torch.is_grad_enabled()
        True
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_uncompiled())
        # Looked up by `checkpoint.checkpoint` at each call, wherever a model has that function from.
        for name, direct in (
            ("_checkpoint_without_reentrant_generator", _keeping),
            ("CheckpointFunction", _Direct),
        ):
            if hasattr(checkpoint, name):
                stack.enter_context(mock.patch.object(checkpoint, name, direct))
        yield


def _uncompiled() -> AbstractContextManager[Any]:
    # Nothing is compiled before this module is there, and it takes a second to come.
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    set_stance: Any = getattr(torch.compiler, "set_stance", None)
    if set_stance is None:  # torch 2.5
        return mock.patch.object(
            sys.modules["torch._dynamo.eval_frame"], "_maybe_set_eval_frame", lambda callback: None
        )
    stance: AbstractContextManager[Any] = set_stance("force_eager")
    return stance


def _keeping(*args: Any, **kwargs: Any) -> Iterator[None]:
    yield


class _Direct:
    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return function(*args)


def recurrent_kernels(model: nn.Module) -> AbstractContextManager[Any]:
    """cuDNN is off where a model is recurrent: it cannot differentiate such layers in evaluation mode."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    return torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()
