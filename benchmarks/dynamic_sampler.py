"""What a dynamic sampler costs an epoch: at CIFAR-10's size beside a training epoch, and at ten million ids.

    python benchmarks/dynamic_sampler.py [--large 10000000] [--batch-size 256] [--epochs 3] [--train]

An epoch here is everything that the sampler adds to a loop whose model costs nothing: handing out batches, asking for
weights, telling losses, `end_epoch`, and choosing what is next. Wall time and processor time of this process are
printed, since a busy machine stretches only the first. `--train` also times an epoch of `smallcnn` at CIFAR-10's size
in this process, on random pixels. The state is `state_dict` taken late in an epoch, when it is largest.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F

from datadiet.dynamic import (
    Curriculum,
    DynamicSampler,
    InfoBatch,
    NluDataDiet,
    RandomCycles,
    Schedule,
    Selector,
    Uncertainty,
)

SMALL = 50_000


def selectors() -> dict[str, Selector]:
    """Every selector with its largest state, told by the training pass."""
    return {
        "random": RandomCycles(),
        "nlu-data-diet": NluDataDiet(scoring_pass=False, deviation=1.0),
        "infobatch": InfoBatch(),
        "uncertainty": Uncertainty(window=10),
        "curriculum": Curriculum(start=0.5, grow_epochs=10),
    }


def one_epoch(sampler: DynamicSampler, numbers: torch.Tensor, half_way: bool = False) -> tuple[float, ...]:
    """All that a loop asks of the sampler: wall and processor seconds, and the bytes of its state if wanted.

    Making a tensor of a list of ids is left out: a loader does that for any sampler.
    """
    weigh, tell = isinstance(sampler.selector, InfoBatch), sampler.selector.needs_reports
    state_bytes, late = 0, len(sampler) * 9 // 10
    left_out = np.zeros(2)
    begun = clocks()
    for index, batch in enumerate(sampler):
        before = clocks()
        ids = torch.tensor(batch)
        left_out += clocks() - before
        if weigh:
            sampler.weights(ids)
        if tell:
            sampler.update(ids, measured=numbers[: len(batch)])
        if half_way and index == late:
            state_bytes = sum(part.numel() * part.element_size() for part in sampler.state_dict().values())
    sampler.end_epoch()
    wall, processor = clocks() - begun - left_out
    return wall, processor, state_bytes


def bare_epoch(size: int, batch_size: int) -> tuple[float, ...]:
    """What torch's own shuffling takes."""
    begun = clocks()
    order = torch.utils.data.RandomSampler(range(size), generator=torch.Generator().manual_seed(0))
    for _ in torch.utils.data.BatchSampler(order, batch_size, False):
        pass
    return tuple(clocks() - begun)


def clocks() -> np.ndarray:
    """Wall and processor seconds."""
    return np.array((time.perf_counter(), time.process_time()))


def measure(size: int, batch_size: int, epochs: int) -> None:
    """One table: median epoch after the warm-up, and the state."""
    print(f"\n{size:,} ids, batches of {batch_size}, median of {epochs} epochs")
    print(f"{'':16} {'full s':>8} {'(cpu)':>8} {'chosen s':>9} {'(cpu)':>8} {'ids':>11} {'state MB':>9}")
    numbers = torch.from_numpy(np.random.default_rng(0).random(batch_size, dtype=np.float32))
    wall, processor = np.median([bare_epoch(size, batch_size) for _ in range(epochs)], axis=0)
    print(f"{'RandomSampler':16} {wall:8.2f} {processor:8.2f}")
    for name, selector in selectors().items():
        # Every epoch is told of; the first ones are full, the others are what was chosen.
        sampler = DynamicSampler(size, Schedule(warmup=epochs), selector, batch_size=batch_size)
        full = np.median([one_epoch(sampler, numbers) for _ in range(epochs)], axis=0)
        part, chosen = [], 0
        for _ in range(epochs):
            part.append(one_epoch(sampler, numbers))
            chosen = len(sampler.chosen_ids)
        picked = np.median(part, axis=0)
        state = one_epoch(sampler, numbers, half_way=True)[2]
        print(
            f"{name:16} {full[0]:8.2f} {full[1]:8.2f} {picked[0]:9.2f} {picked[1]:8.2f} {chosen:11,} "
            f"{state / 1e6:9.1f}"
        )


def training_epoch(batch_size: int) -> None:
    """One epoch of `smallcnn` at CIFAR-10's size, on random pixels."""
    from datadiet.models import ModelContext, build_model

    model = build_model("smallcnn", ModelContext("image", 10, (3, 32, 32)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    inputs, targets = torch.randn(batch_size, 3, 32, 32), torch.randint(0, 10, (batch_size,))
    for _ in range(SMALL // batch_size):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--large", type=int, default=10_000_000, help="0 leaves the large table out")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train", action="store_true", help="time a training epoch, about a minute")
    arguments = parser.parse_args()
    measure(SMALL, arguments.batch_size, arguments.epochs)
    if arguments.train:
        begun = clocks()
        training_epoch(arguments.batch_size)
        wall, processor = clocks() - begun
        print(
            f"\nsmallcnn, {SMALL:,} examples forward and backward: {wall:.1f} s ({processor:.1f} s of processor)"
        )
    if arguments.large:
        measure(arguments.large, arguments.batch_size, arguments.epochs)


if __name__ == "__main__":
    main()
