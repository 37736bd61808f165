"""Trainings on CIFAR-10 with injected label noise, kept as arrays for `suspects.py --material`.

    python benchmarks/noise_material.py ../shared/data/cifar10 --examples 20000 --out material --workspace runs

For each kind of noise and seed: one training with its trace, the logits and embeddings in evaluation mode at the score
epoch and at the end; and a second training without the examples that the first gives another class with p > 0.5, and
without a random part. A killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import datasets
import numpy as np
import torch

from datadiet.data import Batch, Examples, corrupt, load
from datadiet.engine.points import FullColumns, HeadInputs, load_weights
from datadiet.engine.runs import Run, train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.evaluation import evaluate
from datadiet.jobs.suspects.evidence import random_parts

SCORE_EPOCH = 4
# Classes that look alike turn into each other; the rest, into the next in line.
LOOK_ALIKE = ((9, 1), (2, 0), (4, 7), (3, 5), (5, 3), (0, 8), (8, 0), (1, 9), (6, 2), (7, 4))
SETTINGS = (("symmetric", 0.1), ("symmetric", 0.3), ("class_dependent", 0.1))


def cifar10(folder: Path, examples: int) -> Examples:
    files = {part: str(folder / f"{part}.parquet") for part in ("train", "test")}
    parts = datasets.load_dataset("parquet", data_files=files)
    train = parts["train"].select(range(min(examples, len(parts["train"]))))
    test = parts["test"].select(range(min(2_000, len(parts["test"]))))
    return load(datasets.DatasetDict(train=train, test=test), name="cifar10")


def outputs(setup: Setup, run: Run, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and embeddings of the training part at a step, in id order."""
    model, _ = load_weights(setup, run, step)
    columns = FullColumns(setup, None)
    with HeadInputs(model) as head:

        def visit(batch: Batch, logits: torch.Tensor) -> None:
            features = head.features(logits)
            assert features is not None
            columns.put(batch, {"logits": logits, "embeddings": features})

        evaluate(model, setup.train, setup.recipe, setup.accelerator, visit)
    return columns.columns["logits"].numpy(), columns.columns["embeddings"].numpy()


def make(clean: Examples, kind: str, rate: float, seed: int, workspace: Path) -> dict[str, np.ndarray]:
    transition = np.zeros((10, 10))
    for old, new in LOOK_ALIKE:
        transition[old, new] = 1
    noisy = corrupt(
        clean, rate, kind, seed=seed, transition=transition if kind == "class_dependent" else None
    )
    train = noisy.examples.train
    fixed = {"precision": "float32", "memory_format": "channels_last"}
    setup = prepare(noisy.examples, "fast", workspace=workspace, overrides=fixed)
    total, early = setup.recipe.total_steps(len(train)), setup.step_of(SCORE_EPOCH)
    last = round(total / setup.steps_per_epoch)
    run = train_run(setup, seed, record=True, weights_at=[early, total])
    found = {"ids": train.ids, "labels": train.labels, "old_labels": noisy.old_labels, "mask": noisy.mask}
    trace = run.trace()
    found |= {f"trace_{name}": trace.column(name) for name in trace.columns}
    for epoch, step in ((SCORE_EPOCH, early), (last, total)):
        found[f"logits_{epoch}"], found[f"embeddings_{epoch}"] = outputs(setup, run, step)
    p = torch.from_numpy(found[f"logits_{last}"]).softmax(1).numpy()
    dropped = (p.argmax(1) != train.labels) & (p.max(1) > 0.5)
    found["second_dropped"] = dropped
    [found["held_out"]] = random_parts(dropped, train.labels, 1, seed)
    second = train_run(setup, seed + 500, ids=train.ids[~(dropped | found["held_out"])], weights_at=[total])
    found[f"second_logits_{last}"], found[f"second_embeddings_{last}"] = outputs(
        setup, second, second.total_steps
    )
    assert run.result is not None and second.result is not None
    print(
        f"{kind} {rate:g} seed {seed}: test accuracy {run.result['accuracy']:.4f}, {second.result['accuracy']:.4f} "
        f"without {dropped.sum()} suspects, {(dropped & noisy.mask).sum()} of them wrong, of {noisy.mask.sum()} in all",
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
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("material"))
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    clean = cifar10(chosen.data, chosen.examples)
    chosen.out.mkdir(parents=True, exist_ok=True)
    for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds):
        for kind, rate in SETTINGS:
            path = chosen.out / f"{kind}-{rate}-seed{seed}.npz"
            if path.exists():
                continue
            before = time.perf_counter()
            arrays = make(clean, kind, rate, seed, chosen.workspace)
            aside = path.with_suffix(".tmp.npz")
            np.savez(aside, **arrays)
            aside.replace(path)
            print(f"  {time.perf_counter() - before:.0f} s", flush=True)


if __name__ == "__main__":
    main()
