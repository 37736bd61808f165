"""How encoded examples are held in memory: one dense tensor, or ragged sequences with offsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

WORDS = "words"  # the ragged column of tokens that says which word each begins, -1 for none


@dataclass(frozen=True, eq=False)
class DenseRows:
    """Examples of one shape: `values` is (examples, ...).

    >>> DenseRows(torch.arange(6).reshape(3, 2)).take(torch.tensor([2, 0])).values.tolist()
    [[4, 5], [0, 1]]
    """

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.values.element_size() * self.values.numel()

    def take(self, positions: Tensor) -> DenseRows:
        """The rows at `positions` (int64), in that order."""
        return DenseRows(self.values.index_select(0, positions.to(self.values.device)))

    def to(self, device: torch.device) -> DenseRows:
        """The same rows on another device."""
        return DenseRows(self.values.to(device))

    def pin_memory(self) -> DenseRows:
        """The same rows in page-locked memory, from where they copy to a GPU in the background."""
        return DenseRows(self.values.pin_memory())


@dataclass(frozen=True, eq=False)
class RaggedRows:
    """Examples that are sequences: example i has `columns[name][offsets[i]:offsets[i + 1]]`.

    >>> rows = RaggedRows({"words": torch.tensor([7, 8, 9])}, torch.tensor([0, 1, 3]))
    >>> rows.take(torch.tensor([1, 0])).padded("words", 0).tolist()
    [[8, 9], [7, 0]]
    """

    columns: dict[str, Tensor]
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(t.element_size() * t.numel() for t in (self.offsets, *self.columns.values()))

    def take(self, positions: Tensor) -> RaggedRows:
        """The sequences at `positions` (int64), in that order."""
        starts = self.offsets[positions]
        lengths = self.offsets[positions + 1] - starts
        offsets = torch.zeros(len(positions) + 1, dtype=torch.int64)
        torch.cumsum(lengths, 0, out=offsets[1:])
        shifts = torch.repeat_interleave(starts - offsets[:-1], lengths)
        index = torch.arange(len(shifts), dtype=torch.int64) + shifts
        return RaggedRows({name: values[index] for name, values in self.columns.items()}, offsets)

    def padded(self, name: str, value: int) -> Tensor:
        """One column as an int64 tensor (examples, longest of them), filled up with `value`."""
        lengths = self.offsets[1:] - self.offsets[:-1]
        longest = int(lengths.max()) if len(lengths) else 0
        table = torch.full((len(lengths), longest), value, dtype=torch.int64)
        table[self.mask()] = self.columns[name].to(torch.int64)
        return table

    def mask(self) -> Tensor:
        """Where `padded` holds values and not padding: bool (examples, longest of them)."""
        lengths = self.offsets[1:] - self.offsets[:-1]
        longest = int(lengths.max()) if len(lengths) else 0
        return torch.arange(longest)[None, :] < lengths[:, None]

    def to(self, device: torch.device) -> RaggedRows:
        """These rows: sequences stay in main memory, only padded batches go to a device."""
        return self

    def pin_memory(self) -> RaggedRows:
        """These rows: batches are padded into fresh memory anyway."""
        return self


Rows = DenseRows | RaggedRows


def lengths_of(rows: Rows) -> npt.NDArray[np.int64] | None:
    """How long each sequence is, int64 (examples,); None where all examples have one shape."""
    return np.diff(rows.offsets.numpy()) if isinstance(rows, RaggedRows) else None


def join(pieces: list[Rows]) -> Rows:
    """One `Rows` from several of the same kind, in order."""
    if len(pieces) == 1:
        return pieces[0]
    dense = [piece for piece in pieces if isinstance(piece, DenseRows)]
    if len(dense) == len(pieces):
        return DenseRows(torch.cat([piece.values for piece in dense]))
    ragged = [piece for piece in pieces if isinstance(piece, RaggedRows)]
    columns = {name: torch.cat([piece.columns[name] for piece in ragged]) for name in ragged[0].columns}
    lengths = torch.cat([piece.offsets[1:] - piece.offsets[:-1] for piece in ragged])
    offsets = torch.zeros(len(lengths) + 1, dtype=torch.int64)
    torch.cumsum(lengths, 0, out=offsets[1:])
    return RaggedRows(columns, offsets)
