"""The training loop against a loop written by hand: images a second, plain, recording, and with a sparse network.

    python benchmarks/loop.py ../shared/data/cifar10

The hand-written loop has the same net, batch, precision, layout, augmentation (pad 4, crop, flip, per batch) and
optimiser, and nothing else. The sparse network has 80 % of its weights removed. Segments of the four are interleaved;
ratios are taken round by round, and their medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import datadiet as dd
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.loop import Observer, RecordTrace, TrainingLoop
from datadiet.tracking import Recorder


def bare_loop(setup: Setup, steps: int) -> Callable[[], float]:
    """Seconds for `steps` steps of plain PyTorch; the data is one tensor, as in any CIFAR speed run."""
    first = next(iter(setup.train.epoch(batch_size=len(setup.examples.train))))
    images, labels = first.inputs, first.targets
    padded = F.pad(images, (4,) * 4, mode="reflect")
    model = setup.build(0).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad],
        lr=0.01,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
    )
    generator = torch.Generator().manual_seed(0)
    size, batch = images.shape[-1], setup.recipe.batch_size
    grid = torch.arange(size)

    def run() -> float:
        order = torch.randperm(len(images), generator=generator)
        before = time.perf_counter()
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            y = torch.randint(0, 9, (len(rows), 1), generator=generator) + grid
            x = torch.randint(0, 9, (len(rows), 1), generator=generator) + grid
            flipped = torch.rand(len(rows), 1, generator=generator) < 0.5
            x = torch.where(flipped, x.flip(1), x)
            crop = padded[rows[:, None, None], :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(
                model(crop.contiguous(memory_format=torch.channels_last)), labels[rows]
            ).backward()
            optimizer.step()
        return time.perf_counter() - before

    return run


def our_loop(setup: Setup, steps: int, *, record: bool = False, sparsity: float = 0.0) -> Callable[[], float]:
    """Seconds for `steps` steps of the package's loop, with a mask where a sparsity is given."""
    observers: list[Observer] = []
    if record:
        observers.append(RecordTrace(Recorder(ids=setup.examples.train.ids)))
    loop = TrainingLoop(
        setup.recipe.replace(lr=0.01),
        setup.build(0),
        setup.task,
        setup.train,
        ids=None,
        seed=0,
        total_steps=10**6,
        accelerator=setup.accelerator,
        augmentation=setup.augmentation,
        observers=observers,
    )
    if sparsity:
        dd.apply_mask(loop.bare_model, dd.magnitude_mask(loop.bare_model, sparsity), loop.optimizer)

    def run() -> float:
        before = time.perf_counter()
        loop.run(loop.step + steps)
        return time.perf_counter() - before

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        setup = prepare(dd.load(arguments.source), "fast", workspace=workspace, device="cpu")
        setup.recipe = setup.recipe.replace(precision="float32", memory_format="channels_last")
        loops = {
            "bare PyTorch": bare_loop(setup, arguments.steps),
            "datadiet": our_loop(setup, arguments.steps),
            "datadiet, recording every score": our_loop(setup, arguments.steps, record=True),
            "datadiet, 80 % of the weights removed": our_loop(setup, arguments.steps, sparsity=0.8),
        }
        times: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(arguments.rounds + 1):
            for name, loop in loops.items():
                times[name].append(loop())
    images = arguments.steps * setup.recipe.batch_size
    measured = {name: np.array(values[1:]) for name, values in times.items()}  # the first round is warm-up
    bare, plain = list(measured.values())[:2]
    print(f"{arguments.rounds} rounds of {arguments.steps} steps of {setup.recipe.batch_size}, medians\n")
    print("| loop | images/s | against bare | against plain datadiet |")
    print("| --- | --- | --- | --- |")
    for name, values in measured.items():
        cells = [name, f"{images / statistics.median(values):,.0f}", f"{np.median(bare / values):.3f}"]
        cells.append("" if values is bare or values is plain else f"{np.median(plain / values):.3f}")
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
