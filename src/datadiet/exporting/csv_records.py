"""The records of a CSV file as bytes, one after the other, as the readers of CSV take it apart."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datadiet.exporting.json_lines import open_source_file

_BLOCK = 1 << 20
_LONGEST_RECORD = 256 << 20


class Unreadable(Exception):
    """The file is not made of records in the usual way."""


def records(path: Path, delimiter: str) -> Iterator[bytes]:
    """Every record with its line end, the header first; blank lines are left out.

    A value in quotes may hold delimiters, line ends and doubled quotes.

    Raises:
        Unreadable: a quote is never closed.
    """
    mark = re.escape(delimiter.encode())
    rest = b"[^" + mark + rb"\r\n]*"
    value = b'(?:"[^"]*(?:""[^"]*)*"' + rest + b'|(?!")' + rest + b")"
    record = re.compile(value + b"(?:" + mark + value + rb")*(?:\r\n|\n|\r)")
    with open_source_file(path) as file:
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
                raise Unreadable
        if pending:
            raise Unreadable


def fields_of(record: bytes, delimiter: str) -> list[str]:
    """The values of one record.

    >>> fields_of(b'1,"a ""b"", c"\\r\\n', ",")
    ['1', 'a "b", c']
    """
    text = record.decode("utf-8", "surrogateescape")
    text = text[:-2] if text.endswith("\r\n") else text[:-1] if text.endswith(("\r", "\n")) else text
    limit = csv.field_size_limit(_LONGEST_RECORD)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise Unreadable from error
    finally:
        csv.field_size_limit(limit)
    if len(rows) != 1:
        raise Unreadable
    return rows[0]


def record_of(cells: Sequence[Any], delimiter: str, like: bytes) -> bytes:
    """A record of these values, with the line end and the byte order mark of another one."""
    end = "\r\n" if like.endswith(b"\r\n") else "\r" if like.endswith(b"\r") else "\n"
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator=end).writerow(cells)
    mark = b"\xef\xbb\xbf" if like.startswith(b"\xef\xbb\xbf") else b""
    return mark + buffer.getvalue().encode("utf-8", "surrogateescape")
