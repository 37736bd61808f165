"""Plain lists of what stays of the train part: ids, file names, and positions ready for torch and datasets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from datadiet.data.columns import chunks_of, one_array
from datadiet.errors import BadInputError
from datadiet.exporting.rows import lie_in_files
from datadiet.exporting.written import Job, Written


def write_ids(job: Job) -> Written:
    """`ids.txt`: one example id a line; `datadiet compare --kept` reads it, too."""
    train = job.plan.train
    text = "".join(f"{id_}\n" for id_ in train.ids.tolist())
    (job.folder / "ids.txt").write_text(text, encoding="utf-8")
    job.advance(len(train))
    return Written(files={"train": "ids.txt"}, keeps_names=True)


def write_indices(job: Job) -> Written:
    """`indices.npy` and `indices.json`: positions in the rows of the source; `labels.npy`: what they are labelled.

    Labels are class indices, of a multi-label task a 0 or 1 for each label, of a regression the numbers. Tags
    of words are no array, so a task of nothing but tags has no `labels.npy`.

    An id is the position of its row in the source, so these go into `torch.utils.data.Subset(data, indices)` and
    `datasets.Dataset.select(indices)` of the source's own train part.
    """
    train = job.plan.train
    np.save(job.folder / "indices.npy", train.ids)
    targets = train.part.targets
    if job.label.has_classes or targets is None:
        np.save(job.folder / "labels.npy", train.labels)
    elif targets.offsets is None:
        np.save(job.folder / "labels.npy", targets.take(train.rows).values)
    (job.folder / "indices.json").write_text(json.dumps(train.ids.tolist()) + "\n", encoding="utf-8")
    job.advance(len(train))
    return Written(files={"train": "indices.npy"}, keeps_names=True)


def write_file_names(job: Job) -> Written:
    """`files.txt`: one file a line, relative to the source where it lies in it, with `/`.

    Raises:
        BadInputError: the examples do not lie in files of their own, or a name has a line break.
    """
    train = job.plan.train
    if not lie_in_files(train):
        raise BadInputError(
            f"The examples of '{job.plan.examples.name}' do not lie in files of their own; use --format ids."
        )
    names = _names(job)
    for name in names:
        if "\n" in name or "\r" in name:
            raise BadInputError(f"The file {name!r} has a line break in its name; use --format ids.")
    text = "".join(f"{name}\n" for name in names)
    (job.folder / "files.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    job.advance(len(train))
    return Written(files={"train": "files.txt"}, keeps_names=True)


def _names(job: Job) -> list[str]:
    train = job.plan.train
    source = Path(job.plan.examples.source).expanduser()
    base = source if source.is_dir() else source.parent
    if job.origin.form == "imagefolder" and job.origin.files:
        files = job.origin.files_of("train")
        return [files[id_].relative_to(source).as_posix() for id_ in train.ids.tolist()]
    column = train.part.input_columns[0]
    paths: list[str] = []
    for _, table in chunks_of(train.part.dataset, [column]):
        paths += pc.struct_field(one_array(table, column), "path").to_pylist()
    chosen = [Path(paths[row] or "") for row in train.rows.tolist()]
    real = base.resolve()
    return [(p.relative_to(real) if p.is_relative_to(real) else p).as_posix() for p in chosen]
