"""A small labelled base and a larger pool, as files."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NAMES = np.array(["ash", "elm", "oak"])
TINY: dict[str, Any] = {
    "seeds": 2,
    "device": "cpu",
    "overrides": {
        "model": "mlp",
        "model_options": {"hidden": (8,)},
        "epochs": 10.0,
        "lr": 0.03,
        "batch_size": 16,
        "precision": "float32",
        "memory_format": "contiguous",
    },
}


def vectors(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of points around corners of a triangle."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    return 2.5 * np.eye(3, 4)[labels] + generator.normal(size=(rows, 4)), labels


def write(path: Path, points: np.ndarray, **columns: Any) -> Path:
    """A Parquet file with the points as `x0`, `x1`, ... and further columns."""
    pq.write_table(
        pa.table({f"x{index}": points[:, index] for index in range(points.shape[1])} | columns), path
    )
    return path


def write_base(folder: Path, rows: int = 90) -> Path:
    """The labelled part."""
    points, labels = vectors(rows, seed=0)
    return write(
        folder / "base.parquet", points, label=NAMES[labels], labelled=[datetime.date(2024, 1, 1)] * rows
    )


def write_pool(folder: Path, rows: int = 120, **columns: Any) -> Path:
    """The pool, without anything but points unless columns are given."""
    return write(folder / "pool.parquet", vectors(rows, seed=1)[0], **columns)
