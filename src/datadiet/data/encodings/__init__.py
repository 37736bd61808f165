"""What every encoding shares: rows of encoded examples, and how raw columns become them and then inputs of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from datadiet.data.arrow import offsets_of
from datadiet.data.examples import IntArray, Part

Inputs = Tensor | dict[str, Tensor]
Device = torch.device | None
MemoryFormat = torch.memory_format | None
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
        return DenseRows(self.values.to(device, non_blocking=True))

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

    def lengths(self) -> Tensor:
        """How long each sequence is, int64 (examples,)."""
        return self.offsets[1:] - self.offsets[:-1]

    def take(self, positions: Tensor) -> RaggedRows:
        """The sequences at `positions` (int64), in that order."""
        starts = self.offsets[positions]
        lengths = self.offsets[positions + 1] - starts
        offsets = torch.from_numpy(offsets_of(lengths.numpy()))
        shifts = torch.repeat_interleave(starts - offsets[:-1], lengths)
        index = torch.arange(len(shifts), dtype=torch.int64) + shifts
        return RaggedRows({name: values[index] for name, values in self.columns.items()}, offsets)

    def padded(self, name: str, value: int) -> Tensor:
        """One column as an int64 tensor (examples, longest of them), filled up with `value`."""
        mask = self.mask()
        table = torch.full(mask.shape, value, dtype=torch.int64)
        table[mask] = self.columns[name].to(torch.int64)
        return table

    def mask(self) -> Tensor:
        """Where `padded` holds values and not padding: bool (examples, longest of them)."""
        lengths = self.lengths()
        longest = int(lengths.max()) if len(lengths) else 0
        return torch.arange(longest)[None, :] < lengths[:, None]

    def to(self, device: torch.device) -> RaggedRows:
        """These rows: sequences stay in main memory, only padded batches go to a device."""
        return self


Rows = DenseRows | RaggedRows


def join(pieces: list[RaggedRows]) -> RaggedRows:
    """One block of rows from several with the same columns, in order."""
    columns = {name: torch.cat([piece.columns[name] for piece in pieces]) for name in pieces[0].columns}
    lengths = torch.cat([piece.lengths() for piece in pieces])
    return RaggedRows(columns, torch.from_numpy(offsets_of(lengths.numpy())))


class Encoding(Protocol):
    """How raw rows become stored rows, and stored rows become the inputs of a model."""

    def describe(self) -> dict[str, Any]:
        """What enters the content address of a run."""

    def storage_bytes(self, part: Part) -> int:
        """Memory that the whole part takes when encoded."""

    def encode(self, part: Part, positions: IntArray) -> Rows:
        """The rows at `positions` of the part."""

    def encode_all(self, part: Part) -> Rows:
        """All rows of the part."""

    def prepare(self, rows: Rows, device: Device = None, memory_format: MemoryFormat = None) -> Inputs:
        """The inputs of a model."""
