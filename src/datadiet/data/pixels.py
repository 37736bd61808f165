"""Encoded images of every mode and size -> one uint8 tensor, with the reason for each that fails."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

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
