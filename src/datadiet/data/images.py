"""The images of all parts: one shape for them, their pixels where they fit in memory, those that fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from datadiet.data.columns import chunks_of, one_array, rows_at
from datadiet.data.pixels import Shape, decode, survey

if TYPE_CHECKING:
    import datasets

_ROWS = 1024
_PROBE = 64
# Side in pixels of images that do not share a size, where none is asked for.
_DEFAULT_SIZE = 64


@dataclass
class FoundImages:
    """Per part: the pixels (None where they are not kept) and the reason for each row that failed."""

    shape: Shape
    pixels: list[Tensor | None]
    failed: list[dict[int, str]]
    notes: list[str] = field(default_factory=list)


def read_images(
    parts: Sequence[datasets.Dataset], column: str, *, image_size: int | None, limit: int, decode_all: bool
) -> FoundImages:
    """Find the shape and the unreadable images of all parts.

    Every image is decoded, which also finds truncated ones, if the pixels take at most `limit` bytes (then
    they are kept) or `decode_all` is set; otherwise headers are read, and rows are decoded when used.
    """
    guess = _probe(parts[0], column)
    if image_size is not None:
        guess = (guess[0], image_size, image_size)
    total = sum(len(part) for part in parts)
    fits = total * guess[0] * guess[1] * guess[2] <= limit
    if fits:
        # Most data sets have one shape: decode at once, and start over only where that turns out wrong.
        found = _decode_parts(parts, column, guess, native_only=image_size is None)
        if found is not None:
            return FoundImages(guess, *found, _notes(guess, image_size, None))
    shapes, failed = _survey_parts(parts, column)
    shape = _common_shape(shapes, image_size) if shapes else guess
    notes = _notes(shape, image_size, shapes)
    if total * shape[0] * shape[1] * shape[2] <= limit:
        decoded = _decode_parts(parts, column, shape, native_only=False)
        assert decoded is not None
        return FoundImages(shape, *decoded, notes)
    if decode_all:
        for part, reasons in zip(parts, failed, strict=True):
            for start, table in chunks_of(part, [column], _ROWS):
                _, found_failed, _ = decode(one_array(table, column).to_pylist(), shape)
                reasons.update({start + row: reason for row, reason in found_failed.items()})
    else:
        notes.append(
            "The decoded images would not fit in memory: only their headers are checked while loading."
        )
    return FoundImages(shape, [None] * len(parts), failed, notes)


def _probe(part: datasets.Dataset, column: str) -> Shape:
    """The commonest native shape of a few images all over a part."""
    positions = np.unique(np.linspace(0, len(part) - 1, _PROBE).astype(np.int64))
    shapes, _ = survey(one_array(rows_at(part, [column], positions), column).to_pylist())
    return shapes.most_common(1)[0][0] if shapes else (3, _DEFAULT_SIZE, _DEFAULT_SIZE)


def _decode_parts(
    parts: Sequence[datasets.Dataset], column: str, shape: Shape, *, native_only: bool
) -> tuple[list[Tensor | None], list[dict[int, str]]] | None:
    """Pixels and failures of every part, or None as soon as an image does not fit the shape."""
    pixels: list[Tensor | None] = []
    failed: list[dict[int, str]] = []
    for part in parts:
        whole = torch.empty((len(part), *shape), dtype=torch.uint8)
        reasons: dict[int, str] = {}
        for start, table in chunks_of(part, [column], _ROWS):
            decoded, found_failed, shapes = decode(
                one_array(table, column).to_pylist(), shape, native_only=native_only
            )
            if native_only and set(shapes) - {shape}:
                return None
            if shape[0] == 1 and any(found[0] == 3 for found in shapes):
                return None
            whole[start : start + len(decoded)] = decoded
            reasons.update({start + row: reason for row, reason in found_failed.items()})
        pixels.append(whole)
        failed.append(reasons)
    return pixels, failed


def _survey_parts(
    parts: Sequence[datasets.Dataset], column: str
) -> tuple[Counter[Shape], list[dict[int, str]]]:
    shapes: Counter[Shape] = Counter()
    failed: list[dict[int, str]] = []
    for part in parts:
        reasons: dict[int, str] = {}
        for start, table in chunks_of(part, [column], _ROWS):
            found, found_failed = survey(one_array(table, column).to_pylist())
            shapes.update(found)
            reasons.update({start + row: reason for row, reason in found_failed.items()})
        failed.append(reasons)
    return shapes, failed


def _common_shape(shapes: Counter[Shape], image_size: int | None) -> Shape:
    """Colour if any image has it; the size of all, or the one asked for, or the default."""
    channels = max(shape[0] for shape in shapes)
    sizes = {shape[1:] for shape in shapes}
    if image_size is not None:
        return (channels, image_size, image_size)
    if len(sizes) == 1:
        return (channels, *sizes.pop())
    return (channels, _DEFAULT_SIZE, _DEFAULT_SIZE)


def _notes(shape: Shape, image_size: int | None, shapes: Counter[Shape] | None) -> list[str]:
    _, height, width = shape
    if image_size is not None:
        return [f"Images are resized to {height}x{width} pixels, as asked."]
    if shapes is None or len(shapes) < 2:
        return []
    notes = []
    sizes = {found[1:] for found in shapes}
    if len(sizes) > 1:
        notes.append(
            f"Images have {len(sizes)} sizes and are resized to {height}x{width} pixels; "
            "choose another side with image_size."
        )
    if len({found[0] for found in shapes}) > 1:
        notes.append("Grey images among the coloured ones are given three channels.")
    return notes
