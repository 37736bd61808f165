"""Table files (Parquet, CSV, JSON) -> `datasets.Dataset`, by one set of rules whatever their size.

Types are told from all rows of all files. Files of together more than a quarter of the available memory are read in
pieces, once for the types and once into an Arrow file in the cache of `datasets`, and mapped from there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import datasets
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from datadiet.data.arrow import chunks_of, dataset_of, holdable, is_number, is_text, with_column
from datadiet.data.columns.roles import conventional_label
from datadiet.data.sources.delimited import (
    Dialect,
    csv_batches,
    csv_dialect,
    csv_schema,
    read_csv,
    read_texts,
)
from datadiet.data.sources.json_rows import json_tables
from datadiet.foundation.atomic import atomic_path, checksum
from datadiet.foundation.errors import BadInputError

Types = Mapping[str, Any]


@dataclass(frozen=True)
class Reading:
    """How text tables are read, where that is not to be found out.

    Args:
        label: the label column, if it is known: it is read as it is written.
        numbers: whether labels are numbers to be predicted, not classes.
        encoding: of CSV and JSON files; None to find it.
        delimiter: between the values of a CSV file; None to find it.
        like: the schema of the train part, for a test part: what is text there is text here; None for rows that
            stand for themselves.
        tags: the column of tags, if it is known: where no label is named, a test part is labelled that has these.
    """

    label: str | None = None
    numbers: bool = False
    encoding: str | None = None
    delimiter: str | None = None
    like: Any = None
    tags: str | None = None

    def as_test_of(self, train: datasets.Dataset) -> Reading:
        """How the test part of these rows is read."""
        return dataclasses.replace(self, like=train.data.schema)


_FORMATS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv"}
_FORMATS |= dict.fromkeys((".jsonl", ".ndjson", ".json"), "json")
_WHOLE = re.compile(r"0|-?[1-9][0-9]*")
_WHOLE_REAL = re.compile(r"(0|-?[1-9][0-9]*)\.0")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
MISSING_WORDS = frozenset(csv.ConvertOptions().null_values)  # what Arrow takes for a missing number


def table_format(path: Path) -> str | None:
    """ "parquet", "csv" or "json" by the file's name, None if it is no table."""
    return _FORMATS.get(path.with_suffix("").suffix.lower() if path.suffix == ".gz" else path.suffix.lower())


def read_tables(paths: Sequence[Path], reading: Reading) -> tuple[datasets.Dataset, list[str]]:
    """One data set from one or several files of the same columns, in the order given; and what there is to say.

    A label column of a CSV file is numbers if every label is written as these are written, else text: `007` is not 7.

    Raises:
        BadInputError: a file cannot be read, or files do not have the same columns.
    """
    notes: list[str] = []
    files = [_reader(path, reading, notes) for path in paths]
    fixed = {f.name: pa.string() for f in reading.like if is_text(f.type)} if reading.like is not None else {}
    label = None
    if any(file.columns for file in files) and not reading.numbers:
        names = next(file.columns for file in files if file.columns)
        label = reading.label if reading.label in names else conventional_label(names)
    if label is not None and label not in fixed:
        fixed[label] = pa.string()
    if too_large(paths):
        rows = _mapped_from(files, fixed, label, reading)
    else:
        rows = dataset_of(_in_memory(files, fixed, label, reading, notes))
    return rows, list(dict.fromkeys(notes))


@dataclass(frozen=True)
class _File:
    """A file that is to be read: all at once, or its types first and its rows in pieces then."""

    path: Path
    columns: tuple[str, ...]  # of a CSV file, in which text may be what is no number; else empty
    whole: Callable[[Types], list[Any]]
    schema: Callable[[Types], Any]
    pieces: Callable[[Types], Iterable[Any]]


def _reader(path: Path, reading: Reading, notes: list[str]) -> _File:
    form = table_format(path)
    if form == "csv":
        with readable(path):
            dialect = csv_dialect(path, reading.encoding, reading.delimiter)
        notes += dialect.notes(path)
        return _File(
            path,
            dialect.columns,
            lambda types: [read_csv(path, dialect, types)],
            lambda types: csv_schema(path, dialect, types),
            lambda types: csv_batches(path, dialect, types),
        )
    if form == "json":

        def tables(_: Types) -> Iterator[Any]:
            return json_tables(path, reading.encoding, notes)

        def schema(_: Types) -> Any:
            return _joined_schema([table.schema for table in tables({})], [path])

        return _File(path, (), lambda types: list(tables(types)), schema, tables)

    def row_groups(_: Types) -> Iterator[Any]:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield pa.Table.from_batches([batch]).replace_schema_metadata(file.schema_arrow.metadata)

    return _File(
        path,
        (),
        lambda _: [parquet.ParquetFile(path).read()],
        lambda _: parquet.read_schema(path),
        row_groups,
    )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Inside, what Arrow, the system or a decoder says of a file becomes one `BadInputError` that names it.

    >>> with readable(Path("a.csv")):
    ...     raise ValueError("no table")
    Traceback (most recent call last):
        ...
    datadiet.foundation.errors.BadInputError: 'a.csv' cannot be read as csv: no table; check the file.
    """
    try:
        yield
    except BadInputError:
        raise
    except (pa.ArrowException, OSError, ValueError, EOFError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        reason = reason if len(reason) < 300 else reason[:300] + " ..."
        raise BadInputError(
            f"'{path}' cannot be read as {table_format(path)}: {reason}; check the file."
        ) from error


def _in_memory(
    files: Sequence[_File], fixed: Types, label: str | None, reading: Reading, notes: list[str]
) -> Any:
    """All rows of all files as one table."""
    tables: list[list[Any]] = []
    for file in files:
        with readable(file.path):
            tables.append(file.whole(fixed))
    paths = [file.path for file in files]
    # A column that is numbers in one file and text in another is text: it is read once more as it is written.
    again = _texts_in_some([table.schema for pieces in tables for table in pieces])
    for number, file in enumerate(files):
        if again and file.columns:
            tables[number] = file.whole({**fixed, **dict.fromkeys(again, pa.string())})
    pieces = [_plain(table, notes) for some in tables for table in some]
    if not pieces:
        return pa.table({})
    types = _joined_schema([table.schema for table in pieces], paths)
    table = pieces[0] if len(pieces) == 1 else pa.concat_tables([_as(table, types) for table in pieces])
    if label is not None and is_text(table.schema.field(label).type):
        kind = _label_type(table.column(label).unique().to_pylist(), label, reading)
        table = _with_labels(table, label, kind)
    return table


def _mapped_from(
    files: Sequence[_File], fixed: Types, label: str | None, reading: Reading
) -> datasets.Dataset:
    """All rows of all files as a data set that is mapped from a file in the cache of `datasets`."""
    paths = [file.path for file in files]

    def schema_of(types: Types) -> tuple[list[Any], Any]:
        found = []
        for file in files:
            with readable(file.path):
                found.append(file.schema(types))
        return found, _texts_in_some(found)

    def convert(target: Path) -> None:
        types = dict(fixed)
        schemas, again = schema_of(types)
        if again:
            types |= dict.fromkeys(again, pa.string())
            schemas, _ = schema_of(types)
        joined = _joined_schema([_plain(schema.empty_table(), []).schema for schema in schemas], paths)
        kind = None
        if label is not None and is_text(joined.field(label).type):
            distinct: set[Any] = set()
            for file in files:
                for piece in file.pieces(_types_of(joined)) if file.columns else ():
                    distinct |= set(piece.column(label).unique().to_pylist())
            kind = _label_type(list(distinct), label, reading)

        def pieces() -> Iterator[Any]:
            for file in files:
                with readable(file.path):  # what goes wrong in writing is no fault of the file
                    for piece in file.pieces(_types_of(joined) if file.columns else types):
                        table = _as(_plain(piece, []), joined)
                        yield table if kind is None or label is None else _with_labels(table, label, kind)

        writer = None
        for table in pieces():
            if writer is None:
                writer = pa.ipc.new_stream(target, table.schema)
            writer.write_table(table)
        if writer is None:
            writer = pa.ipc.new_stream(target, joined)
        writer.close()

    known = [(str(path.resolve()), checksum(path)) for path in paths]
    as_text = (
        reading.like is not None and label in reading.like.names and is_text(reading.like.field(label).type)
    )
    how = [sorted(fixed), label, as_text, dataclasses.replace(reading, like=None)]
    return mapped([known, how], convert)


def mapped(question: Any, convert: Callable[[Path], None]) -> datasets.Dataset:
    """A data set that lies in the cache of `datasets`; `convert` writes it, once for each question."""
    name = hashlib.sha256(repr(question).encode()).hexdigest()[:32]
    target = Path(datasets.config.HF_DATASETS_CACHE) / "datadiet" / f"{name}.arrow"
    if not target.exists():
        try:
            with atomic_path(target) as temporary:
                convert(temporary)
        except OSError as error:
            raise BadInputError(
                f"The cache of datasets cannot be written to '{target.parent}' ({error.strerror or error}); name "
                "another folder in the environment variable HF_DATASETS_CACHE."
            ) from error
    return datasets.Dataset.from_file(str(target))


def _types_of(schema: Any) -> Types:
    return {field.name: field.type for field in schema}


def _plain(table: Any, notes: list[str]) -> Any:
    """A table of types that a data set can hold."""
    table, left_out = holdable(table)
    notes += [
        f"Column '{name}' holds {kind}, which cannot be read, and is left out."
        for name, kind in left_out.items()
    ]
    return table


def _texts_in_some(schemas: Sequence[Any]) -> list[str]:
    """Columns that are text in some files and not in others, or numbers in some and truth values in others."""
    kinds: dict[str, set[str]] = {}
    for schema in schemas:
        for field in schema:
            is_what = {
                "text": is_text(field.type),
                "number": is_number(field.type),
                "truth": pa.types.is_boolean(field.type),
                "nothing": pa.types.is_null(field.type),
            }
            kinds.setdefault(field.name, set()).update(what for what, so in is_what.items() if so)
    several = [name for name, found in kinds.items() if len(found) > 1]
    return [name for name in several if "text" in kinds[name] or {"number", "truth"} <= kinds[name]]


def _joined_schema(schemas: Sequence[Any], paths: Sequence[Path]) -> Any:
    """One schema for tables: whole and real numbers together are real; what some lack is missing there.

    Raises:
        BadInputError: a column has types that have nothing in common.
    """
    schemas = _without_mixed_dictionaries(schemas)
    try:
        joined = pa.unify_schemas(
            [schema.remove_metadata() for schema in schemas], promote_options="permissive"
        )
    except pa.ArrowException as error:
        for name in dict.fromkeys(name for schema in schemas for name in schema.names):
            kinds = {str(s.field(name).type): None for s in schemas if name in s.names}
            fields = [pa.schema([s.field(name)]) for s in schemas if name in s.names]
            try:
                pa.unify_schemas(fields, promote_options="permissive")
            except pa.ArrowException:
                where = f"'{paths[0]}'" + (" and the files beside it" if len(paths) > 1 else "")
                raise BadInputError(
                    f"Column '{name}' of {where} is {' here and '.join(kinds)} there; give it one type."
                ) from error
        raise
    return joined.with_metadata(schemas[0].metadata)


def _without_mixed_dictionaries(schemas: Sequence[Any]) -> list[Any]:
    """Schemas in which a column is a dictionary everywhere, of one type, or nowhere."""
    found = list(schemas)
    for name in dict.fromkeys(f.name for schema in schemas for f in schema if pa.types.is_dictionary(f.type)):
        if len({schema.field(name).type for schema in schemas if name in schema.names}) == 1:
            continue
        for number, schema in enumerate(found):
            kind = schema.field(name).type if name in schema.names else None
            if kind is not None and pa.types.is_dictionary(kind):
                place = schema.get_field_index(name)
                found[number] = schema.set(place, schema.field(name).with_type(kind.value_type))
    return found


def _as(table: Any, schema: Any) -> Any:
    """A table with the columns and types of a schema that its own was joined into."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def with_written(
    dataset: datasets.Dataset,
    paths: Sequence[Path],
    reading: Reading,
    columns: Sequence[str],
    called: Mapping[str, str] = MappingProxyType({}),
) -> datasets.Dataset:
    """Rows of CSV files whose number columns are texts, where they would not be written again as the files have them.

    Args:
        dataset: as `read_tables` gave it.
        paths: the files.
        reading: how they were read.
        columns: those that are looked at.
        called: column -> what the files call it, where that is another name.
    """
    kinds = _types_of(dataset.data.schema)
    wanted = [c for c in columns if c in kinds and (is_number(kinds[c]) or pa.types.is_boolean(kinds[c]))]
    if not wanted or not all(table_format(path) == "csv" for path in paths):
        return dataset
    dialects = {}
    for path in paths:
        with readable(path):
            dialects[path] = csv_dialect(path, reading.encoding, reading.delimiter)
    names = {name: called.get(name, name) for name in wanted}
    wanted = [
        name
        for name in wanted
        if all(names[name] in dialect.columns for dialect in dialects.values())
        and not _counts_rows(dataset, name, names[name], list(dialects.values()))
    ]
    texts: dict[str, list[Any]] = {name: [] for name in wanted}
    for path, dialect in dialects.items() if wanted else ():
        with readable(path):
            found = dict(read_texts(path, dialect, [names[name] for name in wanted]))
            for name in wanted:
                texts[name] += found[names[name]].chunks
    changed = {}
    for name, chunks in texts.items():
        column = pa.chunked_array(chunks, pa.string())
        if len(column) == len(dataset) and not _comes_back(column, dataset.data.column(name)):
            changed[name] = column
    if not dataset.cache_files:
        for name, column in changed.items():
            dataset = with_column(dataset, name, column, datasets.Value("string"))
        return dataset
    return _mapped_with(dataset, changed) if changed else dataset


def _counts_rows(dataset: datasets.Dataset, name: str, written: str, dialects: Sequence[Dialect]) -> bool:
    """Whether a column counts up by one from row to row and begins each file as numbers do.

    Where numbers have zeros before them, the first and smallest has; the others need not be looked at.
    """
    if not pa.types.is_integer(dataset.data.schema.field(name).type):
        return False
    values = dataset.data.column(name)
    if values.null_count or not (np.diff(values.to_numpy()) == 1).all():
        return False
    first = [dict(zip(dialect.columns, dialect.first, strict=False)).get(written, "") for dialect in dialects]
    return all(_WHOLE.fullmatch(text) for text in first)


def _mapped_with(dataset: datasets.Dataset, columns: Mapping[str, Any]) -> datasets.Dataset:
    """A data set that lies in the cache, with other values of some columns, and in the cache again."""
    features = datasets.Features({**dataset.features, **dict.fromkeys(columns, datasets.Value("string"))})

    def convert(target: Path) -> None:
        with pa.ipc.new_stream(target, features.arrow_schema) as writer:
            for start, table in chunks_of(dataset, dataset.column_names):
                arrays = [
                    columns[name].slice(start, len(table)) if name in columns else table.column(name)
                    for name in features
                ]
                writer.write_table(pa.Table.from_arrays(arrays, schema=features.arrow_schema))

    return mapped([dataset.cache_files, sorted(columns)], convert)


def _comes_back(texts: Any, values: Any) -> bool:
    """Whether numbers or truth values would be written again as they stand in a file."""
    there = pc.invert(pc.is_in(pc.utf8_trim_whitespace(texts), pa.array(sorted(MISSING_WORDS))))
    if pa.types.is_boolean(values.type):
        words = set(texts.filter(there).unique().to_pylist())
        return words <= {"True", "False"} or words <= {"true", "false"}
    if pa.types.is_integer(values.type):
        same = pc.or_kleene(pc.equal(texts, values.cast(pa.string())), pc.invert(there))
        return bool(pc.all(same, min_count=0).as_py())
    # A real number may be written in many ways; one with a sign, zeros before it or many digits is a code, unless
    # that is how the number is written.
    odd = pc.match_substring_regex(texts, r"^\s*(\+|-?0[0-9]|-?[0-9]{16,}$|-?[0-9.]+[eE][+-]?[0-9]+$)")
    codes = texts.filter(pc.and_(odd, there)).unique().to_pylist()
    return all(repr(float(code)) == code for code in codes)


def _label_type(texts: Sequence[str | None], label: str, reading: Reading) -> Any:
    """The type of labels that are written like this: a number only if every one is written as numbers are."""
    like = reading.like
    if like is not None and label in like.names and is_text(like.field(label).type):
        return pa.string()
    words = [text for text in texts if text is not None and text.strip() not in MISSING_WORDS]
    if not words:
        return pa.string()
    if all(map(_WHOLE.fullmatch, words)):
        return pa.int64() if all(-(2**63) <= int(word) < 2**63 for word in words) else pa.string()
    if all(map(_WHOLE_REAL.fullmatch, words)):
        return pa.float64()
    if set(words) <= {"True", "False"}:
        return pa.bool_()
    real = all(map(_NUMBER.fullmatch, words)) and any(not float(word).is_integer() for word in words)
    return pa.float64() if real else pa.string()


def _with_labels(table: Any, label: str, kind: Any) -> Any:
    if is_text(kind):
        return table
    place, texts = table.column_names.index(label), table.column(label)
    missing = pc.is_in(pc.utf8_trim_whitespace(texts), pa.array(sorted(MISSING_WORDS)))
    values = pc.if_else(missing, pa.scalar(None, pa.string()), texts).cast(kind)
    return table.set_column(place, label, values)


def too_large(paths: Sequence[Path]) -> bool:
    """Whether files are not to be held in memory."""
    return bool(sum(path.stat().st_size for path in paths) > psutil.virtual_memory().available // 4)
