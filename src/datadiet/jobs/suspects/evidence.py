"""What trainings say of the labels: finished runs, a second pass, folds, threshold classes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from datadiet.data import Batch, Examples
from datadiet.engine.points import FullColumns, remembered
from datadiet.engine.reloading import recorded_for
from datadiet.engine.runs import Run, train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.evaluation import evaluate
from datadiet.engine.training.randomness import derive_seed
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.example_keys import PartName
from datadiet.noise import (
    draw_threshold_examples,
    el2n,
    label_probability,
    log_probabilities,
    threshold_suspicion,
)
from datadiet.scores import ScoreTable
from datadiet.tracking import Trace, scores_from_trace

_ENOUGH_AT_RANDOM = 1500  # examples that second passes leave out at random, where that is a tenth or more
_SURE = 0.5  # of a class other than the label: from here on an example is left out of the second pass


@dataclass(frozen=True, eq=False)
class FirstPass:
    """What the scoring runs say of the labels at their end, in id order.

    Args:
        labels: (n,) given labels.
        logits: each (n, classes), of the last weights in evaluation mode, one a run.
        traced: means over the runs, each (n,), of what the training passes saw: `aum` (area under the margin),
            `late_loss` over the later epochs, `confidence` (probability of the label), `forgetting`; empty for runs
            shorter than an epoch.
        runs: that saw it.
    """

    labels: np.ndarray
    logits: list[np.ndarray]
    traced: dict[str, np.ndarray]
    runs: Sequence[Run] = ()

    @property
    def suspected(self) -> np.ndarray:
        """(n,) bool: the runs together give another class than the label more than half of the probability.

        Where that would leave a class without any example, it keeps all of its own.
        """
        mean = np.mean([np.exp(log_probabilities(logits)) for logits in self.logits], axis=0)
        sure = (mean.argmax(axis=1) != self.labels) & (mean.max(axis=1) > _SURE)
        for label in np.unique(self.labels):
            members = self.labels == label
            if sure[members].all():
                sure[members] = False
        return np.asarray(sure)

    def signals(self) -> dict[str, np.ndarray]:
        """Single signals by the name of their method, each turned so that higher is more suspicious."""
        found = {
            "late_el2n": np.mean([el2n(logits, self.labels) for logits in self.logits], axis=0),
            "late_probability": -np.mean([label_probability(z, self.labels) for z in self.logits], axis=0),
        }
        if self.traced:
            found |= {"aum": -self.traced["aum"], "probability": -self.traced["confidence"]}
            found |= {name: self.traced[name] for name in ("forgetting", "late_loss")}
        return found


def first_pass(setup: Setup, table: ScoreTable, seeds: list[int]) -> FirstPass:
    """Train the table's runs to their end, as far as they are not there, and read what they saw."""
    total = setup.recipe.total_steps(len(setup.examples.train))
    # The weights that the table was made from stay: a run without them would be started over.
    steps = {entry["step"] for entry in table.provenance.get("scores", {}).values() if "step" in entry}
    recorded = recorded_for(table.provenance)
    setup.display.plan(len(seeds) * total, "first pass")
    runs, traced = [], []
    for index, seed in enumerate(seeds):
        label = f"scoring run {index + 1} of {len(seeds)}"
        run = train_run(setup, seed, record=recorded, weights_at=sorted({*steps, total}), label=label)
        if not run.trained:
            setup.display.skip(total)
        runs.append(run)
        trace = run.trace()
        if trace.epochs:
            traced.append(_of_trace(trace))

    means = {name: np.mean([one[name] for one in traced], axis=0) for name in (traced[0] if traced else ())}
    logits = [logits_of(setup, run) for run in runs]
    return FirstPass(setup.examples.train.labels, logits, means, runs)


def logits_of(setup: Setup, run: Run, part: PartName = "train") -> np.ndarray:
    """Logits of every example of a part with a run's last weights, (n, classes) float32, in evaluation mode.

    Where the recipe flips images, the mean over an image and its mirror image.
    """
    store, kind = (setup.train, "logits") if part == "train" else (setup.test, "logits-test")
    mirrored = setup.examples.kind == "image" and bool(setup.recipe.flip)

    def compute(model: nn.Module) -> dict[str, torch.Tensor]:
        columns = FullColumns(setup, store.part.ids)
        model = BothWays(model) if mirrored else model

        def visit(batch: Batch, logits: torch.Tensor) -> None:
            columns.put(batch, {"logits": logits})

        evaluate(model, store, setup.recipe, setup.accelerator, visit)
        return columns.merged()

    kind += "-both-ways" if mirrored else ""
    return remembered(setup, run, run.total_steps, kind, compute).columns["logits"]


class BothWays(nn.Module):
    """The mean of what a model puts out for images and for their mirror images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """For images (n, channels, height, width)."""
        both: torch.Tensor = self.model(images) + self.model(images.flip(-1))
        return both / 2


def _of_trace(trace: Trace) -> dict[str, np.ndarray]:
    found = scores_from_trace(trace, ["aum", "confidence", "forgetting"])
    found["late_loss"] = late_mean(trace.column("loss"), trace.seen())
    return {name: np.asarray(values, dtype=np.float64) for name, values in found.items()}


def late_mean(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Mean over the later half of the epochs and the one before it, (n,); over all where those did not show it.

    Args:
        values: (epochs, n).
        seen: (epochs, n) bool.

    Example:
        >>> late_mean(np.array([[8.0], [4.0], [2.0], [0.0]]), np.ones((4, 1), bool))
        array([2.])
    """
    late = slice(max(0, len(values) // 2 - 1), None)
    shown = np.where(seen, values, 0.0).astype(np.float64)
    part, whole = (
        shown[some].sum(axis=0) / np.maximum(seen[some].sum(axis=0), 1) for some in (late, slice(None))
    )
    return np.asarray(np.where(seen[late].any(axis=0), part, whole))


def second_passes(setup: Setup, seeds: list[int], left_out: list[np.ndarray]) -> list[Run]:
    """Train once more for each seed without some examples; one run a seed.

    Args:
        setup: data, recipe, machine.
        seeds: of the first pass; the second pass derives its own.
        left_out: (n,) bool for each seed.
    """
    ids = setup.examples.train.ids
    return [
        _train(
            setup, derive_seed(seed, "second pass"), ids[~mask], f"second pass {index + 1} of {len(seeds)}"
        )
        for index, (seed, mask) in enumerate(zip(seeds, left_out, strict=True))
    ]


def draw_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of every example, (n,) in [0, folds); each class is spread evenly.

    Example:
        >>> np.bincount(draw_folds(np.array([0, 1] * 6), 3, seed=0)).tolist()
        [4, 4, 4]
    """
    generator = np.random.default_rng([seed, 0x464F4C44])
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[by_class] = np.arange(len(labels)) % folds
    return fold


def random_parts(suspected: np.ndarray, labels: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """What each second pass does not see besides the suspects, a random part of its own; (n,) bool for each.

    The parts are disjoint, with every class spread evenly: a tenth each, more where the data is small, at most a
    fifth. A label that a model has seen and learnt by heart looks right, so how many are wrong is told from these
    parts. Where a class would have nothing left, its examples that are no suspects stay.

    Example:
        >>> first, second = random_parts(np.zeros(60, bool), np.array([0, 1] * 30), 2, seed=0)
        >>> int(first.sum()), int(second.sum()), bool((first & second).any())
        (12, 12, False)
    """
    parts = max(count, int(np.clip(count * len(labels) // _ENOUGH_AT_RANDOM, 5, 10)))
    fold = draw_folds(labels, parts, seed)
    found = [fold == index for index in range(count)]
    for part in found:
        for label in np.unique(labels):
            members = labels == label
            if (suspected | part)[members].all():
                part[members & ~suspected] = False
    return found


def folds_apart(setup: Setup, folds: int, left_out: np.ndarray, seed: int) -> tuple[np.ndarray, list[Run]]:
    """Logits (n, classes) of every example from a training that has seen neither its fold nor what is left out.

    Returns:
        The logits, and the runs, one a fold.
    """
    train = setup.examples.train
    fold = draw_folds(train.labels, folds, seed)
    logits: np.ndarray | None = None
    runs = []
    for index in range(folds):
        ids = train.ids[(fold != index) & ~left_out]
        if len(ids) == 0:
            raise BadInputError(
                f"Nothing is left to train on for fold {index + 1} of {folds}; use fewer folds."
            )
        runs.append(_train(setup, derive_seed(seed, "fold", index), ids, f"fold {index + 1} of {folds}"))
        found = logits_of(setup, runs[-1])
        logits = np.zeros_like(found) if logits is None else logits
        logits[fold == index] = found[fold == index]
    assert logits is not None
    return logits, runs


def threshold_passes(setup: Setup, seed: int) -> np.ndarray:
    """How far every example's AUM lies below the threshold, (n,): two trainings with disjoint threshold classes."""
    examples = setup.examples
    train = examples.train
    masks = draw_threshold_examples(len(train), examples.num_classes, rounds=2, seed=seed)
    aums = []
    for index, mask in enumerate(masks):
        own = _with_threshold_class(setup, examples, mask)
        try:
            run = train_run(
                own,
                derive_seed(seed, "threshold class", index),
                record=True,
                label=f"threshold class {index + 1} of {len(masks)}",
            )
        finally:
            own.close()
        if not run.trace().epochs:
            raise BadInputError(
                "AUM needs whole epochs of training, and the recipe is shorter than one; train longer."
            )
        aums.append(scores_from_trace(run.trace(), ["aum"])["aum"])
    return threshold_suspicion(np.stack(aums), np.stack(masks))


def _with_threshold_class(setup: Setup, examples: Examples, mask: np.ndarray) -> Setup:
    """The same set-up with one class more, which the masked training examples are given."""
    labels = np.where(mask, examples.num_classes, examples.train.labels)
    digest = hashlib.sha256(f"{examples.fingerprint} threshold class".encode() + labels.tobytes())
    other = dataclasses.replace(
        examples,
        train=dataclasses.replace(examples.train, labels=labels),
        class_names=(*examples.class_names, "threshold class"),
        fingerprint=digest.hexdigest(),
    )
    return prepare(
        other,
        setup.recipe,
        workspace=setup.workspace,
        device=setup.accelerator.device.type,
        display=setup.display,
        checkpoint_every=setup.checkpoint_every,
    )


def _train(setup: Setup, seed: int, ids: np.ndarray, label: str) -> Run:
    total = setup.recipe.total_steps(len(ids), len(setup.examples.train))
    setup.display.plan(total, label)
    return train_run(setup, seed, ids=ids, weights_at=[total], label=label)
