"""Data sets that are made in a moment and trained on in another, one of each kind, and flags to do it with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from PIL import Image

# Nothing is left on "auto", so that nothing is measured first.
TINY = ("--epochs=2", "--batch-size=16", "--precision=float32", "--memory-format=contiguous", "--device=cpu")
MODEL = {
    "images": ("--model=smallcnn", "--model-option=widths=[4, 4, 4]"),
    "text": ("--model=ngrams", "--model-option=width=4"),
    "vectors": ("--model=mlp", "--model-option=hidden=[8]"),
}


def write_images(folder: Path, *, train: int = 20, test: int = 10, channels: int = 3) -> Path:
    """An image folder: `train` and `test` pictures of each of two classes, noisy discs and rings of 8x8."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:8, :8] - 3.5
    radius = np.hypot(rows, columns)
    for part, count in (("train", train), ("test", test)):
        for name, shape in (("disc", radius < 2.7), ("ring", (radius > 2) & (radius < 4))):
            place = folder / part / name
            place.mkdir(parents=True)
            for index in range(count):
                pixels = 150 * shape[:, :, None] + generator.integers(0, 100, (8, 8, channels))
                Image.fromarray(pixels.astype(np.uint8).squeeze()).save(place / f"{index:02d}.png")
    return folder


def write_text(path: Path, *, rows: int = 60) -> Path:
    """A CSV file of sentences that praise or blame, with two words of noise each."""
    generator = np.random.default_rng(0)
    words = {"praise": ["good", "fine", "warm", "clear"], "blame": ["bad", "poor", "cold", "vague"]}
    noise = ["tea", "rain", "book", "road", "good", "bad"]
    labels = [("praise", "blame")[row % 2] for row in range(rows)]
    texts = [" ".join([*generator.choice(words[label], 2), *generator.choice(noise, 2)]) for label in labels]
    pyarrow.csv.write_csv(pa.table({"text": texts, "label": labels}), path)
    return path


def write_vectors(path: Path, *, rows: int = 60, seed: int = 0) -> Path:
    """A Parquet file of three overlapping classes of points."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    points = generator.normal(size=(rows, 4)) + labels[:, None]
    columns = {f"x{index}": points[:, index] for index in range(4)}
    pq.write_table(pa.table({**columns, "label": [("ash", "elm", "oak")[label] for label in labels]}), path)
    return path


def write_source(kind: str, folder: Path) -> Path:
    """The data set of a kind, in a folder."""
    if kind == "images":
        return write_images(folder / "shapes")
    return write_text(folder / "notes.csv") if kind == "text" else write_vectors(folder / "points.parquet")
