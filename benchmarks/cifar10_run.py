"""`datadiet run` on CIFAR-10 from beginning to end: accuracy of full data, the verdict, time, peak memory.

    python benchmarks/cifar10_run.py ../shared/data/cifar10 --out benchmarks/results/cifar10

Prints the figures as a Markdown table and keeps verdict, results and the figure. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    parser.add_argument("--keep", default="0.7")
    parser.add_argument("--seeds", default="1")
    arguments = parser.parse_args()
    folder = arguments.workspace / "cifar10"
    command = ["run", str(arguments.source), "--scores", "el2n", "--keep", arguments.keep]
    command += ["--seeds", arguments.seeds, "--workspace", str(arguments.workspace), "--out", str(folder)]
    before = time.perf_counter()
    subprocess.run([sys.executable, "-m", "datadiet.cli", *command], check=True)
    seconds = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    verdict = json.loads((folder / "verdict.json").read_text())
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in ("verdict.json", "results.parquet", "figures/accuracy_against_keep.png"):
        shutil.copy(folder / name, arguments.out / Path(name).name)
    print("| subset | n | seeds | accuracy % [95 %] | minus full | minus random |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = [{"score": "full", "rule": "", "keep": 1.0, **verdict["full"]}, *verdict["subsets"]]
    for row in rows:
        low, high = row["interval"]
        cells = [f"{row['score']} {row['rule']} {row['keep']:g}", f"{row['n']:,}", str(row["seeds"])]
        cells.append(f"{100 * row['accuracy']:.2f} [{100 * low:.2f}, {100 * high:.2f}]")
        for key in ("minus_full", "minus_random"):
            value = row.get(key)
            cells.append(
                "" if value is None else "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(100 * v for v in value))
            )
        print(f"| {' | '.join(cells)} |")
    print(f"\nbudget: same {verdict['budget']}; whole command {seconds:,.0f} s, peak memory {peak:.2f} GiB")
    print(f"cost: {verdict['cost']}")


if __name__ == "__main__":
    main()
