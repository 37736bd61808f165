"""GraNd: the expected gradient norm of each example, over several networks of the same recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.norms import ForwardFunction, GradientNorms, LossFunction, TaskLike
from datadiet.pergrad.parameters import Selection

ModelSource = nn.Module | Callable[[], nn.Module] | tuple[Callable[[], nn.Module], "str | Path"]


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
    models: Iterable[ModelSource],
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
        models: modules, callables that make one, or pairs of such a callable and the path of a safetensors
            file whose weights it gets. Modules are put in evaluation mode while they are scored.
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
        home = device or next((p.device for p in model.parameters()), torch.device("cpu"))
        if device is not None:
            model.to(device)
        for batch in loader:
            batch_ids, inputs, targets = _parts(batch)
            found = norms(_moved(inputs, home), _moved(targets, home), verify_independence=verify and not ids)
            ids.append(np.asarray(batch_ids, dtype=np.int64).reshape(-1))
            values.append(
                found.double().cpu().numpy() if found.device.type != "mps" else found.cpu().double().numpy()
            )
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
    if isinstance(batch, (tuple, list)) and len(batch) == 3:
        return batch[0], batch[1], batch[2]
    if all(hasattr(batch, name) for name in ("ids", "inputs", "targets")):
        return batch.ids, batch.inputs, batch.targets
    raise BadInputError(
        "The loader must give objects with ids, inputs and targets, or (ids, inputs, targets) triples."
    )


def _moved(value: Any, device: str | torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(entry, device) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)([_moved(entry, device) for entry in value])
    return value
