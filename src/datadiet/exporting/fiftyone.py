"""FiftyOne's CSV image classification layout: `<part>/data/<file>` and `<part>/labels.csv`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from datadiet.errors import BadInputError
from datadiet.exporting.formulas import neutralised
from datadiet.exporting.image_folder import id_width
from datadiet.exporting.images import header_of, suffix_of, write_image
from datadiet.exporting.rows import chunks_that_stay, images_of
from datadiet.exporting.written import Job, Written

_COLUMNS = ("filepath", "size_bytes", "mime_type", "width", "height", "num_channels", "label")
_MIME = {"jpg": "jpeg", "tif": "tiff", "pbm": "x-portable-bitmap", "pgm": "x-portable-graymap"}
_MIME |= {"ppm": "x-portable-pixmap"}


def write_fiftyone(job: Job) -> Written:
    """Images named by their id, and a row each: path, bytes, type, size, channels (from the header), label.

    Raises:
        BadInputError: the examples are no images.
    """
    examples = job.plan.examples
    if examples.kind != "image":
        raise BadInputError(f"FiftyOne's CSV layout is for images; '{examples.name}' holds {examples.kind}s.")
    written = Written(keeps_names=True)
    for plan in job.plan.parts:
        folder = job.folder / plan.name
        (folder / "data").mkdir(parents=True)
        width = id_width(plan)
        files: list[str] = []
        with (folder / "labels.csv").open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            for chunk in chunks_that_stay(plan, job.label):
                for row, content, path in images_of(chunk, plan.part.input_columns[0]):
                    suffix = suffix_of(header_of(content, path), path)
                    name = f"data/{int(chunk.ids[row]):0{width}d}{suffix}"
                    write_image(folder / name, content, path)
                    label = examples.class_names[int(chunk.labels[row])]
                    shown = label if job.keep_formulas else neutralised(label)
                    writer.writerow([name, *_facts(folder / name, content), shown])
                    files.append(f"{plan.name}/{name}")
                job.advance(len(chunk))
        written.files[plan.name] = files
    return written


def _facts(path: Path, content: bytes | None) -> list[str | int]:
    """Bytes, MIME type, width, height and channels, from the image's header alone."""
    from PIL import Image

    with Image.open(io.BytesIO(content) if content is not None else path) as image:
        size = len(content) if content is not None else path.stat().st_size
        suffix = path.suffix.lower()[1:]
        return [size, f"image/{_MIME.get(suffix, suffix)}", image.width, image.height, len(image.getbands())]
