"""Parquet files and `datasets` folders with all columns of the source, images within."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.foundation.atomic import remove
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.formats import Job, WriteResult, export_format
from datadiet.jobs.export.plan import PartPlan
from datadiet.jobs.export.read_back import options_to_load
from datadiet.jobs.export.rows import CHUNK_ROWS, kept_chunks

_FIRST_ROWS = 500


@export_format("parquet", "`train.parquet`, `test.parquet` with all columns; images within.")
def write_parquet(job: Job) -> WriteResult:
    """All columns as they were loaded; a Parquet source keeps its files, types, metadata and compression."""
    result = _result(job)
    for plan in job.plan.parts:
        if job.copies:
            result.files[plan.name] = _copy_part(job, plan)
        else:
            name = f"{plan.name}.parquet"
            _write_chunks(job, plan, partial(pq.ParquetWriter, job.folder / name))
            result.files[plan.name] = name
    return result


def _result(job: Job) -> WriteResult:
    """Types and class names come back by themselves; which column is what, as from the source."""
    result = WriteResult(keeps_names=True)
    train = job.plan.train
    # Roles are found by types and by the first rows.
    result.load_options = options_to_load(job, result, train.part.dataset.select(train.rows[:_FIRST_ROWS]))
    return result


def _write_chunks(job: Job, plan: PartPlan, open_writer: Callable[[pa.Schema], Any]) -> None:
    """Write the rows that stay with a writer that is opened with their schema."""
    with ExitStack() as stack:
        writer: Any = None
        for chunk in kept_chunks(plan, job.label, contents=True):
            if writer is None:
                writer = stack.enter_context(open_writer(chunk.table.schema))
            writer.write_table(chunk.table)
            job.advance(len(chunk))


def _copy_part(job: Job, plan: PartPlan) -> list[str]:
    """Write the files of the source without the rows that leave; returns the file of each row that stays."""
    changed = job.label.differing(plan)
    sources = job.origin.files_of(plan.name)
    starts = np.cumsum([0, *(pq.read_metadata(path).num_rows for path in sources)])
    if len(plan) and plan.ids[-1] >= starts[-1]:
        raise BadInputError("The files of the source have fewer rows than were loaded; they were changed.")
    bounds = np.searchsorted(plan.ids, starts).tolist()
    staying = [number for number in range(len(sources)) if bounds[number] < bounds[number + 1]]
    names: list[str] = []
    for place, number in enumerate(staying):
        name = f"{plan.name}.parquet"
        if len(staying) > 1:
            name = f"{plan.name}-{place:05d}-of-{len(staying):05d}.parquet"
        low, high = bounds[number], bounds[number + 1]
        rows = plan.ids[low:high] - starts[number]
        with (
            pq.ParquetFile(sources[number]) as source,
            pq.ParquetWriter(job.folder / name, source.schema_arrow, compression=_codec(source)) as writer,
        ):
            stop = 0
            for batch in source.iter_batches(batch_size=CHUNK_ROWS[plan.part.kind]):
                start, stop = stop, stop + batch.num_rows
                begin, end = np.searchsorted(rows, [start, stop]).tolist()
                if begin == end:
                    continue
                table = pa.Table.from_batches([batch]).take(pa.array(rows[begin:end] - start))
                here = slice(low + begin, low + end)
                writer.write_table(job.label.replaced(table, changed[here], plan.labels[here]))
                job.advance(end - begin)
        names += [name] * (high - low)
    return names


def _codec(source: Any) -> str:
    """How the source compresses its first column."""
    if source.metadata.num_row_groups == 0 or source.metadata.num_columns == 0:
        return "snappy"
    codec = str(source.metadata.row_group(0).column(0).compression).lower()
    return "none" if codec == "uncompressed" else codec


@export_format("datasets", "A folder for `datasets.load_from_disk`, with the features of the source.")
def write_saved_dataset(job: Job) -> WriteResult:
    """Splits `train` and `test` with the features of the source; images that lay in files come along."""
    import datasets

    result = _result(job)
    splits: dict[str, Any] = {}
    streams = []
    for plan in job.plan.parts:
        # `datasets` saves what it has mapped: memory stays bounded, whatever the size.
        stream = job.folder / f".{plan.name}.arrow"
        streams.append(stream)
        with pa.OSFile(str(stream), "wb") as sink:
            _write_chunks(job, plan, partial(pa.ipc.new_stream, sink))
        features, info = plan.part.dataset.features, plan.part.dataset.info
        told = {key: getattr(info, key) for key in ("description", "citation", "homepage", "license")}
        info = datasets.DatasetInfo(**told, features=features)
        splits[plan.name] = datasets.Dataset.from_file(str(stream), info=info)
        result.files[plan.name] = plan.name
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        datasets.DatasetDict(splits).save_to_disk(str(job.folder))
    finally:
        if shown:
            datasets.enable_progress_bars()
    splits.clear()
    for stream in streams:
        remove(stream)
    return result
