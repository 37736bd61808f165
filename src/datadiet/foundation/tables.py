"""Parquet tables of the package's own: columns of numbers, facts in the metadata, and a checksum over both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.parsing import parse_json

_CHECKSUM = b"datadiet.checksum"
_LIMITS = {"thrift_string_size_limit": 1 << 28, "thrift_container_size_limit": 1 << 20}
#: What Arrow raises for bytes that are no table, or no longer one.
_DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError, MemoryError)


def metadata_of(path: str | Path) -> Mapping[bytes, bytes]:
    """The metadata of a Parquet file, by which tables of one kind are told from others.

    Raises:
        BadInputError: it cannot be read.
    """
    try:
        with _opened(path) as file:
            return file.schema_arrow.metadata or {}
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


@dataclass(frozen=True)
class TableKind:
    """One kind of table.

    Args:
        key: of the facts in the metadata, such as "datadiet.scores".
        what: it is, for messages: "score table".
        version: of its format. Tables of a version before it are read, and have no checksum before version 2.
    """

    key: str
    what: str
    version: int = 2

    def write(
        self, path: str | Path, columns: Mapping[str, NDArray[Any]], facts: Mapping[str, Any], **how: Any
    ) -> None:
        """Write columns of one length with the facts, which are plain JSON; the version is added to them.

        Args:
            path: of the file, which a caller moves to its place.
            columns: by name.
            facts: what there is to know of them.
            how: of `pyarrow.parquet.write_table`.

        Raises:
            BadInputError: the facts are not plain JSON.
        """
        try:
            text = json.dumps({**facts, "format": self.version}, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise BadInputError(f"the provenance of a {self.what} must be plain JSON: {error}.") from error
        metadata = {self.key.encode(): text, _CHECKSUM: _checksum(columns, text).encode()}
        pq.write_table(pa.table(dict(columns), metadata=metadata), path, write_page_checksum=True, **how)

    def read(self, path: str | Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any] | None]:
        """Columns and facts of a file, as they were written.

        Returns:
            Name -> its column; and the facts with the version as `format`, or None where the file has none: it is of
            somebody else's making.

        Raises:
            BadInputError: it cannot be read, is of a later version, or is not as it was written.
        """
        try:
            with _opened(path) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
                if rows > 0 and rows > 100_000 * Path(path).stat().st_size:
                    raise ValueError("it has more rows than its bytes can hold")
                table = file.read()
                columns = {name: table.column(name).to_numpy() for name in table.column_names}
        except _DAMAGE as error:
            raise _unreadable(path, error) from error
        metadata = schema.metadata or {}
        text, noted = metadata.get(self.key.encode()), metadata.get(_CHECKSUM)
        if text is None:
            if b"datadiet." in _end_of(path):  # of another kind, or its key is damaged
                raise BadInputError(
                    f"{str(path)!r} is not a {self.what} of datadiet, or is damaged: its metadata has no {self.key!r}."
                )
            return columns, None
        facts = parse_json(text, f"The metadata of the {self.what} {str(path)!r}")
        if not isinstance(facts, dict):
            raise BadInputError(
                f"The metadata of the {self.what} {str(path)!r} is no JSON object; make it again."
            )
        version = facts.get("format", 1)
        if version not in range(1, self.version + 1) or isinstance(version, bool):
            raise BadInputError(
                f"{str(path)!r} is a {self.what} of format {version!r}; this version reads format {self.version}."
            )
        if noted is None if version > 1 else noted is not None:
            raise self._damaged(path)
        if noted is not None and noted.decode("ascii", "replace") != _checksum(columns, text):
            raise self._damaged(path)
        return columns, facts

    def _damaged(self, path: str | Path) -> BadInputError:
        return BadInputError(
            f"The {self.what} {str(path)!r} is damaged: it is not as it was written (its checksum differs). Make it "
            "again, or take it from a copy."
        )


def _opened(path: str | Path) -> Any:
    return pq.ParquetFile(path, page_checksum_verification=True, **_LIMITS)


def _end_of(path: str | Path) -> bytes:
    """The last mebibyte of a file, where the metadata is."""
    with Path(path).open("rb") as file:
        file.seek(max(0, Path(path).stat().st_size - (1 << 20)))
        return file.read()


def _checksum(columns: Mapping[str, NDArray[Any]], text: bytes) -> str:
    """XXH3 over names, types and values of the columns, and the text of the facts."""
    digest = xxhash.xxh3_128(text)
    for name, values in columns.items():
        digest.update(f"\0{name}\0{values.dtype.str}\0{len(values)}\0".encode())
        if values.dtype.kind == "O":
            digest.update(repr(values.tolist()).encode("utf-8", "surrogatepass"))
        else:
            digest.update(np.ascontiguousarray(values).view(np.uint8).data)
    return digest.hexdigest()


def _unreadable(path: str | Path, error: BaseException) -> BadInputError:
    reason = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
    return BadInputError(f"{str(path)!r} is not a readable Parquet file: {reason}.")
