"""Small data for the command line, and what can be said of a command that was refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from typer.testing import CliRunner

from datadiet.cli import app

# A training that takes a moment: nothing is left on "auto", so that nothing is measured first.
TINY = (
    "--model=mlp",
    "--model-option=hidden=[8]",
    "--epochs=2",
    "--batch-size=16",
    "--precision=float32",
    "--memory-format=contiguous",
    "--device=cpu",
)


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    code: int
    stdout: str
    stderr: str


Datadiet = Callable[..., Outcome]


def invoke(*arguments: object) -> Outcome:
    """Run a command in this process: `invoke("run", "digits")`."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder with its bytes; None for a folder."""
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def write_vectors(path: Path, *, rows: int = 60, seed: int = 0, **columns: object) -> Path:
    """A Parquet file of three overlapping classes of points; `columns` replace or add columns."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    points = generator.normal(size=(rows, 4)) + labels[:, None]
    table: dict[str, object] = {f"x{index}": points[:, index] for index in range(4)}
    table["label"] = [("ash", "elm", "oak")[label] for label in labels]
    pq.write_table(pa.table(table | columns), path)
    return path


def of_first_format(table: pa.Table) -> pa.Table:
    """A score table as the first format had it, without a checksum, so that a test may change what it holds."""
    facts = json.loads(table.schema.metadata[b"datadiet.scores"]) | {"format": 1}
    return table.replace_schema_metadata({b"datadiet.scores": json.dumps(facts)})


def assert_refused(outcome: Outcome, *words: str, code: int = 2) -> None:
    """One sentence of refusal on standard error, after the notes of the data if it was read; and the exit status."""
    assert outcome.code == code, outcome
    assert outcome.stdout == ""
    *notes, sentence = outcome.stderr.splitlines()
    assert sentence.startswith("datadiet: ")
    assert [note for note in notes if note.startswith("datadiet: ") or "Traceback" in note] == []
    assert sentence.rstrip().endswith((".", "?", ")")), sentence
    assert "Traceback" not in sentence
    for word in words:
        assert word in sentence, f"{word!r} is not in {sentence!r}"


def write_images(folder: Path, *, train: int, test: int, size: int = 8, seed: int = 0) -> Path:
    """An image folder: `train` and `test` pictures of each of two classes, noisy discs and rings."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    radius = np.hypot(rows, columns)
    shapes = {"disc": radius < size / 3, "ring": (radius > size / 4) & (radius < size / 2)}
    for part, count in (("train", train), ("test", test)):
        for name, shape in shapes.items():
            place = folder / part / name
            place.mkdir(parents=True)
            for index in range(count):
                grey = 150 * shape + generator.integers(0, 100, (size, size))
                Image.fromarray(grey.astype(np.uint8)).save(place / f"{index}.png")
    return folder
