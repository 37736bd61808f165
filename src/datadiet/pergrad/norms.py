"""The public function: the exact gradient norm of each example's loss, for any model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol, overload

import torch
import torch.nn.functional as F
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.engine import Engine, check_independence, in_parts, take
from datadiet.pergrad.parameters import Selection, as_found, choose_parameters, find_heads, require_gradients
from datadiet.pergrad.refusals import refuse_model

LossFunction = Callable[[Any, Any], torch.Tensor]
ForwardFunction = Callable[[nn.Module, Any], Any]


class TaskLike(Protocol):
    """Anything with a per-example loss."""

    def loss(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Loss of each example, shape (batch,)."""
        ...


class GradientNorms:
    """`gradient_norms` for many batches of one model: what was learnt about its shapes is kept between them.

    Args: as for `gradient_norms`; the batch is given to the call.

    Example:
        >>> norms = GradientNorms(nn.Linear(3, 2))
        >>> norms(torch.zeros(4, 3), torch.tensor([0, 1, 0, 1])).shape
        torch.Size([4])
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        task: str | TaskLike | None = None,
        loss: LossFunction | None = None,
        parameters: Selection = "all",
        autocast: torch.dtype | None = None,
        max_memory: int | None = None,
        forward: ForwardFunction | None = None,
    ) -> None:
        # A compiled model is called as the module it was made from: its graph shows no parameters.
        self.model: nn.Module = getattr(model, "_orig_mod", model)
        self._parameters = parameters
        self._max_memory = max_memory
        self._loss = loss_function(task, loss)
        self._forward: ForwardFunction = outputs_of if forward is None else _unwrapping(forward)
        self._autocast = autocast
        self._engine: Engine | None = None
        if max_memory is not None and max_memory <= 0:
            raise BadInputError(f"max_memory is a number of bytes above zero, not {max_memory}.")

    def __call__(self, inputs: Any, targets: Any, *, verify_independence: bool = False) -> torch.Tensor:
        """Gradient norm of each example, shape (batch,)."""
        squared = self._squared(inputs, targets, verify_independence)
        return torch.stack(list(squared.values())).sum(0).sqrt().to(self._dtype())

    def per_layer(
        self, inputs: Any, targets: Any, *, verify_independence: bool = False
    ) -> dict[str, torch.Tensor]:
        """Gradient norm of each example by parameter name, each of shape (batch,)."""
        squared = self._squared(inputs, targets, verify_independence)
        return {name: values.sqrt().to(self._dtype()) for name, values in squared.items()}

    def _dtype(self) -> torch.dtype:
        wide = any(p.dtype == torch.float64 for p in self.model.parameters())
        return torch.float64 if wide else torch.float32

    def _squared(self, inputs: Any, targets: Any, verify: bool) -> dict[str, torch.Tensor]:
        batch = batch_size(inputs, targets)
        refuse_model(self.model)
        engine = self._engine or self._start(inputs, batch)
        if batch == 0:
            return {name: torch.zeros(0, device=p.device) for name, p in engine.chosen.items()}
        with self._as_found(engine.chosen.values()):
            if verify:
                check_independence(engine, inputs, targets, batch)
            return in_parts(engine, inputs, targets, batch, self._max_memory)

    def _start(self, inputs: Any, batch: int) -> Engine:
        def heads() -> list[nn.Module]:
            return find_heads(self.model, lambda: self._forward(self.model, take(inputs, slice(0, 1), batch)))

        with self._as_found([p for p in self.model.parameters() if p.requires_grad]):
            chosen = choose_parameters(self.model, self._parameters, heads)
        self._engine = Engine(self.model, self._forward, self._loss, chosen, self._autocast)
        return self._engine

    @contextmanager
    def _as_found(self, wanted: Iterable[torch.Tensor]) -> Iterator[None]:
        """Only the wanted parameters require gradients inside, and all is put back on the way out.

        Buffers are copied only in training mode, the only one in which well-behaved modules write to them.
        """
        training = any(module.training for module in self.model.modules())
        with as_found(self.model, buffers=training):
            require_gradients(self.model, wanted)
            yield


@overload
def gradient_norms(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    *,
    task: str | TaskLike | None = ...,
    loss: LossFunction | None = ...,
    parameters: Selection = ...,
    autocast: torch.dtype | None = ...,
    max_memory: int | None = ...,
    per_layer: Literal[False] = ...,
    verify_independence: bool = ...,
    forward: ForwardFunction | None = ...,
) -> torch.Tensor: ...


@overload
def gradient_norms(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    *,
    task: str | TaskLike | None = ...,
    loss: LossFunction | None = ...,
    parameters: Selection = ...,
    autocast: torch.dtype | None = ...,
    max_memory: int | None = ...,
    per_layer: Literal[True],
    verify_independence: bool = ...,
    forward: ForwardFunction | None = ...,
) -> dict[str, torch.Tensor]: ...


def gradient_norms(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    *,
    task: str | TaskLike | None = None,
    loss: LossFunction | None = None,
    parameters: Selection = "all",
    autocast: torch.dtype | None = None,
    max_memory: int | None = None,
    per_layer: bool = False,
    verify_independence: bool = False,
    forward: ForwardFunction | None = None,
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Exact L2 norm of the gradient of each example's loss: `‖∇_θ ℓ(f_θ(x_i), y_i)‖`.

    One forward pass and one backward pass without weight gradients; each use of a parameter contributes by
    the cheapest exact contraction that its shapes allow. The model is left as it was found.

    Args:
        model: any module whose examples do not interact; put it in evaluation mode where it has dropout or
            batch normalisation.
        inputs: tensor (batch, ...), or a dict of such tensors, passed by keyword where `forward` takes its
            names.
        targets: whatever the loss takes, (batch, ...).
        task: "classification" (the default: cross-entropy of logits and class indices) or an object with
            `.loss(outputs, targets)` of shape (batch,).
        loss: instead of a task, a callable `(outputs, targets) -> (batch,)`.
        parameters: "all" that require gradients, "head" (those of the layer that makes the
            logits, or of the layer that makes each of several outputs), a regular
            expression searched for in parameter names, or a callable `(name, parameter) -> bool`.
        autocast: torch.bfloat16 or torch.float16 to run the model under autocast; norms are still
            accumulated in float32.
        max_memory: bytes that the computation may take; larger batches are split.
        per_layer: return the norms by parameter name.
        verify_independence: first check on this batch that no example's loss depends on another example.
        forward: `(model, inputs) -> outputs`, where neither `model(inputs)` nor `model(**inputs)` is right.

    Returns:
        Shape (batch,), float32, or float64 for a float64 model; with `per_layer` a dict of such tensors.

    Raises:
        BadInputError: if the model mixes examples (batch statistics), is random, or the loss is not per
            example; the message names the module.

    Source:
        GraNd: Paul, Ganguli, Dziugaite 2021, "Deep Learning on a Data Diet", section 2, definition 2.1.

    Example:
        >>> model = nn.Linear(2, 2, bias=False)
        >>> _ = nn.init.zeros_(model.weight)
        >>> inputs, targets = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([0, 1])
        >>> gradient_norms(model, inputs, targets)
        tensor([3.5355, 1.4142])
    """
    norms = GradientNorms(
        model,
        task=task,
        loss=loss,
        parameters=parameters,
        autocast=autocast,
        max_memory=max_memory,
        forward=forward,
    )
    if per_layer:
        return norms.per_layer(inputs, targets, verify_independence=verify_independence)
    return norms(inputs, targets, verify_independence=verify_independence)


def loss_function(task: str | TaskLike | None, loss: LossFunction | None) -> LossFunction:
    """The per-example loss that a task or a callable stands for."""
    if loss is not None:
        if task is not None:
            raise BadInputError("Give either task or loss, not both.")
        return loss
    if task is None or task == "classification":
        return _cross_entropy
    if isinstance(task, str) or not callable(getattr(task, "loss", None)):
        raise BadInputError(f"task must be 'classification' or an object with a .loss method, not {task!r}.")
    return task.loss


def _cross_entropy(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    if not isinstance(outputs, torch.Tensor):
        raise BadInputError(
            f"The model returned {type(outputs).__name__}, not logits: pass loss= or forward=."
        )
    half = outputs.dtype in (torch.float16, torch.bfloat16)
    return F.cross_entropy(outputs.float() if half else outputs, targets, reduction="none")


def outputs_of(model: nn.Module, inputs: Any) -> Any:
    """Call a model on a tensor, or on a dict by keyword where its `forward` takes the names."""
    if isinstance(inputs, Mapping) and _takes(model, inputs):
        return unwrapped(model(**inputs))
    return unwrapped(model(inputs))


def _takes(model: nn.Module, inputs: Mapping[str, Any]) -> bool:
    arguments = inspect.signature(model.forward).parameters
    if any(a.kind is inspect.Parameter.VAR_KEYWORD for a in arguments.values()):
        return any(name in arguments for name in inputs)
    return all(name in arguments for name in inputs)


def unwrapped(outputs: Any) -> Any:
    """The logits of an output object that has them; anything else as it is."""
    if isinstance(outputs, torch.Tensor):
        return outputs
    if isinstance(outputs, Mapping) and isinstance(outputs.get("logits"), torch.Tensor):
        return outputs["logits"]
    logits = getattr(outputs, "logits", None)
    return logits if isinstance(logits, torch.Tensor) else outputs


def _unwrapping(forward: ForwardFunction) -> ForwardFunction:
    return lambda model, inputs: unwrapped(forward(model, inputs))


def batch_size(inputs: Any, targets: Any) -> int:
    """Number of examples: the first dimension that every tensor of the batch shares."""
    sizes: dict[str, int] = {}
    for label, value in (("inputs", inputs), ("targets", targets)):
        _collect_sizes(label, value, sizes)
    if not sizes:
        raise BadInputError(
            "inputs must be a tensor or a dict of tensors, with the examples in the first dimension."
        )
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise BadInputError(f"The tensors of a batch differ in their number of examples ({told}).")
    return next(iter(sizes.values()))


def _collect_sizes(label: str, value: Any, sizes: dict[str, int]) -> None:
    if isinstance(value, torch.Tensor):
        if value.dim():
            sizes[label] = len(value)
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            _collect_sizes(f"{label}[{key!r}]", entry, sizes)
    elif isinstance(value, (tuple, list)):
        for position, entry in enumerate(value):
            _collect_sizes(f"{label}[{position}]", entry, sizes)
