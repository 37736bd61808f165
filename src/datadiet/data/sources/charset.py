"""In which encoding a text file was written."""

from __future__ import annotations

import codecs
import gzip
from pathlib import Path
from typing import IO, cast

import numpy as np

from datadiet.foundation.errors import BadInputError

_BLOCK = 16 << 20
_SAMPLE = 1 << 20
_MARKS = (  # the longer before those that they begin with
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def opened(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed where its name says that they are compressed."""
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def encoding_of(path: Path, named: str | None = None) -> str:
    """The encoding of a text file as Python calls it: the one named, else that of its byte order mark, else UTF-8.

    Where the bytes are no UTF-8, chardet tells what they are.

    Args:
        path: the file.
        named: by the user.

    Raises:
        BadInputError: there is no such encoding, the file is not in it, or nobody can tell.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = path.write_bytes("text,label\\ncafé,1\\nthé,2\\nnaïve idée,1\\n".encode("cp1252"))
    >>> encoding_of(path)
    'cp1252'
    """
    if named is not None:
        try:
            named = codecs.lookup(named).name
            "".encode(named)
        except LookupError as error:
            raise BadInputError(
                f"There is no encoding '{named}'; name one such as utf-8 or cp1252."
            ) from error
    with opened(path) as file:
        start = file.read(4)
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), named or "utf-8")
    place = _first_other(path, encoding)
    if place is None:
        return encoding
    if named is not None:
        raise BadInputError(f"'{path}' is not in the encoding {encoding}; name another with encoding='...'.")
    return _guessed(path, place)


def _first_other(path: Path, encoding: str) -> int | None:
    """Where in a file the first block begins that is not in an encoding; None if all is."""
    decoder = codecs.getincrementaldecoder(encoding)()
    plain = encoding in ("utf-8", "utf-8-sig")
    start, pending = 0, False
    with opened(path) as file:
        while block := file.read(_BLOCK):
            # Nothing but ASCII is UTF-8, and that is told ten times faster than it is decoded.
            if not plain or pending or np.frombuffer(block, np.uint8).max() > 127:
                try:
                    decoder.decode(block)
                    pending = bool(decoder.getstate()[0])
                except UnicodeDecodeError as error:
                    return start + error.start
            start += len(block)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return max(start - 1, 0)
    return None


def _guessed(path: Path, place: int) -> str:
    """What chardet takes the bytes around a place for, if the whole file can be in it."""
    import chardet

    with opened(path) as file:
        file.seek(max(0, place - _SAMPLE // 2))
        sample = file.read(_SAMPLE)
    found = chardet.detect(sample)["encoding"]
    try:
        encoding = codecs.lookup(found or "").name
    except LookupError:
        encoding = ""
    if not encoding or _first_other(path, encoding) is not None:
        raise BadInputError(
            f"The encoding of '{path}' cannot be told: it is no UTF-8 (byte {place}); name it with encoding='...', "
            "or save the file as UTF-8."
        )
    return encoding
