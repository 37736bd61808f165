"""Cost of exact per-example gradient norms, relative to one training step on the same batch."""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import nn

import datadiet as dd
from datadiet.engine.setup import prepare
from datadiet.engine.training.loop import TrainingLoop
from datadiet.models.resnet import resnet18, resnet50
from datadiet.pergrad import GradientNorms, gradient_norms

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
VMAP_CHUNKS = (1, 4, 16, None)


@dataclass
class Row:
    """One line of the table: a model, a batch, its loss, and the ratio to reach."""

    label: str
    at_most: float
    model: nn.Module
    inputs: Any
    targets: torch.Tensor
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, targets, reduction="none")


def next_token(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), targets[:, 1:], reduction="none").mean(1)


def images(label: str, at_most: float, model: nn.Module, batch: int) -> Row:
    return Row(
        label, at_most, model, torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,)), cross_entropy
    )


def vit() -> Row:
    config = transformers.ViTConfig(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        intermediate_size=1536,
        image_size=32,
        patch_size=4,
        num_labels=10,
    )
    model = transformers.ViTForImageClassification(config)
    inputs = {"pixel_values": torch.randn(32, 3, 32, 32)}
    return Row(
        "ViT-S-like, 32×32, patch 4, batch 32",
        0.85,
        model,
        inputs,
        torch.randint(0, 10, (32,)),
        cross_entropy,
    )


def bert() -> Row:
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(num_hidden_layers=6, num_labels=3)
    )
    ids = torch.randint(0, 30000, (16, 128))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return Row(
        "BERT, 6 layers, 128 tokens, batch 16", 0.9, model, inputs, torch.randint(0, 3, (16,)), cross_entropy
    )


def gpt2() -> Row:
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=6))
    ids = torch.randint(0, 50000, (8, 128))
    label = "GPT-2-like, 6 layers, tied head, 128 tokens, batch 8"
    return Row(label, 1.0, model, {"input_ids": ids}, ids, next_token)


ROWS: dict[str, Callable[[], Row]] = {
    "resnet18-64": lambda: images("ResNet-18 low-res, width 64, batch 32", 1.0, resnet18(10), 32),
    "resnet18-16": lambda: images("ResNet-18 low-res, width 16, batch 64", 1.3, resnet18(10, width=16), 64),
    "resnet50": lambda: images("ResNet-50 low-res, batch 16", 1.2, resnet50(10), 16),
    "vit": vit,
    "bert": bert,
    "gpt2": gpt2,
}


def logits_of(model: nn.Module, inputs: Any) -> torch.Tensor:
    outputs = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    return getattr(outputs, "logits", outputs)


def training_step(row: Row) -> None:
    row.model.train()
    row.loss(logits_of(row.model, row.inputs), row.targets).mean().backward()
    row.model.zero_grad(set_to_none=True)
    row.model.eval()


def ours(row: Row, **options: Any) -> torch.Tensor:
    return gradient_norms(row.model, row.inputs, row.targets, loss=row.loss, **options)


def part(value: Any, i: int) -> Any:
    return {k: v[i : i + 1] for k, v in value.items()} if isinstance(value, dict) else value[i : i + 1]


def loop(row: Row) -> torch.Tensor:
    weights = list(row.model.parameters())
    norms = []
    for i in range(len(row.targets)):
        loss = row.loss(logits_of(row.model, part(row.inputs, i)), row.targets[i : i + 1]).sum()
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        norms.append(torch.stack([g.square().sum() for g in found if g is not None]).sum().sqrt())
    return torch.stack(norms)


def vmap(row: Row, chunk: int | None) -> torch.Tensor:
    weights = {name: p.detach() for name, p in row.model.named_parameters()}
    buffers = dict(row.model.named_buffers())

    def loss(own: dict[str, torch.Tensor], inputs: Any, targets: torch.Tensor) -> torch.Tensor:
        one = {k: v[None] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[None]
        arguments = ((), one) if isinstance(one, dict) else ((one,), {})
        outputs = torch.func.functional_call(row.model, (own, buffers), *arguments)
        return row.loss(getattr(outputs, "logits", outputs), targets[None]).sum()

    def norm(inputs: Any, targets: torch.Tensor) -> torch.Tensor:
        found = torch.func.grad(loss)(weights, inputs, targets)
        return torch.stack([g.square().sum() for g in found.values()]).sum().sqrt()

    return torch.func.vmap(norm, chunk_size=chunk)(row.inputs, row.targets)


def opacus(row: Row) -> torch.Tensor:
    from opacus.grad_sample import GradSampleModule

    wrapped = GradSampleModule(row.model, loss_reduction="sum")
    try:
        row.loss(logits_of(wrapped, row.inputs), row.targets).sum().backward()
        squares = [p.grad_sample.flatten(1).square().sum(1) for p in wrapped.parameters() if p.requires_grad]
        return torch.stack(squares).sum(0).sqrt()
    finally:
        wrapped.zero_grad(set_to_none=True)
        wrapped.to_standard_module()


def backpack(row: Row) -> torch.Tensor:
    import copy

    from backpack import backpack as extended
    from backpack import extend
    from backpack.extensions import BatchL2Grad

    model = extend(copy.deepcopy(row.model), use_converter=True)
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))
    with extended(BatchL2Grad()):
        loss(logits_of(model, row.inputs), row.targets).backward()
    return torch.stack([p.batch_l2 for p in model.parameters()]).sum(0).sqrt()


def best_vmap(row: Row) -> Callable[[Row], torch.Tensor]:
    """The fastest chunk size, tried once each."""
    times = {}
    for chunk in VMAP_CHUNKS:
        start = time.perf_counter()
        vmap(row, chunk)
        times[chunk] = time.perf_counter() - start
    best = min(times, key=times.__getitem__)
    return lambda given: vmap(given, best)


def peak_bytes(run: Callable[[], Any]) -> int:
    """Most bytes that tensors held at one time while something ran, from the allocator's own events."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiled:
        run()
    held = peak = 0
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def attempt(make: Callable[[], Callable[[Row], torch.Tensor]], row: Row, truth: torch.Tensor) -> Any:
    """A runner that gives the right norms here, or the reason why there is none."""
    try:
        runner = make()
        found = runner(row).detach()
    except Exception as error:  # other tools fail in many ways, and the way is what the table reports
        return f"fails: {type(error).__name__}"
    return runner if torch.allclose(found, truth, rtol=1e-3) else "wrong norms"


def measure(row: Row, repeats: int, others: bool, clock: Callable[[], float]) -> dict[str, str]:
    row.model.eval()
    truth = ours(row)
    kept = GradientNorms(row.model, loss=row.loss)
    kept(row.inputs, row.targets)
    # A job keeps what the first batch has taught of the model's shapes; the function alone learns it each time.
    runners: dict[str, Any] = {"datadiet": ours, "next batches": lambda row: kept(row.inputs, row.targets)}
    if others:
        runners["loop"] = attempt(lambda: loop, row, truth)
        runners["vmap"] = attempt(lambda: best_vmap(row), row, truth)
        for name, tool, package in (("Opacus", opacus, "opacus"), ("BackPACK", backpack, "backpack")):
            here = importlib.util.find_spec(package) is not None
            runners[name] = attempt(lambda tool=tool: tool, row, truth) if here else "not installed"
    training_step(row)
    ratios: dict[str, list[float]] = {name: [] for name in runners}
    steps = []
    for _ in range(repeats):
        for name, runner in runners.items():
            if isinstance(runner, str):
                continue
            start = clock()
            training_step(row)
            middle = clock()
            runner(row)
            end = clock()
            ratios[name].append((end - middle) / (middle - start))
            steps.append(middle - start)
    columns = {"model": row.label, "step, s": f"{statistics.median(steps):.2f}", "at most": f"{row.at_most}"}
    for name, runner in runners.items():
        columns[name] = runner if isinstance(runner, str) else f"{statistics.median(ratios[name]):.2f}"
    memory = peak_bytes(lambda: ours(row)) / peak_bytes(lambda: training_step(row))
    columns["peak memory"] = f"{memory:.2f}"
    return columns


def bfloat16(row: Row, examples: int = 32) -> str:
    """Ratio to the float32 step on a batch of eight, and rank agreement on many examples."""
    from scipy.stats import spearmanr

    row.model.eval()
    generator = torch.Generator().manual_seed(1)
    # Inputs of very different size, so that the norms differ as those of a data set do.
    inputs = (
        torch.randn(examples, 3, 32, 32, generator=generator)
        * torch.linspace(0.3, 3, examples)[:, None, None, None]
    )
    targets = torch.randint(0, 10, (examples,), generator=generator)
    small = Row(row.label, 0.75, row.model, inputs[:8], targets[:8], row.loss)
    start = time.perf_counter()
    training_step(small)
    middle = time.perf_counter()
    ours(small, autocast=torch.bfloat16)
    ratio = (time.perf_counter() - middle) / (middle - start)
    exact, half = (
        torch.cat(
            [
                ours(Row(row.label, 0.75, row.model, *part, row.loss), autocast=autocast)
                for part in zip(inputs.split(8), targets.split(8), strict=True)
            ]
        )
        for autocast in (None, torch.bfloat16)
    )
    agreement = spearmanr(exact, half).statistic
    worst = float(((half - exact).abs() / exact).max())
    return (
        f"bfloat16 autocast, {row.label}: {ratio:.2f} of the float32 step at batch 8; on {examples} examples Spearman "
        f"{agreement:.5f} with float32, largest relative difference {worst:.3f}"
    )


def end_to_end(examples: int, model: str, precision: Literal["float32", "bfloat16"]) -> str:
    """`dd.score` of GraNd alone, everything included, beside as many steps of the package's own training loop."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (examples, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(examples) % 10
    data = dd.load((images, labels), test=(images[:20], labels[:20]), name="noise")
    recipe = dd.Recipe(
        name="bench",
        model=model,
        epochs=1,
        batch_size=32,
        lr=0.01,
        precision=precision,
        memory_format="channels_last",
    )
    with (
        tempfile.TemporaryDirectory() as workspace,
        closing(prepare(data, recipe, workspace=workspace)) as setup,
    ):
        loop = TrainingLoop(
            recipe,
            setup.build(0),
            setup.task,
            setup.train,
            ids=None,
            seed=0,
            total_steps=10**6,
            accelerator=setup.accelerator,
            augmentation=setup.augmentation,
        )
        loop.run(1)
        steps = -(-examples // recipe.batch_size)
        start = time.perf_counter()
        loop.run(1 + steps)
        trained = time.perf_counter() - start
        start = time.perf_counter()
        dd.score(data, recipe, scores=["grand"], at_epoch=0, seeds=1, workspace=workspace)
        scored = time.perf_counter() - start
    return (
        f"{model}, {precision}, {examples} examples: score {scored:.1f} s, training for {steps} steps of "
        f"{recipe.batch_size} {trained:.1f} s, ratio {scored / trained:.2f}"
    )


def profile(row: Row, lines: int = 12) -> str:
    """Which operations take the time, ours and a training step's, as shares of each."""
    row.model.eval()
    found = []
    for name, run in (("datadiet", ours), ("training step", training_step)):
        run(row)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
            run(row)
        events = sorted(profiled.key_averages(), key=lambda e: -e.self_cpu_time_total)
        total = sum(event.self_cpu_time_total for event in events)
        found.append(f"{row.label}, {name}: {total / 1e6:.2f} s of operations")
        found += [
            f"  {event.self_cpu_time_total / total:6.1%} {event.count:6d} {event.key}"
            for event in events[:lines]
        ]
    return "\n".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default=",".join(ROWS), help="comma-separated: " + ", ".join(ROWS))
    parser.add_argument(
        "--repeats", type=int, default=5, help="interleaved pairs of a step and a computation"
    )
    parser.add_argument("--alone", action="store_true", help="leave the other ways out")
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="also time bfloat16 autocast on the rows of images, and rank 32 examples with it",
    )
    parser.add_argument(
        "--end-to-end",
        type=int,
        metavar="EXAMPLES",
        help="only print what dd.score of GraNd over so many images costs beside training, in both precisions",
    )
    parser.add_argument(
        "--models", default="resnet18", help="built-in models for --end-to-end, comma-separated"
    )
    parser.add_argument("--profile", action="store_true", help="only print which operations take the time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: seconds of this process, for a machine that is busy",
    )
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    warnings.filterwarnings("ignore")
    if chosen.profile:
        for name in chosen.rows.split(","):
            torch.manual_seed(0)
            print(profile(ROWS[name]()), flush=True)
        return
    if chosen.end_to_end:
        for name in chosen.models.split(","):
            for precision in ("float32", "bfloat16"):
                print(end_to_end(chosen.end_to_end, name, precision), flush=True)
        return
    header: list[str] = []
    for name in chosen.rows.split(","):
        torch.manual_seed(0)
        columns = measure(ROWS[name](), chosen.repeats, not chosen.alone, CLOCKS[chosen.clock])
        if list(columns) != header:
            header = list(columns)
            print("| " + " | ".join(header) + " |\n|" + " --- |" * len(header), flush=True)
        print("| " + " | ".join(columns.values()) + " |", flush=True)
    for name in chosen.rows.split(",") if chosen.bfloat16 else ():
        row = ROWS[name]()
        if isinstance(row.inputs, torch.Tensor) and row.inputs.dim() == 4:
            print(bfloat16(row), flush=True)


if __name__ == "__main__":
    main()
