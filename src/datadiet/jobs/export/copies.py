"""Tables of the source without the rows that leave: the records that stay are copied byte for byte."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from datadiet.data.sources.delimited import csv_dialect
from datadiet.foundation.atomic import remove
from datadiet.jobs.export.csv_cells import harmless, has_formula, label_cell
from datadiet.jobs.export.csv_records import (
    BYTE_ORDER_MARK,
    UnreadableError,
    csv_fields,
    csv_record,
    csv_records,
    open_source,
)
from datadiet.jobs.export.formats import Job, WriteResult
from datadiet.jobs.export.plan import PartPlan
from datadiet.jobs.export.read_back import NotAsWrittenError, check_written
from datadiet.jobs.export.rows import json_line, neutralised, written_names

# A record in which no value can start like a formula is not taken apart.
_MAY_START_FORMULA = "=+\\-@\\t\\r\\n＝＋－＠"
_NO_ROWS = "its records are not the rows that were loaded"


def copied(
    job: Job, copy_part: Callable[[Job, PartPlan, WriteResult], str]
) -> tuple[WriteResult | None, list[str]]:
    """The tables of the source without the rows that leave, None where they are to be made anew; and why they are.

    Copies that are not read again as the examples that stay are made anew, too.
    """
    if not job.copies:
        return None, []
    result = WriteResult()
    try:
        for plan in job.plan.parts:
            result.files[plan.name] = copy_part(job, plan, result)
        check_written(job, result)
    except (UnreadableError, NotAsWrittenError) as error:
        for made in job.folder.iterdir():
            remove(made)
        reason = str(error).rstrip(".") if isinstance(error, UnreadableError) else _NO_ROWS
        how = "with commas, in UTF-8" if copy_part is copy_csv else "as lines, in UTF-8"
        return None, [
            f"The table of the source could not be copied as it is ({reason}); it is written anew, {how}."
        ]
    return result, []


def _kept_records(job: Job, plan: PartPlan, records: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Those records of the source that stay, each with its place among them.

    Raises:
        UnreadableError: there are more or fewer records than rows were loaded, so they are no rows.
    """
    ids = plan.ids
    place = count = 0
    for count, record in enumerate(records, start=1):
        if place < len(ids) and ids[place] == count - 1:
            yield place, record
            place += 1
            job.advance(1)
    examples = job.plan.examples
    rows = {
        "train": len(examples.train) + len(examples.left_out),
        "test": len(examples.test) + len(examples.left_out_test),
    }
    # A test part that was held out lies among the rows of the train part.
    if count != (rows[plan.name] if examples.holdout_seed is None else sum(rows.values())):
        raise UnreadableError(_NO_ROWS)


def _open_target(path: Path) -> IO[bytes]:
    """A new file, compressed where its name says so; the same content gives the same bytes."""
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.GzipFile(path, "xb", mtime=0))
    return path.open("xb")


def copy_json(job: Job, plan: PartPlan, result: WriteResult) -> str:
    """The lines of the source, or the objects of its list, without those that leave; returns the file's name."""
    sources = job.origin.files_of(plan.name)
    as_list = _is_list(sources[0])
    name = f"{plan.name}.json" if as_list else f"{plan.name}.jsonl"
    name += ".gz" if sources[0].suffix == ".gz" else ""
    changed = job.label.differing(plan)
    with _open_target(job.folder / name) as file:
        if as_list:
            file.write(b"[\n")
        for place, line in _kept_records(job, plan, _objects(sources) if as_list else _lines(sources)):
            if changed[place]:
                (row,) = _parsed(line, list_of_one=True)
                row[job.label.name] = job.label.written(int(plan.labels[place]))
                line = _line(row)
            if as_list:
                line = (b",\n" if place else b"") + line.rstrip(b"\n")
            file.write(line)
        if as_list:
            file.write(b"\n]\n")
    return name


def _lines(sources: Sequence[Path]) -> Iterator[bytes]:
    """Lines that are not blank, each with its end; a byte order mark is left out."""
    for path in sources:
        with open_source(path) as file:
            for number, line in enumerate(file):
                line = line.removeprefix(BYTE_ORDER_MARK) if number == 0 else line
                if line.strip():
                    yield line if line.endswith(b"\n") else line + b"\n"


def _objects(sources: Sequence[Path]) -> Iterator[bytes]:
    for path in sources:
        yield from map(_line, _parsed(path.read_bytes()))


def _parsed(content: bytes, *, list_of_one: bool = False) -> list[dict[str, Any]]:
    try:
        found = json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise UnreadableError("it is no JSON in UTF-8") from error
    rows = [found] if list_of_one else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UnreadableError(_NO_ROWS)
    return rows


def _line(row: dict[str, Any]) -> bytes:
    try:
        return json_line(row).encode() + b"\n"
    except ValueError as error:
        raise UnreadableError("a number in it is NaN or infinite, which JSON does not know") from error


def _is_list(path: Path) -> bool:
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        return file.read(4096).lstrip().startswith(b"[")


def copy_csv(job: Job, plan: PartPlan, result: WriteResult) -> str:
    """The records of the source without those that leave, with its delimiter and header; returns the file's name."""
    sources = job.origin.files_of(plan.name)
    name = plan.name + (".tsv" if ".tsv" in sources[0].suffixes else ".csv")
    name += ".gz" if sources[0].suffix == ".gz" else ""
    delimiter = csv_dialect(sources[0]).delimiter
    first = next(csv_records(sources[0], delimiter), b"")
    header = csv_fields(first.removeprefix(BYTE_ORDER_MARK), delimiter)
    if job.label.name not in header:
        raise UnreadableError("its header is not that of the columns that were loaded")
    if job.label.has_classes and not job.keep_formulas:
        result.class_names = written_names(job.plan.examples.class_names, "classes")
    changed = job.label.differing(plan)
    suspicious = re.compile(rf'(?:^|["{re.escape(delimiter)}]) *[{_MAY_START_FORMULA}]')
    touched = result.neutralised.setdefault(plan.name, [])
    with _open_target(job.folder / name) as file:
        if not job.keep_formulas:
            result.column_names = written_names(header, "columns")
        safe = header if job.keep_formulas else [neutralised(name) for name in header]
        file.write(first if safe == header else csv_record(safe, delimiter, first))
        for place, record in _kept_records(job, plan, _csv_rows(sources, delimiter, header)):
            try:
                text = record.decode("utf-8")
            except UnicodeDecodeError as error:
                raise UnreadableError("it is not UTF-8") from error
            formula = not job.keep_formulas and suspicious.search(text) is not None
            if formula or changed[place]:
                before = csv_fields(record, delimiter)
                cells: list[Any] = list(before)
                if changed[place]:
                    cells[header.index(job.label.name)] = label_cell(
                        job.label.written(int(plan.labels[place]))
                    )
                if formula and has_formula(cells):
                    cells = harmless(job, int(plan.ids[place]), header, cells)
                    touched.append(int(plan.ids[place]))
                if cells != before:
                    record = csv_record(cells, delimiter, record)
            file.write(record if record.endswith((b"\n", b"\r")) else record + b"\n")
    return name


def _csv_rows(sources: Sequence[Path], delimiter: str, header: Sequence[str]) -> Iterator[bytes]:
    """The records of several files without their headers, which have to be the same."""
    for path in sources:
        found = csv_records(path, delimiter)
        names = csv_fields(next(found, b"").removeprefix(BYTE_ORDER_MARK), delimiter)
        if names != header or csv_dialect(path).delimiter != delimiter:
            raise UnreadableError("its files do not have the same header")
        yield from found
