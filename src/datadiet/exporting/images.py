"""Encoded images: the suffix that their first bytes tell, and files with exactly these bytes."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from datadiet.data.roles import IMAGE_SUFFIXES
from datadiet.errors import BadInputError

HEADER_BYTES = 32
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
    (b"\x00\x00\x00\x0cjP  ", ".jp2"),
    (b"\xff\x4f\xff\x51", ".jp2"),
    (b"P1", ".pbm"),
    (b"P4", ".pbm"),
    (b"P2", ".pgm"),
    (b"P5", ".pgm"),
    (b"P3", ".ppm"),
    (b"P6", ".ppm"),
    (b"BM", ".bmp"),
)


def suffix_of(header: bytes, path: str | None = None) -> str:
    """The suffix for an image that starts with these bytes; that of its path if they tell nothing.

    Raises:
        BadInputError: nothing tells.

    >>> suffix_of(b"RIFF\\x10\\x00\\x00\\x00WEBPVP8L"), suffix_of(b"?", "a/b.JPEG")
    ('.webp', '.jpeg')
    """
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        return ".webp"
    if header[4:12] in (b"ftypavif", b"ftypavis"):
        return ".avif"
    for magic, suffix in _MAGIC:
        if header.startswith(magic):
            return suffix
    named = PurePosixPath((path or "").replace("\\", "/")).suffix.lower()
    if named in IMAGE_SUFFIXES:
        return named
    raise BadInputError(
        "An image is of a format that its first bytes do not tell, so that no file can be named after it; "
        "export to parquet."
    )


def header_of(content: bytes | None, path: str | None) -> bytes:
    """The first bytes of an image in memory or in a file."""
    if content is not None:
        return content[:HEADER_BYTES]
    with Path(path or "").open("rb") as file:
        return file.read(HEADER_BYTES)


def write_image(target: Path, content: bytes | None, path: str | None) -> None:
    """A new file with exactly the bytes of an image in memory or in a file."""
    if content is not None:
        with target.open("xb", buffering=0) as file:
            file.write(content)
        return
    with Path(path or "").open("rb") as source, target.open("xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
