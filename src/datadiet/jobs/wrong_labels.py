"""What a run says of wrong labels at no cost of training: how many, the worst of them, and how to look further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datadiet.data import Batch
from datadiet.engine.points import FullColumns, load_weights
from datadiet.engine.runs import Run
from datadiet.engine.setup import Setup
from datadiet.engine.training.evaluation import evaluate
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.commands import command_line, data_flags, is_nameable, machine_flags
from datadiet.jobs.score import Scoring
from datadiet.jobs.suspects.job import find_suspects
from datadiet.jobs.suspects.ranking import Suspects
from datadiet.noise import log_probabilities

WORST = 12


def wrong_labels_of(
    setup: Setup, scoring: Scoring, folder: Path, options: Mapping[str, Any], *, of_sample: bool
) -> dict[str, Any]:
    """What `verdict.json` says of wrong labels, as its entry `suspects`; nothing for data of another task.

    The training part is ranked by what the scoring runs saw of it while they trained. No model is trained for it, so
    that all models have seen the labels that they are asked about: `datadiet suspects` does better.

    Args:
        setup: of the run.
        scoring: its scores.
        folder: where its results go.
        options: of the run.
        of_sample: whether it is of a sample, whose scores are not those of the data.

    Returns:
        `suspects`: `about` (how many labels are wrong; null where that cannot be told), `sentence`, the `worst`, and
        the `commands` that go on, as they are typed.
    """
    if setup.examples.task != "classification":
        return {}
    try:
        found = find_suspects(replace(scoring.table, provenance={}))
    except BadInputError:  # scores that rank nothing; what was asked for is there without it
        return {}
    return {
        "suspects": {
            "about": found.about_wrong,
            "sentence": _sentence(found),
            "worst": _worst(setup, scoring, found),
            "commands": _commands(setup, scoring, folder, options, of_sample),
        }
    }


def _sentence(found: Suspects) -> str:
    about, rate = found.about_wrong, str(found.noise_rate)
    if about is None:
        return f"{rate[0].upper()}{rate[1:].rstrip('.')}."
    low, high = (round(end * len(found)) for end in (found.noise_rate.low, found.noise_rate.high))
    return (
        f"About {about:,} of {len(found):,} training labels look wrong "
        f"({100 * found.noise_rate.confidence:.0f} % interval {low:,} to {high:,})."
    )


def _worst(setup: Setup, scoring: Scoring, found: Suspects) -> list[dict[str, Any]]:
    """The most suspicious examples: `id`, `label`, and the class that the models `say`, with its probability."""
    names, ids, labels = setup.examples.class_names, found.ids[:WORST], found.labels[:WORST]
    probabilities = _probabilities(setup, scoring, ids)
    worst: list[dict[str, Any]] = [
        {
            "id": int(id_),
            "label": names[int(label)],
            "say": None,
            "probability": None,
            "probability_of_label": None,
        }
        for id_, label in zip(ids, labels, strict=True)
    ]
    if probabilities is not None:
        for entry, label, row in zip(worst, labels, probabilities, strict=True):
            entry["say"] = names[int(row.argmax())]
            entry["probability"], entry["probability_of_label"] = float(row.max()), float(row[label])
    return worst


def _probabilities(setup: Setup, scoring: Scoring, ids: np.ndarray) -> np.ndarray | None:
    """Of every class, (ids, classes): the mean over the scoring runs, with the weights that scores were taken with.

    None where these are untrained.
    """
    scores = scoring.table.provenance.get("scores", {}).values()
    step = max((entry["step"] for entry in scores if "step" in entry), default=0)
    if not step:
        return None
    ordered = np.sort(ids)
    mean = np.mean(
        [np.exp(log_probabilities(_logits(setup, run, step, ordered))) for run in scoring.runs], axis=0
    )
    return np.asarray(mean[np.searchsorted(ordered, ids)])


def _logits(setup: Setup, run: Run, step: int, ids: np.ndarray) -> np.ndarray:
    columns = FullColumns(setup, ids)

    def visit(batch: Batch, logits: torch.Tensor) -> None:
        columns.put(batch, {"logits": logits})

    evaluate(load_weights(setup, run, step)[0], setup.train, setup.recipe, setup.accelerator, visit, ids=ids)
    return columns.merged()["logits"].numpy()


def _commands(
    setup: Setup, scoring: Scoring, folder: Path, options: Mapping[str, Any], of_sample: bool
) -> Sequence[str]:
    """What to type next; nothing for data that no command can name."""
    source, facts = setup.examples.source, scoring.table.provenance
    if not is_nameable(source):
        return []
    model, scores = machine_flags(options, setup.recipe.model), str(folder / "scores.parquet")
    first = []
    if of_sample:  # scores of the sample are of other data than what is loaded again
        recipe = options["recipe"] if isinstance(options["recipe"], str | Path) else "fast"
        scores = "scores.parquet"
        flags = {**data_flags(facts), "recipe": None if recipe == "fast" else recipe}
        first = [command_line("score", source, flags={**flags, **model})]
    return [
        *first,
        command_line("suspects", scores, flags=model),
        command_line("review", "suspects.parquet"),
    ]
