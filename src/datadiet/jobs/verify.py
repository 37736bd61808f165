"""Does a score table say what its trainings say? A sample is computed again and compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from datadiet.engine.options import TrainingOptions
from datadiet.engine.points import OUTPUT_COLUMNS, compute_grand, compute_outputs, load_weights
from datadiet.engine.reloading import load_again, recipe_of_table, recorded_for, workspace_of_table
from datadiet.engine.runs import Run, describe
from datadiet.engine.setup import Setup, prepare
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import picked, with_options
from datadiet.jobs.options import VerifyOptions
from datadiet.jobs.outputs import read_results
from datadiet.pages.numbers import several
from datadiet.scores import ScoreTable, card
from datadiet.tracking import scores_from_trace

TOLERANCE = 1e-3  # relative; kernels may differ between batch shapes and machines, weights may not


@dataclass(frozen=True)
class Verification:
    """What was computed again, and how far it was off.

    Args:
        agrees: whether every number was within the tolerance and every checkpoint was the one named.
        sample: how many examples were computed again.
        seeds: how many models.
        worst: column -> largest relative difference.
        sentence: the outcome in words.
    """

    agrees: bool
    sample: int
    seeds: int
    worst: Mapping[str, float]
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return self.sentence


@with_options(workspace=None)
def verify(table: str | Path | ScoreTable, **options: Unpack[VerifyOptions]) -> Verification:
    """Compute the scores of a sample of examples again and compare them with a table.

    Scores of a checkpoint are computed with its weights, scores of the training pass with what it recorded.

    Args:
        table: a score table or its file.

    Raises:
        BadInputError: other data, no trainings any more, or nothing in the table that could be verified.
        RunFailedError: a checkpoint or what a training recorded does not hold what it should.
    """
    table = table if isinstance(table, ScoreTable) else ScoreTable.read(read_results(table))
    facts = table.provenance
    if "recipe" not in facts:
        raise BadInputError(
            "This score table was made from logits and names no checkpoints; it cannot be verified."
        )
    checkable = {
        name: entry
        for name, entry in facts.get("scores", {}).items()
        if name in table.per_seed and _is_checkable(name.partition("@")[0], entry)
    }
    if not checkable:
        raise BadInputError(
            "This score table has no score of a checkpoint or a training pass; nothing to verify."
        )
    recipe = recipe_of_table(facts, options["model"], options["trust_remote_code"])
    workspace = workspace_of_table(facts, options["workspace"])
    seeds = table.seeds_of_runs()
    if "machine" not in facts:
        raise BadInputError(
            "This score table does not say on which machine it was made; score the data again."
        )
    examples = load_again(facts, options["source"], options["load_options"], options["display"])
    table.check_data(examples.fingerprint)
    generator, size = np.random.default_rng(options["seed"]), min(options["sample"], len(table))
    training = picked(TrainingOptions, options) | {"workspace": workspace}
    with closing(prepare(examples, recipe, **training)) as setup:
        ids = np.sort(generator.choice(table.ids, size, replace=False))
        worst = _worst_differences(setup, table, checkable, seeds, ids)
    bad = {name: value for name, value in worst.items() if not value <= TOLERANCE}
    largest = max(worst.values())
    sentence = (
        f"{several(len(ids), 'example')}, {several(len(seeds), 'seed')}, {several(len(worst), 'score')}: every number "
        f"agrees with its training (largest relative difference {largest:.1e})."
        if not bad
        else f"{', '.join(bad)}: the table differs from its trainings by up to {largest:.1e} (relative); it was "
        "changed, or made by another version."
    )
    return Verification(not bad, len(ids), len(seeds), worst, sentence)


def _is_checkable(score: str, entry: Mapping[str, Any]) -> bool:
    if entry.get("taken") == "training pass":
        return {"epoch", "step"} <= entry.keys() and card(score).needs == "trace"
    known = (*OUTPUT_COLUMNS, "grand", "grand_last_layer")
    return entry.get("taken") == "evaluation" and {"step", "weights"} <= entry.keys() and score in known


def run_of(setup: Setup, facts: Mapping[str, Any], seed: int, steps: list[int]) -> Run:
    """The run of a seed as it lies in the workspace, whatever machine it was trained on; nothing is trained."""
    machine = {key: value for key, value in facts["machine"].items() if key in ("device", "processes")}
    description = {**describe(setup, seed, None, recorded_for(facts)), **machine}
    folder = setup.workspace.folder(description)
    missing = [step for step in steps if not folder.holds(folder.weights_path(step))]
    if missing:
        raise BadInputError(
            f"The workspace {str(setup.workspace.path)!r} has no checkpoint of seed {seed} at step {missing[0]}; "
            "give the workspace that the table was made in with --workspace."
        )
    size = len(setup.examples.train)
    return Run(folder, seed, size, description["total_steps"], setup.steps_per_epoch, folder.result(), False)


def _worst_differences(
    setup: Setup,
    table: ScoreTable,
    columns: Mapping[str, Mapping[str, Any]],
    seeds: list[int],
    ids: np.ndarray,
) -> dict[str, float]:
    rows = np.searchsorted(table.ids, ids)
    steps = sorted({int(entry["step"]) for entry in columns.values() if entry["taken"] == "evaluation"})
    worst: dict[str, float] = dict.fromkeys(columns, 0.0)
    for index, seed in enumerate(seeds):
        run = run_of(setup, table.provenance, seed, steps)
        again = {name: values[rows] for name, values in _of_the_pass(setup, run, columns).items()}
        for step in steps:
            here = {
                name: entry
                for name, entry in columns.items()
                if entry["taken"] == "evaluation" and int(entry["step"]) == step
            }
            again |= _of_a_checkpoint(setup, run, step, here, index, ids)
        for name, found in again.items():
            stored = table.per_seed[name][index]
            worst[name] = max(worst[name], _difference(found, stored[rows], stored))
    for name in worst:  # what is kept by is the mean: it must be that of the seeds, for every example
        stored = table.per_seed[name]
        worst[name] = max(worst[name], _difference(stored.mean(axis=0), table.column(name), stored))
    return worst


def _of_the_pass(setup: Setup, run: Run, columns: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Columns of the training pass, (n,), from what the run recorded."""
    epochs: dict[int, list[str]] = defaultdict(list)
    for name, entry in columns.items():
        if entry["taken"] == "training pass":
            epochs[int(entry["epoch"])].append(name)
    if epochs and not run.folder.names("trace"):
        raise BadInputError(
            f"The workspace {str(setup.workspace.path)!r} has no training pass of seed {run.seed}; give the workspace "
            "that the table was made in with --workspace."
        )
    found: dict[str, np.ndarray] = {}
    for epoch, names in epochs.items():
        scores = {name: name.partition("@")[0] for name in names}
        values = scores_from_trace(run.trace(), list(scores.values()), through_epoch=epoch)
        found |= {name: values[score] for name, score in scores.items()}
    return found


def _of_a_checkpoint(
    setup: Setup,
    run: Run,
    step: int,
    columns: Mapping[str, Mapping[str, Any]],
    index: int,
    ids: np.ndarray,
) -> dict[str, np.ndarray]:
    """Columns of the weights of a step, (ids,), computed again; `index` is the run's place among the table's."""
    model, weights = load_weights(setup, run, step)
    again = compute_outputs(setup, model, ids=ids)
    found: dict[str, np.ndarray] = {}
    for name, entry in columns.items():
        if entry["weights"][index] != weights:
            raise BadInputError(
                f"The table's {name!r} of seed {run.seed} was computed from other weights than the workspace "
                f"{str(setup.workspace.path)!r} has for step {step}; give the workspace it was made in."
            )
        score = name.partition("@")[0]
        if score == "grand" and "grand" not in again:
            again |= compute_grand(setup, model, entry.get("parameters", "all"), ids=ids)
        found[name] = again[score].numpy()
    return found


def _difference(found: np.ndarray, stored: np.ndarray, all_stored: np.ndarray) -> float:
    """The largest difference relative to what is stored, or to a thousandth of the largest where that is tiny."""
    stored = stored.astype(np.float64)
    scale = np.maximum(np.abs(stored), 1e-3 * np.abs(all_stored).max() + 1e-12)
    return float((np.abs(found.astype(np.float64) - stored) / scale).max())
