"""Every picture comes back out of its sheet, from the place that the page will look at."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datadiet.pages.review import sheets as room
from datadiet.pages.review import thumbnail, thumbnail_side
from datadiet.pages.review.sheets import sheets_of

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))


def cut_out(sheets, number):
    """The picture of a number as the page finds it."""
    sheet, place = divmod(number, sheets.per_sheet)
    row, column = divmod(place, sheets.columns)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheets.sources[sheet]))).convert("RGB"))
    left, top = column * sheets.cell[0], row * sheets.cell[1]
    width, height = sheets.sizes[number]
    return image[top : top + height, left : left + width]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.one_of(st.none(), SHAPES), min_size=1, max_size=9), st.sampled_from([1600, 5000, 262_144]))
def test_small_pictures_come_back_bit_by_bit(shapes, sheet_pixels):
    generator = np.random.default_rng(0)
    pictures = [
        None if shape is None else generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_SHEET_PIXELS", sheet_pixels)
        sheets = sheets_of(pictures)
    if all(picture is None for picture in pictures):
        assert sheets is None
        return
    for number, picture in enumerate(pictures):
        if picture is None:
            assert sheets.sizes[number] == (0, 0)
        else:
            wanted = np.broadcast_to(picture, (*picture.shape[:2], 3))
            np.testing.assert_array_equal(cut_out(sheets, number), wanted)


def test_many_large_pictures_are_compressed_but_look_the_same():
    rows, columns = np.mgrid[:200, :200]
    smooth = np.stack([rows, columns, (rows + columns) // 2], axis=-1).astype(np.uint8)
    sheets = sheets_of([smooth] * 201)  # more than are kept bit by bit
    assert len(sheets.sources) == -(-201 // sheets.per_sheet)
    assert np.abs(cut_out(sheets, 200).astype(int) - smooth).mean() < 3
    assert sum(map(len, sheets.sources)) < 0.3 * 201 * 200 * 200


def test_without_webp_sheets_are_png(monkeypatch):
    monkeypatch.setattr(room.features, "check", lambda name: False)
    picture = np.full((5, 7, 3), 9, dtype=np.uint8)
    sheets = sheets_of([picture])
    assert sheets.kind == "image/png"
    np.testing.assert_array_equal(cut_out(sheets, 0), picture)


@given(st.integers(1, 10**7))
def test_the_pictures_of_a_page_are_bounded(count):
    side = thumbnail_side(count)
    assert 64 <= side <= 256
    assert side == 64 or count * side * side <= 64_000_000


def test_a_thumbnail_keeps_its_proportions_and_is_never_enlarged():
    assert thumbnail(np.zeros((300, 100, 1), dtype=np.uint8), 90).shape == (90, 30, 1)
    assert thumbnail(np.zeros((1000, 1, 3), dtype=np.uint8), 90).shape == (90, 1, 3)
    small = np.zeros((20, 30, 3), dtype=np.uint8)
    assert thumbnail(small, 90) is small
