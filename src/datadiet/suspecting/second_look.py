"""Trainings that judge labels they have not learnt: a second pass, folds, and AUM's threshold classes."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from datadiet.data import Examples
from datadiet.errors import BadInputError
from datadiet.runs import train_run
from datadiet.setup import Setup, prepare
from datadiet.suspecting.seen_labels import logits_of
from datadiet.suspects import draw_threshold_examples, threshold_suspicion
from datadiet.tracking import scores_from_trace
from datadiet.training.seeding import derive_seed


def second_passes(setup: Setup, seeds: list[int], left_out: np.ndarray) -> list[np.ndarray]:
    """Train once more for each seed without some examples; logits (n, classes) of all, one a seed.

    Args:
        setup: data, recipe, machine.
        seeds: of the first pass; the second pass derives its own.
        left_out: (n,) bool.
    """
    ids = setup.examples.train.ids[~left_out]
    return [
        _train(setup, derive_seed(seed, "second pass"), ids, f"second pass {index + 1} of {len(seeds)}")
        for index, seed in enumerate(seeds)
    ]


def check_folds(folds: int, num_examples: int) -> None:
    """Refuse a number of folds that cannot be.

    Raises:
        BadInputError: fewer than two, or more than examples.
    """
    if not 2 <= folds <= num_examples:
        raise BadInputError(f"folds is {folds}; it must be from 2 to the {num_examples} examples there are.")


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


def folds_apart(setup: Setup, folds: int, left_out: np.ndarray, seed: int) -> np.ndarray:
    """Logits (n, classes) of every example from a training that has seen neither its fold nor what is left out."""
    train = setup.examples.train
    fold = draw_folds(train.labels, folds, seed)
    logits: np.ndarray | None = None
    for index in range(folds):
        ids = train.ids[(fold != index) & ~left_out]
        if len(ids) == 0:
            raise BadInputError(
                f"Nothing is left to train on for fold {index + 1} of {folds}; use fewer folds."
            )
        found = _train(setup, derive_seed(seed, "fold", index), ids, f"fold {index + 1} of {folds}")
        logits = np.zeros_like(found) if logits is None else logits
        logits[fold == index] = found[fold == index]
    assert logits is not None
    return logits


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


def _train(setup: Setup, seed: int, ids: np.ndarray, label: str) -> np.ndarray:
    total = setup.recipe.total_steps(len(ids), len(setup.examples.train))
    setup.display.plan(total, label)
    return logits_of(setup, train_run(setup, seed, ids=ids, weights_at=[total], label=label))
