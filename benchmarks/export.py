"""Examples a second of an export of CIFAR-10 at keep 0.5, beside a plain copy of the same examples.

    python benchmarks/export.py
    python benchmarks/export.py --formats parquet,imagefolder,webdataset --to /dev/shm

"examples/s" counts the written examples (train and test) over the time of `export` alone, with the data loaded;
"with load" adds the time of `datadiet.load`. A plain copy is what one would write without datadiet: for Parquet
`read_table`, `take`, `write_table`; for an image folder one `write` a file. "ratio" is export to plain copy.
"cpu s" is where the time goes that is not waiting for the disk. Copies alternate, and the best of each is taken.
"""

from __future__ import annotations

import argparse
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import datadiet as dd
from datadiet.jobs.export import export

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "cifar10"


def plain_parquet(data: Path, kept: np.ndarray, target: Path) -> None:
    """The rows with pyarrow alone."""
    target.mkdir()
    table = pq.read_table(data / "train.parquet").take(pa.array(kept))
    pq.write_table(table, target / "train.parquet")
    shutil.copyfile(data / "test.parquet", target / "test.parquet")


def plain_folder(data: Path, kept: np.ndarray, target: Path) -> None:
    """The images as files in one folder a class."""
    for part in ("train", "test"):
        table = pq.read_table(data / f"{part}.parquet")
        if part == "train":
            table = table.take(pa.array(kept))
        for label in range(10):
            (target / part / str(label)).mkdir(parents=True)
        images = table.column("image").combine_chunks().field("bytes").to_pylist()
        for index, (content, label) in enumerate(zip(images, table.column("label").to_pylist(), strict=True)):
            with open(f"{target}/{part}/{label}/{index}.webp", "xb", buffering=0) as file:  # noqa: PTH123
                file.write(content)


PLAIN: dict[str, Callable[[Path, np.ndarray, Path], None]] = {
    "parquet": plain_parquet,
    "same": plain_parquet,
    "imagefolder": plain_folder,
}


def timed(work: Callable[[Path], object], where: Path) -> tuple[float, float]:
    """Seconds and seconds of processor time of writing one folder, which is deleted again."""
    with tempfile.TemporaryDirectory(dir=where) as place:
        start, start_cpu = time.perf_counter(), time.process_time()
        work(Path(place) / "out")
        return time.perf_counter() - start, time.process_time() - start_cpu


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train.parquet and test.parquet")
    parser.add_argument("--to", type=Path, default=Path(tempfile.gettempdir()), help="disk to write to")
    parser.add_argument("--formats", default="parquet,same,imagefolder")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"There is no folder '{arguments.data}'; give CIFAR-10 as Parquet with --data.")
    start = time.perf_counter()
    examples = dd.load(arguments.data, memory_limit=0)
    loading = time.perf_counter() - start
    loaded = peak()
    kept = np.sort(
        np.random.default_rng(0).choice(examples.train.ids, len(examples.train) // 2, replace=False)
    )
    written = len(kept) + len(examples.test)
    print(
        f"{platform.machine()}, {written:,} examples, load {loading:.1f} s, peak after load {loaded:.2f} GB"
    )
    print(
        f"{'format':<12} {'examples/s':>10} {'with load':>10} {'plain/s':>10} {'ratio':>6} {'cpu s':>6} {'peak GB':>8}"
    )
    for format in arguments.formats.split(","):
        ours, plain = [], []
        for _ in range(arguments.repeats):
            ours.append(timed(lambda to: export(examples, to, kept=kept, format=format), arguments.to))  # noqa: B023
            if format in PLAIN:
                copy = PLAIN[format]
                plain.append(timed(lambda to: copy(arguments.data, kept, to), arguments.to))  # noqa: B023
        seconds, cpu = min(ours)
        rate = written / seconds
        beside = written / min(plain)[0] if plain else float("nan")
        with_load = written / (seconds + loading)
        print(
            f"{format:<12} {rate:>10,.0f} {with_load:>10,.0f} {beside:>10,.0f} {rate / beside:>6.2f} "
            f"{cpu:>6.2f} {peak():>8.2f}"
        )


def peak() -> float:
    """Largest resident memory of this process so far, in GB."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1e9 if platform.system() == "Darwin" else 1e6)


if __name__ == "__main__":
    main()
