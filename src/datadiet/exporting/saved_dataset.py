"""A folder as `datasets.DatasetDict.save_to_disk` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from datadiet.exporting.rows import chunks_that_stay, with_contents
from datadiet.exporting.written import Job, Written


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
