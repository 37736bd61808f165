"""WebDataset: tar shards of bounded size with the image or text, the class and the other columns of each example."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from datadiet.data import Examples
from datadiet.data.arrow import is_list, numeric_matrix
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.formats import Job, WriteResult, export_format, refuse_untagged_names
from datadiet.jobs.export.image_folder import suffix_of
from datadiet.jobs.export.plan import PartPlan
from datadiet.jobs.export.rows import Chunk, LabelColumn, images_of, kept_chunks


def _refuse_tags(examples: Examples, label: LabelColumn, format: str) -> None:
    refuse_untagged_names(examples, label, format)
    if label.tags in (("id", "label") if label.has_classes else ("id",)):
        raise BadInputError(
            f"The column of tags is called '{label.tags}', which means something else in a shard; rename it, or "
            "export it to parquet, datasets or jsonl."
        )


@export_format(
    "webdataset", "Tar shards with the input, the class and the other columns of each.", check=_refuse_tags
)
def write_shards(job: Job) -> WriteResult:
    """`train-000000.tar`, ...: `<id>.<png|jpg|webp|txt|npy>`, `<id>.cls` (index), `<id>.json` (id, label, others).

    Lists of words and pairs of texts are in the `.json`; only what has one class has a `.cls`.
    """
    result = WriteResult(keeps_names=True)
    for plan in job.plan.parts:
        shards = _Shards(job.folder, plan.name, job.shard_size)
        files: list[str] = []
        try:
            for key, members in _samples(job, plan):
                files.append(shards.add(key, members))
                job.advance(1)
        finally:
            shards.close()
        result.files[plan.name] = files
    return result


def _samples(job: Job, plan: PartPlan) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and members (suffix -> content) of each example."""
    part = plan.part
    inputs = part.input_columns
    words = part.kind == "text" and is_list(part.dataset.data.schema.field(inputs[0]).type)
    as_files = part.kind != "text" or (len(inputs) == 1 and not words)
    for chunk in kept_chunks(plan, job.label, contents=True):
        contents = _contents(part.kind, chunk, inputs) if as_files else [{} for _ in range(len(chunk))]
        others = chunk.table.drop_columns(list(inputs) if as_files else []).to_pylist()
        for id_, label, members, other in zip(
            chunk.ids.tolist(), chunk.labels.tolist(), contents, others, strict=True
        ):
            if job.label.has_classes:
                members["cls"] = str(label).encode()
            members["json"] = json.dumps(_about(job, id_, label, other), allow_nan=False).encode()
            yield plan.key(id_), members


def _about(job: Job, id_: int, label: int, other: dict[str, Any]) -> dict[str, Any]:
    """The `.json` of an example: tags of words under the name of their column, any other label as `label`."""
    examples = job.plan.examples
    about = {name: job.label.plain(name, value) for name, value in other.items()}
    if examples.task != "token_classification":
        given = about.pop(examples.label_column)
        about["label"] = examples.class_names[label] if job.label.has_classes else given
    return {**about, "id": id_}


def _contents(kind: str, chunk: Chunk, inputs: tuple[str, ...]) -> list[dict[str, bytes]]:
    if kind == "image":
        return [
            {suffix_of(content or b"", path)[1:]: content or b""}
            for _, _, content, path in images_of(chunk, inputs[0])
        ]
    if kind == "text":
        texts = chunk.table.column(inputs[0]).to_pylist()
        return [{"txt": text.encode("utf-8", "surrogatepass")} for text in texts]
    found = []
    for row in numeric_matrix(chunk.table, inputs):
        buffer = io.BytesIO()
        np.save(buffer, row)
        found.append({"npy": buffer.getvalue()})
    return found


class _Shards:
    """Tar files that are closed before they would grow over a size; an example is never split."""

    def __init__(self, folder: Path, part: str, size: int) -> None:
        self.folder, self.part, self.size = folder, part, size
        self.number = 0
        self.file: IO[bytes] | None = None

    def add(self, key: str, members: dict[str, bytes]) -> str:
        """Write the members of one example; returns the shard's name."""
        content = b"".join(_member(f"{key}.{suffix}", data) for suffix, data in members.items())
        if self.file is not None and self.file.tell() + len(content) + tarfile.RECORDSIZE > self.size:
            self.close()
            self.number += 1
        name = f"{self.part}-{self.number:06d}.tar"
        if self.file is None:
            self.file = (self.folder / name).open("xb")
        self.file.write(content)
        return name

    def close(self) -> None:
        """End the open shard: two blocks of zeros, filled up to a whole record."""
        if self.file is not None:
            file, self.file = self.file, None
            with file:
                end = file.tell() + 2 * tarfile.BLOCKSIZE
                file.write(bytes(2 * tarfile.BLOCKSIZE + -end % tarfile.RECORDSIZE))


def _member(name: str, content: bytes) -> bytes:
    """One file of a tar archive: no time and no owner, so that the same data gives the same bytes."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    header.mode = 0o644
    return header.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)
