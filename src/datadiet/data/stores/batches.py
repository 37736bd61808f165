"""Encoded rows as they are held, and batches of them with their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datadiet.data.examples import IntArray, Part
from datadiet.data.stores.augment import Augmentation
from datadiet.data.stores.order import BUCKET_BATCHES, by_length, num_batches, order_of, shards
from datadiet.foundation.errors import BadInputError

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


Inputs = Tensor | dict[str, Tensor]
Targets = Tensor | dict[str, Tensor]


class Encoding(Protocol):
    """How raw rows become stored rows, and stored rows become the inputs of a model."""

    def describe(self) -> dict[str, Any]:
        """What enters the content address of a run."""
        ...

    def storage_bytes(self, part: Part) -> int:
        """Memory that the whole part takes when encoded."""
        ...

    def encode(self, part: Part, positions: IntArray) -> Rows:
        """The rows at `positions` of the part."""
        ...

    def encode_all(self, part: Part) -> Rows:
        """All rows of the part."""
        ...

    def augmented(self, rows: Rows, augment: Augmentation, ids: Tensor, seed: int, epoch: int) -> Rows:
        """The rows after random changes that depend on (seed, epoch, id) alone."""
        ...

    def prepare(
        self, rows: Rows, device: torch.device | None = None, memory_format: torch.memory_format | None = None
    ) -> Inputs:
        """The inputs of a model."""
        ...


@dataclass
class Batch:
    """Some examples on one device: `ids` int64 (batch,), `inputs` and `targets`.

    What the targets are depends on the task: classes int64 (batch,); for intents with slots
    `{"intent": int64 (batch,), "slots": int64 (batch, tokens)}`; tags int64 (batch, tokens); 0s and 1s
    float32 (batch, labels); numbers float32 (batch,). A token that is not the first of a word has the tag
    `IGNORED` (-100), as have special tokens and padding. An encoding that does not keep where words begin
    cannot align tags: then the targets are the classes.
    """

    ids: Tensor
    inputs: Inputs
    targets: Targets

    def __len__(self) -> int:
        return len(self.ids)


class Store:
    """All examples of one part, ready to be batched; made by `open_store`.

    `in_memory` says whether the rows are one tensor in memory or are read and decoded for each batch;
    the batches are the same, bit for bit.
    """

    in_memory: bool

    def __init__(self, part: Part, encoding: Encoding, device: torch.device) -> None:
        self.part = part
        self.encoding = encoding
        self.device = device
        self._ids = torch.from_numpy(part.ids.copy())
        self._labels = torch.from_numpy(part.labels.copy())

    @property
    def ids(self) -> IntArray:
        """The ids of all examples, increasing."""
        return self.part.ids

    def __len__(self) -> int:
        return len(self.part)

    def num_batches(self, num_ids: int, batch_size: int) -> int:
        """Steps of an epoch over `num_ids` examples; the last, smaller batch counts."""
        return num_batches(num_ids, batch_size)

    def epoch(
        self,
        ids: npt.ArrayLike | None = None,
        *,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
        augment: Augmentation | None = None,
        rank: int = 0,
        world_size: int = 1,
        start_batch: int = 0,
        bucket_by_length: bool | int = False,
        device: torch.device | str | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> Iterator[Batch]:
        """The batches of one epoch.

        Args:
            ids: the examples to see, all if left out; their order does not matter.
            batch_size: examples of a global batch; this rank gets every `world_size`-th of it from `rank` on.
                All ranks take the same number of steps; the share of a small last batch may be empty.
            seed: seed of the order and of the augmentation; without it, examples come in id order.
            epoch: counts up; each has its own order and its own augmentation.
            augment: random changes of images.
            start_batch: skips that many global batches without reading them.
            bucket_by_length: put sequences of similar length into one batch, so that less is padded: each
                run of so many global batches (True: 50) is sorted by length, cut again and its batches
                shuffled; without a seed, all are sorted. Sizes of batches stay as they are. Changes nothing
                where examples have one shape.
            device: where batches are wanted; the store's own if left out.
            memory_format: e.g. `torch.channels_last`.

        Raises:
            BadInputError: unknown ids, or a batch size, rank or start that cannot be.
        """
        wanted = self.ids if ids is None else np.asarray(ids).reshape(-1)
        if wanted.size and wanted.dtype.kind not in "iu":
            raise BadInputError(f"Example ids are whole numbers, not {wanted.dtype}; pass an int64 array.")
        try:
            ordered = order_of(wanted, seed=seed, epoch=epoch)
            positions = self.part.positions_of(ordered)
            lengths = self.lengths() if bucket_by_length else None
            if lengths is not None:
                run = BUCKET_BATCHES if bucket_by_length is True else int(bucket_by_length)
                if run < 1 or batch_size < 1:
                    raise ValueError("bucket_by_length and batch_size must be at least 1.")
                positions = positions[
                    by_length(
                        lengths[positions], batch_size=batch_size, seed=seed, epoch=epoch, bucket_batches=run
                    )
                ]
            steps = shards(
                positions,
                batch_size=batch_size,
                rank=rank,
                world_size=world_size,
                start_batch=start_batch,
            )
        except ValueError as error:
            raise BadInputError(str(error)) from error
        target = self.device if device is None else torch.device(device)
        return self._batches(steps, target, seed or 0, epoch, augment, memory_format)

    def lengths(self) -> IntArray | None:
        """How long the sequence of each example is, in the order of ids; None where all have one shape."""
        raise NotImplementedError

    def dealt(
        self,
        batches: Sequence[npt.ArrayLike],
        *,
        seed: int,
        epoch: int,
        augment: Augmentation | None = None,
        device: torch.device | str | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> Iterator[Batch]:
        """Batches of ids that somebody else has chosen and ordered; `seed` and `epoch` are of the augmentation.

        Args:
            batches: the ids of each batch, this rank's share of it.

        Raises:
            BadInputError: unknown ids.

        Others are those of `epoch`.
        """
        steps = [self.part.positions_of(ids) for ids in batches]
        target = self.device if device is None else torch.device(device)
        return self._batches(steps, target, seed, epoch, augment, memory_format)

    def _batches(
        self,
        steps: list[IntArray],
        device: torch.device,
        seed: int,
        epoch: int,
        augment: Augmentation | None,
        memory_format: torch.memory_format | None,
    ) -> Iterator[Batch]:
        positions = [torch.from_numpy(step) for step in steps]
        for where, rows in zip(positions, self._rows(positions), strict=True):
            ids = self._ids[where]
            on_device = ids.to(device, non_blocking=True)
            if isinstance(rows, DenseRows):
                rows = DenseRows(rows.values.to(device, non_blocking=True))
            if augment is not None:
                rows = self.encoding.augmented(rows, augment, on_device, seed, epoch)
            inputs = self.encoding.prepare(rows, device, memory_format)
            yield Batch(on_device, inputs, self._targets(where, rows, device))

    def _targets(self, where: Tensor, rows: Rows, device: torch.device) -> Targets:
        """Targets of the rows at the positions `where`, on the device."""
        targets = self.part.targets
        found = self._labels[where]
        if targets is not None and targets.offsets is None:
            found = torch.from_numpy(targets.values[where.numpy()])
        elif targets is not None and isinstance(rows, RaggedRows) and WORDS in rows.columns:
            tags = targets.aligned(where.numpy(), rows.padded(WORDS, -1).numpy())
            slots = torch.from_numpy(tags).to(device, non_blocking=True)
            if targets.task == "token_classification":
                return slots
            return {"intent": found.to(device, non_blocking=True), "slots": slots}
        return found.to(device, non_blocking=True)

    def _rows(self, positions: list[Tensor]) -> Iterator[Rows]:
        raise NotImplementedError
