"""Examples as a page can carry them: small images as data or packed into sheets, short texts, vectors as bars."""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, features

from datadiet.pages.report.contents import ExampleView, Gallery

MOST_CLASSES = 100
MOST_EXAMPLES_A_SIDE = 12
MOST_EXAMPLES = 3000
MOST_IMAGE_BYTES = 12_000_000
MOST_BARS = 64

_LONGEST_SIDE = 192
_MOST_PIXELS = 50_000_000
_PIXEL_ART_SIDE = 72


@dataclass(frozen=True)
class Thumbnail:
    """One example on the page; what is None is not there, and `missing` says why an image cannot be shown."""

    id: int
    score: float
    source: str | None = None
    pixelated: bool = False
    text: str | None = None
    bars: tuple[tuple[float, float, float], ...] = ()
    missing: str | None = None


@dataclass(frozen=True)
class ClassThumbnails:
    """The hardest and the easiest examples of one class."""

    name: str
    hardest: tuple[Thumbnail, ...]
    easiest: tuple[Thumbnail, ...]


@dataclass(frozen=True)
class GalleryThumbnails:
    """One score's gallery, cut to what a page can carry; `left_out` says what was cut."""

    score: str
    classes: tuple[ClassThumbnails, ...]
    left_out: tuple[str, ...] = ()


@dataclass
class _Budget:
    """Bytes of images that the page may still carry; one image in several galleries is encoded once."""

    left: int = field(default_factory=lambda: MOST_IMAGE_BYTES)
    refused: int = 0
    encoded: dict[bytes, tuple[str | None, bool]] = field(default_factory=dict)

    def image(self, png: bytes) -> tuple[str | None, bool]:
        if png not in self.encoded:
            self.encoded[png] = png_source(png)
        source, pixelated = self.encoded[png]
        if source is not None and len(source) > self.left:
            self.refused += 1
            return None, False
        self.left -= len(source or "")
        return source, pixelated


def gallery_thumbnails(galleries: Sequence[Gallery], classes: int = 0) -> list[GalleryThumbnails]:
    """The galleries within the page's limits: at most `MOST_CLASSES` classes each, `MOST_EXAMPLES` in all.

    `classes` is how many classes the data has, where a gallery may have been given fewer.

    >>> gallery = Gallery("el2n", {"cat": ([], [ExampleView(3, "cat", 1.2, text="a")])})
    >>> gallery_thumbnails([gallery])[0].classes[0].name
    'cat'
    """
    budget = _Budget()
    sides = sum(2 * min(len(gallery.by_class), MOST_CLASSES) for gallery in galleries)
    a_side = max(1, min(MOST_EXAMPLES_A_SIDE, MOST_EXAMPLES // max(sides, 1)))
    shown = []
    for gallery in galleries:
        refused_before = budget.refused
        names = list(gallery.by_class)[:MOST_CLASSES]
        in_all = max(classes, len(gallery.by_class))
        shown_classes = []
        cut = False
        for name in names:
            easiest, hardest = gallery.by_class[name]
            cut = cut or max(len(easiest), len(hardest)) > a_side
            sides_shown = (_thumbnails(side[:a_side], budget) for side in (hardest, easiest))
            shown_classes.append(ClassThumbnails(name, *sides_shown))
        left_out = []
        if in_all > len(names):
            left_out.append(f"{len(names):,} of {in_all:,} classes are shown")
        if cut:
            left_out.append(f"at most {a_side} examples are shown on each side")
        if budget.refused > refused_before:
            left_out.append(f"{budget.refused - refused_before:,} images are left out to keep the page small")
        shown.append(GalleryThumbnails(gallery.score, tuple(shown_classes), tuple(left_out)))
    return shown


def _thumbnails(views: Iterable[ExampleView], budget: _Budget) -> tuple[Thumbnail, ...]:
    return tuple(_thumbnail(view, budget) for view in views)


def _thumbnail(view: ExampleView, budget: _Budget) -> Thumbnail:
    number, score = int(view.id), float(view.score)
    bars = () if view.vector is None else vector_bars(view.vector)
    if view.image is None:
        missing = None if view.text is not None or bars else "nothing to show"
        return Thumbnail(number, score, text=view.text, bars=bars, missing=missing)
    refused_before = budget.refused
    source, pixelated = budget.image(view.image)
    missing = None
    if source is None:
        missing = "image left out" if budget.refused > refused_before else "image cannot be read"
    return Thumbnail(number, score, source, pixelated, view.text, bars, missing)


def png_source(png: bytes) -> tuple[str | None, bool]:
    """A data URI of the image, scaled down where it is large, and whether its pixels are to be seen.

    The image is decoded and written again, so that nothing but pixels reaches the page. None for what
    cannot be read as PNG, or is too large to decode safely.

    >>> png_source(b"<svg onload=alert(1)>")
    (None, False)
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
                if image.width * image.height > _MOST_PIXELS:
                    return None, False
                pixelated = max(image.size) <= _PIXEL_ART_SIDE
                small = image.convert("RGBA" if image.has_transparency_data else _plain_mode(image.mode))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None, False
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    small.info.clear()
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), pixelated


def _plain_mode(mode: str) -> str:
    return "L" if mode in ("1", "L", "LA") else "RGB"


def vector_bars(vector: Any) -> tuple[tuple[float, float, float], ...]:
    """Bars (x, y, height) in a box of 100 by 40 for the first `MOST_BARS` values, from the axis up or down.

    >>> vector_bars([1.0, -1.0])
    ((0.0, 0.0, 20.0), (50.0, 20.0, 20.0))
    """
    values = np.nan_to_num(np.asarray(vector, dtype=np.float64).ravel()[:MOST_BARS], posinf=0.0, neginf=0.0)
    if not len(values):
        return ()
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = max(abs(low), abs(high)) or 1.0
    values, low, high = values / scale, low / scale, high / scale
    span = (high - low) or 1.0
    step = 100 / len(values)
    bars = []
    for place, value in enumerate(values):
        top, bottom = (high - max(float(value), 0.0)) / span, (high - min(float(value), 0.0)) / span
        bars.append((round(place * step, 3), round(40 * top, 3), round(40 * (bottom - top), 3)))
    return tuple(bars)


Pixels = npt.NDArray[np.uint8]

PIXEL_ART_SIDE = 72
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
