"""Loading: `datadiet.load` beside the bare readers of the same files, in one process, by turns.

    python benchmarks/loading.py [--rows 2000000] [--images 20000] [--repeat 5]

A CSV file of 20 columns against `pyarrow.csv` and `pandas`; an image folder against decoding every file with
Pillow. Only `datadiet` checks rows, finds duplicates, splits and takes a fingerprint.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image
from pyarrow import csv

import datadiet as dd


def write_csv(path: Path, rows: int) -> None:
    """15 real columns, 4 of whole numbers and a label."""
    generator = np.random.default_rng(0)
    columns: dict[str, Any] = {f"x{i}": generator.normal(size=rows).round(4) for i in range(15)}
    columns |= {f"n{i}": generator.integers(0, 1000, rows) for i in range(4)}
    columns["label"] = generator.integers(0, 10, rows)
    csv.write_csv(pa.table(columns), path)


def write_images(folder: Path, images: int) -> None:
    """32x32 colour PNGs of 10 classes, a tenth of them in the test part."""
    generator = np.random.default_rng(0)
    for place in range(images):
        part = "test" if place % 10 == 9 else "train"
        path = folder / part / f"class{place // 10 % 10}" / f"{place:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)


def read_images(folder: Path) -> int:
    """Decode every image of a folder, one after another."""
    return sum(np.asarray(Image.open(path)).nbytes for path in folder.rglob("*.png"))


def by_turns(work: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Median seconds of each piece of work, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeat + 1):
        for name, do in work.items():
            begin = time.perf_counter()
            do()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def show(title: str, seconds: dict[str, float], bare: str) -> None:
    """One line for each, as seconds and as a multiple of the bare reader."""
    print(title)
    for name, median in seconds.items():
        print(f"  {name:<22} {median:6.2f} s   {median / seconds[bare]:5.2f} x {bare}")


def main() -> None:
    """Write the files, read them by turns, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        table, folder = Path(place) / "a.csv", Path(place) / "images"
        write_csv(table, given.rows)
        work: dict[str, Callable[[], object]] = {
            "pyarrow.csv.read_csv": lambda: csv.read_csv(table),
            "pandas.read_csv": lambda: pd.read_csv(table),
            "datadiet.load": lambda: dd.load(table),
        }
        show(f"CSV, {given.rows:,} rows x 20", by_turns(work, given.repeat), "pyarrow.csv.read_csv")
        write_images(folder, given.images)
        work = {"Pillow, file by file": lambda: read_images(folder), "datadiet.load": lambda: dd.load(folder)}
        show(f"image folder, {given.images:,} files", by_turns(work, given.repeat), "Pillow, file by file")


if __name__ == "__main__":
    main()
