"""WebDataset: tar shards of bounded size with the image or text, the class and the other columns of each example."""

from __future__ import annotations

import io
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
from datadiet.jobs.export.read_back import check_written
from datadiet.jobs.export.rows import Chunk, LabelColumn, images_of, json_line, kept_chunks

# What the file of an input is read again as.
_MEMBERS = {"image": "image", "text": "text", "vector": "features"}


def _refuse_names(examples: Examples, label: LabelColumn, format: str) -> None:
    refuse_untagged_names(examples, label, format)
    if label.has_classes and label.tags == "label":
        raise BadInputError(
            f"The column of tags is called '{label.tags}', which means something else in a shard; rename it, or "
            "export it to parquet, datasets or jsonl."
        )
    image = examples.input_columns[0]
    if examples.kind == "image" and image != "image" and "image" in examples.train.dataset.column_names:
        raise BadInputError(
            f"The images are in column '{image}', and there is another column 'image', which means the images in a "
            "shard; rename it, or export it to parquet or datasets."
        )


@export_format(
    "webdataset", "Tar shards with the input, the class and the other columns of each.", check=_refuse_names
)
def write_shards(job: Job) -> WriteResult:
    """`train-000000.tar`, ...: `<id>.<png|jpg|webp|txt|npy>`, `<id>.cls` (index), `<id>.json` (label, others, id).

    Lists of words and pairs of texts are in the `.json`; only what has one class has a `.cls`. In the `.json` the
    label is called `label`, and `id` is the example's id; where the source has another column of such a name, this
    one stays, the label has its own name, and the id is only in the name of the files.
    """
    layout = _Layout(job)
    result = WriteResult(
        keeps_names=True,
        input_columns=layout.input_columns,
        label_column=layout.label_column,
        own_columns=("id",) if layout.tells_id else (),
    )
    told: dict[str, list[bytes]] = {}
    for plan in job.plan.parts:
        shards = _Shards(job.folder, plan.name, job.shard_size)
        files: list[str] = []
        abouts = told.setdefault(plan.name, [])
        try:
            for key, members in _samples(job, plan, layout):
                files.append(shards.add(key, members))
                abouts.append(members["json"])
                job.advance(1)
        finally:
            shards.close()
        result.files[plan.name] = files
    # Images, texts and vectors have files of their own with exactly their bytes: the rest is what may change.
    check_written(job, result, told)
    return result


class _Layout:
    """Where in a sample the columns of the source go, and what they are called when they are read again."""

    def __init__(self, job: Job) -> None:
        examples = job.plan.examples
        inputs, self.label = examples.input_columns, examples.label_column
        others = [c for c in examples.train.dataset.column_names if c not in (*inputs, self.label)]
        kind = examples.train.dataset.data.schema.field(inputs[0]).type
        member = _MEMBERS[examples.kind]
        # What is one file in a sample; a list of words, a pair of texts, or what another column has the name of is not.
        self.as_file = member not in others and not (
            examples.kind == "text" and (len(inputs) > 1 or is_list(kind))
        )
        self.input_columns = (member,) if self.as_file else inputs
        renamed = examples.task != "token_classification" and "label" not in (*others, *self.input_columns)
        self.label_column = "label" if renamed else self.label
        self.tells_id = "id" not in (*others, *self.input_columns, self.label_column)
        self.dropped = list(inputs) if self.as_file else []


def _samples(job: Job, plan: PartPlan, layout: _Layout) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and members (suffix -> content) of each example."""
    part = plan.part
    for chunk in kept_chunks(plan, job.label, contents=True):
        contents = (
            _contents(part.kind, chunk, part.input_columns)
            if layout.as_file
            else [{} for _ in range(len(chunk))]
        )
        others = chunk.table.drop_columns(layout.dropped).to_pylist()
        for id_, label, members, other in zip(
            chunk.ids.tolist(), chunk.labels.tolist(), contents, others, strict=True
        ):
            if job.label.has_classes:
                members["cls"] = str(label).encode()
            members["json"] = json_line(_about(job, layout, id_, label, other)).encode()
            yield plan.key(id_), members


def _about(job: Job, layout: _Layout, id_: int, label: int, other: dict[str, Any]) -> dict[str, Any]:
    """The `.json` of an example."""
    about = {name: job.label.plain(name, value) for name, value in other.items()}
    given = about.pop(layout.label)
    about[layout.label_column] = job.plan.examples.class_names[label] if job.label.has_classes else given
    return {**about, "id": id_} if layout.tells_id else about


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
