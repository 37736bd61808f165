"""Number columns -> standardised float32 vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datadiet.data.arrow import matrix_chunks, numeric_matrix, rows_at
from datadiet.data.encodings import DenseRows, Device, MemoryFormat, Rows
from datadiet.data.examples import Examples, IntArray, Part
from datadiet.foundation.errors import BadInputError


@dataclass(frozen=True)
class VectorEncoding:
    """Vectors as float32 (examples, width): `(x - mean) / std` of each column, computed in float64.

    Standardising before rounding to float32 keeps columns with a large offset (a time stamp) exact.

    >>> import datadiet.data, numpy as np
    >>> examples = datadiet.data.load((np.arange(20.0).reshape(10, 2), np.arange(10) % 2))
    >>> VectorEncoding.fit(examples).width
    2
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, examples: Examples) -> VectorEncoding:
        """Mean and spread (population) of each column over the whole train part; a constant's spread is 1.

        Raises:
            BadInputError: the examples are not vectors.
        """
        if examples.kind != "vector":
            raise BadInputError(f"'{examples.name}' holds {examples.kind} examples, not vectors.")
        train = examples.train
        # Two passes: the sum of squares about the mean loses nothing where the mean is large.
        chunks = partial(matrix_chunks, train.dataset, train.input_columns)
        total = sum(matrix.sum(axis=0) for _, matrix in chunks())
        mean = np.asarray(total) / len(train)
        squares = sum(((matrix - mean) ** 2).sum(axis=0) for _, matrix in chunks())
        std = np.sqrt(np.asarray(squares) / len(train))
        std = np.where(std <= 1e-12 * np.maximum(1.0, np.abs(mean)), 1.0, std)
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return len(self.mean)

    def describe(self) -> dict[str, Any]:
        """What enters the content address of a run."""
        return {"encoding": "vector", "mean": list(self.mean), "std": list(self.std)}

    def storage_bytes(self, part: Part) -> int:
        """Memory that the whole part takes when encoded."""
        return 4 * len(part) * self.width

    def encode(self, part: Part, positions: IntArray) -> DenseRows:
        """The rows at `positions`."""
        table = rows_at(part.dataset, part.input_columns, positions)
        return self._standardised(numeric_matrix(table, part.input_columns))

    def encode_all(self, part: Part) -> DenseRows:
        """The whole part."""
        values = torch.empty((len(part), self.width), dtype=torch.float32)
        for start, matrix in matrix_chunks(part.dataset, part.input_columns):
            rows = self._standardised(matrix).values
            values[start : start + len(rows)] = rows
        return DenseRows(values)

    def _standardised(self, matrix: np.ndarray[Any, np.dtype[np.float64]]) -> DenseRows:
        # No rows of lists have no width of their own.
        scaled = (matrix.reshape(len(matrix), self.width) - np.asarray(self.mean)) / np.asarray(self.std)
        return DenseRows(torch.from_numpy(scaled.astype(np.float32)))

    def prepare(self, rows: Rows, device: Device = None, memory_format: MemoryFormat = None) -> Tensor:
        """Float32 (batch, width) on the device."""
        assert isinstance(rows, DenseRows)
        return rows.values if device is None else rows.values.to(device, non_blocking=True)
