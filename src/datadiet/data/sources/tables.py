"""Table files (Parquet, CSV, JSON lines) -> `datasets.Dataset`.

Small files are read into memory; files of together more than a quarter of the available memory are converted by
`datasets` into its own cache and mapped from there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import psutil
import pyarrow as pa
import pyarrow.json as json_lines
from pyarrow import csv, parquet

from datadiet.data.arrow import dataset_of
from datadiet.foundation.errors import BadInputError


@dataclass(frozen=True)
class Reading:
    """How text tables are read, where that is not to be found out.

    Args:
        label: the label column, if it is known: it is read as it is written.
        numbers: whether labels are numbers to be predicted, not classes.
        encoding: of CSV and JSON files; None to find it.
        delimiter: between the values of a CSV file; None to find it.
        like: the schema of the train part, for a test part; None for rows that stand for themselves.
    """

    label: str | None = None
    numbers: bool = False
    encoding: str | None = None
    delimiter: str | None = None
    like: Any = None


_FORMATS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv"}
_FORMATS |= dict.fromkeys((".jsonl", ".ndjson", ".json"), "json")


def table_format(path: Path) -> str | None:
    """ "parquet", "csv" or "json" by the file's name, None if it is no table."""
    return _FORMATS.get(path.with_suffix("").suffix.lower() if path.suffix == ".gz" else path.suffix.lower())


def read_tables(paths: Sequence[Path], reading: Reading) -> tuple[datasets.Dataset, list[str]]:
    """One data set from one or several files of the same columns, in the order given; and what there is to say.

    Raises:
        BadInputError: a file cannot be read, or files do not have the same columns.
    """
    if too_large(paths):
        form = table_format(paths[0])
        delimiter = {"sep": delimiter_of(paths[0])} if form == "csv" else {}
        names = [str(path) for path in paths]
        return datasets.load_dataset(form, data_files=names, split="train", **delimiter), []
    tables = []
    for path in paths:
        try:
            tables.append(_read_table(path))
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
    return dataset_of(table), []


def too_large(paths: Sequence[Path]) -> bool:
    """Whether files are not to be held in memory."""
    return bool(sum(path.stat().st_size for path in paths) > psutil.virtual_memory().available // 4)


def _read_table(path: Path) -> Any:
    form = table_format(path)
    if form == "parquet":
        return parquet.ParquetFile(path).read()
    if path.stat().st_size == 0:
        raise BadInputError(f"'{path}' is empty; give a file with rows.")
    # A block that holds the whole file, so that the type of a column is told from all its rows.
    block = min(max(path.stat().st_size * (20 if path.suffix == ".gz" else 1) + 1, 1 << 20), (1 << 31) - 1)
    if form == "csv":
        parsing = csv.ParseOptions(delimiter=delimiter_of(path), newlines_in_values=True)
        reading = csv.ReadOptions(block_size=block)
        return csv.read_csv(path, read_options=reading, parse_options=parsing)
    if path.suffix.lower() == ".json" and (text := path.read_text(encoding="utf-8")).lstrip().startswith("["):
        rows = json.loads(text)
        if not all(isinstance(row, dict) for row in rows):
            raise BadInputError(f"'{path}' must be a list of objects, one a row.")
        return pa.Table.from_pylist(rows)
    return json_lines.read_json(path, read_options=json_lines.ReadOptions(block_size=block))


def delimiter_of(path: Path) -> str:
    """Tab for .tsv; else the commonest of comma, semicolon and tab in the header line."""
    if ".tsv" in path.suffixes:
        return "\t"
    if path.suffix == ".gz":
        return ","
    with path.open(encoding="utf-8", errors="replace") as file:
        header = file.readline()
    return max(",;\t", key=header.count)
