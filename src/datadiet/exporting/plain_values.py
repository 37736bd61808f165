"""Values of Arrow columns as JSON and CSV can hold them; images as files beside the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datadiet.exporting.image_folder import id_width
from datadiet.exporting.images import header_of, suffix_of, write_image
from datadiet.exporting.plan import PartPlan
from datadiet.exporting.rows import Chunk, chunks_that_stay, images_of
from datadiet.exporting.written import Job

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
