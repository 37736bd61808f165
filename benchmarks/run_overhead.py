"""What `datadiet.run` takes beyond its trainings: its wall time over that of the same trainings by a bare loop.

    python benchmarks/run_overhead.py digits
    python benchmarks/run_overhead.py ../shared/data/cifar10 --rows 2000 --keep 0.5 --seeds 3
    python benchmarks/run_overhead.py ../shared/data/text/trec6.train.parquet

Every round is a run in a fresh workspace, and then its list of trainings again: the same seeds, lengths and ids, each
tested once if the run tests it. Images are trained on by plain PyTorch written by hand (the data is one tensor; the
same net, batches, precision, layout, augmentation, optimiser and learning rates), all else by the package's loop
without observers. Rounds are interleaved. What scores, checkpoints, traces, intervals and pages take is in the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F

import datadiet as dd
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.devices import autocast, memory_format_of, on_device
from datadiet.engine.training.evaluation import evaluate
from datadiet.engine.training.ledger import method_cost
from datadiet.engine.training.loop import TrainingLoop, learning_rate, make_optimizer
from datadiet.jobs.quick import sampled

TIMED = {
    "setup": "datadiet.jobs.run.prepare",
    "scoring pass": "datadiet.jobs.score.measure_points",
    "statistics": "datadiet.jobs.run.decide",
    "writing, report": "datadiet.jobs.run.write_run",
}
CLOCK = time.perf_counter
TRAINED_BY = ("datadiet.jobs.score.train_run", "datadiet.jobs.compare.train_run")


@dataclass(frozen=True)
class Training:
    """One training of a run: its seed, ids (None for all), the step it ends at, its whole length."""

    seed: int
    ids: np.ndarray | None
    until: int
    total: int

    @property
    def tested(self) -> bool:
        """Whether the test part is predicted at its end."""
        return self.until == self.total


@contextmanager
def watched(parts: dict[str, float], trainings: list[Training]) -> Iterator[None]:
    """Inside, the seconds of each part of a run are added up, and its trainings are listed."""

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            before = CLOCK()
            try:
                return function(*arguments, **options)
            finally:
                parts[name] += CLOCK() - before

        return call

    def noted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(setup: Setup, seed: int, **options: Any) -> Any:
            before = CLOCK()
            run = function(setup, seed, **options)
            seconds = CLOCK() - before
            until = options.get("until") or run.total_steps
            trainings.append(Training(seed, options.get("ids"), min(until, run.total_steps), run.total_steps))
            ledger = run.weights(until)[1]["ledger"] if run.result is None else run.result["ledger"]
            clock = "processor_seconds" if time.process_time is CLOCK else "seconds"
            steps, tests = method_cost(ledger, clock), ledger[clock]["evaluation"]
            parts["steps, with what watches them"] += steps
            parts["evaluation"] += tests
            parts["opening and writing of trainings"] += seconds - steps - tests
            return run

        return call

    with ExitStack() as stack:
        for name, place in TIMED.items():
            stack.enter_context(patch(place, timed(name, found(place))))
        for place in TRAINED_BY:
            stack.enter_context(patch(place, noted(found(place))))
        yield


def found(place: str) -> Callable[..., Any]:
    """The function of that name."""
    module, _, name = place.rpartition(".")
    return getattr(__import__(module, fromlist=[name]), name)  # type: ignore[no-any-return]


def bare_images(setup: Setup) -> Callable[[Training], float]:
    """Seconds of a training by hand."""
    recipe, augmentation, device = setup.recipe, setup.augmentation, setup.accelerator.device
    layout = memory_format_of(recipe)
    train, test = (next(iter(store.epoch(batch_size=len(store)))) for store in (setup.train, setup.test))
    images, labels = train.inputs, train.targets
    pad = augmentation.pad if augmentation else 0
    flips = augmentation is not None and augmentation.flip
    padded = F.pad(images, (pad,) * 4, mode="reflect") if pad else images
    tall, wide = torch.arange(images.shape[-2], device=device), torch.arange(images.shape[-1], device=device)

    def shown(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if pad or flips:
            y = torch.randint(0, 2 * pad + 1, (len(rows), 1), generator=generator).to(device) + tall
            x = torch.randint(0, 2 * pad + 1, (len(rows), 1), generator=generator).to(device) + wide
            if flips:
                flipped = torch.rand(len(rows), 1, generator=generator).to(device) < 0.5
                x = torch.where(flipped, x.flip(1), x)
            chosen = padded[rows[:, None, None], :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
        else:
            chosen = images[rows]
        return chosen.contiguous(memory_format=layout)

    def run(training: Training) -> float:
        before = CLOCK()
        model = on_device(recipe, setup.build(training.seed), device).train()
        optimizer = make_optimizer(recipe, model, device)
        generator = torch.Generator().manual_seed(training.seed)
        rows = torch.arange(len(images))
        if training.ids is not None:
            rows = torch.from_numpy(setup.examples.train.positions_of(np.sort(training.ids)))
        step = 0
        while step < training.until:
            order = rows[torch.randperm(len(rows), generator=generator)].to(device)
            for batch in order.split(min(recipe.batch_size, len(rows)))[: training.until - step]:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(recipe, step, training.total)
                with autocast(recipe, device):
                    outputs = model(shown(batch, generator))
                loss = F.cross_entropy(outputs.float(), labels[batch], label_smoothing=recipe.label_smoothing)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                step += 1
        if training.tested:
            model.eval()
            with torch.inference_mode(), autocast(recipe, device):
                right = [
                    (model(some.contiguous(memory_format=layout)).argmax(1) == answers).sum()
                    for some, answers in zip(
                        test.inputs.split(2 * recipe.batch_size),
                        test.targets.split(2 * recipe.batch_size),
                        strict=True,
                    )
                ]
            float(sum(right))
        return CLOCK() - before

    return run


def bare_others(setup: Setup) -> Callable[[Training], float]:
    """Seconds of a training by the package's loop without observers."""

    def run(training: Training) -> float:
        before = CLOCK()
        loop = TrainingLoop(
            setup.recipe,
            setup.build(training.seed),
            setup.task,
            setup.train,
            ids=training.ids,
            seed=training.seed,
            total_steps=training.total,
            accelerator=setup.accelerator,
        )
        loop.run(training.until)
        if training.tested:
            right = []
            evaluate(
                loop.bare_model,
                setup.test,
                setup.recipe,
                setup.accelerator,
                lambda batch, outputs: right.append(
                    setup.plain_task.measures(outputs, batch.targets)["correct"].sum()
                ),
            )
            float(sum(right))
        setup.free_memory()
        return CLOCK() - before

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--rows", type=int, help="a stratified sample of so many training rows")
    parser.add_argument("--keep", type=float, nargs="+", default=[0.7, 0.5, 0.3])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", help="the recipe's otherwise")
    parser.add_argument("--epochs", type=float, help="the recipe's otherwise")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--processor", action="store_true", help="processor time, where the machine is busy")
    arguments = parser.parse_args()
    global CLOCK  # one for all that is timed
    CLOCK = time.process_time if arguments.processor else time.perf_counter
    examples = dd.load(arguments.source)
    if arguments.rows is not None:
        examples = sampled(examples, arguments.rows)
    told = {"model": arguments.model, "epochs": arguments.epochs}
    overrides = {name: value for name, value in told.items() if value is not None}
    totals: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as place:
        setup = prepare(
            examples, workspace=Path(place) / "first", device=arguments.device, overrides=overrides
        )
        fixed = {"precision": setup.recipe.precision, "memory_format": setup.recipe.memory_format}
        by_hand = examples.kind == "image" and examples.task == "classification"
        bare = (bare_images if by_hand else bare_others)(setup)
        for number in range(arguments.rounds):
            parts: dict[str, float] = defaultdict(float)
            trainings: list[Training] = []
            with watched(parts, trainings):
                before = CLOCK()
                dd.run(
                    examples,
                    keep=arguments.keep,
                    seeds=arguments.seeds,
                    workspace=Path(place) / f"runs-{number}",
                    device=arguments.device,
                    overrides={**overrides, **fixed},
                )
                whole = CLOCK() - before
            by_bare = [bare(training) for training in trainings]
            totals["datadiet.run"].append(whole)
            totals["bare trainings"].append(sum(by_bare))
            for name, seconds in parts.items():
                totals[name].append(seconds)
            totals["all else"].append(whole - sum(parts.values()))
            told_now = (
                f"round {number + 1}: {whole:.2f} s over {sum(by_bare):.2f} s: {whole / sum(by_bare):.3f}"
            )
            print(told_now, flush=True)
    steps = sum(training.until for training in trainings)
    loop = "plain PyTorch" if by_hand else "the package's loop without observers"
    print(
        f"\n{len(examples.train):,} training and {len(examples.test):,} test rows, {setup.recipe.model}, "
        f"{len(trainings)} trainings of {steps:,} steps in all; bare: {loop}; medians of {arguments.rounds} rounds\n"
    )
    bare_median = statistics.median(totals["bare trainings"])
    print("| what | seconds | over bare |\n| --- | --- | --- |")
    for name, seconds in totals.items():
        print(
            f"| {name} | {statistics.median(seconds):.2f} | {statistics.median(seconds) / bare_median:.3f} |"
        )
    ratios = np.array(totals["datadiet.run"]) / np.array(totals["bare trainings"])
    print(f"\nratio {np.median(ratios):.3f} (wanted: at most 1.05)")


if __name__ == "__main__":
    main()
