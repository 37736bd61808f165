"""Accuracy against time: full data, static subsets, dynamic selectors and their random twins, in one table.

    python benchmarks/time_accuracy.py --data ../shared/data/cifar10 --images 15000 --workspace runs
    python benchmarks/time_accuracy.py --source trec.parquet --test trec_test.parquet --model ngrams --images 0
    python benchmarks/time_accuracy.py --source atis.parquet --test atis_test.parquet --images 0 --recipe finetune \\
        --model encoder --layers 2 --epochs 5 --lr 5e-4 --batch-size 32

The defaults are about an hour of one core: 15,000 CIFAR-10 images, `smallcnn`, the recipe "fast" for 10 epochs, three
trainings of each arm. All seeds' first trainings come before their second ones, so that a machine that slows down slows
every arm down. What is trained stays in the workspace: killed, the same command goes on where it stopped.

Times are those of the ledgers: training, waiting for batches, and scoring (for "el2n hardest", the trainings and passes
that its scores come from). "saved" is one minus the geometric mean over seeds of time / time of full data with the same
seed, with Student's 95 % interval of its logarithm; accuracies have intervals over test examples and seeds. A random
twin has epochs of the same sizes as the selector's, drawn at random.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import datadiet as dd
from datadiet.data.fingerprint import fingerprint
from datadiet.engine.runs import train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.foundation.progress import ProgressDisplay
from datadiet.foundation.statistics import difference_interval
from datadiet.jobs.arms import FRESH_SEEDS
from datadiet.jobs.score import default_epoch
from datadiet.studies.time_accuracy import HARDEST, TimedArm, el2n_with_cost, row_of, timed_arms


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", type=Path, help="folder with train.parquet and test.parquet")
    data.add_argument("--source", help="anything that datadiet.load takes")
    parser.add_argument("--test", help="another source that holds the test part")
    parser.add_argument(
        "--images", "--examples", type=int, default=15_000, help="first rows of the training part; 0 for all"
    )
    parser.add_argument("--model", help="model of the recipe [smallcnn for images, else the recipe's]")
    parser.add_argument("--layers", type=int, help="keep the first so many layers of an encoder")
    parser.add_argument("--recipe", default="fast", help="name or YAML file")
    parser.add_argument("--epochs", type=float, default=10.0)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--score-seeds", type=int, help="models of the static scores [as --seeds]")
    parser.add_argument("--methods", default="infobatch,nlu-data-diet", help="dynamic selectors; '' for none")
    parser.add_argument("--keep", default="0.5", help="kept shares of selectors that have one")
    parser.add_argument(
        "--option", action="append", default=[], help="of a selector, such as infobatch.drop=0.7; repeatable"
    )
    parser.add_argument("--static-keep", default="0.5", help="kept shares of static subsets; '' for none")
    parser.add_argument("--no-hardest", action="store_true", help="leave the static hardest by EL2N out")
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="folder for table.md, rows.csv and machine.json")
    given = parser.parse_args()
    setup = open_setup(given)
    try:
        arms: list[TimedArm] = []
        for seeds in range(1, given.seeds + 1):
            arms = trained_arms(setup, given, seeds)
        table = markdown(setup, arms, " ".join(given.option))
        print(table)
        if given.out is not None:
            write(given.out, table, setup, arms)
    finally:
        setup.close()


def open_setup(given: argparse.Namespace) -> Setup:
    """Data and recipe made ready."""
    options = {} if given.test is None else {"test": given.test, "on_bad_example": "skip"}
    examples = dd.load(str(given.data if given.data is not None else given.source), **options)
    if given.images and given.images < len(examples.train):
        examples = first_rows(examples, given.images)
    overrides: dict[str, Any] = {
        "epochs": given.epochs,
        "batch_size": given.batch_size,
        "lr": given.lr,
        "model": given.model,
        "model_options": None if given.layers is None else {"num_hidden_layers": given.layers},
    }
    return prepare(
        examples,
        given.recipe,
        workspace=given.workspace,
        overrides=overrides,
        device=given.device,
        display=ProgressDisplay(),
    )


def first_rows(examples: dd.Examples, count: int) -> dd.Examples:
    """The same data with the first rows of its training part alone; ids stay what they are."""
    part = examples.train
    train = dataclasses.replace(
        part,
        dataset=part.dataset.select(range(count)),
        ids=part.ids[:count],
        labels=part.labels[:count],
        decoded={},
    )
    return dataclasses.replace(
        examples,
        name=f"{examples.name}, first {count}",
        train=train,
        fingerprint=fingerprint(examples.class_names, [train, examples.test]),
    )


def trained_arms(setup: Setup, given: argparse.Namespace, seeds: int) -> list[TimedArm]:
    """Every arm with so many trainings; those that are in the workspace already are read."""

    def retrain(other: Setup, index: int, ids: Any, label: str) -> Any:
        chosen = None if ids is None else np.sort(np.asarray(ids, dtype=np.int64))
        return train_run(
            other, given.seed + FRESH_SEEDS + index, ids=chosen, label=f"{label}, seed {index + 1}"
        )

    static = numbers(given.static_keep)
    hardness, scoring = None, []
    if static and not given.no_hardest:
        step = setup.step_of(default_epoch(setup.recipe, len(setup.examples.train)))
        runs = [
            train_run(
                setup, given.seed + index, until=step, weights_at=[step], label=f"scoring run {index + 1}"
            )
            for index in range(given.score_seeds or given.seeds)
        ]
        hardness, scoring = el2n_with_cost(setup, runs, step)
    methods = [name.strip() for name in given.methods.split(",") if name.strip()]
    return list(
        timed_arms(
            setup,
            methods,
            numbers(given.keep),
            seeds,
            given.seed,
            hardness,
            scoring,
            retrain,
            static_shares=static,
            options=options_of(given.option),
        )
    )


def options_of(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Selector -> its options, from texts such as "infobatch.drop=0.7"."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, _, value = text.partition("=")
        method, _, option = name.partition(".")
        found.setdefault(method, {})[option] = json.loads(value)
    return found


def numbers(text: str) -> list[float]:
    """Numbers separated by commas."""
    return [float(part) for part in text.split(",") if part.strip()]


def markdown(setup: Setup, arms: Sequence[TimedArm], options: str = "") -> str:
    """The table with what it was measured on."""
    full, recipe, examples = arms[0], setup.recipe, setup.examples
    clock = "CPU" if setup.accelerator.device.type == "cpu" else setup.accelerator.device.type
    lines = [
        f"{examples.name}: n = {len(examples.train):,} training, {len(examples.test):,} test examples; "
        f"{recipe.model}, recipe {recipe.name}, {recipe.epochs or recipe.steps:g} "
        f"{'epochs' if recipe.epochs else 'steps'} of {recipe.batch_size}, {recipe.precision}; {len(full.runs)} seeds; "
        f"{clock}, {torch.get_num_threads()} threads{'' if not options else f'; {options}'}.",
        "",
        "| arm | seeds | trained on | accuracy % [95 %] | minus full, points | minus random twin, points | wall s "
        "| processor s | of it scoring s | processor time saved % | wall time saved % "
        "| saved without scoring, processor % | examples forward | examples backward |",
        "|" + " --- |" * 14,
    ]
    by_name = {arm.name: arm for arm in arms}
    for arm in arms:
        row = row_of(arm, full)
        rivals = [f"random twin of {arm.name}", arm.name.replace(HARDEST, "random subset")]
        twin = next((by_name[name] for name in rivals if name in by_name and name != arm.name), None)
        cells = [
            arm.name,
            str(row["seeds"]),
            f"{100 * row['trained']:.1f} %",
            f"{100 * row['accuracy']:.2f} [{100 * row['low']:.2f}, {100 * row['high']:.2f}]",
            "" if arm is full else points(arm, full),
            "" if twin is None else points(arm, twin),
            f"{row['seconds']:,.1f}",
            f"{row['processor_seconds']:,.1f}",
            f"{row['scoring_processor_seconds']:,.1f}",
            *(
                "" if arm is full else share(row, name)
                for name in (
                    "processor_seconds_saved",
                    "seconds_saved",
                    "processor_seconds_saved_without_scoring",
                )
            ),
            f"{row['forwarded']:,.0f}",
            f"{row['backwarded']:,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def points(arm: TimedArm, reference: TimedArm) -> str:
    """A difference of accuracies with its interval."""
    found = difference_interval(arm.correct(), reference.correct())
    return f"{100 * found.mean:+.2f} [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"


def share(row: dict[str, Any], name: str) -> str:
    """A saving in percent with its interval."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    bounds = "one seed" if low is None else f"{100 * low:.1f}, {100 * high:.1f}"
    return f"{100 * row[name]:.1f} [{bounds}]"


def write(folder: Path, table: str, setup: Setup, arms: Sequence[TimedArm]) -> None:
    """The table, the rows in full precision, and the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(table + "\n", encoding="utf-8")
    rows = [row_of(arm, arms[0]) for arm in arms]
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    about = {
        "recipe": setup.recipe.to_dict(),
        "fingerprint": setup.examples.fingerprint,
        "device": setup.accelerator.device.type,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "torch": torch.__version__,
    }
    (folder / "machine.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
