"""A model called on some of the examples, and the rows of its Jacobian, one for each logit of each example."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from datadiet.foundation.errors import BadInputError

ForwardFunction = Callable[[nn.Module, Any], Any]


def outputs_of(model: nn.Module, inputs: Any, forward: ForwardFunction | None = None) -> torch.Tensor:
    """The logits of a model: called with a tensor, or with a dict by keyword where its `forward` takes the names.

    Raises:
        BadInputError: if what it returns is neither a tensor nor something with `logits`.
    """
    if forward is not None:
        returned = forward(model, inputs)
    elif isinstance(inputs, Mapping) and _takes(model, inputs):
        returned = model(**inputs)
    else:
        returned = model(inputs)
    logits = returned
    if isinstance(returned, Mapping):
        logits = returned.get("logits")
    elif not isinstance(returned, torch.Tensor):
        logits = getattr(returned, "logits", None)
    if not isinstance(logits, torch.Tensor):
        raise BadInputError(
            f"The model returned {type(returned).__name__} without logits: pass forward=, a function "
            "(model, inputs) -> logits."
        )
    return logits


def _takes(model: nn.Module, inputs: Mapping[str, Any]) -> bool:
    arguments = inspect.signature(model.forward).parameters
    if any(argument.kind is inspect.Parameter.VAR_KEYWORD for argument in arguments.values()):
        return any(name in arguments for name in inputs)
    return all(name in arguments for name in inputs)


def count_examples(inputs: Any) -> int:
    """The number of examples: the first dimension that every tensor shares.

    Raises:
        BadInputError: if there is no tensor, no example, or the tensors disagree.
    """
    sizes = [len(tensor) for tensor in _tensors(inputs) if tensor.dim()]
    if not sizes or len(set(sizes)) > 1:
        raise BadInputError(
            "inputs must be a tensor or a dict of tensors with the examples in the first dimension"
            + (f"; here the sizes are {sizes}." if sizes else ".")
        )
    if sizes[0] == 0:
        raise BadInputError("inputs holds no example.")
    return sizes[0]


def _tensors(inputs: Any) -> Iterator[torch.Tensor]:
    if isinstance(inputs, torch.Tensor):
        yield inputs
    elif isinstance(inputs, Mapping):
        for entry in inputs.values():
            yield from _tensors(entry)


def take(inputs: Any, rows: slice) -> Any:
    """Some examples of a batch, cut off from any graph."""
    if isinstance(inputs, torch.Tensor):
        return inputs[rows].detach() if inputs.dim() else inputs
    if isinstance(inputs, Mapping):
        return {key: take(entry, rows) for key, entry in inputs.items()}
    return inputs


def moved(value: Any, device: torch.device) -> Any:
    """A tensor or a dict of tensors on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: moved(entry, device) for key, entry in value.items()}
    return value


def device_of(model: nn.Module) -> torch.device:
    """Where the first parameter or buffer of a model is."""
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


class LogitRows:
    """The chosen logits of a model for any stretch of the examples.

    Args:
        model: in evaluation mode.
        inputs: a tensor or dict of tensors, examples in the first dimension.
        outputs: positions of the logits that count; all of them where it is None.
        forward: `(model, inputs) -> outputs`, or None to call the model.
        autocast: precision that the model is run in.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        outputs: Sequence[int] | None,
        forward: ForwardFunction | None,
        autocast: torch.dtype | None,
    ) -> None:
        self.model, self.inputs, self._forward, self._autocast = model, inputs, forward, autocast
        self.examples = count_examples(inputs)
        self._outputs: torch.Tensor | None = None
        with torch.no_grad():
            first = self.of(0, 1)
        width = first.shape[1]
        if outputs is not None:
            chosen = [int(position) for position in outputs]
            if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0 or max(chosen) >= width:
                raise BadInputError(f"outputs={chosen} must be different positions from 0 to {width - 1}.")
            self._outputs = torch.tensor(chosen, device=first.device)
        self.classes = width if outputs is None else len(outputs)
        self.total = self.examples * self.classes

    def of(self, start: int, stop: int) -> torch.Tensor:
        """Logits of the examples from start to stop, shape (stop − start, classes)."""
        with self._precision():
            logits = outputs_of(self.model, take(self.inputs, slice(start, stop)), self._forward)
        if not logits.dim() or len(logits) != stop - start or not logits.is_floating_point():
            raise BadInputError(
                f"The model returned {logits.dtype} outputs of shape {tuple(logits.shape)} for {stop - start} "
                "example(s): the first dimension must be the examples."
            )
        logits = logits.reshape(stop - start, -1)
        return logits if self._outputs is None else logits.index_select(1, self._outputs)

    def _precision(self) -> AbstractContextManager[Any]:
        if self._autocast is None:
            return nullcontext()
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, dtype=self._autocast)


class Pullback:
    """Vector-Jacobian products for several vectors: at once under `vmap`, or one by one where that fails.

    What failed once is not tried again.
    """

    def __init__(self) -> None:
        self._at_once = True

    def __call__(
        self, outputs: Sequence[torch.Tensor], wrt: Sequence[torch.Tensor], vectors: Sequence[torch.Tensor]
    ) -> list[torch.Tensor | None]:
        """`vᵀ ∂outputs/∂wrt`, with the vectors in the first dimension; None for what has no influence."""
        if self._at_once:
            try:
                return list(
                    torch.autograd.grad(
                        outputs,
                        wrt,
                        vectors,
                        retain_graph=True,
                        allow_unused=True,
                        is_grads_batched=True,
                    )
                )
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                # Autograd functions that vmap cannot batch; another reason comes up again below.
                self._at_once = False
        single = [
            torch.autograd.grad(
                outputs, wrt, [vector[k] for vector in vectors], retain_graph=True, allow_unused=True
            )
            for k in range(len(vectors[0]))
        ]
        return [
            None if entries[0] is None else torch.stack([e for e in entries if e is not None])
            for entries in zip(*single, strict=True)
        ]
