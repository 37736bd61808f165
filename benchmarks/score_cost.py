"""What the default score costs over a bare training of the same length, by turns.

    python benchmarks/score_cost.py ../shared/data/cifar10 --times 3

The bare training is the loop to the score epoch, without a recorder and without a file; beside it `datadiet.score` of
one model in a new workspace with everything that it writes. `--scores el2n` takes another, with its evaluation pass.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

import datadiet as dd
from datadiet.engine.runs import _training_loop
from datadiet.engine.setup import Setup, prepare
from datadiet.jobs.score import default_epoch, score_with


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="what datadiet.load takes")
    parser.add_argument("--scores", nargs="+")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    examples = dd.load(chosen.data)
    overrides: dict[str, Any] = {"precision": chosen.precision}
    with tempfile.TemporaryDirectory() as place:
        with closing(prepare(examples, "fast", workspace=place, overrides=overrides)) as setup:
            overrides |= {"precision": setup.recipe.precision, "memory_format": setup.recipe.memory_format}
            _bare(setup)  # untimed: the first training is slower
        clocks: dict[str, list[tuple[float, float]]] = {"bare": [], "score": []}
        for turn in range(chosen.times):
            for name in ("bare", "score") if turn % 2 == 0 else ("score", "bare"):
                where = Path(place) / f"{name}{turn}"
                with closing(prepare(examples, "fast", workspace=where, overrides=overrides)) as setup:
                    work = (
                        _bare if name == "bare" else lambda setup: score_with(setup, chosen.scores, seeds=1)
                    )
                    clocks[name].append(_clocked(work, setup))
                print(name, "wall {:.1f} s, processor {:.1f} s".format(*clocks[name][-1]), flush=True)
    for place_of, clock in enumerate(("wall", "processor")):
        ratios = [s[place_of] / b[place_of] for s, b in zip(clocks["score"], clocks["bare"], strict=True)]
        print(
            f"{clock}: score over bare {np.median(ratios):.3f} (all: {[round(ratio, 3) for ratio in ratios]})"
        )


def _bare(setup: Setup) -> None:
    size = len(setup.examples.train)
    loop = _training_loop(setup, 0, None, setup.recipe.total_steps(size))
    loop.run(setup.step_of(default_epoch(setup.recipe, size)))


def _clocked(work: Callable[[Setup], Any], setup: Setup) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    work(setup)
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    main()
