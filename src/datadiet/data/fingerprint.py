"""A SHA-256 over the content of examples, wherever they were read from, and in the same pass a hash of every row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from datadiet.data import arrow
from datadiet.data.columns.images import content_of
from datadiet.data.examples import Part, with_lengths

RowHashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Content:
    """What the content of examples comes to.

    Args:
        fingerprint: SHA-256 (hex) over all of it.
        rows: for each part the hashes of the inputs of its rows, uint64 (n, 2). They are 128 bits of XXH3, so that
            rows with equal hashes have equal inputs: among a thousand million different rows two would agree with a
            chance below 1e-20.
    """

    fingerprint: str
    rows: tuple[RowHashes, ...]


def fingerprint(class_names: Sequence[str], parts: Sequence[Part]) -> str:
    """SHA-256 (hex) over inputs, labels, targets, ids and class names of the parts in order.

    Images count by their encoded bytes, texts by UTF-8, vectors by their float64 values; column names,
    paths, file formats and chunk sizes do not count.
    """
    return read_content(class_names, parts).fingerprint


def read_content(class_names: Sequence[str], parts: Sequence[Part]) -> Content:
    """The fingerprint of the parts and the hashes of their rows; every column is read once."""
    digest = hashlib.sha256()
    digest.update(with_lengths(class_names) + b";")
    rows = []
    for part in parts:
        digest.update(f"{part.kind} {len(part)} {len(part.input_columns)};".encode())
        digest.update(part.ids.astype("<i8").tobytes())
        digest.update(part.labels.astype("<i8").tobytes())
        if part.kind == "vector":
            hashes = [np.empty((0, 2), np.uint64)]
            columns = part.input_columns
            for _, matrix in arrow.matrix_chunks(part.dataset, columns, arrow.rows_of_matrix(columns)):
                # Adding 0.0 turns -0.0 into 0.0.
                values = (matrix + 0.0).astype("<f8", copy=False)
                digest.update(values.data)
                hashes.append(_hashes_of_rows(values))
            rows.append(np.concatenate(hashes))
        else:
            found = []
            for column in part.input_columns:
                content, of_rows = _read_column(part, column)
                digest.update(content)
                found.append(of_rows)
            rows.append(found[0] if len(found) == 1 else _hashes_of_rows(np.concatenate(found, axis=1)))
        if part.targets is not None:
            digest.update(part.targets.digest())
    return Content(digest.hexdigest(), tuple(rows))


def column_digest(part: Part, column: str) -> bytes:
    """Digest of a column of texts or images: of all lengths, then of all bytes."""
    return _read_column(part, column)[0]


def _read_column(part: Part, column: str) -> tuple[bytes, RowHashes]:
    """The digest of a column of texts or images, and the hash of each of its rows."""
    lengths, contents = hashlib.sha256(), hashlib.sha256()
    hashes = [np.empty((0, 2), np.uint64)]
    rows = 512 if part.kind == "image" else arrow.CHUNK_ROWS
    for _, table in arrow.chunks_of(part.dataset, [column], rows):
        array = arrow.one_array(table, column)
        if part.kind == "image":
            encoded = pc.struct_field(array, "bytes")
            if encoded.null_count:
                encoded = pa.array([content_of(item) for item in array.to_pylist()], pa.large_binary())
            array = encoded
        words = None
        if arrow.is_list(array.type):
            words = arrow.list_lengths(array)
            lengths.update(words.astype("<i8").tobytes())
            array = array.flatten()
        array = array.cast(pa.large_binary())
        _, starts, content = array.buffers()
        offsets = np.frombuffer(starts, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
        lengths.update(np.diff(offsets).astype("<i8").tobytes())
        if content is not None:
            contents.update(memoryview(content)[int(offsets[0]) : int(offsets[-1])])
        found = _hashes(array.fill_null(b"").to_numpy(zero_copy_only=False))
        hashes.append(found if words is None else _hashes_of_lists(found, words))
    return lengths.digest() + contents.digest(), np.concatenate(hashes)


def _hashes(contents: Iterable[bytes]) -> RowHashes:
    return np.frombuffer(b"".join(map(xxhash.xxh3_128_digest, contents)), dtype=np.uint64).reshape(-1, 2)


def _hashes_of_rows(matrix: npt.NDArray[Any]) -> RowHashes:
    """The hashes of the bytes of each row."""
    if not matrix.shape[1]:
        return np.zeros((len(matrix), 2), np.uint64)
    rows = np.ascontiguousarray(matrix).view(f"V{matrix.shape[1] * matrix.itemsize}").reshape(-1)
    # Not too many at once, so that the copies of their bytes stay in the processor's cache.
    pieces = (rows[start : start + 2048].tolist() for start in range(0, len(rows), 2048))
    return _hashes(chain.from_iterable(pieces))


def _hashes_of_lists(hashes: RowHashes, lengths: npt.NDArray[np.int64]) -> RowHashes:
    """The hash of each list, from those of its items, which lie one after another."""
    ends = 16 * arrow.offsets_of(lengths)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(hashes.tobytes())]
    return _hashes(
        pa.Array.from_buffers(pa.large_binary(), len(lengths), buffers).to_numpy(zero_copy_only=False)
    )
