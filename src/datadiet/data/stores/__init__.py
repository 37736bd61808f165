"""Encoded examples in memory or streamed, whichever fits, and batches of them with their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datadiet.data.arrow import CHUNK_ROWS
from datadiet.data.encodings import WORDS, Encoding, Inputs, RaggedRows, Rows
from datadiet.data.encodings.images import Augmentation
from datadiet.data.examples import IntArray, Part
from datadiet.data.stores.order import BUCKET_BATCHES, by_length, order_of, shards
from datadiet.foundation.errors import BadInputError

Targets = Tensor | dict[str, Tensor]


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
        positions = self.part.positions_of(self.ids if ids is None else ids)
        try:
            # Ids are increasing, so positions are put in the order that ids would be put in.
            positions = order_of(positions, seed=seed, epoch=epoch)
            lengths = self.lengths() if bucket_by_length else None
            if lengths is not None:
                run = BUCKET_BATCHES if bucket_by_length is True else int(bucket_by_length)
                if run < 1 or batch_size < 1:
                    raise ValueError("bucket_by_length and batch_size must be at least 1.")
                places = by_length(
                    lengths[positions], batch_size=batch_size, seed=seed, epoch=epoch, bucket_batches=run
                )
                positions = positions[places]
            steps = shards(
                positions, batch_size=batch_size, rank=rank, world_size=world_size, start_batch=start_batch
            )
        except ValueError as error:
            raise BadInputError(str(error)) from error
        target = self.device if device is None else torch.device(device)
        return self._batches(steps, target, seed or 0, epoch, augment, memory_format)

    def lengths(self) -> IntArray | None:
        """How long the sequence of each example is, in the order of ids; None where all have one shape."""
        raise NotImplementedError

    def given_batches(
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
            ids = self._ids[where].to(device, non_blocking=True)
            rows = rows.to(device)
            if augment is not None:
                if not hasattr(self.encoding, "augmented"):
                    raise BadInputError(f"Augmentation is for images; leave it off for {self.part.kind}s.")
                rows = self.encoding.augmented(rows, augment, ids, seed, epoch)
            inputs = self.encoding.prepare(rows, device, memory_format)
            yield Batch(ids, inputs, self._targets(where, rows, device))

    def _targets(self, where: Tensor, rows: Rows, device: torch.device) -> Targets:
        """Targets of the rows at the positions `where`, on the device."""
        targets = self.part.targets
        if targets is not None and targets.offsets is None:
            return torch.from_numpy(targets.values[where.numpy()]).to(device, non_blocking=True)
        classes = self._labels[where].to(device, non_blocking=True)
        if targets is None or not isinstance(rows, RaggedRows) or WORDS not in rows.columns:
            return classes
        tags = torch.from_numpy(targets.aligned(where.numpy(), rows.padded(WORDS, -1).numpy()))
        slots = tags.to(device, non_blocking=True)
        return slots if targets.task == "token_classification" else {"intent": classes, "slots": slots}

    def _rows(self, positions: list[Tensor]) -> Iterator[Rows]:
        raise NotImplementedError


def _lengths_of(rows: Rows) -> IntArray | None:
    return rows.lengths().numpy() if isinstance(rows, RaggedRows) else None


class MemoryStore(Store):
    """All rows encoded once and held in memory, on the device if they fit there; a batch is an index."""

    in_memory = True

    def __init__(self, part: Part, encoding: Encoding, device: torch.device) -> None:
        super().__init__(part, encoding, device)
        self.rows = encoding.encode_all(part)
        if device.type == "cuda" and self.rows.nbytes <= torch.cuda.mem_get_info(device)[0] // 4:
            self.rows = self.rows.to(device)

    def lengths(self) -> IntArray | None:
        """As of any store."""
        return _lengths_of(self.rows)

    def _rows(self, positions: list[Tensor]) -> Iterator[Rows]:
        return (self.rows.take(where) for where in positions)


@dataclass(eq=False)
class EncodedPart(Dataset[Rows]):
    """Lists of positions -> encoded rows. Picklable, so that workers can be forked or spawned."""

    part: Part
    encoding: Encoding

    def __getitem__(self, positions: Any) -> Rows:
        return self.encoding.encode(self.part, positions.numpy())


class StreamingStore(Store):
    """Rows are encoded batch by batch; workers live as long as the store."""

    in_memory = False

    def __init__(
        self,
        part: Part,
        encoding: Encoding,
        device: torch.device,
        *,
        num_workers: int = 0,
        start_method: str | None = None,
    ) -> None:
        super().__init__(part, encoding, device)
        self.num_workers = num_workers
        self.start_method = start_method
        self._positions: list[Tensor] = []  # what the loader reads in the epoch that comes next
        self._loader: DataLoader[Rows] | None = None
        self._busy = False

    def lengths(self) -> IntArray | None:
        """As of any store; the first call encodes all examples for it, and keeps nothing but the lengths."""
        return self._lengths

    @cached_property
    def _lengths(self) -> IntArray | None:
        places = np.arange(len(self))
        if _lengths_of(self.encoding.encode(self.part, places[:1])) is None:
            return None
        chunks = (places[start : start + CHUNK_ROWS] for start in range(0, len(self), CHUNK_ROWS))
        found = [_lengths_of(self.encoding.encode(self.part, chunk)) for chunk in chunks]
        return np.concatenate([lengths for lengths in found if lengths is not None])

    def _rows(self, positions: list[Tensor]) -> Iterator[Rows]:
        if self._busy:
            # The workers serve one epoch at a time; another one beside it gets workers of its own.
            yield from self._new_loader(positions, persistent=False)
            return
        self._busy = True
        try:
            if self._loader is None:
                self._loader = self._new_loader(self._positions, persistent=self.num_workers > 0)
            self._positions[:] = positions
            yield from self._loader
        finally:
            self._busy = False

    def _new_loader(self, positions: list[Tensor], *, persistent: bool) -> DataLoader[Rows]:
        return DataLoader(
            EncodedPart(self.part, self.encoding),
            batch_size=None,
            sampler=positions,
            num_workers=self.num_workers,
            persistent_workers=persistent,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context=self.start_method if self.num_workers else None,
            # A generator of its own, because the loader would draw from the global one.
            generator=torch.Generator().manual_seed(0),
        )


def open_store(
    part: Part,
    encoding: Encoding,
    *,
    memory_limit: int | None = None,
    num_workers: int = 0,
    device: torch.device | str = "cpu",
    start_method: str | None = None,
) -> Store:
    """A store of all examples of a part: in memory if they fit in `memory_limit` bytes, streamed otherwise.

    Args:
        memory_limit: bytes; a quarter of the available memory if left out; 0 streams always.
        num_workers: processes that read and decode for a streaming store; 0 does it in this one.
        device: where batches are delivered.
        start_method: "fork", "spawn" or "forkserver" for the workers; the platform's own if left out.

    >>> import datadiet.data
    >>> from datadiet.data.encodings.images import ImageEncoding
    >>> examples = datadiet.data.load("digits")
    >>> store = open_store(examples.test, ImageEncoding.fit(examples))
    >>> batch = next(store.epoch(batch_size=100, seed=0))
    >>> store.in_memory, len(batch), batch.inputs.shape
    (True, 100, torch.Size([100, 1, 8, 8]))
    """
    limit = psutil.virtual_memory().available // 4 if memory_limit is None else memory_limit
    target = torch.device(device)
    if encoding.storage_bytes(part) <= limit:
        return MemoryStore(part, encoding, target)
    return StreamingStore(part, encoding, target, num_workers=num_workers, start_method=start_method)
