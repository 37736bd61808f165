"""The manifest of an export: what became of every example of the source; and the real names of its classes."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.data.columns.labels import label_values
from datadiet.data.sources.exported import (
    CLASSES_JSON,
    EXPORT_FORMAT,
    MANIFEST_JSON,
    MANIFEST_TABLE,
    ExportedClasses,
)
from datadiet.foundation import __version__
from datadiet.jobs.export.formats import Job, WriteResult
from datadiet.jobs.export.plan import PartPlan

KEPT, DROPPED, RELABELLED = "kept", "dropped", "relabelled"
_TEXTS = ("part", "status", "old_label", "new_label", "file", "reason")
_SCHEMA = pa.schema([("id", pa.int64()), *((name, pa.string()) for name in _TEXTS)])


def write_manifest(
    job: Job,
    result: WriteResult,
    sizes: Mapping[str, int],
    command: Sequence[str] | None,
    notes: Sequence[str],
) -> None:
    """Write `manifest.parquet` (a row each example: id, part, status, labels, file, reason) and `manifest.json`."""
    counts = _write_table(job, result)
    examples = job.plan.examples
    facts: dict[str, Any] = {
        "format": EXPORT_FORMAT,
        "version": 1,
        "datadiet": __version__,
        "written": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": list(command) if command is not None else None,
        "export_format": job.format,
        "source": examples.source,
        "name": examples.name,
        "fingerprint": examples.fingerprint,
        "holdout_seed": examples.holdout_seed,
        "held_out_by_datadiet": examples.holdout_seed is not None,
        "task": examples.task,
        "class_names": list(examples.class_names),
        "output_names": list(examples.output_names),
        "tag_names": list(examples.tag_names),
        "tag_column": job.label.tags,
        "label_column": examples.label_column,
        "input_columns": list(examples.input_columns),
        "counts": counts,
        "sizes": dict(sizes),
        "examples": MANIFEST_TABLE,
        "input_columns_written": list(result.input_columns or examples.input_columns),
        "label_column_written": result.label_column or examples.label_column,
        "class_names_written": result.class_names,
        "column_names_written": result.column_names,
        "own_columns": list(result.own_columns),
        "columns_left_out": list(result.columns_left_out),
        "columns_changed": result.columns_changed,
        "load_options": result.load_options,
        "neutralised": {part: ids for part, ids in result.neutralised.items() if ids},
        "notes": list(notes),
        **job.plan.facts,
    }
    text = json.dumps(facts, indent=2, ensure_ascii=True, default=str) + "\n"
    (job.folder / MANIFEST_JSON).write_text(text, encoding="utf-8")


def _write_table(job: Job, result: WriteResult) -> dict[str, dict[str, int]]:
    """Write the row of every example; returns part -> status -> how many."""
    examples = job.plan.examples
    none = np.empty(0, np.int64)
    absent = dict.fromkeys(examples.test.ids.tolist(), "the test part is not in this export")
    plans = [*job.plan.parts, PartPlan("test", examples.test, none, none, absent)][:2]
    counts: dict[str, dict[str, int]] = {}
    with pq.ParquetWriter(job.folder / MANIFEST_TABLE, _SCHEMA) as writer:
        for plan, bad in zip(plans, (examples.left_out, examples.left_out_test), strict=True):
            table = _part_table(job, plan, result.files.get(plan.name), bad)
            status = table["status"].to_pylist()
            counts[plan.name] = {state: status.count(state) for state in (KEPT, DROPPED, RELABELLED)}
            writer.write_table(table)
    return counts


def _part_table(job: Job, plan: PartPlan, files: list[str] | str | None, bad: Sequence[int]) -> Any:
    """The rows of one part, in the order of its ids; bad examples that were left out while loading included."""
    part, rows = plan.part, plan.rows
    status, old, new, file, reason = np.full((5, len(part)), None, dtype=object)
    old[:] = job.label.texts(part)
    status[:] = DROPPED
    status[rows] = np.where(plan.relabelled, RELABELLED, KEPT)
    new[rows] = (
        np.array(job.plan.examples.class_names, dtype=object)[plan.labels]
        if job.label.has_classes
        else old[rows]
    )
    file[rows] = files
    reason[:] = [plan.reasons.get(id_) for id_ in part.ids.tolist()]
    columns = {
        "id": [*part.ids.tolist(), *bad],
        "part": [plan.name] * (len(part) + len(bad)),
        "status": [*status, *[DROPPED] * len(bad)],
        "reason": [*reason, *["a bad example, left out while loading"] * len(bad)],
    }
    columns |= {
        name: [*values, *[None] * len(bad)]
        for name, values in (("old_label", old), ("new_label", new), ("file", file))
    }
    return pa.table(columns, _SCHEMA).take(pa.array(np.argsort(columns["id"], kind="stable")))


def written_classes(job: Job, result: WriteResult) -> ExportedClasses:
    """What `classes.json` is to say: nothing where loading gives the names and their order by itself."""
    examples = job.plan.examples
    column = result.label_column or examples.label_column
    fixed = job.label.fixed_names is not None or not _come_back(examples.class_names)
    order = examples.class_names if job.label.has_classes and fixed else ()
    return ExportedClasses(order, dict(result.class_names), column, dict(result.column_names))


def write_classes(job: Job, result: WriteResult) -> None:
    """Write `classes.json` where loading would otherwise give other names of classes or columns, or another order."""
    classes = written_classes(job, result)
    if result.keeps_names or not (classes.class_names or classes.renamed or classes.columns):
        return
    text = json.dumps(classes.as_dict(), indent=2, ensure_ascii=True) + "\n"
    (job.folder / CLASSES_JSON).write_text(text, encoding="utf-8")


def _come_back(class_names: Sequence[str]) -> bool:
    """Whether these names, read as plain texts, come back as the same classes in the same order."""
    names, _, _ = label_values(pa.array(list(class_names), pa.string()), None, "label")
    return names == list(class_names)
