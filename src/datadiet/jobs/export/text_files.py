"""CSV and JSON lines: `train.csv`, `train.jsonl`; a source of that form keeps its records byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from datadiet.data import TASKS
from datadiet.data.arrow import is_list
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.copies import copied, copy_csv, copy_json
from datadiet.jobs.export.csv_cells import cell_of, harmless, has_formula, label_cell
from datadiet.jobs.export.csv_records import CsvWriter
from datadiet.jobs.export.formats import (
    Job,
    WriteResult,
    export_format,
    refuse_untagged,
    refuse_untagged_names,
)
from datadiet.jobs.export.image_folder import image_name, write_image
from datadiet.jobs.export.plan import PartPlan
from datadiet.jobs.export.read_back import check_written
from datadiet.jobs.export.rows import Chunk, images_of, json_line, kept_chunks, neutralised, written_names

# Columns of these names are known to hold paths when they are loaded.
_PATH_COLUMNS = ("image", "img", "image_path", "file_name", "filename", "file", "path")


@export_format(
    "jsonl", "`train.jsonl`, `test.jsonl`: an object a line; images beside them.", check=refuse_untagged_names
)
def write_json_lines(job: Job) -> WriteResult:
    """`train.jsonl` and `test.jsonl`, images as files beside them; lines or the list of a JSON source are kept."""
    result, notes = copied(job, copy_json)
    if result is not None:
        return result
    result = WriteResult(input_columns=_names_of_inputs(job), notes=notes)
    for plan in job.plan.parts:
        name = f"{plan.name}.jsonl"
        with (job.folder / name).open("x", encoding="utf-8", newline="\n") as file:
            for chunk, rows in _plain_rows(job, plan):
                file.writelines(json_line(row) + "\n" for row in rows)
                job.advance(len(chunk))
        result.files[plan.name] = name
    check_written(job, result)
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
    """All columns; the numbers of a vector get a column each, other nested values are JSON; see `copy_csv`."""
    result, notes = copied(job, copy_csv)
    if result is not None:
        return result
    result = WriteResult(input_columns=_names_of_inputs(job), notes=notes)
    if job.label.has_classes and not job.keep_formulas:
        result.class_names = written_names(job.plan.examples.class_names, "classes")
    for plan in job.plan.parts:
        name = f"{plan.name}.csv"
        ids: list[int] = []
        with (job.folder / name).open("x", encoding="utf-8", newline="") as file:
            writer = CsvWriter(file)
            header: list[str] | None = None
            for chunk, rows in _plain_rows(job, plan):
                for id_, row in zip(chunk.ids.tolist(), rows, strict=True):
                    flat = _flat(job, id_, row)
                    if header is None:
                        header = list(flat)
                        if not job.keep_formulas:
                            result.column_names = written_names(header, "columns")
                        writer.writerow(header if job.keep_formulas else map(neutralised, header))
                    cells = list(flat.values())
                    if not job.keep_formulas and has_formula(cells):
                        cells = harmless(job, id_, header, cells)
                        ids.append(id_)
                    writer.writerow(cells)
                job.advance(len(chunk))
        result.files[plan.name] = name
        result.neutralised[plan.name] = ids
    _spread_names(job, result)
    check_written(job, result)
    return result


def _names_of_inputs(job: Job) -> tuple[str, ...]:
    """What the inputs are called: a column that holds paths of images has a name that says so."""
    examples = job.plan.examples
    if examples.kind != "image":
        return ()
    (image,) = examples.input_columns
    known = image.strip().lower() in _PATH_COLUMNS or "file_name" in examples.train.dataset.column_names
    return () if known else ("file_name",)


def _spread_names(job: Job, result: WriteResult) -> None:
    """Note the names of the columns that the numbers of a column of lists were given.

    Raises:
        BadInputError: one of them is the name of another column.
    """
    examples = job.plan.examples
    column, rows = examples.input_columns[0], examples.train.dataset
    if examples.kind != "vector" or not is_list(rows.data.schema.field(column).type):
        return
    names = tuple(f"{column}_{place}" for place in range(len(rows[0][column])))
    if taken := [name for name in names if name in rows.column_names]:
        raise BadInputError(
            f"In CSV the numbers of column '{column}' have a column each, and the column '{taken[0]}' is there "
            "already; rename it, or export to parquet, datasets or jsonl."
        )
    result.input_columns = names
    result.columns_changed[column] = f"its numbers have a column each, '{names[0]}' to '{names[-1]}'"


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
            (written,) = _names_of_inputs(job) or (image,)
            for row, (id_, _, content, path) in zip(rows, images_of(chunk, image), strict=True):
                name = f"{folder}/{image_name(plan, id_, content, path)}"
                write_image(job.folder / name, content, path)
                row[written] = name
        for row, label, values in zip(rows, chunk.labels.tolist(), table.to_pylist(), strict=True):
            row.update((name, job.label.plain(name, value)) for name, value in values.items())
            if job.label.fixed_names is not None:
                row[examples.label_column] = job.label.written(label)
        yield chunk, rows


def _flat(job: Job, id_: int, row: dict[str, Any]) -> dict[str, Any]:
    """One cell a value: a vector's numbers have a cell each, words and tags are a text, others that nest are JSON."""
    examples = job.plan.examples
    flat: dict[str, Any] = {}
    for name, value in row.items():
        is_input = name in examples.input_columns
        if isinstance(value, list) and is_input and examples.kind == "vector":
            flat |= {f"{name}_{place}": cell_of(item) for place, item in enumerate(value)}
        elif isinstance(value, list) and ((is_input and examples.kind == "text") or name == job.label.tags):
            flat[name] = _joined(job, id_, name, value)
        else:
            flat[name] = label_cell(value) if name == job.label.name else cell_of(value)
    return flat


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
