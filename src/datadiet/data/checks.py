"""What is wrong with the inputs of single rows: empty texts, numbers that are none, images that cannot be read."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from PIL import Image

from datadiet.data import arrow
from datadiet.data.columns.images import Shape, decode, file_of, read_headers
from datadiet.data.columns.raw import RawExamples
from datadiet.data.depth import Extremes, PixelRange, wide_numbers
from datadiet.foundation.errors import BadInputError

_CHUNK_IMAGES = 1024
_SAMPLE_IMAGES = 64
# Side in pixels of images that do not share a size, where none is asked for.
_DEFAULT_SIZE = 64


def check_inputs(
    raw: RawExamples,
    *,
    image_size: int | None,
    limit: int,
    decode_all: bool,
    width: int | None = None,
) -> RawExamples:
    """Note the rows whose input cannot be used.

    Args:
        raw: labels and targets are not looked at.
        image_size: side in pixels that images are brought to; None for their own.
        limit: bytes that decoded images may take. If they fit, every image is decoded, which also finds
            truncated ones, and its pixels are kept. Otherwise headers are read, and images are decoded when used.
        decode_all: decode every image in any case.
        width: numbers of a vector, where it is a list; None for the commonest of the first part.
    """
    columns = raw.roles.inputs
    if raw.roles.kind == "image":
        return _check_images(raw, image_size, limit, decode_all)
    parts = []
    for part in raw.parts:
        if raw.roles.kind == "text":
            found = _bad_texts(part.dataset, columns)
        else:
            if width is None and arrow.is_list(part.dataset.data.schema.field(columns[0]).type):
                width = _common_length(part.dataset, columns[0])
            found = _bad_vectors(part.dataset, columns, width)
        parts.append(part.with_bad(found))
    return dataclasses.replace(raw, parts=tuple(parts))


def _bad_texts(dataset: Dataset, columns: Sequence[str]) -> dict[int, str]:
    """The reason for each row with a missing or empty text."""
    found: dict[int, str] = {}
    for start, table in arrow.chunks_of(dataset, columns):
        for column in columns:
            array = arrow.one_array(table, column)
            if arrow.is_list(array.type):
                blank = np.array([not any(map(str.strip, words)) for words in arrow.words_of(array)])
                reason = "has no words"
            else:
                empty = pc.equal(pc.utf8_trim_whitespace(array), "").fill_null(True)
                blank, reason = empty.to_numpy(zero_copy_only=False), "is empty"
            for row in np.flatnonzero(blank):
                found.setdefault(start + int(row), f"its text (column '{column}') {reason}")
    return found


def _bad_vectors(dataset: Dataset, columns: Sequence[str], width: int | None) -> dict[int, str]:
    """The reason for each row with a missing, NaN or infinite number, or a list of another length than `width`."""
    if width == 0:
        raise BadInputError(f"The vectors of column '{columns[0]}' are empty; name another input column.")
    found: dict[int, str] = {}
    largest = float(np.finfo(np.float32).max)
    for start, table in arrow.chunks_of(dataset, columns, arrow.rows_of_matrix(columns)):
        good = np.arange(table.num_rows)
        if width is not None:
            lengths = arrow.list_lengths(arrow.one_array(table, columns[0]))
            for row in np.flatnonzero(lengths != width):
                found[start + int(row)] = f"its vector has {lengths[row]} numbers, where others have {width}"
            good = np.flatnonzero(lengths == width)
        rows = table if len(good) == table.num_rows else table.take(pa.array(good))
        matrix = arrow.numeric_matrix(rows, columns) if len(good) else np.empty((0, 1))
        wrong = ~(np.abs(matrix) <= largest)
        for index in np.flatnonzero(wrong.any(axis=1)):
            place = int(wrong[index].argmax())
            where = f"column '{columns[place if width is None else 0]}'"
            where = where if width is None else f"position {place} of {where}"
            found[start + int(good[index])] = f"its input has {_no_input(matrix[index, place])} ({where})"
    return found


def _no_input(value: float) -> str:
    if not math.isfinite(value):
        return "a missing, NaN or infinite number"
    return f"the number {value:g}, which is too large for float32 (at most 3.4e38)"


def _common_length(dataset: Dataset, column: str) -> int:
    """The commonest length of lists; of several the largest."""
    counts: Counter[int] = Counter()
    for _, table in arrow.chunks_of(dataset, [column]):
        counts.update(arrow.list_lengths(arrow.one_array(table, column)).tolist())
    return max(counts, key=lambda length: (counts[length], length))


def _check_images(raw: RawExamples, image_size: int | None, limit: int, decode_all: bool) -> RawExamples:
    """Find the shape and the unreadable images of all parts."""
    total = sum(len(part.dataset) for part in raw.parts)
    shape = _shape_of_sample(raw)
    if image_size is not None:
        shape = (shape[0], image_size, image_size)
    # Most data sets have one shape and 8 bits: decode at once, and start over only where that turns out wrong.
    found, extremes = None, Extremes()
    if total * math.prod(shape) <= limit:
        found = _read_images(raw, shape, extremes, keep=True, native_only=image_size is None)
    if found is not None and not extremes.pixel_range().usual:
        found = None  # before as many pixels are held again
        found = _read_images(raw, shape, pixel_range=extremes.pixel_range(), keep=True)
    shapes: Counter[Shape] = Counter()
    notes = []
    if found is None:
        extremes = Extremes()
        found = _read_images(raw, None, extremes) or (shapes, raw)
        shapes = found[0]
        if shapes:
            shape = _common_shape(shapes, image_size)
        keep = total * math.prod(shape) <= limit
        if keep or decode_all:
            found = _read_images(raw, shape, pixel_range=extremes.pixel_range(), keep=keep) or found
        else:
            notes.append(
                "The decoded images would not fit in memory: only their headers are checked while loading."
            )
    notes = [*raw.notes, *_size_notes(shape, image_size, shapes), *extremes.notes(), *notes]
    pixel_range = extremes.pixel_range()
    return dataclasses.replace(found[1], notes=tuple(notes), image_shape=shape, pixel_range=pixel_range)


def _read_images(
    raw: RawExamples,
    shape: Shape | None,
    extremes: Extremes | None = None,
    *,
    keep: bool = False,
    native_only: bool = False,
    pixel_range: PixelRange | None = None,
) -> tuple[Counter[Shape], RawExamples] | None:
    """Read the images of all parts, only their headers without a shape, and note those that cannot be read.

    `extremes` sees the images of more than 8 bits, which are decoded for it, too, where others are not.
    Also gives how many have which native shape. None as soon as one is coloured where the shape is grey or, with
    `native_only`, has another shape.
    """
    native: Counter[Shape] = Counter()
    parts = []

    def see(position: int, image: Image.Image) -> None:
        if extremes is not None:
            extremes.see(wide_numbers(image))

    for part in raw.parts:
        pixels = torch.empty((len(part.dataset), *shape), dtype=torch.uint8) if shape and keep else None
        bad: dict[int, str] = {}
        for start, table in arrow.chunks_of(part.dataset, raw.roles.inputs, _CHUNK_IMAGES):
            encoded = arrow.one_array(table, raw.roles.inputs[0]).to_pylist()
            if shape is None:
                shapes, failed = read_headers(encoded, see)
            else:
                decoded, failed, shapes = decode(
                    encoded, shape, native_only=native_only, pixel_range=pixel_range, extremes=extremes
                )
                if native_only and set(shapes) - {shape}:
                    return None
                if shape[0] == 1 and any(channels == 3 for channels, _, _ in shapes):
                    return None
                if pixels is not None:
                    pixels[start : start + len(decoded)] = decoded
            native.update(shapes)
            for row, reason in failed.items():
                bad[start + row] = f"its image cannot be decoded{file_of(encoded[row])}: {reason}"
        parts.append(part.with_bad(bad, pixels=pixels))
    return native, dataclasses.replace(raw, parts=tuple(parts))


def _shape_of_sample(raw: RawExamples) -> Shape:
    """The commonest native shape of a few images all over the train part."""
    dataset, column = raw.parts[0].dataset, raw.roles.inputs[0]
    positions = np.unique(np.linspace(0, len(dataset) - 1, _SAMPLE_IMAGES).astype(np.int64))
    shapes, _ = read_headers(arrow.one_array(arrow.rows_at(dataset, [column], positions), column).to_pylist())
    return shapes.most_common(1)[0][0] if shapes else (3, _DEFAULT_SIZE, _DEFAULT_SIZE)


def _common_shape(shapes: Counter[Shape], image_size: int | None) -> Shape:
    """Colour if any image has it; the size of all, or the one asked for, or the default."""
    channels = max(shape[0] for shape in shapes)
    sizes = {shape[1:] for shape in shapes}
    if image_size is None and len(sizes) == 1:
        return (channels, *sizes.pop())
    side = _DEFAULT_SIZE if image_size is None else image_size
    return (channels, side, side)


def _size_notes(shape: Shape, image_size: int | None, shapes: Counter[Shape]) -> tuple[str, ...]:
    size = f"{shape[1]}x{shape[2]}"
    if image_size is not None:
        return (f"Images are resized to {size} pixels, as asked.",)
    notes = []
    sizes = {found[1:] for found in shapes}
    if len(sizes) > 1:
        notes.append(
            f"Images have {len(sizes)} sizes and are resized to {size} pixels; "
            "choose another side with image_size (--image-size)."
        )
    if len({found[0] for found in shapes}) > 1:
        notes.append("Grey images among the coloured ones are given three channels.")
    return tuple(notes)
