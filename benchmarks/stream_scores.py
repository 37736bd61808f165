"""How fast scores of saved logits are, beside reading the same file once with NumPy.

    python benchmarks/stream_scores.py [--rows 10000000] [--classes 10] [--repeats 5]

Every way is timed once a round, in turn, so that a busy moment hits them all; medians are printed. "warm" finds
the file in the page cache, "cold" drops it from there first (Linux only): that is what a file costs that was not
just written.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from datadiet.scores.stream import score_logits

WRITE_ROWS = 500_000


def write_files(folder: Path, rows: int, classes: int) -> tuple[Path, Path]:
    """Random float32 logits and int64 labels."""
    generator = np.random.default_rng(0)
    logits = np.lib.format.open_memmap(folder / "logits.npy", "w+", np.float32, (rows, classes))
    for start in range(0, rows, WRITE_ROWS):
        part = logits[start : start + WRITE_ROWS]
        part[:] = 3 * generator.standard_normal(part.shape, dtype=np.float32)
    logits.flush()
    np.save(folder / "labels.npy", generator.integers(0, classes, rows))
    return folder / "logits.npy", folder / "labels.npy"


def drop_from_page_cache(path: Path) -> bool:
    """Ask the kernel to forget a file's pages; False where it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    return True


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def anonymous_megabytes() -> float:
    """Memory of this process that is not a mapped file (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


def peak_growth(work: Callable[[], object]) -> float:
    """Largest growth of anonymous memory during a call, sampled every 5 ms, in MB."""
    before, peak, done = anonymous_megabytes(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, anonymous_megabytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return peak - before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary files go")
    arguments = parser.parse_args()
    every = ("el2n", "l1_error", "entropy", "loss", "margin", "logit_margin")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        logits, labels = write_files(Path(name), arguments.rows, arguments.classes)
        ways: dict[str, Callable[[], object]] = {
            "np.load, whole file": lambda: np.load(logits),
            "np.load(mmap_mode='r').sum()": lambda: np.load(logits, mmap_mode="r").sum(),
            "score_logits, el2n": lambda: score_logits(logits, labels),
            "score_logits, all six": lambda: score_logits(logits, labels, scores=every),
        }
        states = ["warm", "cold"] if drop_from_page_cache(logits) else ["warm"]
        times: dict[tuple[str, str], list[float]] = {}
        score_logits(np.zeros((10, 3), np.float32), np.zeros(10, np.int64))  # imports and threads
        # First, while the process holds no freed memory that it could reuse unseen.
        growth = peak_growth(ways["score_logits, el2n"]) if Path("/proc/self/status").exists() else None
        for _ in range(arguments.repeats):
            for state in states:
                for way, work in ways.items():
                    if state == "cold":
                        drop_from_page_cache(logits)
                    else:
                        np.load(logits, mmap_mode="r").sum()
                    times.setdefault((way, state), []).append(seconds(work))
        size = logits.stat().st_size / 1e6
        result = arguments.rows * (8 + 8 + 4) / 1e6
        print(f"{arguments.rows:,} x {arguments.classes} float32 logits, {size:.0f} MB, ", end="")
        print(f"{torch.get_num_threads()} threads, median of {arguments.repeats}\n")
        print(f"{'':30} {'state':6} {'seconds':>8} {'MB/s':>8} {'of np.load':>11} {'of mmap sum':>12}")
        for state in states:
            middle = {way: statistics.median(times[way, state]) for way in ways}
            whole, summed = list(middle.values())[:2]
            for way, value in middle.items():
                ratios = f"{whole / value:11.2f} {summed / value:12.2f}"
                print(f"{way:30} {state:6} {value:8.3f} {size / value:8.0f} {ratios}")
        if growth is not None:
            print(
                f"\nmemory: grew by {growth:.0f} MB at most, {result:.0f} of them ids, labels and the score"
            )


if __name__ == "__main__":
    main()
