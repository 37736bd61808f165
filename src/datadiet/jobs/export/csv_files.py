"""CSV: `train.csv` and `test.csv`; formulas in texts are neutralised, a source of that form keeps its lines."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.data.sources.files import delimiter_of
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.formats import Job, Written
from datadiet.jobs.export.json_lines import open_source_file, open_target_file, plain_rows, source_rows
from datadiet.jobs.export.plan import PartPlan
from datadiet.jobs.export.rows import is_formula, lie_in_files, neutralised

_BLOCK = 1 << 20
_LONGEST_RECORD = 256 << 20


class Unreadable(Exception):
    """The file is not made of records in the usual way."""


def records(path: Path, delimiter: str) -> Iterator[bytes]:
    """Every record with its line end, the header first; blank lines are left out.

    A value in quotes may hold delimiters, line ends and doubled quotes.

    Raises:
        Unreadable: a quote is never closed.
    """
    mark = re.escape(delimiter.encode())
    rest = b"[^" + mark + rb"\r\n]*"
    value = b'(?:"[^"]*(?:""[^"]*)*"' + rest + b'|(?!")' + rest + b")"
    record = re.compile(value + b"(?:" + mark + value + rb")*(?:\r\n|\n|\r)")
    with open_source_file(path) as file:
        pending = b""
        ended = False
        while not ended:
            block = file.read(max(_BLOCK, len(pending)))
            ended = not block
            pending += block
            if ended and pending and not pending.endswith((b"\n", b"\r")):
                pending += b"\n"
            position = 0
            while found := record.match(pending, position):
                # What ends here may go on in the next block: "\r" with its "\n", a quote with its double.
                if found.end() == len(pending) and not ended:
                    break
                position = found.end()
                if found[0].strip(b"\r\n"):
                    yield found[0]
            pending = pending[position:]
            if len(pending) > _LONGEST_RECORD:
                raise Unreadable
        if pending:
            raise Unreadable


def fields_of(record: bytes, delimiter: str) -> list[str]:
    """The values of one record.

    >>> fields_of(b'1,"a ""b"", c"\\r\\n', ",")
    ['1', 'a "b", c']
    """
    text = record.decode("utf-8", "surrogateescape")
    text = text[:-2] if text.endswith("\r\n") else text[:-1] if text.endswith(("\r", "\n")) else text
    limit = csv.field_size_limit(_LONGEST_RECORD)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise Unreadable from error
    finally:
        csv.field_size_limit(limit)
    if len(rows) != 1:
        raise Unreadable
    return rows[0]


def record_of(cells: Sequence[Any], delimiter: str, like: bytes) -> bytes:
    """A record of these values, with the line end and the byte order mark of another one."""
    end = "\r\n" if like.endswith(b"\r\n") else "\r" if like.endswith(b"\r") else "\n"
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator=end).writerow(cells)
    mark = b"\xef\xbb\xbf" if like.startswith(b"\xef\xbb\xbf") else b""
    return mark + buffer.getvalue().encode("utf-8", "surrogateescape")


def text_of_items(job: Job, id_: int, column: str, items: Sequence[Any]) -> str:
    """A list of words or tags as one text with a space between any two.

    Raises:
        BadInputError: words have tags, and one of these or those is empty or has white space within.
    """
    text = " ".join("" if item is None else str(item) for item in items)
    if job.label.tags is not None and len(text.split()) != len(items):
        raise BadInputError(
            f"Example {id_} has an item with white space, or an empty one, in its list '{column}', which CSV cannot "
            "hold beside tags of words; export it to parquet, datasets, jsonl or webdataset."
        )
    return text


def harmless(job: Job, id_: int, names: Sequence[str], cells: Sequence[Any]) -> list[Any]:
    """The cells of a row with an apostrophe before what a spreadsheet would run; as many words as before.

    Raises:
        BadInputError: the tags of the words start like a formula; with an apostrophe they would be other tags.
    """
    found: list[Any] = []
    for name, cell in zip(names, cells, strict=True):
        if not isinstance(cell, str) or not is_formula(cell):
            found.append(cell)
            continue
        if name == job.label.tags:
            raise BadInputError(
                f"The tags of example {id_} (column '{name}') start like a formula of a spreadsheet; leave them as "
                "they are with keep_formulas (--keep-formulas), or choose another format."
            )
        safe = neutralised(cell)
        if job.label.tags is not None and len(safe.split()) != len(cell.split()):
            safe = neutralised(cell.lstrip())  # before white space, the apostrophe would be a word of its own
        found.append(safe)
    return found


# A record in which no value can start like a formula is not taken apart.
_MAY_START = "=+\\-@\\t\\r\\n＝＋－＠"


def write_csv(job: Job) -> Written:
    """All columns; the numbers of a vector get a column each, other nested values are JSON."""
    written = Written()
    for plan in job.plan.parts:
        name = f"{plan.name}.csv"
        ids: list[int] = []
        with (job.folder / name).open("x", encoding="utf-8", errors="surrogatepass", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            header: list[str] | None = None
            for chunk, rows in plain_rows(job, plan):
                for id_, row in zip(chunk.ids.tolist(), rows, strict=True):
                    flat = _flat(job, id_, row)
                    if header is None:
                        header = list(flat)
                        writer.writerow(header if job.keep_formulas else map(neutralised, header))
                    cells = list(flat.values())
                    if not job.keep_formulas and any(isinstance(c, str) and is_formula(c) for c in cells):
                        cells = harmless(job, id_, header, cells)
                        ids.append(id_)
                    writer.writerow(cells)
                job.advance(len(chunk))
        written.files[plan.name] = name
        written.neutralised[plan.name] = ids
    return written


def write_same_csv(job: Job) -> Written:
    """The records of the source, byte for byte, without those that leave; with its delimiter and header."""
    if any(lie_in_files(plan) for plan in job.plan.parts) or not job.origin.files:
        return write_csv(job)
    written = Written(keeps_names=True)
    made: list[Path] = []
    try:
        for plan in job.plan.parts:
            sources = job.origin.files_of(plan.name)
            name = plan.name + (".tsv" if ".tsv" in sources[0].suffixes else ".csv")
            name += ".gz" if sources[0].suffix == ".gz" else ""
            made.append(job.folder / name)
            written.neutralised[plan.name] = _copy_part(job, plan, sources, made[-1])
            written.files[plan.name] = name
    except Unreadable:  # its records are not what was loaded as rows, so they are written anew
        for path in made:
            path.unlink(missing_ok=True)
        return write_csv(job)
    return written


def _copy_part(job: Job, plan: PartPlan, sources: Sequence[Path], target: Path) -> list[int]:
    """Copy the records that stay; returns the ids of those with neutralised texts."""
    changed = np.zeros(len(plan), dtype=bool)
    changed[job.label.differing(plan)] = True
    ids = plan.ids
    delimiter = delimiter_of(sources[0])
    suspicious = re.compile(rf'(?:^|["{re.escape(delimiter)}]) *[{_MAY_START}]')
    position = row = 0
    touched: list[int] = []
    header: list[str] | None = None
    with open_target_file(target) as file:
        for path in sources:
            found = records(path, delimiter)
            first = next(found, b"")
            names = fields_of(first.removeprefix(b"\xef\xbb\xbf"), delimiter)
            if header is None:
                if job.label.name not in names:
                    raise Unreadable
                header = names
                safe = header if job.keep_formulas else [neutralised(name) for name in header]
                file.write(first if safe == header else record_of(safe, delimiter, first))
            elif names != header or delimiter_of(path) != delimiter:
                raise Unreadable
            for record in found:
                row += 1
                if position >= len(ids) or ids[position] != row - 1:
                    continue
                text = record.decode("utf-8", "surrogateescape")
                formula = not job.keep_formulas and suspicious.search(text) is not None
                if formula or changed[position]:
                    cells = before = fields_of(record, delimiter)
                    if changed[position]:
                        cells = list(cells)
                        cells[header.index(job.label.name)] = _cell(
                            job.label.value(int(plan.labels[position]))
                        )
                    if formula and any(map(is_formula, cells)):
                        cells = harmless(job, int(ids[position]), header, cells)
                        touched.append(int(ids[position]))
                    if cells != before:
                        record = record_of(cells, delimiter, record)
                file.write(record if record.endswith((b"\n", b"\r")) else record + b"\n")
                position += 1
                job.advance(1)
    if row != source_rows(job, plan):
        raise Unreadable
    return touched


def _flat(job: Job, id_: int, row: dict[str, Any]) -> dict[str, Any]:
    """One cell a value: a vector's numbers have a cell each, words and tags are a text, others that nest are JSON."""
    examples = job.plan.examples
    flat: dict[str, Any] = {}
    for name, value in row.items():
        is_input = name in examples.input_columns
        if isinstance(value, list) and is_input and examples.kind == "vector":
            flat |= {f"{name}_{place}": item for place, item in enumerate(value)}
        elif isinstance(value, list) and ((is_input and examples.kind == "text") or name == job.label.tags):
            flat[name] = text_of_items(job, id_, name, value)
        else:
            flat[name] = _cell(value)
    return flat


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value if value is None or isinstance(value, str | int | float) else str(value)
