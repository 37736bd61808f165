"""JSON lines: one object an example; a source of that form keeps its lines byte for byte."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from datadiet.jobs.export.columns import json_line, plain
from datadiet.jobs.export.formats import Job, Written
from datadiet.jobs.export.image_folder import header_of, id_width, suffix_of, write_image
from datadiet.jobs.export.plan import PartPlan
from datadiet.jobs.export.rows import Chunk, chunks_that_stay, images_of, lie_in_files

# Columns of these names are known to hold paths when they are loaded.
_PATH_COLUMNS = ("image", "img", "image_path", "file_name", "filename", "file", "path")


def plain_rows(job: Job, plan: PartPlan) -> Iterator[tuple[Chunk, list[dict[str, Any]]]]:
    """The rows that stay as plain dictionaries, labels by name where the source has names for them.

    Images are written to `images/<part>/<id>.<suffix>`, and their column holds that path.
    """
    examples = job.plan.examples
    label = examples.label_column
    names = examples.class_names if job.label.fixed_names is not None else None
    image = examples.input_columns[0] if examples.kind == "image" else None
    width = id_width(plan)
    for chunk in chunks_that_stay(plan, job.label):
        table = chunk.table
        paths: list[str] = []
        if image is not None:
            folder = job.folder / "images" / plan.name
            folder.mkdir(parents=True, exist_ok=True)
            for row, content, path in images_of(chunk, image):
                name = f"{int(chunk.ids[row]):0{width}d}{suffix_of(header_of(content, path), path)}"
                write_image(folder / name, content, path)
                paths.append(f"images/{plan.name}/{name}")
            table = table.drop_columns([image])
        rows: list[dict[str, Any]] = []
        for place, values in enumerate(table.to_pylist()):
            found: dict[str, Any] = {}
            if image is not None:
                found[_path_column(image, table.column_names)] = paths[place]
            found |= {name: job.label.plain(name, value) for name, value in values.items()}
            if names is not None:
                found[label] = names[int(chunk.labels[place])]
            rows.append(found)
        yield chunk, rows


def _path_column(column: str, others: list[str]) -> str:
    if column.strip().lower() in _PATH_COLUMNS or "file_name" in others:
        return column
    return "file_name"


def write_json_lines(job: Job) -> Written:
    """`train.jsonl` and `test.jsonl`, images as files beside them."""
    written = Written()
    for plan in job.plan.parts:
        name = f"{plan.name}.jsonl"
        with (job.folder / name).open("x", encoding="utf-8", newline="\n") as file:
            for chunk, rows in plain_rows(job, plan):
                file.writelines(json_line(row) + "\n" for row in rows)
                job.advance(len(chunk))
        written.files[plan.name] = name
    return written


def write_same_json(job: Job) -> Written:
    """The lines of the source, or the objects of its list, without those that leave."""
    if any(lie_in_files(plan) for plan in job.plan.parts) or not job.origin.files:
        return write_json_lines(job)
    written = Written(keeps_names=True)
    for plan in job.plan.parts:
        sources = job.origin.files_of(plan.name)
        as_list = _is_list(sources[0])
        suffix = ".json" if as_list else ".jsonl" + (".gz" if sources[0].suffix == ".gz" else "")
        name = f"{plan.name}{suffix}"
        objects = _objects(sources) if as_list else _lines(sources)
        count = _write_part(job, plan, objects, job.folder / name, as_list)
        if count != source_rows(
            job, plan
        ):  # lines are not rows here: several objects a line, or one on several
            for made in (job.folder / f"{p.name}{suffix}" for p in job.plan.parts):
                made.unlink(missing_ok=True)
            return write_json_lines(job)
        written.files[plan.name] = name
    return written


def source_rows(job: Job, plan: PartPlan) -> int:
    """How many rows the files have that a part comes from."""
    examples = job.plan.examples
    if examples.holdout_seed is not None:
        return len(examples.train) + len(examples.test) + len(examples.left_out)
    if plan.name == "train":
        return len(examples.train) + len(examples.left_out)
    return len(examples.test) + len(examples.left_out_test)


def open_source_file(path: Path) -> IO[bytes]:
    """A file of the source, decompressed."""
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def open_target_file(path: Path) -> IO[bytes]:
    """A new file, compressed where its name says so; the same content gives the same bytes."""
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.GzipFile(path, "xb", mtime=0))
    return path.open("xb")


def _write_part(job: Job, plan: PartPlan, objects: Iterator[bytes], target: Path, as_list: bool) -> int:
    """Write the objects that stay; returns how many the source has."""
    changed = np.zeros(len(plan), dtype=bool)
    changed[job.label.differing(plan)] = True
    ids = plan.ids
    position = count = 0
    with open_target_file(target) as file:
        if as_list:
            file.write(b"[\n")
        for count, line in enumerate(objects, start=1):
            if position >= len(ids) or ids[position] != count - 1:
                continue
            if changed[position]:
                row = json.loads(line)
                row[job.label.name] = plain(job.label.value(int(plan.labels[position])))
                line = json_line(row).encode() + b"\n"
            if as_list:
                file.write((b",\n" if position else b"") + line.rstrip(b"\n"))
            else:
                file.write(line)
            position += 1
            job.advance(1)
        if as_list:
            file.write(b"\n]\n")
    return count


def _lines(sources: Sequence[Path]) -> Iterator[bytes]:
    """Lines that are not blank, each with its end; a byte order mark is left out."""
    for path in sources:
        with open_source_file(path) as file:
            for number, line in enumerate(file):
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
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
