"""Images that are not decoded, and files and folders of a source that cannot be read: one sentence each."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import EpsImagePlugin, Image

import datadiet as dd
from datadiet.data.columns import images
from datadiet.data.columns.images import IMAGE_FORMATS, MAX_PIXELS, open_image, opened
from datadiet.foundation.errors import BadInputError

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
PDF = b"%PDF-1.4\n%%EOF\n"


def header_of(width: int, height: int) -> bytes:
    """A grey PNG of that size, with hardly any pixels in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(99)))
        + chunk(b"IEND", b"")
    )


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def image_folder(root: Path, odd: bytes) -> Path:
    for index in range(8):
        place = root / "photos" / "ab"[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}.png").write_bytes(odd if index == 4 else png(index))
    return root / "photos"


def parquet(root: Path, odd: bytes) -> Path:
    rows = [{"bytes": odd if index == 4 else png(index), "path": None} for index in range(8)]
    pq.write_table(pa.table({"image": rows, "label": list("abababab")}), root / "photos.parquet")
    return root / "photos.parquet"


def shard(root: Path, odd: bytes) -> Path:
    with tarfile.open(root / "photos.tar", "w") as archive:
        for index in range(8):
            for suffix, content in (
                ("png", odd if index == 4 else png(index)),
                ("cls", b"ab"[index % 2 : index % 2 + 1]),
            ):
                member = tarfile.TarInfo(f"{index:03d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return root / "photos.tar"


SOURCES = (image_folder, parquet, shard)


@pytest.mark.parametrize("write", SOURCES)
@pytest.mark.parametrize("odd", [EPS, PDF], ids=["eps", "pdf"])
def test_documents_called_images_start_no_program(write, odd, tmp_path, monkeypatch) -> None:
    def never(*arguments: Any, **options: Any) -> None:
        started.append(arguments)

    started: list[Any] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", never)
    source = write(tmp_path, odd)
    with pytest.raises(BadInputError, match="cannot be decoded"):
        dd.load(source)
    examples = dd.load(source, on_bad_example="skip")
    assert len(examples.train) + len(examples.test) == 7
    assert not started and not {"EPS", "PDF", "WMF"} & set(IMAGE_FORMATS)


@pytest.mark.parametrize("write", SOURCES)
@pytest.mark.parametrize("size", [(13_000, 13_000), (30_000, 30_000), (MAX_PIXELS + 1, 1)])
def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(
    write, size, tmp_path, monkeypatch
) -> None:
    source, decoded = write(tmp_path, header_of(*size)), []
    before = images.to_array

    def counting(image: Image.Image, *arguments: Any, **options: Any) -> Any:
        decoded.append(image.size)
        return before(image, *arguments, **options)

    monkeypatch.setattr(images, "to_array", counting)
    with pytest.raises(BadInputError, match=r"\d+ pixels.*--on-bad-example skip") as refused:
        dd.load(source)
    if write is image_folder:
        assert "4.png" in str(refused.value)
    examples = dd.load(source, on_bad_example="skip")
    assert len(examples.train) + len(examples.test) == 7
    assert set(decoded) == {(8, 8)}


def test_the_limit_of_pixels_is_the_last_that_is_opened() -> None:
    assert opened(header_of(MAX_PIXELS, 1)).width == MAX_PIXELS
    with pytest.raises(ValueError, match="89,478,486 x 1 pixels"):
        open_image(header_of(MAX_PIXELS + 1, 1))


@pytest.mark.parametrize("place", ["/dev/zero", "pipe.png"])
@pytest.mark.parametrize("struct", [True, False])
def test_a_device_or_a_pipe_in_a_column_of_images_is_not_read(place, struct, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    for index in range(7):
        (tmp_path / f"{index}.png").write_bytes(png(index))
    paths = [place, *(f"{index}.png" for index in range(7))]
    column = [{"bytes": None, "path": path} for path in paths] if struct else paths
    pq.write_table(pa.table({"image": column, "label": list("abababab")}), tmp_path / "table.parquet")
    if not struct and place == "/dev/zero":
        return  # no path of an image, by its name
    with pytest.raises(BadInputError, match="it is no file"):
        dd.load(tmp_path / "table.parquet")


def refusing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, word: str) -> None:
    """Have a function of the system refuse what has a word in its path."""
    before: Callable[..., Any] = getattr(owner, name)

    def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
        if word in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return before(path, *arguments, **options)

    monkeypatch.setattr(owner, name, refuse)


def csv_file(root: Path) -> Path:
    (root / "secret.csv").write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(8)))
    return root / "secret.csv"


def jsonl_folder(root: Path) -> Path:
    folder = root / "data" / "secret"
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text("".join(f'{{"text": "t {i}", "label": {i % 2}}}\n' for i in range(8)))
    return root / "data"


def secret_class(root: Path) -> Path:
    source = image_folder(root, png(4))
    (source / "a").rename(source / "secret")
    return source


def secret_nested(root: Path) -> Path:
    source = image_folder(root, png(4))
    (source / "a").rename(root / "inner")
    (source / "a" / "secret").mkdir(parents=True)
    (root / "inner").rename(source / "a" / "secret" / "more")
    return source


def secret_image(root: Path) -> Path:
    source = image_folder(root, png(4))
    (source / "a" / "4.png").rename(source / "a" / "secret.png")
    return source


def secret_shard(root: Path) -> Path:
    return shard(root, png(4)).rename(root / "secret.tar")


@pytest.mark.parametrize(
    ("make", "owner", "name"),
    [
        (secret_class, os, "scandir"),
        (secret_nested, os, "scandir"),
        (jsonl_folder, os, "scandir"),
        (secret_image, Path, "read_bytes"),
        (csv_file, Path, "open"),
        (secret_shard, tarfile, "open"),
    ],
)
def test_what_may_not_be_read_is_one_sentence_that_names_it(make, owner, name, tmp_path, monkeypatch) -> None:
    source = make(tmp_path)
    assert len(dd.load(source).train)
    refusing(monkeypatch, owner, name, "secret")
    with pytest.raises(BadInputError, match=r"secret.*Permission denied"):
        dd.load(source)


def test_a_source_whose_name_is_no_text_is_one_sentence(tmp_path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    with pytest.raises(BadInputError, match="not UTF-8"):
        dd.load(folder)
    with pytest.raises(BadInputError, match="not UTF-8"):
        dd.load(csv_file(folder))


def test_a_changed_table_or_shard_of_the_same_size_and_times_is_read_again(tmp_path, monkeypatch) -> None:
    from datadiet.data.sources import shards, tables

    monkeypatch.setattr(shards, "too_large", lambda paths: True)
    monkeypatch.setattr(tables, "too_large", lambda paths: True)
    table, archive = csv_file(tmp_path), shard(tmp_path, png(4))
    first = [dd.load(source).fingerprint for source in (table, archive)]
    for path, old, new in ((table, b"text 3", b"text X"), (archive, png(3), png(99)[: len(png(3))])):
        before, content = path.stat(), path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new.ljust(len(old), b"\0")))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = [dd.load(source, on_bad_example="skip").fingerprint for source in (table, archive)]
    assert first[0] != again[0] and first[1] != again[1]
