"""Table files (Parquet, CSV, JSON lines) -> `datasets.Dataset`, in memory if small, else mapped from disk."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pyarrow as pa

from datadiet.data.columns.arrow import dataset_of
from datadiet.data.sources.folders import beside_the_data
from datadiet.foundation.errors import BadInputError

if TYPE_CHECKING:
    import datasets


_READERS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}
_TRAIN_WORDS = ("train", "training")
# In the order of preference: a test part with hidden labels gives way to a validation part.
TEST_WORDS = ("test", "testing", "validation", "valid", "val", "dev", "eval")


def table_format(path: Path) -> str | None:
    """ "parquet", "csv" or "json" by the file's name, None if it is no table."""
    return _READERS.get(path.with_suffix("").suffix.lower() if path.suffix == ".gz" else path.suffix.lower())


def read_tables(paths: Sequence[Path]) -> datasets.Dataset:
    """One data set from one or several files of the same columns, in the order given.

    Files of together more than a quarter of the available memory are converted by `datasets` into its
    own cache and mapped from there.

    Raises:
        BadInputError: a file cannot be read, or files do not have the same columns.
    """
    import datasets

    if sum(path.stat().st_size for path in paths) > psutil.virtual_memory().available // 4:
        form = table_format(paths[0])
        delimiter = {"sep": delimiter_of(paths[0])} if form == "csv" else {}
        large = datasets.load_dataset(
            form, data_files=[str(path) for path in paths], split="train", **delimiter
        )
        assert isinstance(large, datasets.Dataset)
        return large
    tables = []
    for path in paths:
        try:
            tables.append(_read(path))
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise BadInputError(
                f"'{path}' cannot be read as {table_format(path)}: {reason}; check the file."
            ) from error
    try:
        table = pa.concat_tables(tables, promote_options="default") if len(tables) > 1 else tables[0]
    except pa.ArrowException as error:
        raise BadInputError(
            f"'{paths[0]}' and the files beside it do not have the same columns; read them one by one."
        ) from error
    return dataset_of(table)


def _read(path: Path) -> Any:
    form = table_format(path)
    if form == "parquet":
        import pyarrow.parquet

        return pyarrow.parquet.ParquetFile(path).read()
    if path.stat().st_size == 0:
        raise BadInputError(f"'{path}' is empty; give a file with rows.")
    # A block that holds the whole file, so that the type of a column is told from all its rows.
    block = min(max(path.stat().st_size * (20 if path.suffix == ".gz" else 1) + 1, 1 << 20), (1 << 31) - 1)
    if form == "csv":
        import pyarrow.csv

        return pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(block_size=block),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter_of(path), newlines_in_values=True),
        )
    if path.suffix.lower() == ".json" and path.read_text(encoding="utf-8").lstrip().startswith("["):
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(row, dict) for row in rows):
            raise BadInputError(f"'{path}' must be a list of objects, one a row.")
        return pa.Table.from_pylist(rows)
    import pyarrow.json

    return pyarrow.json.read_json(path, read_options=pyarrow.json.ReadOptions(block_size=block))


def delimiter_of(path: Path) -> str:
    """Tab for .tsv; else the commonest of comma, semicolon and tab in the header line."""
    if ".tsv" in path.suffixes:
        return "\t"
    if path.suffix == ".gz":
        return ","
    with path.open(encoding="utf-8", errors="replace") as file:
        header = file.readline()
    return max(",;\t", key=header.count)


def find_parts(folder: Path) -> dict[str, list[Path]]:
    """Table files of a folder (or of its `data` folder) by part: "train", "test", or "all" without parts.

    Raises:
        BadInputError: the files belong to several data sets.
    """
    files = _tables_in(folder) or _tables_in(folder / "data")
    if not files:
        return {}
    parts: dict[str, dict[str, list[Path]]] = {}
    for file in files:
        part, rest = part_of_name(file)
        parts.setdefault(part, {}).setdefault(rest, []).append(file)
    stems = sorted({rest for part in parts.values() for rest in part})
    if len(stems) > 1 and any(len(part) > 1 for part in parts.values()):
        raise BadInputError(
            f"'{folder}' holds several data sets ({', '.join(stems[:6])}); give the file of one, "
            "or a folder with one train and one test file."
        )
    if "train" not in parts and "all" in parts:
        parts["train"] = parts.pop("all")
    if "train" not in parts:
        raise BadInputError(f"'{folder}' has no train file among {', '.join(f.name for f in files[:6])}.")
    return {part: next(iter(groups.values())) for part, groups in parts.items()}


def _tables_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = [f for f in folder.iterdir() if f.is_file() and table_format(f)]
    no_data = beside_the_data(folder)
    return sorted(f for f in files if not f.name.startswith((".", "_")) and f.name not in no_data)


def part_of_name(file: Path) -> tuple[str, str]:
    """The part that a file name tells, and the rest of the name without its shard numbers."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", file.name.lower()) if word]
    part = "all"
    for word in words:
        plain = re.sub(r"\d+k?$", "", word)
        if plain in _TRAIN_WORDS:
            part = "train"
        elif plain in TEST_WORDS:
            part = plain
        else:
            continue
        words.remove(word)
        break
    rest = [re.sub(r"\d+$", "", word) for word in words if not word.isdigit() and word not in ("of", "gz")]
    return part, " ".join(rest)
