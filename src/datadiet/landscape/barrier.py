"""Linear mode connectivity: how much worse networks on the line between two of them are than its ends."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.landscape.interpolation import (
    check_same_architecture,
    interpolate,
    reestimate_statistics,
    state_of,
    tracking_layers,
)
from datadiet.pergrad import norms
from datadiet.pergrad.batches import batch_size, device_of, moved, uncompiled
from datadiet.pergrad.calls import ForwardFunction, LossFunction, OnOutputs, logits_alone, outputs_of
from datadiet.pergrad.classification import IGNORED, cross_entropy
from datadiet.pergrad.randomness import Generators, refuse_randomness

Batches = Iterable[Any] | Callable[[], Iterable[Any]]


def restarted(batches: Batches, name: str) -> Iterable[Any]:
    """The batches from the beginning: of an iterable, or of what a callable returns.

    Raises:
        BadInputError: for an iterator, which can be gone through only once.
    """
    if not isinstance(batches, Iterable):
        if not callable(batches):
            raise BadInputError(f"{name} is an iterable of batches or a callable that returns one.")
        return batches()
    if isinstance(batches, Iterator):
        raise BadInputError(
            f"{name} is an iterator and can be gone through only once: pass a list, a DataLoader, or a callable that "
            "returns a new iterable."
        )
    return batches


def parts_of(batch: Any) -> tuple[torch.Tensor | None, Any, Any]:
    """Ids (or None), inputs and targets of a batch: an object with these attributes, a triple, or a pair without ids.

    Raises:
        BadInputError: if it is none of them.
    """
    if hasattr(batch, "inputs") and hasattr(batch, "targets"):
        ids = getattr(batch, "ids", None)
        return None if ids is None else torch.as_tensor(ids), batch.inputs, batch.targets
    if isinstance(batch, (tuple, list)) and len(batch) == 3:
        return torch.as_tensor(batch[0]), batch[1], batch[2]
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return None, batch[0], batch[1]
    raise BadInputError(
        "A batch is an (inputs, targets) pair, an (ids, inputs, targets) triple, or an object with inputs and "
        f"targets, not {type(batch).__name__}."
    )


def inputs_of(batches: Iterable[Any]) -> Iterator[Any]:
    """The inputs of each batch; what has no targets is all inputs."""
    for batch in batches:
        bare = isinstance(batch, (torch.Tensor, Mapping))
        yield batch if bare else parts_of(batch)[1]


class IdOrder:
    """The order of ids in the first pass, which later passes are brought into.

    Without ids, examples are numbered as they come, and a pass that gives other targets than the first is refused.
    """

    def __init__(self) -> None:
        self.ids: torch.Tensor | None = None
        self._targets: list[Any] = []

    def sorted(self, ids: torch.Tensor | None, targets: list[Any], columns: torch.Tensor) -> torch.Tensor:
        """Columns of one pass, (k, examples), in ascending order of ids.

        Raises:
            BadInputError: if an id comes twice, or the pass differs from the first one.
        """
        if ids is None:
            if self._targets and not _same(self._targets, targets):
                raise BadInputError(
                    "The batches came in another order the second time: give them ids, or do not shuffle."
                )
            ids = torch.arange(columns.shape[1])
            self._targets = targets
        found, order = ids.sort(stable=True)
        twice = torch.nonzero(found[1:] == found[:-1])
        if len(twice):
            raise BadInputError(
                f"Example id {int(found[int(twice[0])])} comes more than once in the batches."
            )
        if self.ids is not None and not torch.equal(self.ids, found):
            raise BadInputError(
                "The batches hold other ids the second time: every pass needs the same examples."
            )
        self.ids = found
        return columns[:, order]


def _same(first: list[Any], second: list[Any]) -> bool:
    pairs = zip(first, second, strict=False)
    tensors = [pair for pair in pairs if all(isinstance(targets, torch.Tensor) for targets in pair)]
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in tensors)


class TaskLike(norms.TaskLike, Protocol):
    """Anything with a per-example loss and a per-example correctness."""

    def correct(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Whether each example is predicted right, bool, shape (batch,)."""
        ...


@dataclass(frozen=True)
class Barrier:
    """Losses and errors of each example along the line between two networks; tensors on the CPU.

    Attributes:
        alphas: where on the line, ascending, 0 (network a) and 1 (network b) included, float64, shape (alphas,).
        ids: example ids, ascending, int64, shape (n,); positions in the batches where these have no ids.
        losses: loss of each example in nats (or the unit of the given loss), float64, shape (alphas, n).
        errors: 1 where an example is predicted wrong, else 0, float64, shape (alphas, n).
        batchnorm: how BatchNorm statistics were made: "interpolated", "reestimated", or "none" for networks
            without such layers.
    """

    alphas: torch.Tensor
    ids: torch.Tensor
    losses: torch.Tensor
    errors: torch.Tensor
    batchnorm: str

    @property
    def error(self) -> torch.Tensor:
        """Share of examples predicted wrong, shape (alphas,)."""
        return self.errors.mean(1)

    @property
    def loss(self) -> torch.Tensor:
        """Mean loss, shape (alphas,)."""
        return self.losses.mean(1)

    @property
    def barrier(self) -> float:
        """`sup_α err(α) − [(1 − α) err(0) + α err(1)]`, a share of the examples, at least 0."""
        return float(self._above_line(self.error))

    @property
    def loss_barrier(self) -> float:
        """The same of the mean loss."""
        return float(self._above_line(self.loss))

    @property
    def example_barriers(self) -> torch.Tensor:
        """The same of each example's own loss, shape (n,); its mean is at least the barrier of the mean loss."""
        return self._above_line(self.losses)

    def connected(self, threshold: float = 0.1) -> torch.Tensor:
        """Which examples are linearly mode connected: loss barrier at most the threshold; bool, shape (n,).

        The papers count such examples; the threshold, in the unit of the loss, is a choice of this package.
        """
        return self.example_barriers <= threshold

    def of(self, ids: Any) -> Barrier:
        """The same line on some of the examples only, for instance the 1,000 with the lowest scores.

        Raises:
            BadInputError: if an id is not among the examples, or there is none.
        """
        wanted = torch.unique(torch.as_tensor(ids, dtype=torch.int64).reshape(-1).cpu())
        places = torch.searchsorted(self.ids, wanted).clamp_max(len(self.ids) - 1)
        missing = wanted[self.ids[places] != wanted]
        if len(missing) or not len(wanted):
            reason = f"id {int(missing[0])} was not evaluated" if len(missing) else "no id was given"
            raise BadInputError(f"There is no barrier on these examples: {reason}.")
        return Barrier(self.alphas, wanted, self.losses[:, places], self.errors[:, places], self.batchnorm)

    def _above_line(self, values: torch.Tensor) -> torch.Tensor:
        weights = self.alphas.reshape(-1, *(1 for _ in values.shape[1:]))
        # lerp is exact at both ends and where they agree, so a network has no barrier with itself.
        return (values - torch.lerp(values[0], values[-1], weights)).amax(0)


def error_barrier(
    model_a: nn.Module,
    model_b: nn.Module,
    batches: Batches,
    alphas: int | Sequence[float] = 11,
    *,
    batchnorm: Literal["interpolated", "reestimated"] = "interpolated",
    estimate_on: Batches | None = None,
    task: TaskLike | None = None,
    loss: LossFunction | None = None,
    forward: ForwardFunction | None = None,
    autocast: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Barrier:
    """Error and loss along the line between two networks: `err((1 − α) θ_a + α θ_b)` for each α, and their barrier.

    The barrier is the supremum over α of the error minus the line between the errors of the ends. Everything runs in
    evaluation mode on a copy of model a, on its device; the networks given are not touched.

    Args:
        model_a: the network at α = 0.
        model_b: the network at α = 1, of the same architecture.
        batches: objects with `ids`, `inputs` and `targets`, such triples, or (inputs, targets) pairs, that can be
            gone through once for each α: a list, a DataLoader, or a callable that returns a new iterable. Examples
            are matched by id; without ids their order must stay.
        alphas: how many equally spaced points, both ends included, or the points in [0, 1]; the ends are added.
        batchnorm: running statistics "interpolated" like parameters, or "reestimated" at every α, ends included.
        estimate_on: batches to re-estimate statistics on; those of `batches` by default.
        task: an object with `.loss` and `.correct` of shape (batch,); classification with cross-entropy by default.
        loss: `(outputs, targets) -> (batch,)` in place of the task's loss; it gets the logits, or all outputs where
            it cannot take the logits alone.
        forward: `(model, inputs) -> outputs`, where neither `model(inputs)` nor `model(**inputs)` is right.
        autocast: torch.bfloat16 or torch.float16 to run the networks under autocast.
        progress: called with (done, total) points on the line.

    Returns:
        The line: losses and errors of each example, and their barriers.

    Raises:
        BadInputError: if the architectures differ, a point lies outside of [0, 1], batches cannot be gone through
            again in the same way, labels do not fit the logits, or a network is random.

    Source:
        Frankle, Dziugaite, Roy, Carbin 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis"; on
        examples by score: Paul, Ganguli, Dziugaite 2021, "Deep Learning on a Data Diet"; barriers of single
        examples: Paul, Larsen et al. 2022, "Lottery Tickets on a Data Diet".

    Example:
        >>> a, b = nn.Linear(1, 2, bias=False), nn.Linear(1, 2, bias=False)
        >>> _ = nn.init.zeros_(a.weight), nn.init.ones_(b.weight)
        >>> line = error_barrier(a, b, [(torch.ones(4, 1), torch.tensor([0, 0, 0, 1]))], alphas=3)
        >>> line.error.tolist(), line.barrier, line.batchnorm
        ([0.25, 0.25, 0.25], 0.0, 'none')
    """
    points = _points(alphas)
    if batchnorm not in ("interpolated", "reestimated"):
        raise BadInputError(f"batchnorm={batchnorm!r} is not one of 'interpolated', 'reestimated'.")
    if estimate_on is not None and batchnorm != "reestimated":
        raise BadInputError("estimate_on is only used with batchnorm='reestimated'.")
    first, second = state_of(model_a), state_of(model_b)
    check_same_architecture(first, second)
    model = copy.deepcopy(uncompiled(model_a)).eval()
    device = device_of(model)
    normalised = bool(tracking_layers(model))
    measure = OnOutputs(loss or (cross_entropy if task is None else task.loss))
    correct = OnOutputs(_correct if task is None else task.correct)
    order, columns = IdOrder(), []
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        for done, alpha in enumerate(points, start=1):
            model.load_state_dict(interpolate(first, second, alpha))
            with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                if batchnorm == "reestimated" and normalised:
                    source = restarted(batches if estimate_on is None else estimate_on, "estimate_on")
                    reestimate_statistics(model, inputs_of(source), device, forward)
                again = restarted(batches, "batches")
                columns.append(_evaluate(model, again, device, measure, correct, forward, order))
            if progress is not None:
                progress(done, len(points))
    assert order.ids is not None
    losses, errors = torch.stack(columns, dim=1)
    alphas_tensor = torch.tensor(points, dtype=torch.float64)
    return Barrier(alphas_tensor, order.ids, losses, errors, batchnorm if normalised else "none")


def _points(alphas: int | Sequence[float]) -> list[float]:
    if isinstance(alphas, int):
        if alphas < 3:
            raise BadInputError(f"alphas={alphas} leaves no point between the two networks: take 3 or more.")
        return [k / (alphas - 1) for k in range(alphas)]
    points = sorted({0.0, 1.0, *(float(alpha) for alpha in alphas)})
    if not (points[0] == 0.0 and points[-1] == 1.0 and all(0.0 <= point <= 1.0 for point in points)):
        raise BadInputError(f"alphas must lie between 0 and 1, not {list(alphas)}.")
    return points


def _evaluate(
    model: nn.Module,
    batches: Any,
    device: torch.device,
    measure: OnOutputs,
    correct: OnOutputs,
    forward: ForwardFunction | None,
    order: IdOrder,
) -> torch.Tensor:
    """Losses and errors of every example, float64, shape (2, n), in ascending order of ids."""
    ids: list[torch.Tensor | None] = []
    all_targets: list[Any] = []
    columns: list[torch.Tensor] = []
    with torch.inference_mode():
        for batch in batches:
            batch_ids, inputs, targets = parts_of(batch)
            size = batch_size(inputs=inputs, targets=targets)
            if batch_ids is not None and len(batch_ids) != size:
                raise BadInputError(f"A batch has {len(batch_ids)} ids for {size} examples.")
            inputs, there = moved((inputs, targets), device)
            before = Generators(model)
            outputs = outputs_of(model, inputs, forward)
            rows = [measure(outputs, there), correct(outputs, there).logical_not()]
            for values in rows:
                if values.shape != (size,):
                    raise BadInputError(
                        f"Losses and errors must have one value an example, shape ({size},), not {tuple(values.shape)}."
                    )
            if not columns and before.moved():
                refuse_randomness(model, partial(_losses, model, inputs, there, measure, forward))
            ids.append(batch_ids)
            all_targets.append(targets)
            columns.append(torch.stack([values.cpu().double() for values in rows]))
    if not columns:
        raise BadInputError("There is no batch to measure the barrier on.")
    known = [batch_ids.reshape(-1).cpu().long() for batch_ids in ids if batch_ids is not None]
    if known and len(known) < len(ids):
        raise BadInputError("Some batches have ids and others have none.")
    return order.sorted(torch.cat(known) if known else None, all_targets, torch.cat(columns, dim=1)).clone()


def _losses(
    model: nn.Module, inputs: Any, targets: Any, measure: OnOutputs, forward: ForwardFunction | None
) -> torch.Tensor:
    losses: torch.Tensor = measure(outputs_of(model, inputs, forward), targets)
    return losses


def _correct(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    outputs = logits_alone(outputs)
    if outputs.dim() != 2 or outputs.shape[1] < 2 or targets.shape != outputs.shape[:1]:
        raise BadInputError(
            f"Logits of shape {tuple(outputs.shape)} with targets of shape {tuple(targets.shape)} are no "
            "classification: pass task=, an object with loss and correct."
        )
    if bool((targets == IGNORED).any()):
        raise BadInputError(f"An example with the label {IGNORED} is neither right nor wrong: leave it out.")
    right: torch.Tensor = outputs.argmax(1) == targets
    return right
