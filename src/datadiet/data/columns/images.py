"""Image columns: encoded bytes or files <-> pixels, and columns of arrays, paths or bytes as encoded images."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image, ImageOps
from torch import Tensor

from datadiet.data.arrow import one_array, rows_at, whole_column, with_column
from datadiet.data.depth import Extremes, PixelRange, low_bytes, wide_numbers, with_low_bytes
from datadiet.foundation.errors import BadInputError

Shape = tuple[int, int, int]
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Pictures = Sequence[Pixels] | Pixels
Encoded = dict[str, Any] | None  # {"bytes": bytes | None, "path": str | None}, as `datasets.Image` stores it

# Below this many bytes an image, Python's own work outweighs decoding, and threads get in each other's way.
_THREADS_PAY_BYTES = 8192
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
Image.init()
#: All that the installed Pillow can open, but documents (some start other programs), icons, designs, films, raw floats.
IMAGE_FORMATS = tuple(
    name
    for name in (
        *("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM"),
        *("JPEG2000", "AVIF", "HEIF", "QOI", "TGA", "PCX"),
    )
    if name in Image.OPEN
)
MAX_PIXELS = 89_478_485  # of one image: a quarter of a gigabyte of three bytes each, as Pillow's own limit
# Larger images are refused here, with their size; Pillow's warning would stand beside that.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Telling Pillow the format saves it from asking every plugin in turn: twice as fast on small images.
_MAGIC = ((b"\x89PNG", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"RIFF", "WEBP"), (b"GIF8", "GIF"), (b"BM", "BMP"))
_PNG_DEPTH = 24  # the byte of its header that says how many bits a channel has
_CHANNELS = (1, 3, 4)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def content_of(encoded: Encoded) -> bytes:
    """The encoded bytes of one image, read from its file if it only has a path.

    Raises:
        ValueError: there is no image.
        OSError: its file cannot be read.
    """
    encoded = encoded or {}
    if encoded.get("bytes") is not None:
        return bytes(encoded["bytes"])
    if not encoded.get("path"):
        raise ValueError("there is no image")
    path = Path(encoded["path"])
    if path.exists() and not path.is_file():  # a device or a pipe would be read without an end
        raise ValueError("it is no file")
    return path.read_bytes()


def file_of(encoded: Encoded) -> str:
    """The file of an image for a message, where it has one.

    >>> file_of({"bytes": None, "path": "cat/1.png"}), file_of(None)
    (" ('cat/1.png')", '')
    """
    path = (encoded or {}).get("path")
    return f" ('{path}')" if path else ""


def open_image(content: bytes) -> Image.Image:
    """A lazily decoded image, turned as its EXIF data says.

    Raises:
        ValueError: it has too many pixels, which are not decoded.
    """
    known = next((name for magic, name in _MAGIC if content.startswith(magic)), None)
    image = opened(content, (known,) if known else IMAGE_FORMATS)
    low = None
    if known is None or (known == "PNG" and content[_PNG_DEPTH] == 16):
        low = low_bytes(image, lambda: opened(content, (known,) if known else IMAGE_FORMATS))
    if "exif" in image.info:
        image, low = ImageOps.exif_transpose(image), low and ImageOps.exif_transpose(low)
    return image if low is None else with_low_bytes(image, low)


def opened(source: bytes | Path, formats: tuple[str, ...] = IMAGE_FORMATS) -> Image.Image:
    """An image of these formats whose header alone is read.

    Raises:
        ValueError: it has more than `MAX_PIXELS`.
        OSError: it is no image of these formats.
    """
    try:
        image: Image.Image = Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats
        )
    except Image.DecompressionBombError as error:  # twice as many
        count = re.search(r"\d+", str(error))
        raise _too_large(f"{int(count[0]):,}" if count else f"more than {2 * MAX_PIXELS:,}") from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise _too_large(f"{image.width:,} x {image.height:,}")
    return image


def _too_large(size: str) -> ValueError:
    return ValueError(f"it has {size} pixels, and at most {MAX_PIXELS:,} are decoded; make it smaller")


def to_array(
    image: Image.Image,
    shape: Shape | None = None,
    pixel_range: PixelRange | None = None,
    extremes: Extremes | None = None,
) -> npt.NDArray[np.uint8]:
    """Pixels of one image as uint8 (height, width, channels), brought to `shape` (channels, height, width).

    Transparent pixels lie on white. How pixels of more than 8 bits become 8 bits is told by `pixel_range`, of
    all images of a data set; without it, the upper 8 of 16 bits are kept and floating-point pixels are in 0..1.
    `extremes` sees such pixels.

    Raises:
        ValueError: floating-point pixels that are NaN or infinite.
    """
    channels = shape[0] if shape else native_shape(image)[0]
    wide = wide_numbers(image)
    if wide is not None:
        if extremes is not None:
            extremes.see(wide)
        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        image = Image.fromarray((pixel_range or PixelRange()).to_bytes(wide))
        if alpha is not None:
            image.putalpha(alpha)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    if image.mode != (mode := "L" if channels == 1 else "RGB"):
        image = image.convert(mode)
    if shape and image.size != (shape[2], shape[1]):
        image = image.resize((shape[2], shape[1]), Image.Resampling.BICUBIC)
    width, height = image.size
    return np.frombuffer(image.tobytes(), dtype=np.uint8).reshape(height, width, channels)


def native_shape(image: Image.Image) -> Shape:
    """(channels, height, width) of an image as it is: one channel for grey, three for everything else."""
    return (1 if image.mode in _GREY_MODES else 3, image.height, image.width)


def read_headers(
    encoded: Sequence[Encoded], use: Callable[[int, Image.Image], None] | None = None
) -> tuple[Counter[Shape], dict[int, str]]:
    """How many images have which native shape, and the reason for each position that has no readable image.

    `use(position, image)` is called with every image, in threads where that pays.
    """
    failed: dict[int, str] = {}

    def read(position: int) -> Shape | None:
        try:
            image = open_image(content_of(encoded[position]))
            if use is not None:
                use(position, image)
            return native_shape(image)
        # Pillow's plugins raise whatever the broken bytes lead them to: OSError, SyntaxError, struct.error...
        except Exception as error:
            reason = str(error).strip().rstrip(".") or type(error).__name__
            failed[position] = (
                "its bytes are no image that Pillow can read" if "BytesIO" in reason else reason
            )
            return None

    sample = [len(item["bytes"]) for item in encoded[:16] if item and item.get("bytes") is not None]
    small = bool(sample) and sum(sample) / len(sample) < _THREADS_PAY_BYTES
    workers = 1 if small else min(cores(), len(encoded))
    if workers <= 1:
        shapes = [read(position) for position in range(len(encoded))]
    else:
        with ThreadPoolExecutor(workers) as pool:
            shapes = list(pool.map(read, range(len(encoded))))
    return Counter(shape for shape in shapes if shape is not None), failed


def decode(
    encoded: Sequence[Encoded],
    shape: Shape,
    *,
    native_only: bool = False,
    pixel_range: PixelRange | None = None,
    extremes: Extremes | None = None,
) -> tuple[Tensor, dict[int, str], Counter[Shape]]:
    """Decode images into uint8 (images, channels, height, width).

    Returns the tensor, the reason for each position that failed (its pixels are 0), and how many images
    have which native shape. With `native_only` an image of another shape is not decoded: the shapes tell.
    `pixel_range` is as for `to_array`; `extremes` sees the images of more than 8 bits that are decoded.
    """
    channels, height, width = shape
    pixels = np.zeros((len(encoded), height, width, channels), dtype=np.uint8)

    def keep(position: int, image: Image.Image) -> None:
        if not native_only or native_shape(image) == shape:
            pixels[position] = to_array(image, shape, pixel_range, extremes)

    shapes, failed = read_headers(encoded, keep)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))), failed, shapes


def each_to_pixels(images: Sequence[npt.NDArray[Any]]) -> list[Pixels]:
    """Images of several sizes as uint8; what range their numbers have is told from all of them together."""
    brightest = max(float(image.max(initial=0)) for image in images)
    return [to_pixels(image[None], brightest)[0] for image in images]


def to_pixels(values: npt.NDArray[Any], brightest: float | None = None) -> Pixels:
    """Images of any layout and number type as uint8 (images, height, width, channels).

    Floats are in 0..1 if `brightest` (the largest of all, of these images if left out) is at most 1. Grey
    images of whole numbers are uint16 if it is above 255: what these mean is told with all other images.

    Raises:
        BadInputError: the numbers are in neither 0..1 (floats) nor 0..255, nor in 0..65535 (whole ones, grey).

    >>> to_pixels(np.ones((2, 3, 8, 8))).shape
    (2, 8, 8, 3)
    """
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim != 4:
        raise BadInputError(
            f"Images of shape {values.shape} need 3 or 4 dimensions: rows, height, width, channels."
        )
    if values.shape[-1] not in _CHANNELS:
        if values.shape[1] not in _CHANNELS:
            raise BadInputError(f"Images of shape {values.shape} have no dimension of 1, 3 or 4 channels.")
        values = np.moveaxis(values, 1, -1)
    if values.shape[-1] == 4:
        values = values[..., :3]
    if values.dtype == np.uint8 or values.size == 0:
        return np.ascontiguousarray(values, dtype=np.uint8)
    floats = values.dtype.kind == "f"
    if floats and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
        raise BadInputError(f"The image in row {row} has NaN or infinite pixels; mend or remove it.")
    low, high = float(values.min()), float(values.max())
    top = high if brightest is None else brightest
    if not floats and low >= 0 and 255 < top <= 65535 and values.shape[-1] == 1:
        return np.ascontiguousarray(values, dtype=np.uint16)
    if low < 0 or high > 255:
        raise BadInputError(
            f"The pixels lie in {low:g}..{high:g}; give them un-normalised, as 0..255, as floats in 0..1, or, if "
            "they are grey, as whole numbers in 0..65535."
        )
    unit = values.dtype.kind == "b" or (floats and top <= 1)
    return np.ascontiguousarray(np.round(values.astype(np.float32) * (255 if unit else 1)).astype(np.uint8))


def image_column(images: Pictures) -> Any:
    """Images as an Arrow struct of lossless PNG bytes and no path, as `datasets.Image` stores them."""
    with ThreadPoolExecutor(cores()) as pool:
        return image_structs(pa.array(list(pool.map(_encode_png, images)), pa.binary()), None)


def _encode_png(array: Pixels) -> bytes:
    """Lossless PNG bytes of pixels (height, width) or (height, width, 1 | 3); of 16 bits only grey ones."""
    buffer = io.BytesIO()
    squeezed = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    Image.fromarray(np.ascontiguousarray(squeezed)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def image_structs(contents: Any, paths: Any) -> Any:
    """Encoded bytes and paths of files, or only one of them, as `datasets.Image` stores images."""
    contents = pa.nulls(len(paths), pa.binary()) if contents is None else contents
    paths = pa.nulls(len(contents), pa.string()) if paths is None else paths
    return pa.StructArray.from_arrays([contents, paths], names=["bytes", "path"])


def with_encoded_images(dataset: Dataset, column: str, form: str, base: Path | None) -> Dataset:
    """The data set with an image column as `datasets.Image` (encoded bytes, or the path of a file).

    Args:
        dataset: the rows.
        column: with images of any form.
        form: as `Roles` have it: "image", "path" or "array".
        base: the folder that paths are relative to.
    """
    kind = dataset.data.schema.field(column).type
    if form == "array":
        pixels = [_nested(row) for row in rows_at(dataset, [column], slice(None))[column].to_pylist()]
        images = image_column(each_to_pixels(pixels))
    elif form == "path":
        images = image_structs(None, _absolute(whole_column(dataset, column), base))
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        images = image_structs(whole_column(dataset, column).cast(pa.binary()), None)
    else:
        if type(dataset.features[column]).__name__ != "Image":
            dataset = dataset.cast_column(column, ImageFeature())
        first = one_array(rows_at(dataset, [column], slice(0, 1)), column)
        if not (len(first) and pc.struct_field(first, "bytes").null_count):
            return dataset
        values = whole_column(dataset, column)
        contents, paths = (pc.struct_field(values, name) for name in ("bytes", "path"))
        images = image_structs(contents.cast(pa.binary()), _absolute(paths, base))
    return with_column(dataset, column, images, ImageFeature())


def _absolute(paths: Any, base: Path | None) -> Any:
    folder = (base or Path()).resolve()
    return pa.array([str(folder / path) if path else None for path in paths.to_pylist()], pa.string())


def _nested(row: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(row)
    except ValueError as error:
        raise BadInputError(
            "An image column of nested lists has rows that are not rectangular; mend them."
        ) from error
