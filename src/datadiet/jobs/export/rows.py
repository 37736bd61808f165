"""The rows that stay, as Arrow tables of bounded size, and texts that no spreadsheet runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data.columns.arrow import is_list, list_lengths, one_array, rows_at
from datadiet.jobs.export.columns import LabelColumn
from datadiet.jobs.export.plan import IntArray, PartPlan

_STARTS = frozenset("=+-@＝＋－＠")
_CONTROLS = frozenset("\t\r\n")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run a cell with this text: it starts like a formula and is no plain number.

    >>> is_formula("=1+1"), is_formula(" @SUM(A1)"), is_formula("-3.5"), is_formula("a-b")
    (True, True, False, False)
    """
    if not text:
        return False
    start = text.lstrip(" ")[:1]
    if text[0] in _CONTROLS:
        return True
    if start not in _STARTS or not start:
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def neutralised(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would run it.

    >>> neutralised('=HYPERLINK("http://x")'), neutralised("plain")
    ('\\'=HYPERLINK("http://x")', 'plain')
    """
    return f"'{text}" if is_formula(text) else text


CHUNK_BYTES = 64 << 20
_IMAGE_ROWS, _OTHER_ROWS = 1024, 16384


@dataclass(frozen=True)
class Chunk:
    """Some of the rows that stay, in the order of their ids.

    Args:
        table: all columns of the source, labels as they are to be.
        ids: example ids.
        labels: class indices.
    """

    table: Any
    ids: IntArray
    labels: IntArray

    def __len__(self) -> int:
        return len(self.ids)

    def sliced(self, start: int, stop: int) -> Chunk:
        """Rows `start` to `stop` of it."""
        return Chunk(self.table.slice(start, stop - start), self.ids[start:stop], self.labels[start:stop])


def chunks_that_stay(plan: PartPlan, label: LabelColumn) -> Iterator[Chunk]:
    """Every row that stays, in tables that are small in rows; images that lie in files are not read."""
    part = plan.part
    columns = part.dataset.column_names
    step = _IMAGE_ROWS if part.kind == "image" else _OTHER_ROWS
    changed = label.differing(plan)
    changes = np.zeros(len(plan), dtype=bool)
    changes[changed] = True
    for start in range(0, len(part), step):
        low, high = np.searchsorted(plan.rows, [start, start + step])
        if low == high:
            continue
        table = rows_at(part.dataset, columns, slice(start, min(start + step, len(part))))
        if high - low < table.num_rows:
            table = table.take(pa.array(plan.rows[low:high] - start))
        places = np.flatnonzero(changes[low:high])
        labels = plan.labels[low:high]
        table = label.replaced(table, places, labels[places])
        yield Chunk(table, plan.ids[low:high], labels)


def images_of(chunk: Chunk, column: str) -> Iterator[tuple[int, Any, str | None]]:
    """Row, encoded bytes (None where they lie in a file) and path of each image of a chunk."""
    array = one_array(chunk.table, column)
    contents, paths = pc.struct_field(array, "bytes").to_pylist(), pc.struct_field(array, "path").to_pylist()
    for row, (content, path) in enumerate(zip(contents, paths, strict=True)):
        yield row, content, path


def with_contents(chunk: Chunk, column: str) -> Iterator[Chunk]:
    """The chunk in pieces of bounded size, with the bytes of images that lie in files in their column."""
    array = one_array(chunk.table, column)
    if pc.struct_field(array, "bytes").null_count == 0 and pc.struct_field(array, "path").null_count == len(
        array
    ):
        yield chunk
        return
    start, held, found = 0, 0, []
    for row, content, path in images_of(chunk, column):
        content = Path(path).read_bytes() if content is None and path else content
        found.append({"bytes": content, "path": _file_name(path)})
        held += len(content or b"")
        if held >= CHUNK_BYTES or row + 1 == len(chunk):
            piece = chunk.sliced(start, row + 1)
            index = piece.table.column_names.index(column)
            field = piece.table.schema.field(index)
            table = piece.table.set_column(index, field, pa.array(found, field.type))
            yield Chunk(table, piece.ids, piece.labels)
            start, held, found = row + 1, 0, []


def lie_in_files(plan: PartPlan) -> bool:
    """Whether the images of a part lie in files of their own, judged by the first one."""
    part = plan.part
    if part.kind != "image" or len(part) == 0:
        return False
    probe = one_array(rows_at(part.dataset, part.input_columns, slice(0, 1)), part.input_columns[0])
    return bool(pc.struct_field(probe, "bytes").null_count)


def content_sizes(plan: PartPlan) -> IntArray:
    """Bytes of the input of every example of a part: encoded images, UTF-8 texts, numbers as they are stored."""
    part = plan.part
    sizes = np.zeros(len(part), dtype=np.int64)
    step = _IMAGE_ROWS if part.kind == "image" else _OTHER_ROWS
    for start in range(0, len(part), step):
        table = rows_at(part.dataset, part.input_columns, slice(start, start + step))
        stop = start + table.num_rows
        for column in part.input_columns:
            array = one_array(table, column)
            if part.kind == "image":
                lengths = pc.binary_length(pc.struct_field(array, "bytes"))
                if lengths.null_count:
                    paths = pc.struct_field(array, "path").to_pylist()
                    sizes[start:stop] += [
                        length if length is not None else _file_size(path)
                        for length, path in zip(lengths.to_pylist(), paths, strict=True)
                    ]
                    continue
            elif part.kind == "text" and is_list(array.type):
                row_of = np.repeat(np.arange(len(array)), list_lengths(array))
                words = pc.binary_length(array.flatten()).fill_null(0).to_numpy(zero_copy_only=False)
                sizes[start:stop] += np.bincount(row_of, weights=words, minlength=len(array)).astype(np.int64)
                continue
            elif part.kind == "text":
                lengths = pc.binary_length(array)
            else:
                sizes[start:stop] += array.nbytes // max(len(array), 1)
                continue
            sizes[start:stop] += lengths.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return sizes


def _file_name(path: str | None) -> str | None:
    """The last component of a path of any system: where a file lay is nobody's business."""
    return path.replace("\\", "/").rsplit("/", 1)[-1] if path else path


def _file_size(path: str | None) -> int:
    try:
        return Path(path).stat().st_size if path else 0
    except OSError:
        return 0
