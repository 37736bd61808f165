"""Records of CSV files: found in the bytes of a file, taken apart, and written so that any reader finds them."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLOCK = 1 << 20
_LONGEST_RECORD = 256 << 20
_OPEN_QUOTE = "a quote is never closed"


class UnreadableError(Exception):
    """The file is not made of records in the usual way; the message says how, as the end of a sentence."""


class CsvWriter:
    r"""Rows of values as CSV.

    A value with a line break of any sort is in quotes. Python's own writer leaves a bare carriage return as it is
    where lines end in another way, and readers take it for the end of the line.

    Args:
        file: where the text goes.
        delimiter: between two values.
        end: of a line.

    >>> file = io.StringIO(newline="")
    >>> CsvWriter(file).writerow(["a\rb", "x,y", 7, None])
    >>> file.getvalue()
    '"a\rb","x,y",7,\n'
    """

    def __init__(self, file: IO[str], delimiter: str = ",", end: str = "\n") -> None:
        self._file, self._end = file, end
        # This writer ends a line with both, so it puts both in quotes; the end is put right as the line comes in.
        self._writer = csv.writer(self, delimiter=delimiter, lineterminator="\r\n")

    def write(self, line: str) -> None:
        """Take one line from Python's writer."""
        self._file.write(line[:-2] + self._end)

    def writerow(self, cells: Iterable[Any]) -> None:
        """Write one row."""
        self._writer.writerow(cells)


def open_source(path: Path) -> IO[bytes]:
    """A file of the source, decompressed."""
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def csv_records(path: Path, delimiter: str) -> Iterator[bytes]:
    """Every record with its line end, the header first; blank lines are left out.

    A value in quotes may hold delimiters, line ends and doubled quotes.

    Raises:
        UnreadableError: a quote is never closed.
    """
    mark = re.escape(delimiter.encode())
    rest = b"[^" + mark + rb"\r\n]*"
    value = b'(?:"[^"]*(?:""[^"]*)*"' + rest + b'|(?!")' + rest + b")"
    record = re.compile(value + b"(?:" + mark + value + rb")*(?:\r\n|\n|\r)")
    with open_source(path) as file:
        pending = b""
        ended = False
        while not ended:
            block = file.read(max(_BLOCK, len(pending)))
            ended = not block
            pending += block
            if ended and pending and not pending.endswith((b"\n", b"\r")):
                pending += b"\n"
            position = 0
            while found := record.match(pending, position):
                # What ends here may go on in the next block: "\r" with its "\n", a quote with its double.
                if found.end() == len(pending) and not ended:
                    break
                position = found.end()
                if found[0].strip(b"\r\n"):
                    yield found[0]
            pending = pending[position:]
            if len(pending) > _LONGEST_RECORD:
                raise UnreadableError(_OPEN_QUOTE)
        if pending:
            raise UnreadableError(_OPEN_QUOTE)


def csv_fields(record: bytes, delimiter: str) -> list[str]:
    """The values of one record.

    Raises:
        UnreadableError: it is not UTF-8, or not one record.

    >>> csv_fields(b'1,"a ""b"", c"\\r\\n', ",")
    ['1', 'a "b", c']
    """
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableError("it is not UTF-8") from error
    text = text[:-2] if text.endswith("\r\n") else text[:-1] if text.endswith(("\r", "\n")) else text
    limit = csv.field_size_limit(_LONGEST_RECORD)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UnreadableError(str(error)) from error
    finally:
        csv.field_size_limit(limit)
    if len(rows) != 1:
        raise UnreadableError("its quotes are not closed as usual")
    return rows[0]


def csv_record(cells: Sequence[Any], delimiter: str, like: bytes) -> bytes:
    """A record of these values, with the line end and the byte order mark of another one."""
    end = "\r\n" if like.endswith(b"\r\n") else "\r" if like.endswith(b"\r") else "\n"
    buffer = io.StringIO(newline="")
    CsvWriter(buffer, delimiter, end).writerow(cells)
    mark = BYTE_ORDER_MARK if like.startswith(BYTE_ORDER_MARK) else b""
    return mark + buffer.getvalue().encode()
