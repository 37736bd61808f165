"""Parquet files and `datasets` folders with all columns of the source, images within."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.formats import Job, Written
from datadiet.jobs.export.plan import PartPlan
from datadiet.jobs.export.rows import chunks_that_stay, lie_in_files, with_contents

_BATCH_ROWS = {"image": 1024, "text": 16384, "vector": 16384}


def write_parquet(job: Job) -> Written:
    """All columns as they were loaded; images that lay in files come along as bytes."""
    written = Written(keeps_names=True)
    for plan in job.plan.parts:
        name = f"{plan.name}.parquet"
        writer: Any = None
        try:
            for chunk in chunks_that_stay(plan, job.label):
                pieces = with_contents(chunk, plan.part.input_columns[0]) if _has_images(plan) else [chunk]
                for piece in pieces:
                    if writer is None:
                        writer = pq.ParquetWriter(job.folder / name, piece.table.schema)
                    writer.write_table(piece.table)
                    job.advance(len(piece))
        finally:
            if writer is not None:
                writer.close()
        written.files[plan.name] = name
    return written


def write_same_parquet(job: Job) -> Written:
    """The files of the source without the rows that leave: same columns, types and metadata."""
    if any(lie_in_files(plan) for plan in job.plan.parts) or not job.origin.files:
        return write_parquet(job)
    written = Written(keeps_names=True)
    for plan in job.plan.parts:
        written.files[plan.name] = _copy_part(job, plan)
    return written


def _copy_part(job: Job, plan: PartPlan) -> list[str]:
    changed = np.zeros(len(plan), dtype=bool)
    changed[job.label.differing(plan)] = True
    sources = job.origin.files_of(plan.name)
    ends = np.cumsum([pq.read_metadata(path).num_rows for path in sources])
    if len(plan) and plan.ids[-1] >= ends[-1]:
        raise BadInputError("The files of the source have fewer rows than were loaded; they were changed.")
    bounds = np.searchsorted(plan.ids, [0, *ends])
    staying = [number for number in range(len(sources)) if bounds[number] < bounds[number + 1]]
    names: list[str] = []
    for place, number in enumerate(staying):
        name = f"{plan.name}.parquet"
        if len(staying) > 1:
            name = f"{plan.name}-{place:05d}-of-{len(staying):05d}.parquet"
        first = int(ends[number - 1]) if number else 0
        low, high = int(bounds[number]), int(bounds[number + 1])
        with pq.ParquetFile(sources[number]) as source:
            schema = source.schema_arrow
            codec = _codec(source)
            with pq.ParquetWriter(job.folder / name, schema, compression=codec) as writer:
                rows = plan.ids[low:high] - first
                for start, table in _batches(source, _BATCH_ROWS[plan.part.kind]):
                    begin, end = np.searchsorted(rows, [start, start + table.num_rows])
                    if begin == end:
                        continue
                    table = table.take(pa.array(rows[begin:end] - start))
                    places = np.flatnonzero(changed[low + begin : low + end])
                    labels = plan.labels[low + begin : low + end][places]
                    writer.write_table(job.label.replaced(table, places, labels))
                    job.advance(int(end - begin))
        names += [name] * (high - low)
    return names


def _batches(source: Any, rows: int) -> Iterator[tuple[int, Any]]:
    start = 0
    for batch in source.iter_batches(batch_size=rows):
        yield start, pa.Table.from_batches([batch])
        start += batch.num_rows


def _codec(source: Any) -> str:
    """How the source compresses its first column."""
    if source.metadata.num_row_groups == 0 or source.metadata.num_columns == 0:
        return "snappy"
    codec = str(source.metadata.row_group(0).column(0).compression).lower()
    return "none" if codec == "uncompressed" else codec


def _has_images(plan: PartPlan) -> bool:
    return plan.part.kind == "image"


def write_saved_dataset(job: Job) -> Written:
    """Splits `train` and `test` with the features of the source; images that lay in files come along."""
    import datasets

    written = Written(keeps_names=True)
    splits: dict[str, Any] = {}
    streams = []
    for plan in job.plan.parts:
        # `datasets` saves what it has mapped: memory stays bounded, whatever the size.
        stream = job.folder / f".{plan.name}.arrow"
        streams.append(stream)
        writer: Any = None
        with pa.OSFile(str(stream), "wb") as sink:
            for chunk in chunks_that_stay(plan, job.label):
                images = plan.part.kind == "image"
                for piece in with_contents(chunk, plan.part.input_columns[0]) if images else [chunk]:
                    if writer is None:
                        writer = pa.ipc.new_stream(sink, piece.table.schema)
                    writer.write_table(piece.table)
                    job.advance(len(piece))
            if writer is not None:
                writer.close()
        told = plan.part.dataset.info
        info = datasets.DatasetInfo(
            description=told.description,
            citation=told.citation,
            homepage=told.homepage,
            license=told.license,
            features=plan.part.dataset.features,
        )
        splits[plan.name] = datasets.Dataset.from_file(str(stream), info=info)
        written.files[plan.name] = plan.name
    with _without_bars():
        datasets.DatasetDict(splits).save_to_disk(str(job.folder))
    splits.clear()
    for stream in streams:
        stream.unlink()
    return written


@contextmanager
def _without_bars() -> Iterator[None]:
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
