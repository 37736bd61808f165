"""CSV files -> Arrow tables: the encoding, the delimiter and the types of the columns are found from all rows."""

from __future__ import annotations

import csv as records
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import csv

from datadiet.data.arrow import is_text
from datadiet.data.sources.charset import encoding_of, opened
from datadiet.foundation.errors import BadInputError

Types = Mapping[str, Any]
_DELIMITERS = ",;\t|"
_HEAD = 1 << 16
_BLOCK = 16 << 20
_LARGEST_BLOCK = (1 << 31) - 1
# As Arrow tries them: the first that takes all values of a column is its type.
_IN_TURN = (pa.null(), pa.int64(), pa.bool_(), pa.float64(), pa.string())
_OTHER_TYPE = re.compile(
    r"In CSV column #(\d+): (?:Row #\d+: )?CSV conversion error to [^:]*: invalid value '(.*)'", re.S
)


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written.

    Args:
        encoding: as Python calls it.
        delimiter: between two values.
        columns: the names in its header.
        quoted: whether there may be quotes, and line breaks within them; without, lines are told apart faster.
        first: the values of its first row.
    """

    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    quoted: bool = True
    first: tuple[str, ...] = ()

    def notes(self, path: Path) -> list[str]:
        """What there is to say of how a file is read, where that had to be found out."""
        found = []
        if self.encoding not in ("utf-8", "utf-8-sig"):
            found.append(
                f"'{path.name}' is read in the encoding {self.encoding}; name another with encoding='...'."
            )
        return found


def csv_dialect(path: Path, encoding: str | None = None, delimiter: str | None = None) -> Dialect:
    """The dialect of a CSV file; what is not named is found.

    Of comma, semicolon, tab and bar the delimiter is the one that gives the first records equally many values, and
    of these the one that gives most.

    Raises:
        BadInputError: the file is empty, two columns have one name, or the encoding cannot be told.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = path.write_text('"red, warm";label\\n1,5;x\\n2;y\\n')
    >>> csv_dialect(path).columns
    ('red, warm', 'label')
    """
    encoding = encoding_of(path, encoding)
    with opened(path) as file:
        head = file.read(_HEAD)
    text = head.decode(encoding, "ignore")
    if not text.strip():
        raise BadInputError(f"'{path}' is empty; give a file with rows.")
    if delimiter is None:
        delimiter = "\t" if ".tsv" in path.suffixes else _delimiter(text, whole=len(head) < _HEAD)
    elif len(delimiter) != 1:
        raise BadInputError(f"delimiter='{delimiter}' is not one character, such as ';'.")
    head_rows = [*_first_records(text, delimiter), [], []]
    columns, first = tuple(head_rows[0]), tuple(head_rows[1])
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise BadInputError(
            f"'{path}' has {Counter(columns)[twice[0]]} columns called '{twice[0]}'; give each a name of its own."
        )
    return Dialect(encoding, delimiter, columns, _has_quotes(path), first)


def _has_quotes(path: Path) -> bool:
    """Whether there is a quote in a file; what is compressed is not read for it."""
    if path.suffix.lower() == ".gz":
        return True
    with path.open("rb") as file:
        return any(b'"' in block for block in iter(partial(file.read, _BLOCK), b""))


def _delimiter(text: str, *, whole: bool) -> str:
    """The likeliest delimiter of a text that begins like a file and may break off in a record."""

    def fit(candidate: str) -> tuple[bool, int]:
        rows = _first_records(text, candidate)
        rows = rows if whole or len(rows) == 1 else rows[:-1]
        widths = {len(row) for row in rows if row}
        width = len(rows[0]) if rows else 0
        return width > 1 and len(widths) == 1, width

    return max(_DELIMITERS, key=fit)  # of equal ones the first


def _first_records(text: str, delimiter: str, most: int = 50) -> list[list[str]]:
    found: list[list[str]] = []
    try:
        for record in records.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if record:
                found.append(record)
            if len(found) == most:
                break
    except records.Error:  # a field that is too long, or a character that the module does not take
        pass
    return found or [text.splitlines()[0].split(delimiter)]


def read_csv(path: Path, dialect: Dialect, fixed: Types) -> Any:
    """All rows as a table; the types of columns are those fixed, or told from all their values.

    A number column has a number in every row that is not missing (empty, NA, NaN, null, ...); any other is text in
    which nothing is missing. What looks like a date or a time is text, too.
    """
    block = _BLOCK
    while True:
        reading, parsing, converting = _options(dialect, fixed, block)
        try:
            table = csv.read_csv(_input(path), reading, parsing, converting)
            break
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error) or block >= _LARGEST_BLOCK:
                raise
            block = min(block * 8, _LARGEST_BLOCK)  # a record is longer than a block
    _refuse_open_quote(path, dialect, table)
    again = [f.name for f in table.schema if pa.types.is_temporal(f.type) or pa.types.is_null(f.type)]
    if again:
        for name, column in read_texts(path, dialect, again):
            # Where a column is empty throughout, nothing is said of its type.
            empty = pa.types.is_null(table.schema.field(name).type) and not any(column.unique().to_pylist())
            if not empty:
                table = table.set_column(table.column_names.index(name), name, column)
    return table


def read_texts(path: Path, dialect: Dialect, columns: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Some columns as they are written: names, and their values as texts."""
    texts = dict.fromkeys(columns, pa.string())
    pieces = list(csv_batches(path, dialect, texts, columns))
    empty = pa.table({name: pa.array([], pa.string()) for name in columns})
    table = pa.concat_tables(pieces) if pieces else empty
    yield from zip(table.column_names, table.columns, strict=True)


def csv_schema(path: Path, dialect: Dialect, fixed: Types) -> Any:
    """The types that `read_csv` would find, told without holding the rows in memory."""
    types = dict(fixed)
    last = None
    while True:
        try:
            for last in csv_batches(path, dialect, types):
                types |= {
                    f.name: pa.string() if pa.types.is_temporal(f.type) else f.type for f in last.schema
                }
            break
        except pa.ArrowInvalid as error:
            found = _OTHER_TYPE.search(str(error))
            name = dialect.columns[int(found[1])] if found else None
            if found is None or name is None or name in fixed:
                raise
            types[name] = _next_type(types.get(name, pa.null()), found[2])
    if last is not None:
        _refuse_open_quote(path, dialect, last)
    nothing = [name for name in dialect.columns if pa.types.is_null(types.get(name, pa.null()))]
    for batch in csv_batches(path, dialect, dict.fromkeys(nothing, pa.string()), nothing) if nothing else ():
        types |= {name: pa.string() for name in nothing if any(batch.column(name).unique().to_pylist())}
    return pa.schema([(name, types.get(name, pa.null())) for name in dialect.columns])


def _next_type(kind: Any, value: str) -> Any:
    """The next type that a column may have, in Arrow's turn, where a value is not of its type so far."""
    for candidate in _IN_TURN[1 + _IN_TURN.index(kind) :]:
        cell = b'x\n"' + value.encode().replace(b'"', b'""') + b'"\n'
        try:
            csv.read_csv(io.BytesIO(cell), convert_options=csv.ConvertOptions(column_types={"x": candidate}))
        except pa.ArrowInvalid:
            continue
        return candidate
    return pa.string()


def csv_batches(path: Path, dialect: Dialect, types: Types, only: Sequence[str] = ()) -> Iterator[Any]:
    """The rows in tables of bounded size, of the types given; of others as the first block has them."""
    block = _BLOCK
    rows = 0
    while True:
        seen = 0
        try:
            with csv.open_csv(_input(path), *_options(dialect, types, block, only)) as reader:
                for batch in reader:
                    seen += batch.num_rows
                    if seen > rows:  # what a smaller block has given already is not given again
                        yield pa.Table.from_batches([batch.slice(max(rows - seen + batch.num_rows, 0))])
                        rows = seen
            return
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error) or block >= _LARGEST_BLOCK:
                raise
            block = min(block * 8, _LARGEST_BLOCK)


def _input(path: Path) -> Any:
    return pa.input_stream(str(path), compression="gzip") if path.suffix.lower() == ".gz" else str(path)


def _options(dialect: Dialect, types: Types, block: int, only: Sequence[str] = ()) -> tuple[Any, Any, Any]:
    encoding = "utf8" if dialect.encoding == "utf-8-sig" else dialect.encoding
    parsing = csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=dialect.quoted)
    known = {name: kind for name, kind in types.items() if name in dialect.columns}
    converting = csv.ConvertOptions(column_types=known, include_columns=list(only))
    return csv.ReadOptions(block_size=block, encoding=encoding), parsing, converting


def _refuse_open_quote(path: Path, dialect: Dialect, table: Any) -> None:
    """Raise a BadInputError if a quote is never closed: all lines after it would be one value of the last row."""
    name = table.column_names[-1]
    if not len(table) or not is_text(table.schema.field(name).type):
        return
    value = table.column(name)[len(table) - 1].as_py()
    if not {"\n", "\r"} & set(value or ""):
        return
    with opened(path) as file:
        # Compressed bytes are read to their end; others need no more than a few of them.
        end = file.read()[-8:] if path.suffix.lower() == ".gz" else _last(file, 8)
    if not end.decode(dialect.encoding.replace("-sig", ""), "ignore").rstrip("\r\n").endswith('"'):
        raise BadInputError(
            f"A quote in '{path}' is never closed, so that its last {value.count(chr(10)) + 1} lines would be one "
            "value; close it, or double quotes that stand within a value."
        )


def _last(file: IO[bytes], count: int) -> bytes:
    file.seek(max(0, file.seek(0, io.SEEK_END) - count))
    return file.read()
