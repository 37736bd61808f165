"""What models take the rows of a pool for, how sure they are, and the data labelled with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils import gather_object
from torch import nn

from datadiet.data import Batch, Examples, ImageEncoding, Store, open_store
from datadiet.data.examples import IGNORED, TAG_TASKS, Part, TargetRows
from datadiet.data.fingerprint import fingerprint
from datadiet.engine.points import load_weights
from datadiet.engine.runs import describe, train_run
from datadiet.engine.setup import Setup
from datadiet.engine.training.evaluation import evaluate
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.plan import CLASS_TASKS
from datadiet.jobs.pool.rows import PoolRows
from datadiet.scores.outputs import measure
from datadiet.tasks import Task

#: Score -> the measure that it is, taken against the model's own hypothesis, and whether higher is less sure.
POOL_SCORES: Mapping[str, tuple[str, bool]] = {
    "entropy": ("entropy", True),
    "el2n": ("el2n", True),
    "margin": ("margin", False),
    "logit_margin": ("logit_margin", False),
    "least_confidence": ("probability", False),
}

#: Tasks whose models can be more or less sure of what they put out.
POOL_TASKS = ("classification", "intent_slots", "token_classification", "multilabel")


@dataclass(frozen=True, eq=False)
class PoolReading:
    """What one model says of some examples, in the order of their ids.

    Args:
        ids: sorted int64 (n,).
        hardness: score -> float64 (n,), higher = less sure; the scores that the task has.
        confidence: probability of the hypothesis, float64 (n,).
        labels: the class taken for, int64 (n,); 0 where the task has no classes.
        targets: the whole hypothesis where it is more than a class: tags, label sets; None of classes.
    """

    ids: np.ndarray
    hardness: Mapping[str, np.ndarray]
    confidence: np.ndarray
    labels: np.ndarray
    targets: TargetRows | None

    def rows_of(self, ids: np.ndarray) -> np.ndarray:
        """Places of some of its ids, in the order given."""
        return np.searchsorted(self.ids, ids)


def check_pool_task(task: str) -> None:
    """Refuse tasks without hypotheses that a model can be more or less sure of.

    Raises:
        BadInputError: the task is regression.
    """
    if task not in POOL_TASKS:
        raise BadInputError(
            "A regression model gives a number and not how sure it is of it, so a pool cannot be scored; use data "
            "with classes, tags or label sets."
        )


def check_pool_score(name: str) -> None:
    """Raise `BadInputError` unless there is such a score of pools, or it is "random"."""
    if name not in (*POOL_SCORES, "random"):
        raise BadInputError(
            f"There is no pool score {name!r}; there are {', '.join(POOL_SCORES)} and random."
        )


def hypotheses_of(outputs: Any, targets: Any) -> Any:
    """What a model takes a batch for, in the form of its targets.

    Args:
        outputs: logits (b, C), tags (b, T, S), or {"intent": (b, C), "slots": (b, T, S)}.
        targets: of the batch; only their form counts, and which tokens begin a word.

    Returns:
        Classes int64 (b,); tags int64 (b, T) with `IGNORED` where the targets have it; label sets float32 (b, C); or
        the dict of intents and tags.

    Example:
        >>> hypotheses_of(torch.tensor([[0.1, 2.0], [1.0, 0.0]]), torch.tensor([0, 0])).tolist()
        [1, 0]
    """
    if isinstance(targets, Mapping):
        return {name: hypotheses_of(outputs[name], part) for name, part in targets.items()}
    if targets.is_floating_point():
        return (outputs > 0).to(torch.float32)
    found = outputs.argmax(dim=-1)
    return found if targets.ndim == 1 else torch.where(targets == IGNORED, targets, found)


def measures_without_labels(task: Task, outputs: Any, targets: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """Every measure of a batch against the model's own hypotheses, and these hypotheses.

    Args:
        task: of the data.
        outputs: of the model.
        targets: of the batch; the labels in them are not looked at.
    """
    hypotheses = hypotheses_of(outputs, targets)
    if task.single_label:
        found = measure(outputs, hypotheses)
        # Exact where one minus a probability would round to zero.
        return {**found, "doubt": found["l1_error"] / 2}, hypotheses
    return dict(task.measures(outputs, hypotheses)), hypotheses


def read_pool(setup: Setup, model: nn.Module, store: Store, ids: np.ndarray | None = None) -> PoolReading:
    """One forward pass over some examples, whose labels are not looked at.

    Args:
        setup: data, recipe and machine that the model was trained with.
        model: on the device.
        store: the examples.
        ids: which of them, sorted; None for all.
    """
    check_pool_task(setup.examples.task)
    task = setup.plain_task
    wanted = store.ids if ids is None else np.sort(np.asarray(ids, dtype=np.int64))
    pieces: list[tuple[np.ndarray, dict[str, np.ndarray], Any]] = []
    with setup.display.step("pool", len(wanted), unit="examples/s") as advance:

        def visit(batch: Batch, outputs: Any) -> None:
            found, hypotheses = measures_without_labels(task, outputs, batch.targets)
            numbers = {name: values.double().cpu().numpy() for name, values in found.items()}
            pieces.append((batch.ids.cpu().numpy(), numbers, _on_cpu(hypotheses)))
            advance(len(batch))

        evaluate(model, store, setup.recipe, setup.accelerator, visit, ids=wanted)
    if setup.accelerator.num_processes > 1:
        pieces = gather_object(pieces)
    return _joined(setup, store, wanted, pieces)


def _joined(setup: Setup, store: Store, wanted: np.ndarray, pieces: Sequence[Any]) -> PoolReading:
    places = np.searchsorted(wanted, np.concatenate([ids for ids, _, _ in pieces]))
    order = np.empty_like(places)
    order[places] = np.arange(len(places))
    columns = {
        name: np.concatenate([numbers[name] for _, numbers, _ in pieces])[order] for name in pieces[0][1]
    }
    hardness = {
        score: columns[column] if higher else -columns[column]
        for score, (column, higher) in POOL_SCORES.items()
        if column in columns
    }
    if "doubt" in columns:
        hardness["least_confidence"] = columns["doubt"]
    labels = np.zeros(len(wanted), dtype=np.int64)
    found = [hypotheses for _, _, hypotheses in pieces]
    examples = setup.examples
    if examples.task in CLASS_TASKS:
        labels = np.concatenate([part["intent"] if isinstance(part, dict) else part for part in found])[order]
    targets: TargetRows | None = None
    if examples.task == "multilabel":
        targets = TargetRows("multilabel", np.concatenate(found)[order], None, examples.output_names)
    elif examples.task in TAG_TASKS:
        padded = [part["slots"] if isinstance(part, dict) else part for part in found]
        rows = [row[row != IGNORED] for part in padded for row in part]
        there = store.part.targets
        assert there is not None
        in_order = [rows[place] for place in order.tolist()]
        targets = _as_tags(in_order, there.take(store.part.positions_of(wanted)))
    return PoolReading(wanted, hardness, columns["probability"], labels, targets)


def _as_tags(rows: Sequence[np.ndarray], there: TargetRows) -> TargetRows:
    """Tags of every word that has one there; words that were cut off at the end of a long text get none."""
    assert there.offsets is not None
    values = np.full(len(there.values), IGNORED, dtype=np.int32)
    tagged = np.flatnonzero(there.values != IGNORED)
    firsts = np.searchsorted(tagged, there.offsets[:-1])
    for first, row in zip(firsts.tolist(), rows, strict=True):
        values[tagged[first : first + len(row)]] = row
    return TargetRows(there.task, values, there.offsets, there.names)


def _on_cpu(hypotheses: Any) -> Any:
    if isinstance(hypotheses, dict):
        return {name: part.cpu().numpy() for name, part in hypotheses.items()}
    return hypotheses.cpu().numpy()


def with_labels(
    examples: Examples, ids: np.ndarray, labels: np.ndarray, targets: TargetRows | None = None, *, said: str
) -> Examples:
    """The data with other labels, and other targets where it has such, on some training examples.

    Args:
        examples: the data; it stays as it is.
        ids: whose labels are replaced, int64 (m,).
        labels: their classes, int64 (m,).
        targets: their tags or label sets, of m rows with as many words as these examples have; None of classes.
        said: what was done, in words, for the name.

    Returns:
        `Examples` with a fingerprint of its own; the test part is the same.

    Example:
        >>> from datadiet.data import load
        >>> digits = load("digits")
        >>> other = with_labels(digits, digits.train.ids[:2], np.array([7, 7]), said="two sevens")
        >>> other.train.labels[:2].tolist(), other.name
        ([7, 7], 'digits (two sevens)')
    """
    train = examples.train
    places = train.positions_of(ids)
    new = train.labels.copy()
    if (
        examples.task != "multilabel"
    ):  # whose classes are label sets, by which tables go and nothing is trained
        new[places] = labels
    part: Part = dataclasses.replace(train, labels=new, targets=_replaced(train.targets, places, targets))
    return dataclasses.replace(
        examples,
        name=f"{examples.name} ({said})",
        train=part,
        fingerprint=fingerprint(examples.class_names, (part, examples.test)),
        notes=(*examples.notes, f"{said}: {len(places)} of {len(train)} labels."),
    )


def _replaced(there: TargetRows | None, places: np.ndarray, targets: TargetRows | None) -> TargetRows | None:
    if there is None or targets is None:
        return there
    values = there.values.copy()
    if there.offsets is None:
        values[places] = targets.values
        return TargetRows(there.task, values, None, there.names)
    starts = there.offsets[places]
    lengths = there.lengths()[places]
    if not np.array_equal(lengths, targets.lengths()):
        raise ValueError("hypotheses must have a tag for each word of their examples")
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    index = np.arange(int(lengths.sum())) + np.repeat(starts - first, lengths)
    values[index] = targets.values
    return TargetRows(there.task, values, there.offsets, there.names)


@dataclass(frozen=True, eq=False)
class PoolPrediction:
    """What the base's models say of the usable rows of a pool, averaged.

    Args:
        hardness: score -> float64 (n,), higher = less sure.
        confidence: mean probability of each model's hypothesis, float64 (n,).
        prediction: the class most models take each row for, int64 (n,); of several the lowest.
        weights: hashes of the models' weights.
    """

    hardness: Mapping[str, npt.NDArray[np.float64]]
    confidence: npt.NDArray[np.float64]
    prediction: npt.NDArray[np.int64]
    weights: Sequence[str]


def predict_pool(
    setup: Setup, rows: PoolRows, seeds: int, seed: int, machine: Mapping[str, Any] | None = None
) -> PoolPrediction:
    """Train models on the base, each to its end, and let them read the pool.

    Args:
        setup: the base, its recipe and the machine.
        rows: the pool.
        seeds: how many models.
        seed: of the first.
        machine: arguments of `datadiet.engine.setup.prepare`; those on memory and workers hold for the pool too.
    """
    limits = {
        k: v for k, v in (machine or {}).items() if k in ("memory_limit", "num_workers") and v is not None
    }
    encoding = setup.encoding
    if isinstance(encoding, ImageEncoding):
        encoding = dataclasses.replace(encoding, pixel_range=rows.pixel_range)
    store = open_store(rows.part, encoding, device=str(setup.accelerator.device), **limits)
    readings: list[PoolReading] = []
    weights = []
    total = int(describe(setup, seed, None, False)["total_steps"])
    setup.display.plan(seeds * total, "base models")
    for index in range(seeds):
        run = train_run(setup, seed + index, weights_at=(total,), label=f"base model {index + 1} of {seeds}")
        if not run.trained:
            setup.display.skip(total)
        model, digest = load_weights(setup, run, total)
        readings.append(read_pool(setup, model, store))
        weights.append(digest)
    hardness = {
        name: np.mean([reading.hardness[name] for reading in readings], axis=0)
        for name in readings[0].hardness
    }
    confidence = np.mean([reading.confidence for reading in readings], axis=0)
    votes = np.stack([reading.labels for reading in readings])
    return PoolPrediction(hardness, confidence, _most_voted(votes), weights)


def _most_voted(votes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The commonest entry of each column; of several the lowest.

    Example:
        >>> _most_voted(np.array([[2, 0, 1], [1, 0, 2], [2, 3, 0]])).tolist()
        [2, 0, 0]
    """
    alike = (votes[:, None, :] == votes[None, :, :]).sum(axis=0)  # how often each vote is given
    best = np.where(alike == alike.max(axis=0), votes, votes.max(initial=0) + 1)
    found: npt.NDArray[np.int64] = best.min(axis=0)
    return found
