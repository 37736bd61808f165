"""Trainings on CIFAR-10 with injected label noise, kept as arrays for `suspects.py --material`.

    python benchmarks/noise_material.py ../shared/data/cifar10 --examples 20000 --out material --workspace runs

For each kind of noise and seed: one training with its trace, and its logits in evaluation mode at the score epoch and
at the end; and a second training as `datadiet suspects` does it, without the examples that the first gives another
class with p > 0.5, and without a random part. A killed run goes on where it stopped.

`--kinds people --examples 50000` stands for what people do, at the rate of CIFAR-10 with one person's labels, 17.2 %:
the hardest images are wrong four times as often as the easiest, each as what a model of four epochs takes it for.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import datasets
import numpy as np
import torch

from datadiet.data import Examples, corrupt, load
from datadiet.data.fingerprint import fingerprint
from datadiet.engine.points import FullColumns, load_weights
from datadiet.engine.runs import Run, train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.evaluation import evaluate
from datadiet.jobs.suspects.evidence import FirstPass, logits_of, random_parts

SCORE_EPOCH = 4
# Classes that look alike turn into each other; the rest, into the next in line.
LOOK_ALIKE = ((9, 1), (2, 0), (4, 7), (3, 5), (5, 3), (0, 8), (8, 0), (1, 9), (6, 2), (7, 4))
RATES = {"symmetric": (0.1, 0.3), "class_dependent": (0.1,), "people": (0.172,)}


def cifar10(folder: Path, examples: int) -> Examples:
    files = {part: str(folder / f"{part}.parquet") for part in ("train", "test")}
    parts = datasets.load_dataset("parquet", data_files=files)
    train = parts["train"].select(range(min(examples, len(parts["train"]))))
    test = parts["test"].select(range(min(2_000, len(parts["test"]))))
    return load(datasets.DatasetDict(train=train, test=test), name="cifar10")


def outputs(setup: Setup, run: Run, step: int) -> np.ndarray:
    """Logits of the training part at a step, in id order."""
    model, _ = load_weights(setup, run, step)
    columns = FullColumns(setup, None)
    evaluate(
        model,
        setup.train,
        setup.recipe,
        setup.accelerator,
        lambda batch, logits: columns.put(batch, {"logits": logits}),
    )
    return columns.columns["logits"].numpy()


def mistaken(clean: Examples, rate: float, seed: int, workspace: Path, fixed: dict[str, str]) -> Examples:
    """Labels as a tired person gives them: more often wrong where a weak model is unsure, as what it confuses."""
    setup = prepare(clean, "fast", workspace=workspace, overrides={**fixed, "epochs": SCORE_EPOCH})
    total = setup.recipe.total_steps(len(clean.train))
    logits = outputs(setup, train_run(setup, 900 + seed, weights_at=[total]), total)
    setup.close()
    labels, rows = clean.train.labels, np.arange(len(clean.train))
    p = torch.from_numpy(logits / 2.0).double().softmax(1).numpy()
    harder = (-p[rows, labels]).argsort().argsort() / len(rows)
    generator = np.random.default_rng([seed, 0x50454F])
    wrong = generator.random(len(rows)) < rate * (1 + 3 * harder) / 2.5
    p[rows, labels] = 0.0
    cumulated = (p / p.sum(axis=1, keepdims=True)).cumsum(axis=1)
    taken = np.minimum((generator.random(len(rows))[:, None] > cumulated).sum(axis=1), p.shape[1] - 1)
    train = dataclasses.replace(clean.train, labels=np.where(wrong, taken, labels))
    return dataclasses.replace(
        clean,
        name=f"{clean.name} (people {rate:g}, seed {seed})",
        train=train,
        fingerprint=fingerprint(clean.class_names, (train, clean.test)),
    )


def make(
    clean: Examples, kind: str, rate: float, seed: int, workspace: Path, fixed: dict[str, str]
) -> dict[str, np.ndarray]:
    if kind == "people":
        noisy = mistaken(clean, rate, seed, workspace, fixed)
    else:
        transition = np.zeros((10, 10))
        for old, new in LOOK_ALIKE:
            transition[old, new] = 1
        given = transition if kind == "class_dependent" else None
        noisy = corrupt(clean, rate, kind, seed=seed, transition=given).examples
    train, wrong = noisy.train, noisy.train.labels != clean.train.labels
    setup = prepare(noisy, "fast", workspace=workspace, overrides=fixed)
    total, early = setup.recipe.total_steps(len(train)), setup.step_of(SCORE_EPOCH)
    last = round(total / setup.steps_per_epoch)
    run = train_run(setup, seed, record=True, weights_at=[early, total])
    found = {"ids": train.ids, "labels": train.labels, "old_labels": clean.train.labels, "mask": wrong}
    trace = run.trace()
    found |= {f"trace_{name}": trace.column(name) for name in trace.columns}
    for epoch, step in ((SCORE_EPOCH, early), (last, total)):
        found[f"logits_{epoch}"] = outputs(setup, run, step)
    dropped = FirstPass(train.labels, [logits_of(setup, run)], {}).suspected
    found["second_dropped"] = dropped
    [found["held_out"]] = random_parts(dropped, train.labels, 1, seed)
    second = train_run(setup, seed + 500, ids=train.ids[~(dropped | found["held_out"])], weights_at=[total])
    found[f"second_logits_{last}"] = logits_of(setup, second)
    assert run.result is not None and second.result is not None
    print(
        f"{kind} {rate:g} seed {seed}: test accuracy {run.result['accuracy']:.4f}, {second.result['accuracy']:.4f} "
        f"without {dropped.sum()} suspects, {(dropped & wrong).sum()} of them wrong, of {wrong.sum()} in all",
        flush=True,
    )
    setup.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with train.parquet and test.parquet of CIFAR-10")
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--kinds", nargs="+", choices=RATES, default=["symmetric", "class_dependent"])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("material"))
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    clean = cifar10(chosen.data, chosen.examples)
    fixed = {"precision": chosen.precision, "memory_format": "channels_last"}
    chosen.out.mkdir(parents=True, exist_ok=True)
    settings = [(kind, rate) for kind in chosen.kinds for rate in RATES[kind]]
    for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds):
        for kind, rate in settings:
            path = chosen.out / f"{kind}-{rate}-seed{seed}.npz"
            if path.exists():
                continue
            before = time.perf_counter()
            arrays = make(clean, kind, rate, seed, chosen.workspace, fixed)
            aside = path.with_suffix(".tmp.npz")
            np.savez(aside, **arrays)
            aside.replace(path)
            print(f"  {time.perf_counter() - before:.0f} s", flush=True)


if __name__ == "__main__":
    main()
