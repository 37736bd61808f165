"""A model called on a batch, and what it returns handed to a loss."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.batches import fresh

LossFunction = Callable[[Any, Any], torch.Tensor]
ForwardFunction = Callable[[nn.Module, Any], Any]


def outputs_of(model: nn.Module, inputs: Any, forward: ForwardFunction | None = None) -> Any:
    """What a model returns for copies of the inputs; a mapping goes by keyword where its `forward` takes the names.

    Raises:
        BadInputError: if `forward` cannot be called with them.
    """
    inputs = fresh(inputs)
    if forward is not None:
        return forward(model, inputs)
    while isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        # Neither spread over devices nor announced to other processes, who would wait for its gradients.
        model = model.module
    if isinstance(inputs, Mapping) and takes_names(model, inputs):
        return _called(model, (), dict(inputs))
    return _called(model, (inputs,), {})


def _called(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return model(*args, **kwargs)
    except TypeError as error:
        try:
            inspect.signature(model.forward).bind(*args, **kwargs)
        except TypeError as mismatch:
            raise BadInputError(
                f"{type(model).__name__}.forward cannot be called with these inputs ({mismatch}): pass a dict "
                "with the names that it takes, or forward=, a function (model, inputs) -> outputs."
            ) from error
        raise


def takes_names(model: nn.Module, inputs: Mapping[str, Any]) -> bool:
    """Whether a mapping goes to the model's `forward` by keyword, rather than as one object.

    A `forward(*args, **kwargs)` hands on what it is given: the only module in it is asked instead.

    Raises:
        BadInputError: if it takes some of the names, but not all.

    Example:
        >>> takes_names(nn.Linear(2, 2), {"input": torch.zeros(2)})
        True
    """
    arguments = inspect.signature(model.forward).parameters
    kinds = {argument.kind for argument in arguments.values()}
    named = {
        name: argument
        for name, argument in arguments.items()
        if argument.kind in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY)
    }
    anything = inspect.Parameter.VAR_KEYWORD in kinds
    if anything and not named:
        children = list(model.children())
        return takes_names(children[0], inputs) if len(children) == 1 else True
    known = [name for name in inputs if name in named]
    if anything:
        return bool(known)
    if len(known) == len(inputs):
        return True
    required = {name for name, argument in named.items() if argument.default is argument.empty}
    if known and required <= set(inputs):
        unknown = next(name for name in inputs if name not in named)
        raise BadInputError(
            f"{type(model).__name__}.forward takes {', '.join(named)}, but not {unknown!r}, which is in inputs: "
            "leave it out, or pass forward=, a function (model, inputs) -> outputs."
        )
    return False


def logits_in(outputs: Any) -> Any:
    """The logits of an output object that has them; any other output as it is."""
    if isinstance(outputs, torch.Tensor):
        return outputs
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    return logits if isinstance(logits, torch.Tensor) else outputs


def logits_of(model: nn.Module, inputs: Any, forward: ForwardFunction | None = None) -> torch.Tensor:
    """The logits of a model, called as in `outputs_of`.

    Raises:
        BadInputError: if what it returns is neither a tensor nor something with `logits`.
    """
    return logits_alone(outputs_of(model, inputs, forward))


def logits_alone(outputs: Any) -> torch.Tensor:
    """The logits of what a model returned.

    Raises:
        BadInputError: if it is neither a tensor nor something with `logits`.
    """
    logits = logits_in(outputs)
    if not isinstance(logits, torch.Tensor):
        raise BadInputError(
            f"The model returned {type(logits).__name__} without logits: pass forward=, a function "
            "(model, inputs) -> logits."
        )
    return logits


class OnOutputs:
    """A function of outputs and targets, given the logits where these suffice, else all that the model returns.

    Which of them it takes is tried once, on the first outputs that have logits beside other things.

    Args:
        function: `(outputs, targets)`, one value for each example.

    Example:
        >>> loss = OnOutputs(lambda outputs, targets: outputs["logits"][:, 0] + outputs["extra"])
        >>> loss({"logits": torch.ones(2, 3), "extra": torch.ones(2)}, torch.zeros(2)).tolist()
        [2.0, 2.0]
    """

    def __init__(self, function: LossFunction) -> None:
        self._function = function
        self._takes_all: bool | None = None

    def __call__(self, outputs: Any, targets: Any) -> Any:
        """The function's values; it may change the targets, which are copies."""
        logits = logits_in(outputs)
        if logits is outputs:
            return self._function(outputs, fresh(targets))
        if self._takes_all is None:
            self._takes_all = self._fails_on_logits(outputs, logits, targets)
        return self._function(outputs if self._takes_all else logits, fresh(targets))

    def _fails_on_logits(self, outputs: Any, logits: torch.Tensor, targets: Any) -> bool:
        fits, on_logits = self._tried(logits, targets, len(logits))
        if fits:
            return False
        fits, on_all = self._tried(outputs, targets, len(logits))
        if on_logits is not None and on_all is not None:
            raise BadInputError(
                f"The loss can be taken neither of the logits ({type(on_logits).__name__}: {on_logits}) nor of all "
                f"that the model returned ({type(on_all).__name__}: {on_all})."
            ) from on_all
        return fits or on_logits is not None

    def _tried(self, given: Any, targets: Any, size: int) -> tuple[bool, Exception | None]:
        """Whether the function gives one value for each example, or what it raises."""
        try:
            # What is meant for other outputs may be warned about on the logits; the true call warns again.
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values = self._function(fresh(given), fresh(targets))
        except (BadInputError, torch.OutOfMemoryError):
            raise
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            return False, error
        return isinstance(values, torch.Tensor) and tuple(values.shape) == (size,), None
