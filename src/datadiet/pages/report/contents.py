"""What a report is made of: plain data, checked on arrival, that knows nothing of runs; its galleries as thumbnails."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from datadiet.foundation.errors import BadInputError
from datadiet.pages.html import PIXEL_ART_SIDE

MOST_CLASSES = 100
MOST_EXAMPLES_A_SIDE = 12
MOST_EXAMPLES = 3000
MOST_IMAGE_BYTES = 12_000_000
MOST_BARS = 64

_LONGEST_SIDE = 192
_MOST_PIXELS = 50_000_000


@dataclass(frozen=True)
class ExampleView:
    """One example as a reader sees it: as an image (PNG bytes), a text or a vector, with its score.

    >>> ExampleView(id=17, label="seven", score=1.2, text="a text").text
    'a text'
    """

    id: int
    label: str
    score: float
    image: bytes | None = None
    text: str | None = None
    vector: Sequence[float] | np.ndarray[Any, Any] | None = None


@dataclass(frozen=True)
class Gallery:
    """The easiest and the hardest examples of each class by one score: class -> (easiest, hardest).

    Both lists begin with the most extreme example.

    >>> Gallery("el2n", {"cat": ([], [])}).score
    'el2n'
    """

    score: str
    by_class: Mapping[str, tuple[Sequence[ExampleView], Sequence[ExampleView]]]


@dataclass(frozen=True)
class ReportContents:
    """Everything that a report shows.

    `verdict` has the keys of `verdict.json`: accuracies and differences are fractions, the tolerance is in
    percentage points. `scores` maps a score's name to its values, shape (n,); `labels` are
    class numbers, shape (n,), into `class_names`; `kept` maps a subset's name, as `subset_key` makes it
    ("el2n hardest 0.7"), to a bool mask, shape (n,). What is absent is said in the report, not left blank.

    Raises:
        BadInputError: when lengths do not match, or a label has no class name.

    >>> ReportContents(title="digits", verdict={}, labels=np.array([0, 1]), class_names=("zero",))
    Traceback (most recent call last):
        ...
    datadiet.foundation.errors.BadInputError: the label 1 of row 1 has no class name: there are 1 class names
    """

    title: str
    verdict: Mapping[str, Any]
    scores: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    labels: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    class_names: Sequence[str] = ()
    kept: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    galleries: Sequence[Gallery] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    worst: Sequence[ExampleView] = ()

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if labels.ndim != 1:
            raise BadInputError(f"the report's labels must have shape (n,), not {labels.shape}")
        outside = np.flatnonzero((labels < 0) | (labels >= len(self.class_names)))
        if len(outside):
            row = int(outside[0])
            raise BadInputError(
                f"the label {int(labels[row])} of row {row} has no class name: "
                f"there are {len(self.class_names)} class names"
            )
        for kind, columns in (("score", self.scores), ("subset", self.kept)):
            for name, values in columns.items():
                if np.shape(values) != labels.shape:
                    shape = np.shape(values)
                    raise BadInputError(f"the {kind} {name!r} has shape {shape}, the labels {labels.shape}")


def subset_key(subset: Mapping[str, Any]) -> str:
    """The name under which a subset of the verdict stands in `ReportContents.kept`.

    >>> subset_key({"score": "el2n", "rule": "hardest", "keep": 0.7})
    'el2n hardest 0.7'
    """
    return f"{subset['score']} {subset['rule']} {subset['keep']:g}"


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
        by_class = list(gallery.by_class.items())[:MOST_CLASSES]
        in_all = max(classes, len(gallery.by_class))
        thumbnails = [
            ClassThumbnails(
                name,
                *(tuple(_thumbnail(view, budget) for view in side[:a_side]) for side in (hardest, easiest)),
            )
            for name, (easiest, hardest) in by_class
        ]
        left_out = []
        if in_all > len(by_class):
            left_out.append(f"{len(by_class):,} of {in_all:,} classes are shown")
        if any(len(side) > a_side for _, both in by_class for side in both):
            left_out.append(f"at most {a_side} examples are shown on each side")
        if budget.refused > refused_before:
            left_out.append(f"{budget.refused - refused_before:,} images are left out to keep the page small")
        shown.append(GalleryThumbnails(gallery.score, tuple(thumbnails), tuple(left_out)))
    return shown


def thumbnails_of(views: Sequence[ExampleView]) -> list[Thumbnail]:
    """Some examples by themselves.

    >>> thumbnails_of([ExampleView(3, "cat", 1.2, text="a")])[0].text
    'a'
    """
    budget = _Budget()
    return [_thumbnail(view, budget) for view in views]


def _thumbnail(view: ExampleView, budget: _Budget) -> Thumbnail:
    bars = () if view.vector is None else vector_bars(view.vector)
    source, pixelated, missing = None, False, None
    if view.image is not None:
        refused_before = budget.refused
        source, pixelated = budget.image(view.image)
        if source is None:
            missing = "image left out" if budget.refused > refused_before else "image cannot be read"
    elif view.text is None and not bars:
        missing = "nothing to show"
    return Thumbnail(int(view.id), float(view.score), source, pixelated, view.text, bars, missing)


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
                pixelated = max(image.size) <= PIXEL_ART_SIDE
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
