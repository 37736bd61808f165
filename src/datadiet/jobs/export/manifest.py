"""The manifest of an export: what became of every example of the source; and plain lists of what stays."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datadiet.data.columns.arrow import chunks_of, one_array
from datadiet.data.columns.labels import label_values
from datadiet.data.sources.folders import (
    CLASSES_JSON,
    EXPORT_FORMAT,
    MANIFEST_JSON,
    MANIFEST_TABLE,
    ExportedClasses,
)
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.columns import LabelColumn
from datadiet.jobs.export.formats import Job, Written
from datadiet.jobs.export.plan import PartPlan, Plan
from datadiet.jobs.export.rows import lie_in_files, neutralised

KEPT, DROPPED, RELABELLED = "kept", "dropped", "relabelled"


def write_manifest(
    folder: Path,
    plan: Plan,
    label: LabelColumn,
    written: Written,
    *,
    format: str,
    sizes: Mapping[str, Any],
    command: Sequence[str] | None,
    more: Mapping[str, Any],
    version: str,
) -> dict[str, Any]:
    """Write `manifest.parquet` (a row each example: id, part, status, labels, file, reason) and `manifest.json`."""
    counts = _write_table(folder, plan, label, written)
    examples = plan.examples
    facts: dict[str, Any] = {
        "format": EXPORT_FORMAT,
        "version": 1,
        "datadiet": version,
        "written": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": list(command) if command is not None else None,
        "export_format": format,
        "source": examples.source,
        "name": examples.name,
        "fingerprint": examples.fingerprint,
        "holdout_seed": examples.holdout_seed,
        "held_out_by_datadiet": examples.holdout_seed is not None,
        "task": examples.task,
        "class_names": list(examples.class_names),
        "output_names": list(examples.output_names),
        "tag_names": list(examples.tag_names),
        "tag_column": label.tags,
        "label_column": examples.label_column,
        "input_columns": list(examples.input_columns),
        "counts": counts,
        "sizes": dict(sizes),
        "examples": MANIFEST_TABLE,
        "columns_left_out": list(written.columns_left_out),
        "neutralised": {part: ids for part, ids in written.neutralised.items() if ids},
        **plan.facts,
        **more,
    }
    text = json.dumps(facts, indent=2, ensure_ascii=True, default=str) + "\n"
    (folder / MANIFEST_JSON).write_text(text, encoding="utf-8")
    return facts


def _write_table(folder: Path, plan: Plan, label: LabelColumn, written: Written) -> dict[str, dict[str, int]]:
    """Write the row of every example; returns part -> status -> how many."""
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("part", pa.string()),
            ("status", pa.string()),
            ("old_label", pa.string()),
            ("new_label", pa.string()),
            ("file", pa.string()),
            ("reason", pa.string()),
        ]
    )
    counts: dict[str, dict[str, int]] = {}
    examples = plan.examples
    planned: dict[str, PartPlan] = {part.name: part for part in plan.parts}
    with pq.ParquetWriter(folder / MANIFEST_TABLE, schema) as writer:
        for name, part, bad in (
            ("train", examples.train, examples.left_out),
            ("test", examples.test, examples.left_out_test),
        ):
            here = planned.get(name)
            if here is None:
                here = PartPlan("test", part, np.empty(0, np.int64), np.empty(0, np.int64))
            columns = _columns(plan, label, here, written.files.get(name), bad)
            status, many = np.unique(columns["status"], return_counts=True)
            counts[name] = {KEPT: 0, DROPPED: 0, RELABELLED: 0}
            counts[name] |= {str(k): int(v) for k, v in zip(status, many, strict=True)}
            writer.write_table(
                pa.table({"part": [name] * len(columns["id"]), **columns}).select(schema.names).cast(schema)
            )
    return counts


def _columns(
    plan: Plan, label: LabelColumn, part: PartPlan, files: list[str] | str | None, bad: Sequence[int]
) -> dict[str, list[Any]]:
    """The columns of one part, in the order of its ids; bad examples that were left out while loading included."""
    names = plan.examples.class_names
    old = label.texts(part.part)
    total = len(part.part)
    status = np.full(total, DROPPED, dtype=object)
    new: list[str | None] = [None] * total
    file: list[str | None] = [None] * total
    relabelled = part.labels != part.part.labels[part.rows]
    status[part.rows] = np.where(relabelled, RELABELLED, KEPT)
    for place, (row, given) in enumerate(zip(part.rows.tolist(), part.labels.tolist(), strict=True)):
        new[row] = names[given] if label.has_classes else old[row]
        file[row] = files if isinstance(files, str) or files is None else files[place]
    other = "the test part is not in this export" if part.name == "test" else None
    reasons = plan.reasons if part.name == "train" else {}
    stays = np.zeros(total, dtype=bool)
    stays[part.rows] = True
    rows = [
        (id_, state, old_label, new_label, where, None if keeps else reasons.get(id_, other))
        for id_, state, old_label, new_label, where, keeps in zip(
            part.part.ids.tolist(), status, old, new, file, stays, strict=True
        )
    ]
    rows += [(id_, DROPPED, None, None, None, "a bad example, left out while loading") for id_ in bad]
    rows.sort(key=lambda row: row[0])
    keys = ("id", "status", "old_label", "new_label", "file", "reason")
    return {key: [row[place] for row in rows] for place, key in enumerate(keys)}


def write_classes(folder: Path, plan: Plan, label: LabelColumn, written: Written, formulas: bool) -> None:
    """Write `classes.json` where loading would otherwise give other class names or another order."""
    examples = plan.examples
    if not label.has_classes:
        return
    if written.keeps_names and not any(written.neutralised.values()):
        return
    if written.class_folders:
        renamed = {folder: name for name, folder in written.class_folders.items() if folder != name}
    else:
        safe = {name: name if formulas else neutralised(name) for name in examples.class_names}
        renamed = {new: name for name, new in safe.items() if new != name and new not in examples.class_names}
    fixed = label.fixed_names is not None
    if not fixed and renamed_is_enough(examples.class_names):
        order: tuple[str, ...] = ()
    else:
        order = examples.class_names
    if order or renamed:
        column = "label" if written.class_folders else examples.label_column
        content = ExportedClasses(order, renamed, column).as_dict()
        text = json.dumps(content, indent=2, ensure_ascii=True) + "\n"
        (folder / CLASSES_JSON).write_text(text, encoding="utf-8")


def renamed_is_enough(class_names: Sequence[str]) -> bool:
    """Whether these names, read as plain texts, come back as the same classes in the same order."""
    names, _, _ = label_values(pa.array(list(class_names), pa.string()), None, "label")
    return names == list(class_names)


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
