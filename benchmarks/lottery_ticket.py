"""Lottery tickets after pre-training on all data, a small random subset and the easiest examples, on part of CIFAR-10.

    python benchmarks/lottery_ticket.py --data ../shared/data/cifar10 --workspace runs/lottery

Runs the study `lottery-ticket` on the first images of a folder with train.parquet and test.parquet, and prints its
rows and claims as Markdown. Every level is a run of the workspace: a call that was killed goes on where it stopped.
The defaults take about an hour of one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch

import datadiet as dd
from datadiet.foundation.progress import ProgressDisplay
from datadiet.studies.toolbox.protocol import STUDIES, carry_out, open_context, plan_of
from datadiet.studies.toolbox.scale import SCALES, TicketSizes


def first_images(data: Path, images: int, test_images: int, folder: Path) -> dd.Examples:
    """The first images of both parts, as files of their own, so that every call reads the same data."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", images), ("test", test_images)):
        pq.write_table(pq.read_table(data / f"{part}.parquet").slice(0, count), folder / f"{part}.parquet")
    return dd.load(str(folder), name=f"{data.name}, first {images:,}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--test-images", type=int, default=10_000)
    parser.add_argument("--model", default="smallcnn")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--levels", type=int, default=6)
    parser.add_argument("--rate", type=float, default=0.4, help="share of what is left that a level removes")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--score-seeds", type=int, default=1)
    parser.add_argument("--rewind", default="0.1", help="rewinding points, as shares of the training")
    parser.add_argument("--subset", default="0.0512", help="sizes of the subsets, as shares of the data")
    parser.add_argument("--kinds", default="init,all,random,easiest")
    parser.add_argument("--labels", default="clean", help="clean, or clean,random")
    parser.add_argument("--crossed", action="store_true", help="every kind at every rewinding point")
    parser.add_argument("--every-random-mask", action="store_true", help="random masks at every level")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workspace", type=Path, default=Path("runs/lottery"))
    parser.add_argument(
        "--out", type=Path, help="folder of tables, figure and claims [WORKSPACE/lottery-ticket]"
    )
    parser.add_argument("--plan", action="store_true", help="print the runs; start nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = TicketSizes(
        levels=arguments.levels,
        rate=arguments.rate,
        rewinds=tuple(float(share) for share in arguments.rewind.split(",")),
        subsets=tuple(float(share) for share in arguments.subset.split(",")),
        kinds=tuple(arguments.kinds.split(",")),
        labels=tuple(arguments.labels.split(",")),
        crossed=arguments.crossed,
        all_random_masks=arguments.every_random_mask,
    )
    examples = first_images(
        arguments.data, arguments.images, arguments.test_images, arguments.workspace / "data"
    )
    with ProgressDisplay() as shown:
        context = open_context(
            examples,
            scale="fast",
            recipe="fast",
            workspace=arguments.workspace,
            device=arguments.device,
            display=shown,
            overrides={
                "model": arguments.model,
                "epochs": arguments.epochs,
                "batch_size": arguments.batch_size,
                "lr": 0.4 * arguments.batch_size / 256,
            },
        )
        context.scale = dataclasses.replace(
            SCALES["fast"],
            retrain_seeds=arguments.seeds,
            score_seeds=arguments.score_seeds,
            score_shares=(0.0, 0.4, 1.0),
            tickets=sizes,
        )
        study = STUDIES["lottery-ticket"]
        if arguments.plan:
            for item in plan_of(study, context):
                print(f"{item.runs:>4} {item.what}, {item.steps:,} steps each")
            context.close()
            return
        before = time.perf_counter()
        try:
            result = carry_out(study, context, arguments.out or arguments.workspace / "lottery-ticket")
        finally:
            context.close()
    recipe = context.setup.recipe
    print(
        f"first {arguments.images:,} training and {arguments.test_images:,} test images, {recipe.model}, "
        f"{context.total_steps:,} steps of {recipe.batch_size}, {arguments.seeds} seeds, "
        f"{arguments.threads} threads of {platform.processor() or platform.machine()}, torch {torch.__version__}\n"
    )
    titles = list(dict.fromkeys(row["pretraining"] for row in result.rows))
    print("| level | weights left, % | " + " | ".join(titles) + " |")
    print("| --- " * (len(titles) + 2) + "|")
    for level in range(sizes.levels + 1):
        found = {row["pretraining"]: row for row in result.rows if row["level"] == level}
        left = next(iter(found.values()))["weights_left"]
        cells = [
            "{:.2f} [{:.2f}, {:.2f}]".format(
                *(100 * found[title][name] for name in ("accuracy", "low", "high"))
            )
            if title in found
            else ""
            for title in titles
        ]
        print(f"| {level} | {100 * left:.2f} | {' | '.join(cells)} |")
    print()
    for finding in result.findings:
        print(f"- {finding.outcome}: {json.dumps(finding.as_dict())}")
    print(
        f"\n{result.trained} runs trained, {result.reused} there already, "
        f"{time.perf_counter() - before:,.0f} s; {result.folder}"
    )


if __name__ == "__main__":
    main()
