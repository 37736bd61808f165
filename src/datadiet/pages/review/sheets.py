"""Many pictures packed into a few images, so that a page with thousands of them stays small and opens fast."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, features

Pixels = npt.NDArray[np.uint8]

_SIDES = (64, 256)
# Of all pictures together. At about a quarter of a byte a pixel the page stays near 20 MB.
_MOST_SHEET_PIXELS = 64_000_000
# Up to here pictures are kept bit by bit (two bytes a pixel); beyond, nearly so.
_MOST_LOSSLESS_PIXELS = 8_000_000
# Of one sheet: a megabyte when decoded, a few milliseconds to decode.
_SHEET_PIXELS = 262_144
_MOST_SHEET_SIDE = 4096
_QUALITY = 85


@dataclass(frozen=True)
class Sheets:
    """Many pictures in a few images.

    `sources` are the encoded images as base64, of the MIME type `kind`. Picture i stands in sheet
    `i // per_sheet`, at column `i % per_sheet % columns` and the row that follows, in a cell of `cell`
    (width, height) pixels; it is `sizes[i]` large there, (0, 0) where there is none.
    """

    kind: str
    sources: tuple[str, ...]
    per_sheet: int
    columns: int
    cell: tuple[int, int]
    sizes: tuple[tuple[int, int], ...]


def thumbnail_side(count: int) -> int:
    """The longest side in pixels that each of `count` pictures may have.

    >>> thumbnail_side(100), thumbnail_side(5000), thumbnail_side(10**6)
    (256, 113, 64)
    """
    smallest, largest = _SIDES
    return max(smallest, min(largest, math.isqrt(_MOST_SHEET_PIXELS // max(count, 1))))


def thumbnail(pixels: Pixels, side: int) -> Pixels:
    """A picture, uint8 (height, width, 1 or 3), whose longest side is at most `side`; never enlarged.

    >>> thumbnail(np.zeros((400, 200, 3), dtype=np.uint8), 100).shape
    (100, 50, 3)
    """
    height, width, channels = pixels.shape
    longest = max(height, width)
    if longest <= side:
        return pixels
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    small = np.asarray(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0), dtype=np.uint8)
    return small.reshape(size[1], size[0], channels)


def sheets_of(pictures: Sequence[Pixels | None]) -> Sheets | None:
    """The pictures packed, in their order; None if there are none.

    They are kept bit by bit where all of them together are small.

    >>> sheets = sheets_of([np.zeros((8, 8, 1), dtype=np.uint8)] * 3)
    >>> sheets.sizes, len(sheets.sources)
    (((8, 8), (8, 8), (8, 8)), 1)
    """
    present = [picture for picture in pictures if picture is not None]
    if not present:
        return None
    width = max(picture.shape[1] for picture in present)
    height = max(picture.shape[0] for picture in present)
    across = _MOST_SHEET_SIDE // max(width, height)
    per_sheet = max(1, min(across * across, _SHEET_PIXELS // (width * height)))
    columns = max(1, math.isqrt(per_sheet))
    per_sheet = columns * (per_sheet // columns)
    lossless = sum(picture.shape[0] * picture.shape[1] for picture in present) <= _MOST_LOSSLESS_PIXELS
    webp = bool(features.check("webp"))
    sources = []
    for start in range(0, len(pictures), per_sheet):
        tiles = pictures[start : start + per_sheet]
        rows = -(-len(tiles) // columns)
        sheet = np.zeros((rows * height, columns * width, 3), dtype=np.uint8)
        for place, tile in enumerate(tiles):
            if tile is not None:
                top, left = place // columns * height, place % columns * width
                sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        buffer = io.BytesIO()
        if webp:
            # Without loss, quality and method say how hard to try: more takes four times as long for 4 % less.
            how = {"quality": 20, "method": 1} if lossless else {"quality": _QUALITY, "method": 4}
            Image.fromarray(sheet).save(buffer, "WEBP", lossless=lossless, **how)
        else:
            Image.fromarray(sheet).save(buffer, "PNG", optimize=True)
        sources.append(base64.b64encode(buffer.getvalue()).decode("ascii"))
    sizes = tuple((0, 0) if p is None else (int(p.shape[1]), int(p.shape[0])) for p in pictures)
    kind = "image/webp" if webp else "image/png"
    return Sheets(kind, tuple(sources), per_sheet, columns, (width, height), sizes)
