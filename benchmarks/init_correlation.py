"""What GraNd at initialisation measures on CIFAR-10: its rank correlation with the norm of the input.

    python benchmarks/init_correlation.py --data ../shared/data/cifar10

ResNet-18 for small images at initialisation, GraNd over all weights in evaluation mode on normalised images without
augmentation. The reproduction of Deep Learning on a Data Diet (Kirsch 2023) reports a Spearman correlation of 0.963
between the input norm and the mean of ten models' scores on the whole training set.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import time
from pathlib import Path

import numpy as np
import torch
from scipy import stats

import datadiet as dd
from datadiet.engine.setup import prepare
from datadiet.foundation.statistics import DRAWS
from datadiet.pergrad import GradientNorms
from datadiet.scores.inputs import input_norm
from datadiet.studies.toolbox.claims import mean_correlation

BATCH = 100
PUBLISHED = 0.963


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--examples", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    examples = dd.load(str(arguments.data))
    overrides = {
        "model": "resnet18",
        "model_options": {"width": arguments.width},
        "precision": "float32",
        "memory_format": "contiguous",
    }
    setup = prepare(examples, "fast", workspace=arguments.workspace, overrides=overrides)
    device = setup.accelerator.device
    generator = np.random.default_rng(0)
    ids = np.sort(generator.choice(examples.train.ids, arguments.examples, replace=False))
    before, cpu = time.perf_counter(), time.process_time()
    norms, scores = [], []
    for seed in range(arguments.seeds):
        norms_of = GradientNorms(setup.build(seed).to(device).eval())
        found, lengths = [], []
        for batch in setup.train.epoch(ids, batch_size=BATCH, device=device):
            found.append(norms_of(batch.inputs, batch.targets).double().cpu())
            lengths.append(input_norm(batch.inputs).double().cpu())
        scores.append(torch.cat(found).numpy())
        norms.append(torch.cat(lengths).numpy())
        own = stats.spearmanr(scores[-1], norms[-1]).statistic
        print(f"seed {seed}: Spearman with the input norm {own:.4f}", flush=True)
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu
    mean, norm = np.mean(scores, axis=0), norms[0]
    low, high = over_examples(mean, norm)
    each = mean_correlation([stats.spearmanr(score, norm).statistic for score in scores], "seeds")
    below, above = each.interval(0.95)
    between = [stats.spearmanr(a, b).statistic for a, b in itertools.combinations(scores, 2)]
    print(
        f"\nCIFAR-10, {len(ids):,} random training images, ResNet-18 of width {arguments.width}, "
        f"{arguments.seeds} seeds"
    )
    print("| Spearman of GraNd at initialisation with | measured | 95 % interval | published |")
    print("| --- | --- | --- | --- |")
    print(
        f"| input norm, mean of the seeds' scores | {stats.spearmanr(mean, norm).statistic:.4f} | "
        f"{low:.4f} to {high:.4f} (images) | {PUBLISHED} (ten seeds, all images) |"
    )
    print(f"| input norm, one seed's scores | {each.estimate:.4f} | {below:.4f} to {above:.4f} (seeds) | |")
    if between:
        print(f"| itself, of another seed | {np.mean(between):.4f} | | |")
    print(
        f"\n{seconds:,.0f} s, {cpu:,.0f} s of CPU time, {cpu / (len(ids) * arguments.seeds):.3f} s an image; "
        f"{device}, torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}"
    )


def over_examples(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Bootstrap interval of a Spearman correlation over examples, 95 %."""
    generator = np.random.default_rng(1)
    drawn = []
    for _ in range(DRAWS // 4):
        places = generator.integers(0, len(one), len(one))
        drawn.append(stats.spearmanr(one[places], other[places]).statistic)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
