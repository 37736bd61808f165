"""CSV and JSON lines: `train.csv`, `train.jsonl`; a source of that form keeps its records byte for byte."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from datadiet.data import TASKS
from datadiet.data.sources.tables import delimiter_of
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.formats import (
    Job,
    WriteResult,
    export_format,
    refuse_untagged,
    refuse_untagged_names,
)
from datadiet.jobs.export.image_folder import image_name, write_image
from datadiet.jobs.export.plan import PartPlan
from datadiet.jobs.export.rows import Chunk, images_of, is_formula, kept_chunks, neutralised, plain

# Columns of these names are known to hold paths when they are loaded.
_PATH_COLUMNS = ("image", "img", "image_path", "file_name", "filename", "file", "path")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLOCK = 1 << 20
_LONGEST_RECORD = 256 << 20
# A record in which no value can start like a formula is not taken apart.
_MAY_START_FORMULA = "=+\\-@\\t\\r\\n＝＋－＠"


class UnreadableError(Exception):
    """The file is not made of records in the usual way."""


@export_format(
    "jsonl", "`train.jsonl`, `test.jsonl`: an object a line; images beside them.", check=refuse_untagged_names
)
def write_json_lines(job: Job) -> WriteResult:
    """`train.jsonl` and `test.jsonl`, images as files beside them; lines or the list of a JSON source are kept."""
    result = _copied(job, _copy_json)
    if result is not None:
        return result
    result = WriteResult()
    for plan in job.plan.parts:
        name = f"{plan.name}.jsonl"
        with (job.folder / name).open("x", encoding="utf-8", newline="\n") as file:
            for chunk, rows in _plain_rows(job, plan):
                file.writelines(json_line(row) + "\n" for row in rows)
                job.advance(len(chunk))
        result.files[plan.name] = name
    return result


@export_format(
    "csv",
    "`train.csv`, `test.csv`: a column for each number of a vector; images beside them.",
    tasks=tuple(task for task in TASKS if task != "multilabel"),
    refusal="CSV has no lists, and '{label}' holds lists of labels; export it to parquet, datasets, jsonl or "
    "webdataset.",
    check=refuse_untagged,
)
def write_csv(job: Job) -> WriteResult:
    """All columns; the numbers of a vector get a column each, other nested values are JSON; see `_copy_csv`."""
    result = _copied(job, _copy_csv)
    if result is not None:
        return result
    result = WriteResult()
    for plan in job.plan.parts:
        name = f"{plan.name}.csv"
        ids: list[int] = []
        with (job.folder / name).open("x", encoding="utf-8", errors="surrogatepass", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            header: list[str] | None = None
            for chunk, rows in _plain_rows(job, plan):
                for id_, row in zip(chunk.ids.tolist(), rows, strict=True):
                    flat = _flat(job, id_, row)
                    if header is None:
                        header = list(flat)
                        writer.writerow(header if job.keep_formulas else map(neutralised, header))
                    cells = list(flat.values())
                    if not job.keep_formulas and _has_formula(cells):
                        cells = _harmless(job, id_, header, cells)
                        ids.append(id_)
                    writer.writerow(cells)
                job.advance(len(chunk))
        result.files[plan.name] = name
        result.neutralised[plan.name] = ids
    return result


def json_line(row: dict[str, Any]) -> str:
    """One row as JSON on one line; half surrogates are escaped, so that it can be written as UTF-8."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(row, ensure_ascii=True, allow_nan=False)
    return line


def _plain_rows(job: Job, plan: PartPlan) -> Iterator[tuple[Chunk, list[dict[str, Any]]]]:
    """The rows that stay as plain dictionaries, labels by name where the source has names for them.

    Images are written to `images/<part>/<id>.<suffix>`, and their column holds that path.
    """
    examples = job.plan.examples
    image = examples.input_columns[0] if examples.kind == "image" else None
    for chunk in kept_chunks(plan, job.label):
        table = chunk.table
        rows: list[dict[str, Any]] = [{} for _ in range(len(chunk))]
        if image is not None:
            folder = f"images/{plan.name}"
            (job.folder / folder).mkdir(parents=True, exist_ok=True)
            table = table.drop_columns([image])
            known = image.strip().lower() in _PATH_COLUMNS or "file_name" in table.column_names
            for row, (id_, _, content, path) in zip(rows, images_of(chunk, image), strict=True):
                name = f"{folder}/{image_name(plan, id_, content, path)}"
                write_image(job.folder / name, content, path)
                row[image if known else "file_name"] = name
        for row, label, values in zip(rows, chunk.labels.tolist(), table.to_pylist(), strict=True):
            row.update((name, job.label.plain(name, value)) for name, value in values.items())
            if job.label.fixed_names is not None:
                row[examples.label_column] = examples.class_names[label]
        yield chunk, rows


def _flat(job: Job, id_: int, row: dict[str, Any]) -> dict[str, Any]:
    """One cell a value: a vector's numbers have a cell each, words and tags are a text, others that nest are JSON."""
    examples = job.plan.examples
    flat: dict[str, Any] = {}
    for name, value in row.items():
        is_input = name in examples.input_columns
        if isinstance(value, list) and is_input and examples.kind == "vector":
            flat |= {f"{name}_{place}": item for place, item in enumerate(value)}
        elif isinstance(value, list) and ((is_input and examples.kind == "text") or name == job.label.tags):
            flat[name] = _joined(job, id_, name, value)
        else:
            flat[name] = _cell(value)
    return flat


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _joined(job: Job, id_: int, column: str, items: Sequence[Any]) -> str:
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


def _has_formula(cells: Sequence[Any]) -> bool:
    return any(isinstance(cell, str) and is_formula(cell) for cell in cells)


def _harmless(job: Job, id_: int, names: Sequence[str], cells: Sequence[Any]) -> list[Any]:
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


def _copied(job: Job, copy_part: Callable[[Job, PartPlan, WriteResult], str]) -> WriteResult | None:
    """The tables of the source without the rows that leave; None where they are to be, or have to be, made anew."""
    if not job.copies:
        return None
    result = WriteResult(keeps_names=True)
    try:
        for plan in job.plan.parts:
            result.files[plan.name] = copy_part(job, plan, result)
    except UnreadableError:  # its records are not what was loaded as rows
        for made in job.folder.iterdir():
            made.unlink()
        return None
    return result


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
        raise UnreadableError


def _open_source(path: Path) -> IO[bytes]:
    """A file of the source, decompressed."""
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _open_target(path: Path) -> IO[bytes]:
    """A new file, compressed where its name says so; the same content gives the same bytes."""
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.GzipFile(path, "xb", mtime=0))
    return path.open("xb")


def _copy_json(job: Job, plan: PartPlan, result: WriteResult) -> str:
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
                row = json.loads(line)
                row[job.label.name] = plain(job.label.value(int(plan.labels[place])))
                line = json_line(row).encode() + b"\n"
            if as_list:
                line = (b",\n" if place else b"") + line.rstrip(b"\n")
            file.write(line)
        if as_list:
            file.write(b"\n]\n")
    return name


def _lines(sources: Sequence[Path]) -> Iterator[bytes]:
    """Lines that are not blank, each with its end; a byte order mark is left out."""
    for path in sources:
        with _open_source(path) as file:
            for number, line in enumerate(file):
                line = line.removeprefix(_BYTE_ORDER_MARK) if number == 0 else line
                if line.strip():
                    yield line if line.endswith(b"\n") else line + b"\n"


def _objects(sources: Sequence[Path]) -> Iterator[bytes]:
    for path in sources:
        rows: list[Any] = json.loads(path.read_text(encoding="utf-8"))
        for row in rows:
            yield json_line(row).encode()


def _is_list(path: Path) -> bool:
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        return file.read(4096).lstrip().startswith(b"[")


def _copy_csv(job: Job, plan: PartPlan, result: WriteResult) -> str:
    """The records of the source without those that leave, with its delimiter and header; returns the file's name."""
    sources = job.origin.files_of(plan.name)
    name = plan.name + (".tsv" if ".tsv" in sources[0].suffixes else ".csv")
    name += ".gz" if sources[0].suffix == ".gz" else ""
    delimiter = delimiter_of(sources[0])
    first = next(csv_records(sources[0], delimiter), b"")
    header = csv_fields(first.removeprefix(_BYTE_ORDER_MARK), delimiter)
    if job.label.name not in header:
        raise UnreadableError
    changed = job.label.differing(plan)
    suspicious = re.compile(rf'(?:^|["{re.escape(delimiter)}]) *[{_MAY_START_FORMULA}]')
    touched = result.neutralised.setdefault(plan.name, [])
    with _open_target(job.folder / name) as file:
        safe = header if job.keep_formulas else [neutralised(name) for name in header]
        file.write(first if safe == header else csv_record(safe, delimiter, first))
        for place, record in _kept_records(job, plan, _csv_rows(sources, delimiter, header)):
            text = record.decode("utf-8", "surrogateescape")
            formula = not job.keep_formulas and suspicious.search(text) is not None
            if formula or changed[place]:
                before = csv_fields(record, delimiter)
                cells: list[Any] = list(before)
                if changed[place]:
                    cells[header.index(job.label.name)] = _cell(job.label.value(int(plan.labels[place])))
                if formula and _has_formula(cells):
                    cells = _harmless(job, int(plan.ids[place]), header, cells)
                    touched.append(int(plan.ids[place]))
                if cells != before:
                    record = csv_record(cells, delimiter, record)
            file.write(record if record.endswith((b"\n", b"\r")) else record + b"\n")
    return name


def _csv_rows(sources: Sequence[Path], delimiter: str, header: Sequence[str]) -> Iterator[bytes]:
    """The records of several files without their headers, which have to be the same."""
    for path in sources:
        found = csv_records(path, delimiter)
        names = csv_fields(next(found, b"").removeprefix(_BYTE_ORDER_MARK), delimiter)
        if names != header or delimiter_of(path) != delimiter:
            raise UnreadableError
        yield from found


def csv_records(path: Path, delimiter: str) -> Iterator[bytes]:
    """Every record with its line end, the header first; blank lines are left out.

    A value in quotes may hold delimiters, line ends and doubled quotes.

    Raises:
        UnreadableError: a quote is never closed.
    """
    mark = re.escape(delimiter.encode())
    rest = b"[^" + mark + rb"\r\n]*"
    value = b'(?:"[^"]*(?:""[^"]*)*"' + rest + b'|(?!")' + rest + b")"
    record = re.compile(value + b"(?:" + mark + value + rb")*(?:\r\n|\n|\r)")
    with _open_source(path) as file:
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
                raise UnreadableError
        if pending:
            raise UnreadableError


def csv_fields(record: bytes, delimiter: str) -> list[str]:
    """The values of one record.

    >>> csv_fields(b'1,"a ""b"", c"\\r\\n', ",")
    ['1', 'a "b", c']
    """
    text = record.decode("utf-8", "surrogateescape")
    text = text[:-2] if text.endswith("\r\n") else text[:-1] if text.endswith(("\r", "\n")) else text
    limit = csv.field_size_limit(_LONGEST_RECORD)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UnreadableError from error
    finally:
        csv.field_size_limit(limit)
    if len(rows) != 1:
        raise UnreadableError
    return rows[0]


def csv_record(cells: Sequence[Any], delimiter: str, like: bytes) -> bytes:
    """A record of these values, with the line end and the byte order mark of another one."""
    end = "\r\n" if like.endswith(b"\r\n") else "\r" if like.endswith(b"\r") else "\n"
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator=end).writerow(cells)
    mark = _BYTE_ORDER_MARK if like.startswith(_BYTE_ORDER_MARK) else b""
    return mark + buffer.getvalue().encode("utf-8", "surrogateescape")
