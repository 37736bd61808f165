"""A SHA-256 over the content of examples, wherever they were read from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data import arrow
from datadiet.data.columns.images import content_of
from datadiet.data.examples import Part, with_lengths


def fingerprint(class_names: Sequence[str], parts: Sequence[Part]) -> str:
    """SHA-256 (hex) over inputs, labels, targets, ids and class names of the parts in order.

    Images count by their encoded bytes, texts by UTF-8, vectors by their float64 values; column names,
    paths, file formats and chunk sizes do not count.
    """
    digest = hashlib.sha256()
    digest.update(with_lengths(class_names) + b";")
    for part in parts:
        digest.update(f"{part.kind} {len(part)} {len(part.input_columns)};".encode())
        digest.update(part.ids.astype("<i8").tobytes())
        digest.update(part.labels.astype("<i8").tobytes())
        if part.kind == "vector":
            for _, matrix in arrow.matrix_chunks(part.dataset, part.input_columns):
                # Adding 0.0 turns -0.0 into 0.0.
                digest.update((matrix + 0.0).astype("<f8").tobytes())
        else:
            for column in part.input_columns:
                digest.update(column_digest(part, column))
        if part.targets is not None:
            digest.update(part.targets.digest())
    return digest.hexdigest()


def column_digest(part: Part, column: str) -> bytes:
    """Digest of a column of texts or images: of all lengths, then of all bytes."""
    lengths, contents = hashlib.sha256(), hashlib.sha256()
    rows = 512 if part.kind == "image" else arrow.CHUNK_ROWS
    for _, table in arrow.chunks_of(part.dataset, [column], rows):
        array = arrow.one_array(table, column)
        if part.kind == "image":
            encoded = pc.struct_field(array, "bytes")
            if encoded.null_count:
                encoded = pa.array([content_of(item) for item in array.to_pylist()], pa.large_binary())
            array = encoded
        if arrow.is_list(array.type):
            lengths.update(arrow.list_lengths(array).astype("<i8").tobytes())
            array = array.flatten()
        array = array.cast(pa.large_binary())
        _, starts, content = array.buffers()
        offsets = np.frombuffer(starts, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
        lengths.update(np.diff(offsets).astype("<i8").tobytes())
        if content is not None:
            contents.update(memoryview(content)[int(offsets[0]) : int(offsets[-1])])
    return lengths.digest() + contents.digest()
