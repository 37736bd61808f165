"""How well scores agree with those of other, later models: at a checkpoint and over the training pass, for few models.

    python benchmarks/score_agreement.py ../shared/data/cifar10 --out agreement.json --workspace runs
    python benchmarks/score_agreement.py train.parquet --test test.parquet --recipe finetune --epochs 3 --out ...

Trains five models that score and ten others that are the reference, each to the end with its training pass recorded,
and measures EL2N in evaluation mode at the end of every epoch asked for. The reference is the mean EL2N of the ten at
the end of training (and at other epochs). For K of the five models, all choices of K are taken: mean, lowest and
highest rank correlation. A killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

import datadiet as dd
from datadiet.engine.points import measure_points
from datadiet.engine.runs import Run, train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.foundation.progress import ProgressDisplay
from datadiet.scores.passes import mean_over_the_pass
from datadiet.scores.training_dynamics import forgetting

SCORING, REFERENCE = 5, 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data", help="what datadiet.load takes, or a folder with train.parquet and test.parquet"
    )
    parser.add_argument("--test")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--model")
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--score-epochs", type=int, nargs="+", default=[1, 2, 3, 4, 6, 8, 10])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    overrides: dict[str, Any] = {"epochs": chosen.epochs} if chosen.epochs else {}
    if chosen.model:
        overrides["model"] = chosen.model
    examples = dd.load(chosen.data, **({"test": chosen.test} if chosen.test else {}))
    with ProgressDisplay() as display:
        setup = prepare(
            examples, chosen.recipe, workspace=chosen.workspace, overrides=overrides, display=display
        )
        found = agreement(setup, chosen.score_epochs)
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    print_tables(found)


def agreement(setup: Setup, epochs: list[int]) -> dict[str, Any]:
    steps = [setup.step_of(epoch) for epoch in epochs]
    runs = []
    for seed in range(SCORING + REFERENCE):
        runs.append(train_run(setup, seed, record=True, weights_at=steps, label=f"model {seed + 1}"))
        print(f"model {seed + 1}: accuracy {runs[-1].result['accuracy']:.4f}", flush=True)
    at = {
        epoch: [measure_points(setup, run, step) for run in runs]
        for epoch, step in zip(epochs, steps, strict=True)
    }
    el2n = {epoch: np.stack([points.columns["el2n"] for points in there]) for epoch, there in at.items()}
    through = {epoch: np.stack([_pass(run, epoch) for run in runs]) for epoch in epochs}
    last = epochs[-1]
    references = {
        f"EL2N at epoch {epoch}": el2n[epoch][SCORING:].mean(axis=0) for epoch in epochs[len(epochs) // 2 :]
    }
    references[f"forgetting to epoch {last}"] = np.stack(
        [_trace(run, "correct", last, forgetting) for run in runs[SCORING:]]
    ).mean(axis=0)
    rows = []
    for epoch in epochs:
        forms = {"checkpoint": el2n[epoch][:SCORING], "pass": through[epoch][:SCORING]}
        for k in range(1, SCORING + 1):
            choices = [list(choice) for choice in itertools.combinations(range(SCORING), k)]
            for name, reference in references.items():
                values = {
                    form: [_spearman(columns[choice].mean(axis=0), reference) for choice in choices]
                    for form, columns in forms.items()
                }
                gains = np.subtract(values["pass"], values["checkpoint"])
                rows.append(
                    {
                        "epoch": epoch,
                        "models": k,
                        "reference": name,
                        **{form: _spread(found) for form, found in values.items()},
                        "pass_minus_checkpoint": _spread(gains),
                    }
                )
    between = {
        form: {
            epoch: _spread([_spearman(a, b) for a, b in itertools.combinations(columns[epoch][:SCORING], 2)])
            for epoch in epochs
        }
        for form, columns in (("checkpoint", el2n), ("pass", through))
    }
    training = [run.result["seconds"] for run in runs]
    evaluation = [points.ledger["seconds"]["scoring"] for there in at.values() for points in there]
    return {
        "data": setup.examples.name,
        "n": len(setup.examples.train),
        "recipe": setup.recipe.name,
        "model": setup.recipe.model,
        "scoring_models": SCORING,
        "reference_models": REFERENCE,
        "accuracies": [run.result["accuracy"] for run in runs],
        "seconds_of_a_training": float(np.median(training)),
        "epochs_of_a_training": float(runs[0].result["epochs"]),
        "seconds_of_an_evaluation_pass": float(np.median(evaluation)),
        "rows": rows,
        "between_seeds": between,
    }


def _trace(run: Run, column: str, epoch: int, function: Any) -> np.ndarray:
    trace = run.trace()
    found = function(trace.column(column, through_epoch=epoch), seen=trace.seen(through_epoch=epoch))
    return np.asarray(found)


def _pass(run: Run, epoch: int) -> np.ndarray:
    return _trace(run, "el2n", epoch, mean_over_the_pass)


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b).statistic)


def _spread(values: Any) -> list[float]:
    return [float(np.mean(values)), float(np.min(values)), float(np.max(values))]


def print_tables(found: dict[str, Any]) -> None:
    print(
        f"{found['data']}, n = {found['n']:,}, {found['recipe']}, {found['model']}: a training "
        f"{found['seconds_of_a_training']:.1f} s, an evaluation pass {found['seconds_of_an_evaluation_pass']:.2f} s, "
        f"accuracy {np.mean(found['accuracies']):.4f}"
    )
    for reference in dict.fromkeys(row["reference"] for row in found["rows"]):
        print(f"\n{reference}, mean of {found['reference_models']} other models\n")
        print("| epoch | models | checkpoint | training pass | difference |\n| --- | --- | --- | --- | --- |")
        for row in found["rows"]:
            if row["reference"] == reference:
                cells = [
                    "{:.3f} [{:.3f}, {:.3f}]".format(*row[key])
                    for key in ("checkpoint", "pass", "pass_minus_checkpoint")
                ]
                print(f"| {row['epoch']} | {row['models']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
