"""The exact gradient norm of each example's loss, for any model, and GraNd, its mean over several networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.batches import Batch, batch_size, device_of, moved, uncompiled
from datadiet.pergrad.calls import ForwardFunction, LossFunction, OnOutputs, logits_in, outputs_of
from datadiet.pergrad.classification import cross_entropy
from datadiet.pergrad.eager import plainly_differentiable
from datadiet.pergrad.parameters import (
    Selection,
    choose_parameters,
    find_heads,
    preserved_state,
    require_gradients,
)
from datadiet.pergrad.passes import Engine, check_independence, in_parts
from datadiet.pergrad.refusals import refuse_model

ModelSource = nn.Module | Callable[[], nn.Module] | tuple[Callable[[], nn.Module], "str | Path"]


class TaskLike(Protocol):
    """Anything with a per-example loss."""

    def loss(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Loss of each example, shape (batch,)."""
        ...


class GradientNorms:
    """`gradient_norms` for many batches of one model: what was learnt about its shapes is kept between them.

    The model may change meanwhile: each call sees the parameters, flags and mode that it has then.

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
        self.model = uncompiled(model)
        self._parameters = parameters
        self._max_memory = max_memory
        self._loss = loss_function(task, loss)
        self._forward = forward
        self._autocast = autocast
        self._engine: Engine | None = None
        self._seen: list[Any] = []
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
        batch = Batch(inputs, targets, batch_size(inputs=inputs, targets=targets))
        refuse_model(self.model)
        with plainly_differentiable():
            engine = self._engine_for(batch)
            if batch.size == 0:
                return {name: torch.zeros(0, device=p.device) for name, p in engine.chosen.items()}
            with self._prepared(engine.chosen.values()):
                if verify:
                    check_independence(engine, batch)
                return in_parts(engine, batch, self._max_memory)

    def _engine_for(self, batch: Batch) -> Engine:
        """The engine of the earlier batches, or another one where the model is not as it was then."""
        state = _state_of(self.model)
        if self._engine is None or len(state) != len(self._seen) or not all(map(_same, state, self._seen)):
            self._engine, self._seen = self._start(batch), state
        return self._engine

    def _start(self, batch: Batch) -> Engine:
        def heads() -> list[nn.Module]:
            first = batch.example(0).inputs
            return find_heads(self.model, lambda: logits_in(outputs_of(self.model, first, self._forward)))

        with self._prepared([p for p in self.model.parameters() if p.requires_grad]):
            chosen = choose_parameters(self.model, self._parameters, heads)
        return Engine(self.model, self._forward, OnOutputs(self._loss), chosen, self._autocast)

    @contextmanager
    def _prepared(self, wanted: Iterable[torch.Tensor]) -> Iterator[None]:
        """Only the wanted parameters require gradients inside, and all is put back on the way out.

        Buffers are copied only in training mode, the only one in which well-behaved modules write to them.
        """
        training = any(module.training for module in self.model.modules())
        with preserved_state(self.model, buffers=training):
            require_gradients(self.model, wanted)
            yield


def _state_of(model: nn.Module) -> list[tuple[Any, ...]]:
    """The modules and parameters of a model, and what may change about them between two batches."""
    modules = [(module, module.training) for module in model.modules()]
    return [*modules, *((p, p.requires_grad, p.dtype, p.device, p.shape) for p in model.parameters())]


def _same(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    return first[0] is second[0] and first[1:] == second[1:]


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
        inputs: tensor (batch, ...), or such tensors in a tuple, list, mapping or dataclass. A mapping is passed by
            keyword where `forward` takes its names; what is passed are copies.
        targets: whatever the loss takes, (batch, ...), nested like inputs.
        task: "classification" (the default: cross-entropy of logits and class numbers from 0) or an object with
            `.loss(outputs, targets)` of shape (batch,).
        loss: instead of a task, a callable `(outputs, targets) -> (batch,)`. Of a model that returns `logits` beside
            other things it gets the logits, or all outputs where it cannot take the logits alone.
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
            example; the message names the module. If labels do not fit the logits.

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
        return cross_entropy
    if isinstance(task, str) or not callable(getattr(task, "loss", None)):
        raise BadInputError(f"task must be 'classification' or an object with a .loss method, not {task!r}.")
    return task.loss


@dataclass(frozen=True)
class GrandResult:
    """GraNd scores in the order of ascending ids.

    Attributes:
        ids: example ids, int64, shape (examples,).
        mean: mean over the models, float64, shape (examples,).
        std: standard deviation over the models (divisor n - 1; NaN for one model), shape (examples,).
        per_seed: gradient norms of each model, shape (models, examples).
    """

    ids: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    per_seed: npt.NDArray[np.float64]


def grand(
    models: nn.Module | Iterable[ModelSource],
    loader: Iterable[Any],
    *,
    task: str | TaskLike | None = None,
    loss: LossFunction | None = None,
    parameters: Selection = "all",
    autocast: torch.dtype | None = None,
    max_memory: int | None = None,
    forward: ForwardFunction | None = None,
    verify_independence: bool = True,
    device: str | torch.device | None = None,
) -> GrandResult:
    """GraNd of every example of a loader: `E_θ ‖∇_θ ℓ(f_θ(x), y)‖`, the mean over the given models.

    Args:
        models: one module, or several (an `nn.ModuleList` is several), callables that make one, or pairs of such a
            callable and the path of a safetensors file whose weights it gets. Modules are put in evaluation mode while
            they are scored.
        loader: any iterable that can be gone through once for each model, of objects with `ids`, `inputs` and
            `targets`, or of such triples. Rows are matched by id, so its order may change.
        task: as in `gradient_norms`.
        loss: as in `gradient_norms`.
        parameters: as in `gradient_norms`.
        autocast: as in `gradient_norms`.
        max_memory: as in `gradient_norms`.
        forward: as in `gradient_norms`.
        verify_independence: check once for each model, on the first batch, that examples do not interact.
        device: where to compute; by default where the model's parameters are.

    Returns:
        Ids, mean, standard deviation and the norms of each model.

    Raises:
        BadInputError: if there is no model or no example, an id comes twice, or models see different ids.

    Source:
        Paul, Ganguli, Dziugaite 2021, "Deep Learning on a Data Diet", section 2, definition 2.1.

    Example:
        >>> loader = [(torch.tensor([1, 0]), torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([0, 1]))]
        >>> model = nn.Linear(2, 2, bias=False)
        >>> _ = nn.init.zeros_(model.weight)
        >>> result = grand([model, model], loader)
        >>> result.ids.tolist(), result.mean.round(3).tolist(), result.std.tolist()
        ([0, 1], [1.414, 3.536], [0.0, 0.0])
    """
    columns: list[npt.NDArray[np.float64]] = []
    ids: npt.NDArray[np.int64] | None = None
    if isinstance(models, nn.Module) and not isinstance(models, nn.ModuleList):
        models = [models]
    for source in models:
        model = _module(source)
        norms = GradientNorms(
            model,
            task=task,
            loss=loss,
            parameters=parameters,
            autocast=autocast,
            max_memory=max_memory,
            forward=forward,
        )
        seen, values = _one_model(model, norms, loader, verify_independence, device)
        if ids is not None and not np.array_equal(ids, seen):
            raise BadInputError(
                f"The loader gave model {len(columns)} other ids than the first one: it must go through the "
                "same examples each time (a generator can be gone through only once: pass a list or a DataLoader)."
            )
        ids = seen
        columns.append(values)
    if ids is None:
        raise BadInputError("grand needs at least one model.")
    per_seed = np.stack(columns)
    spread = per_seed.std(axis=0, ddof=1) if len(columns) > 1 else np.full(len(ids), np.nan)
    return GrandResult(ids, per_seed.mean(axis=0), spread, per_seed)


def _one_model(
    model: nn.Module,
    norms: GradientNorms,
    loader: Iterable[Any],
    verify: bool,
    device: str | torch.device | None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    modes = [(module, module.training) for module in model.modules()]
    ids: list[npt.NDArray[np.int64]] = []
    values: list[npt.NDArray[np.float64]] = []
    try:
        model.eval()
        device_of_batch = device or device_of(model)
        if device is not None:
            model.to(device)
        for batch in loader:
            batch_ids, inputs, targets = _parts(batch)
            inputs, targets = moved((inputs, targets), device_of_batch)
            found = norms(inputs, targets, verify_independence=verify and not ids)
            ids.append(np.asarray(batch_ids, dtype=np.int64).reshape(-1))
            values.append(found.cpu().double().numpy())
    finally:
        for module, mode in modes:
            module.training = mode
    if not ids:
        raise BadInputError("The loader is empty: there is nothing to score.")
    joined, scores = np.concatenate(ids), np.concatenate(values)
    if len(joined) != len(scores):
        raise BadInputError(f"The loader gave {len(joined)} ids for {len(scores)} examples.")
    order = np.argsort(joined, kind="stable")
    joined, scores = joined[order], scores[order]
    twice = np.flatnonzero(joined[1:] == joined[:-1])
    if len(twice):
        raise BadInputError(f"The loader gave example id {int(joined[twice[0]])} more than once.")
    return joined, scores


def _module(source: Any) -> nn.Module:
    if isinstance(source, nn.Module):
        return source
    if isinstance(source, tuple) and len(source) == 2 and callable(source[0]):
        from safetensors.torch import load_model

        model: nn.Module = source[0]()
        try:
            load_model(model, str(source[1]))
        except (OSError, RuntimeError) as error:
            raise BadInputError(f"Cannot load {source[1]} into {type(model).__name__}: {error}") from error
        return model
    if callable(source):
        made = source()
        if isinstance(made, nn.Module):
            return made
    raise BadInputError(
        "A model is a module, a callable that makes one, or a pair (callable, path of a safetensors file), "
        f"not {type(source).__name__}."
    )


def _parts(batch: Any) -> tuple[Any, Any, Any]:
    if all(hasattr(batch, name) for name in ("ids", "inputs", "targets")):
        return batch.ids, batch.inputs, batch.targets
    if isinstance(batch, (tuple, list)) and len(batch) == 3:
        return batch[0], batch[1], batch[2]
    raise BadInputError(
        "The loader must give objects with ids, inputs and targets, or (ids, inputs, targets) triples."
    )
