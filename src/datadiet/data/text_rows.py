"""What all text encodings share: reading texts, and sequences of numbers as ragged rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from datadiet.data.columns import one_array, rows_at
from datadiet.data.examples import IntArray, Part
from datadiet.data.rows import RaggedRows, Rows, join
from datadiet.data.words import texts_of_words
from datadiet.errors import BadInputError

_CHUNK_ROWS = 4096
_SAMPLE_ROWS = 1000
Encode = Callable[[Part, IntArray], RaggedRows]


def no_augmentation() -> BadInputError:
    """The error for anyone who wants texts cropped or flipped."""
    return BadInputError("Augmentation is for images; leave it off for texts.")


def texts_of(part: Part, positions: IntArray) -> list[list[str]]:
    """One list of texts a column; words of a list are joined by spaces."""
    table = rows_at(part.dataset, part.input_columns, positions)
    return [texts_of_words(one_array(table, column).to_pylist()) for column in part.input_columns]


def estimated_bytes(encode: Encode, part: Part) -> int:
    """Memory that a whole part takes when encoded, from a sample all over it."""
    sample = np.unique(np.linspace(0, len(part) - 1, min(_SAMPLE_ROWS, len(part))).astype(np.int64))
    return int(encode(part, sample).nbytes / max(len(sample), 1) * len(part))


def in_chunks(encode: Encode, part: Part) -> RaggedRows:
    """A whole part, encoded chunk by chunk."""
    pieces: list[Rows] = [
        encode(part, np.arange(start, min(start + _CHUNK_ROWS, len(part))))
        for start in range(0, len(part), _CHUNK_ROWS)
    ]
    joined = join(pieces)
    assert isinstance(joined, RaggedRows)
    return joined


def ragged(sequences: dict[str, list[npt.NDArray[np.int32]]]) -> RaggedRows:
    """Sequences by column as ragged rows; all columns have the same lengths."""
    first = next(iter(sequences.values()))
    offsets = np.zeros(len(first) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in first], out=offsets[1:])
    columns = {
        name: torch.from_numpy(np.concatenate(rows) if rows else np.empty(0, dtype=np.int32))
        for name, rows in sequences.items()
    }
    return RaggedRows(columns, torch.from_numpy(offsets))
