"""Images of more than 8 bits: scaled by the range of all of them, alike wherever they are decoded, and said so."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import datadiet as dd
from datadiet.data import checks, open_store
from datadiet.data.columns.images import open_image, to_array
from datadiet.data.depth import Extremes, PixelRange, wide_numbers
from datadiet.data.encodings.images import ImageEncoding
from datadiet.foundation.errors import BadInputError

SIDE = 4


def png_of_16_bits(numbers: np.ndarray, *, turn: int = 1) -> bytes:
    """A PNG of uint16 (height, width, 1 grey | 2 grey and alpha | 3 colours | 4 colours and alpha)."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[numbers.shape[2]]

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    height, width = numbers.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in numbers)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = turn
    turned = chunk(b"eXIf", exif.tobytes()[6:]) if turn != 1 else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + turned
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def tiff(numbers: np.ndarray, order: str = "<", *, deflate: bool = False) -> bytes:
    """A TIFF of one strip of (height, width, channels), of the type of the numbers, in either byte order."""
    height, width, channels = numbers.shape
    body = numbers.astype(numbers.dtype.newbyteorder(order)).tobytes()
    body = zlib.compress(body) if deflate else body
    bits = numbers.dtype.itemsize * 8
    form = {"u": 1, "i": 2, "f": 3}[numbers.dtype.kind]
    at = 8 + len(body)
    more = struct.pack(f"{order}{channels}H", *[bits] * channels)
    fields = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, bits if channels == 1 else at),
        (259, 3, 1, 8 if deflate else 1), (262, 3, 1, 1 if channels == 1 else 2), (273, 4, 1, 8),
        (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(body)), (339, 3, 1, form),
    ]  # fmt: skip
    start = at + len(more)
    entries = b""
    for tag, kind, count, value in fields:
        short = kind == 3 and count == 1
        entries += struct.pack(f"{order}HHI", tag, kind, count)
        entries += struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}I", value)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    return head + body + more + struct.pack(f"{order}H", len(fields)) + entries + struct.pack(f"{order}I", 0)


def eight_bit_png(numbers: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(numbers[..., 0] if numbers.shape[2] == 1 else numbers).save(buffer, "PNG")
    return buffer.getvalue()


def rows_of(contents: list[bytes]) -> datasets.Dataset:
    rows = {
        "image": [{"bytes": content, "path": f"{n}.png"} for n, content in enumerate(contents)],
        "label": [n % 2 for n in range(len(contents))],
    }
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    return datasets.Dataset.from_dict(rows, features=features)


def oracle(number: float, low: float, high: float, *, whole: bool) -> int:
    """What one number becomes, the smallest and largest of all numbers of its kind being `low` and `high`."""
    if not whole:
        if low >= 0 and high <= 1:
            return round(number * 255)
        if low >= 0 and high <= 255:
            return round(number)
    elif low >= 0 and high <= 65535:
        bits = (
            8 if high <= 255 else 10 if high <= 1023 else 12 if high <= 4095 else 14 if high <= 16383 else 16
        )
        return int(number) // 2 ** (bits - 8)
    low, high = min(low, 0), max(high, 0)
    return round((number - low) * 255 / (high - low))


# How an image is stored, the type of its numbers, and how many channels it has.
FORMS = {
    "eight": (eight_bit_png, np.uint8, 1),
    "png": (png_of_16_bits, np.uint16, 1),
    "tiff": (lambda numbers: tiff(numbers, ">"), np.uint16, 1),
    "signed": (lambda numbers: tiff(numbers), np.int16, 1),
    "long": (lambda numbers: tiff(numbers), np.int32, 1),
    "unsigned": (lambda numbers: tiff(numbers), np.uint32, 1),
    "colours": (png_of_16_bits, np.uint16, 3),
    "colours in TIFF": (lambda numbers: tiff(numbers, ">", deflate=True), np.uint16, 3),
    "real": (lambda numbers: tiff(numbers), np.float32, 1),
}


@st.composite
def images(draw: st.DrawFn) -> list[tuple[str, np.ndarray]]:
    """A few images: of one or several forms, with numbers up to a top that is often a limit of a rule."""
    forms = draw(st.lists(st.sampled_from(sorted(FORMS)), min_size=1, max_size=3, unique=True))
    top = draw(
        st.sampled_from(
            [1, 200, 255, 256, 1000, 1023, 1024, 4095, 4096, 16383, 16384, 65535, 10**6, 2**32 - 1]
        )
    )
    bottom = draw(st.sampled_from([0, 0, 0, -1, -1000]))
    found = []
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    for number in range(draw(st.integers(4, 8))):
        name = forms[number % len(forms)]
        kind, channels = FORMS[name][1:]
        limits = np.iinfo(kind) if np.dtype(kind).kind in "iu" else None
        least, most = (bottom, top) if limits is None else (max(bottom, limits.min), min(top, limits.max))
        shape = (SIDE, SIDE, channels)
        if limits is None:
            drawn = generator.uniform(least, most, shape).astype(kind)
        else:
            drawn = generator.integers(least, most, shape, endpoint=True).astype(kind)
        found.append((name, drawn))
    return found


def expected(given: list[tuple[str, np.ndarray]], channels: int) -> list[list[int]]:
    """The pixels of all images, one after another, from the numbers alone."""
    found = []
    for _, numbers in given:
        kind = numbers.dtype.kind
        alike = [
            other
            for _, other in given
            if (other.dtype.kind == "f") == (kind == "f") and other.dtype != np.uint8
        ]
        pixels = []
        for pixel in numbers.reshape(-1, numbers.shape[2]).tolist():
            if numbers.dtype == np.uint8:
                values = pixel
            else:
                low, high = min(float(o.min()) for o in alike), max(float(o.max()) for o in alike)
                values = [oracle(value, low, high, whole=kind != "f") for value in pixel]
            pixels += [values * channels if len(values) == 1 else values]
        found.append(np.array(pixels).reshape(-1).tolist())
    return found


def all_pixels(examples: dd.Examples, **how: int) -> list[list[int]]:
    """What models see of all images: train part, then test part, in the order of the source's rows."""
    encoding = ImageEncoding.fit(examples)
    found = {}
    for part in (examples.train, examples.test):
        store = open_store(part, encoding, **how)
        assert store.in_memory == (how.get("memory_limit") != 0)
        for where in range(len(part)):
            (rows,) = store._rows([torch.tensor([where])])
            found[int(part.ids[where])] = rows.values[0].permute(1, 2, 0).reshape(-1).tolist()
    return [found[id_] for id_ in sorted(found)]


@given(given=images(), chunk=st.integers(1, 5), number=st.integers(0, 1))
@settings(max_examples=50, deadline=None)
def test_all_images_are_scaled_by_the_range_of_all_wherever_they_are_decoded(
    given: list[tuple[str, np.ndarray]], chunk: int, number: int
) -> None:
    rows = rows_of([FORMS[name][0](numbers) for name, numbers in given])
    before = checks._CHUNK_IMAGES
    checks._CHUNK_IMAGES = chunk
    try:
        held, streamed = (
            dd.load(rows, test_fraction=0.5, memory_limit=limit, on_bad_example=("error", "skip")[number])
            for limit in (None, 0)
        )
    finally:
        checks._CHUNK_IMAGES = before
    wanted = expected(given, held.image_shape[0])
    for examples in (held, streamed):
        assert np.array_equal(all_pixels(examples), wanted)
        assert np.array_equal(all_pixels(examples, memory_limit=0), wanted)
    assert held.pixel_range == streamed.pixel_range and held.fingerprint == streamed.fingerprint
    assert held.notes[-1] == streamed.notes[-1]
    deep = [numbers for _, numbers in given if numbers.dtype != np.uint8]
    whole = [numbers for numbers in deep if numbers.dtype.kind != "f"]
    for examples in (held, streamed):
        said = [note for note in examples.notes if "more than 8 bits" in note]
        ends = (
            f"from {min(int(n.min()) for n in whole)} to {max(int(n.max()) for n in whole)}:" if whole else ""
        )
        assert len(said) == bool(whole)
        assert all(note.startswith(f"{len(whole)} image") and ends in note for note in said)
        assert any("floating-point" in note for note in examples.notes) == (len(whole) < len(deep))


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_what_uses_16_bits_keeps_its_pixels_and_the_address_of_its_trainings(seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, 65536, (4, SIDE, SIDE, 1)).astype(np.uint16)
    numbers[0, 0, 0] = 65535
    examples = dd.load(rows_of([png_of_16_bits(image) for image in numbers]), test_fraction=0.5)
    assert all_pixels(examples) == (numbers >> 8).reshape(4, -1).tolist()
    assert "pixels" not in ImageEncoding.fit(examples).describe()


def test_the_address_of_a_training_tells_ranges_apart_and_says_nothing_of_8_bits() -> None:
    numbers = np.arange(4 * SIDE * SIDE).reshape(4, SIDE, SIDE, 1)
    twelve = dd.load(rows_of([png_of_16_bits(image * 60) for image in numbers]), test_fraction=0.5)
    eight = dd.load(rows_of([eight_bit_png(image.astype(np.uint8)) for image in numbers]), test_fraction=0.5)
    assert ImageEncoding.fit(twelve).describe()["pixels"] == {"whole": (0, 4095), "real": None}
    # Also where a model brings statistics of its own.
    theirs = ImageEncoding.fit(twelve).for_model({"channels": 3, "mean": (0.5,) * 3, "std": (0.5,) * 3})
    assert theirs.describe()["pixels"] == {"whole": (0, 4095), "real": None}
    assert set(ImageEncoding.fit(eight).describe()) == {"encoding", "shape", "mean", "std"}
    assert not any("bits" in note for note in eight.notes)


def test_the_test_part_counts_too() -> None:
    low = rows_of([png_of_16_bits(np.full((SIDE, SIDE, 1), value)) for value in (0, 200, 100, 50)])
    high = rows_of([png_of_16_bits(np.full((SIDE, SIDE, 1), value)) for value in (4095, 0)])
    examples = dd.load(low, test=high)
    assert examples.pixel_range == PixelRange(whole=(0, 4095))
    assert examples.train.decoded[1, SIDE, SIDE][:, 0, 0, 0].tolist() == [0, 12, 6, 3]
    assert examples.test.decoded[1, SIDE, SIDE][:, 0, 0, 0].tolist() == [255, 0]


colours = st.integers(0, 2**32).map(
    lambda seed: np.random.default_rng(seed).integers(0, 65536, (3, 5, 4)).astype(np.uint16)
)


@given(numbers=colours, order=st.sampled_from("<>"), deflate=st.booleans())
@settings(max_examples=40, deadline=None)
def test_colours_of_16_bits_are_read_whole(numbers: np.ndarray, order: str, deflate: bool) -> None:
    for content, channels in (
        (png_of_16_bits(numbers[..., :3]), 3),
        (png_of_16_bits(numbers), 3),
        (png_of_16_bits(numbers[..., :2]), 1),
        (tiff(numbers[..., :3], order, deflate=deflate), 3),
    ):
        found = wide_numbers(open_image(content))
        assert found is not None and found.shape == (3, 5, 3)
        assert np.array_equal(found, np.broadcast_to(numbers[..., :channels], (3, 5, 3)))


def test_transparent_pixels_of_16_bits_lie_on_white() -> None:
    numbers = np.array([[[100, 200, 300, 0], [100, 200, 4095, 65535]]], dtype=np.uint16)
    found = to_array(open_image(png_of_16_bits(numbers)), None, PixelRange(whole=(0, 4095)))
    assert found.tolist() == [[[255, 255, 255], [6, 12, 255]]]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_turned_image_of_16_bits_is_turned_back(channels: int) -> None:
    numbers = np.random.default_rng(0).integers(0, 65536, (3, 5, channels)).astype(np.uint16)
    found = wide_numbers(open_image(png_of_16_bits(numbers, turn=6)))
    shown = numbers[..., 0] if channels == 1 else numbers[..., [0, 0, 0] if channels == 2 else [0, 1, 2]]
    assert found is not None and np.array_equal(found, np.rot90(shown, -1))


def test_an_image_with_numbers_that_are_none_is_named_with_its_file(tmp_path: Path) -> None:
    for name in ("ash", "elm"):
        (tmp_path / name).mkdir()
        for number in range(3):
            values = np.full((SIDE, SIDE, 1), number / 2, dtype=np.float32)
            (tmp_path / name / f"{number}.tif").write_bytes(tiff(values))
    values[0, 0] = np.nan
    (tmp_path / "elm" / "1.tif").write_bytes(tiff(values))
    for limit in (None, 0):
        skipped = dd.load(tmp_path, on_bad_example="skip", test_fraction=0.4, memory_limit=limit)
        assert skipped.left_out == (4,)
        assert max(map(max, all_pixels(skipped))) == 255
    with pytest.raises(BadInputError, match=r"Row 4 .*elm/1\.tif.*NaN"):
        dd.load(tmp_path)


@given(
    st.sampled_from([255, 256, 4095, 65535]),
    st.sampled_from([np.uint16, np.int32, np.int64]),
    st.integers(0, 2**32),
)
@settings(max_examples=30, deadline=None)
def test_grey_arrays_of_whole_numbers_are_read_like_files_of_them(top: int, kind: type, seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, top, (6, SIDE, SIDE), endpoint=True).astype(kind)
    numbers[0, 0, 0] = top
    examples = dd.load((numbers, [0, 1] * 3), test_fraction=0.5)
    given = [("png", image[..., None].astype(np.uint16)) for image in numbers]
    assert all_pixels(examples) == expected(given, 1)
    assert any("more than 8 bits" in note for note in examples.notes) == (top > 255)


def test_arrays_of_several_sizes_have_one_range() -> None:
    class Items(list[tuple[np.ndarray, int]]):
        pass

    items = Items(
        (np.full((size, size), value), n % 2) for n, (size, value) in enumerate([(4, 4095), (5, 20)] * 2)
    )
    examples = dd.load(items, test_fraction=0.5)
    assert examples.pixel_range == PixelRange(whole=(0, 4095))
    assert sorted({value for image in all_pixels(examples) for value in image}) == [1, 255]


@pytest.mark.parametrize(
    "numbers",
    [np.full((4, 5, 5, 3), 300), np.full((4, 5, 5), -1), np.full((4, 5, 5), 70_000), np.full((4, 5, 5), 1e3)],
)
def test_arrays_whose_range_nobody_knows_are_refused(numbers: np.ndarray) -> None:
    with pytest.raises(BadInputError, match=r"give them un-normalised, as 0\.\.255"):
        dd.load((numbers, [0, 1, 0, 1]))


@given(st.lists(st.tuples(st.integers(-(2**31), 2**32), st.integers(0, 2**32)), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_no_number_leaves_the_8_bits_and_order_stays(pairs: list[tuple[int, int]]) -> None:
    seen = Extremes()
    for low, more in pairs:
        seen.see(np.array([low, low + more]))
    taken = seen.pixel_range()
    numbers = np.sort(np.array([end for low, more in pairs for end in (low, low + more, low + more // 2)]))
    found = taken.to_bytes(numbers).astype(int)
    assert (np.diff(found) >= 0).all()
    beyond = taken.to_bytes(np.array([-(2**62), 2**62]))
    assert beyond[0] <= found[0] and beyond[1] >= found[-1] and beyond.tolist() == [0, 255]
