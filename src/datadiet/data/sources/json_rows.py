"""JSON files of any layout -> Arrow tables: lines, lists of objects, an object of columns or with the rows within."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as arrow_json

from datadiet.data.sources.charset import encoding_of, opened
from datadiet.foundation.errors import BadInputError

_BLOCK = 64 << 20
_ROWS = 50_000
_LEVELS = 100  # of lists and objects in one another; Arrow's reader ends the process at some thousands
_PIECE = 1 << 20
_NO_MARKS = bytes(set(range(256)) - set(b'"[]{}'))
_CHANGED = re.compile(r"Column\(/([^)]*)\) changed from (\w+) to (\w+)")


def json_tables(path: Path, encoding: str | None, notes: list[str]) -> Iterator[Any]:
    """The rows in tables of bounded size; a column has a type in each that all its values there have.

    A text is a text, also where it looks like a date.

    Args:
        path: the file.
        encoding: its encoding; None to find it.
        notes: what there is to say is added.

    Raises:
        BadInputError: the file holds no objects, or cannot be parsed.
    """
    encoding = encoding_of(path, encoding)
    if encoding not in ("utf-8", "utf-8-sig"):
        notes.append(f"'{path.name}' is read in the encoding {encoding}; name another with encoding='...'.")
    first = True
    for lines in _lines(path, encoding, notes):
        yield _parsed(lines, path, first=first)
        first = False


def _parsed(lines: bytes, path: Path, *, first: bool) -> Any:
    """One table of objects that stand on a line each, or several; every text stays a text."""
    if is_deep(lines):
        raise ValueError(f"a value in it is nested more than {_LEVELS} levels deep")
    reading = arrow_json.ReadOptions(block_size=min(len(lines) + 1, (1 << 31) - 1))

    def parse(schema: Any = None) -> Any:
        parsing = arrow_json.ParseOptions(explicit_schema=schema, newlines_in_values=True)
        return arrow_json.read_json(io.BytesIO(lines), reading, parsing)

    try:
        table = parse()
        times = [(f.name, _as_texts(f.type)) for f in table.schema if _as_texts(f.type) != f.type]
        return parse(pa.schema(times)).select(table.column_names) if times else table
    except pa.ArrowInvalid as error:
        changed = _CHANGED.search(str(error))
        if changed is not None:
            raise BadInputError(
                f"The key '{changed[1]}' of '{path}' holds a {changed[2]} in one row and a {changed[3]} in another; "
                "give it one type."
            ) from error
        reason = " ".join(str(error).split())
        raise ValueError(reason if first else re.sub(r" in row \d+", "", reason)) from error


def is_deep(text: bytes) -> bool:
    """Whether JSON has more than so many lists and objects in one another.

    >>> is_deep(b'{"a": "' + b"[" * 500 + b'"}'), is_deep(b"[" * 500)
    (False, True)
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    plain = np.frombuffer(text.translate(None, _NO_MARKS), dtype=np.uint8)
    level, quoted = 0, 0
    for start in range(0, len(plain), _PIECE):
        piece = plain[start : start + _PIECE]
        inside = (np.cumsum(piece == ord('"'), dtype=np.uint8) + quoted) & 1
        steps = ((piece == ord("[")) | (piece == ord("{"))).astype(np.int8)
        steps -= ((piece == ord("]")) | (piece == ord("}"))).astype(np.int8)
        levels = np.cumsum(np.where(inside, 0, steps), dtype=np.int32) + level
        if levels.max(initial=0) > _LEVELS:
            return True
        level, quoted = int(levels[-1]), int(inside[-1])
    return False


def _as_texts(kind: Any) -> Any:
    """A type with texts in the place of times, which is what JSON has for them."""
    if pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_as_texts(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _as_texts(field.type)) for field in kind])
    return kind


def _lines(path: Path, encoding: str, notes: list[str]) -> Iterator[bytes]:
    """The objects of a file in UTF-8, one after another, in pieces that end with an object."""
    with opened(path) as raw:
        start = codecs.getreader(encoding)(raw, "strict").read(4096).lstrip()
    if not start:
        raise BadInputError(f"'{path}' is empty; give a file with rows.")
    if start[0] not in "[{":
        raise BadInputError(
            f"'{path}' holds no JSON objects (it begins with '{start[:20]}'); give one object a row."
        )
    if start[0] == "{" and (_is_by_line(path) or _begins_with_lines(path, encoding)):
        yield from _by_line(path, encoding)
        return
    with opened(path) as raw:
        text = raw.read().decode(encoding)
    try:
        content = json.loads(text)
    except ValueError as error:
        if start[0] == "{" and "Extra data" in str(error):
            yield text.encode()  # objects one after another, over several lines each
            return
        raise
    rows = content if isinstance(content, list) else _rows_within(content, path, notes)
    odd = next((row for row in rows if not isinstance(row, dict)), None)
    if odd is not None:
        raise BadInputError(
            f"'{path}' must be a list of objects, one a row, and holds {json.dumps(odd)[:40]}."
        )
    if not rows:
        raise BadInputError(f"'{path}' has no rows; give a file with some.")
    for begin in range(0, len(rows), _ROWS):
        yield "\n".join(map(json.dumps, rows[begin : begin + _ROWS])).encode()


def _is_by_line(path: Path) -> bool:
    return not {".jsonl", ".ndjson"}.isdisjoint(suffix.lower() for suffix in path.suffixes)


def _begins_with_lines(path: Path, encoding: str) -> bool:
    """Whether the first line is an object, and another line follows."""
    with opened(path) as raw:
        lines = iter(codecs.getreader(encoding)(raw, "strict"))
        written = (line for line in lines if line.strip())
        try:
            json.loads(next(written))
        except ValueError:
            return False
        return next(written, None) is not None


def _by_line(path: Path, encoding: str) -> Iterator[bytes]:
    plain = encoding in ("utf-8", "utf-8-sig")
    decoder = codecs.getincrementaldecoder(encoding)()
    pending = b""
    with opened(path) as raw:
        ended = False
        while not ended:
            block = raw.read(_BLOCK)
            ended = not block
            pending += block if plain else decoder.decode(block, final=ended).encode()
            if plain and encoding == "utf-8-sig":
                pending, encoding = pending.removeprefix(codecs.BOM_UTF8), "utf-8"
            cut = len(pending) if ended else pending.rfind(b"\n") + 1
            if pending[:cut].strip():
                yield pending[:cut]
            pending = pending[cut:]


def _rows_within(content: dict[str, Any], path: Path, notes: list[str]) -> list[Any]:
    """The rows of a file that holds one object.

    These are the one value that is a list of objects, or what `pandas.DataFrame.to_json` writes of columns:
    {"column": {"index": value}}, {"columns": [...], "data": [[...]]}.
    """
    tables = [
        key
        for key, value in content.items()
        if isinstance(value, list) and value and isinstance(value[0], dict)
    ]
    columns, data = content.get("columns"), content.get("data")
    if isinstance(columns, list) and isinstance(data, list) and data and isinstance(data[0], list):
        return [dict(zip(map(str, columns), row, strict=False)) for row in data]
    if "schema" in content and tables == ["schema", "data"]:
        tables = ["data"]
    values = list(content.values())
    if values and all(isinstance(value, dict) for value in values):
        index = list(values[0])
        if index and all(list(value) == index for value in values):
            return [{name: value[place] for name, value in content.items()} for place in index]
    even = all(isinstance(value, list) and len(value) == len(values[0]) for value in values)
    if values and even and len(tables) < len(values):
        return [dict(zip(content, row, strict=True)) for row in zip(*values, strict=True)]
    if len(tables) == 1:
        others = [key for key in content if key != tables[0]]
        notes.append(f"The rows of '{path.name}' are those under '{tables[0]}'; not used: {_listed(others)}.")
        rows: list[Any] = content[tables[0]]
        return rows
    if len(tables) > 1:
        raise BadInputError(
            f"'{path}' holds several lists of rows ({_listed(tables)}); write the one to be read to a file of its own."
        )
    raise BadInputError(
        f"'{path}' is one JSON object (with {_listed(list(content))}) and no list of rows; give one object a row."
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(f"'{name}'" for name in names[:8]) or "nothing") + more
