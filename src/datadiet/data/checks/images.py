"""Images of every mode and size -> one uint8 tensor of one shape, with the reason for each that fails."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from datadiet.data.columns.arrow import chunks_of, one_array, rows_at

if TYPE_CHECKING:
    import datasets


Shape = tuple[int, int, int]

# Below this many bytes an image, Python's own work outweighs decoding, and threads get in each other's way.
_THREADS_PAY_BYTES = 8192
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
# Telling Pillow the format saves it from asking every plugin in turn: twice as fast on small images.
_MAGIC = ((b"\x89PNG", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"RIFF", "WEBP"), (b"GIF8", "GIF"), (b"BM", "BMP"))

Encoded = dict[str, Any] | None  # {"bytes": bytes | None, "path": str | None}, as `datasets.Image` stores it


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def content_of(encoded: Encoded) -> bytes:
    """The encoded bytes of one image, read from its file if it only has a path.

    Raises:
        ValueError: there is no image.
        OSError: its file cannot be read.
    """
    if encoded is None or (encoded.get("bytes") is None and not encoded.get("path")):
        raise ValueError("there is no image")
    content = encoded.get("bytes")
    return bytes(content) if content is not None else Path(encoded["path"]).read_bytes()


def open_image(content: bytes) -> Image.Image:
    """A lazily decoded image, turned as its EXIF data says."""
    known = next((name for magic, name in _MAGIC if content.startswith(magic)), None)
    image: Image.Image = Image.open(io.BytesIO(content), formats=(known,) if known else None)
    return ImageOps.exif_transpose(image) if "exif" in image.info else image


def to_array(image: Image.Image, shape: Shape | None = None) -> npt.NDArray[np.uint8]:
    """Pixels of one image as uint8 (height, width, channels), brought to `shape` (channels, height, width).

    Transparent pixels lie on white; 16-bit grey keeps its upper 8 bits.

    Raises:
        ValueError: floating-point pixels, whose range nobody knows.
    """
    channels = shape[0] if shape else native_shape(image)[0]
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; store it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray(
            (wide >> 8 if wide.max(initial=0) > 255 or "16" in image.mode else wide).astype(np.uint8)
        )
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if shape and image.size != (shape[2], shape[1]):
        image = image.resize((shape[2], shape[1]), Image.Resampling.BICUBIC)
    width, height = image.size
    return np.frombuffer(image.tobytes(), dtype=np.uint8).reshape(height, width, channels)


def native_shape(image: Image.Image) -> Shape:
    """(channels, height, width) of an image as it is: one channel for grey, three for everything else."""
    return (1 if image.mode in _GREY_MODES else 3, image.height, image.width)


def decode(
    encoded: Sequence[Encoded], shape: Shape, *, native_only: bool = False
) -> tuple[Tensor, dict[int, str], Counter[Shape]]:
    """Decode images into uint8 (images, channels, height, width).

    Returns the tensor, the reason for each position that failed (its pixels are 0), and how many images
    have which native shape. With `native_only` an image of another shape is not decoded: the shapes tell.
    """
    channels, height, width = shape
    pixels = np.zeros((len(encoded), height, width, channels), dtype=np.uint8)
    failed: dict[int, str] = {}
    shapes: Counter[Shape] = Counter()

    def one(position: int) -> Shape | None:
        try:
            image = open_image(content_of(encoded[position]))
            native = native_shape(image)
            if not native_only or native == shape:
                pixels[position] = to_array(image, shape)
            return native
        # Pillow's plugins raise whatever the broken bytes lead them to: OSError, SyntaxError, struct.error...
        except Exception as error:
            failed[position] = _reason(error)
            return None

    shapes.update(found for found in _each(one, encoded) if found is not None)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))), failed, shapes


def survey(encoded: Sequence[Encoded]) -> tuple[Counter[Shape], dict[int, str]]:
    """Native shapes from the headers alone, and the reason for each position that has no readable one."""
    failed: dict[int, str] = {}

    def one(position: int) -> Shape | None:
        try:
            return native_shape(open_image(content_of(encoded[position])))
        except Exception as error:  # as in `decode`
            failed[position] = _reason(error)
            return None

    return Counter(found for found in _each(one, encoded) if found is not None), failed


def _each(one: Any, encoded: Sequence[Encoded]) -> list[Shape | None]:
    """`one(position)` for every position, in threads where that pays."""
    sample = [len(item["bytes"]) for item in encoded[:16] if item and item.get("bytes") is not None]
    small = bool(sample) and sum(sample) / len(sample) < _THREADS_PAY_BYTES
    workers = 1 if small else min(cores(), len(encoded))
    if workers <= 1:
        return [one(position) for position in range(len(encoded))]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(len(encoded))))


def _reason(error: Exception) -> str:
    text = str(error).strip().rstrip(".") or type(error).__name__
    return "its bytes are no image that Pillow can read" if "BytesIO" in text else text


def encode_png(array: npt.NDArray[np.uint8]) -> bytes:
    """Lossless PNG bytes of uint8 pixels (height, width) or (height, width, 1 | 3)."""
    buffer = io.BytesIO()
    squeezed = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    Image.fromarray(np.ascontiguousarray(squeezed)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


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
