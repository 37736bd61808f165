"""Examples are cut to what a page can carry, and images come through as pixels only."""

import base64
import io

import numpy as np
import pytest
from made_up_report import png
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from datadiet.pages.report import ExampleView, Gallery
from datadiet.pages.report import contents as room
from datadiet.pages.report.contents import gallery_thumbnails, png_source, vector_bars


def decoded(source):
    head, _, data = source.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_small_image_keeps_every_pixel_and_is_shown_as_squares():
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    source, pixelated = png_source(png(picture))
    assert pixelated
    assert np.array_equal(np.asarray(decoded(source)), picture)


def test_a_large_image_is_scaled_down():
    source, pixelated = png_source(png(np.zeros((400, 800, 3))))
    assert not pixelated
    assert decoded(source).size == (192, 96)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_of_png_can_be_shown(mode):
    buffer = io.BytesIO()
    Image.new(mode, (4, 4)).save(buffer, format="PNG")
    source, _ = png_source(buffer.getvalue())
    assert decoded(source).size == (4, 4)


def test_what_hides_in_an_image_beside_its_pixels_does_not_come_along():
    hidden = PngInfo()
    hidden.add_text("Comment", "<script>alert(1)</script>")
    buffer = io.BytesIO()
    Image.new("L", (4, 4)).save(buffer, format="PNG", pnginfo=hidden)
    assert b"<script>" in buffer.getvalue()
    source, _ = png_source(buffer.getvalue() + b"<script>")
    assert b"<script>" not in base64.b64decode(source.partition(",")[2])


@pytest.mark.parametrize("broken", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", png(np.zeros((9, 9)))[:40]])
def test_what_is_no_image_is_said_to_be_none(broken):
    gallery = Gallery("s", {"c": ([ExampleView(0, "c", 0.0, image=broken)], [])})
    (thumbnail,) = gallery_thumbnails([gallery])[0].classes[0].easiest
    assert thumbnail.source is None
    assert thumbnail.missing == "image cannot be read"


def test_an_image_too_large_to_decode_is_not_decoded(monkeypatch):
    monkeypatch.setattr(room, "_MOST_PIXELS", 10)
    assert png_source(png(np.zeros((4, 4)))) == (None, False)


def test_classes_and_examples_beyond_the_limits_are_left_out_and_said_to_be(monkeypatch):
    monkeypatch.setattr(room, "MOST_CLASSES", 3)
    monkeypatch.setattr(room, "MOST_EXAMPLES", 12)
    views = [ExampleView(row, "c", 0.0, text="t") for row in range(5)]
    (shown,) = gallery_thumbnails([Gallery("s", {f"class {row}": (views, views) for row in range(7)})])
    assert [entry.name for entry in shown.classes] == ["class 0", "class 1", "class 2"]
    assert [len(entry.easiest) for entry in shown.classes] == [2, 2, 2]
    assert shown.left_out == (
        "3 of 7 classes are shown",
        "at most 2 examples are shown on each side",
    )


def test_classes_that_a_gallery_was_never_given_are_said_to_be_missing():
    (shown,) = gallery_thumbnails([Gallery("s", {"a": ([], []), "b": ([], [])})], classes=5)
    assert shown.left_out == ("2 of 5 classes are shown",)


def test_images_beyond_the_size_of_the_page_are_left_out_and_counted(monkeypatch):
    picture = png(np.random.default_rng(0).integers(0, 255, (16, 16)))
    monkeypatch.setattr(room, "MOST_IMAGE_BYTES", 2 * len(png_source(picture)[0]))
    views = [ExampleView(row, "c", 0.0, image=picture) for row in range(5)]
    (shown,) = gallery_thumbnails([Gallery("s", {"c": (views, [])})])
    assert [thumbnail.missing for thumbnail in shown.classes[0].easiest] == [None] * 2 + [
        "image left out"
    ] * 3
    assert shown.left_out == ("3 images are left out to keep the page small",)


def test_the_most_extreme_examples_are_those_that_stay():
    views = [ExampleView(row, "c", float(row), text="t") for row in range(50)]
    (shown,) = gallery_thumbnails([Gallery("s", {"c": (views, views[::-1])})])
    assert [thumbnail.id for thumbnail in shown.classes[0].easiest] == list(range(12))
    assert [thumbnail.id for thumbnail in shown.classes[0].hardest] == list(range(49, 37, -1))


@pytest.mark.parametrize(
    "vector", [[], [0.0], [np.nan, np.inf, -np.inf], [1e300, -1e300], range(500), np.eye(3), [5e-324]]
)
def test_bars_stay_in_their_box(vector):
    bars = vector_bars(vector)
    assert len(bars) == min(np.size(np.asarray(vector)), room.MOST_BARS)
    for x, y, height in bars:
        assert 0 <= x < 100
        assert y >= 0
        assert height >= 0
        assert y + height <= 40.002
