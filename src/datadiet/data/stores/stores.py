"""Stores of encoded rows: held in memory, or streamed and decoded a batch at a time, whichever fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from datadiet.data.columns.arrow import CHUNK_ROWS
from datadiet.data.examples import IntArray, Part
from datadiet.data.stores.batches import Encoding, Rows, Store, lengths_of


class MemoryStore(Store):
    """All rows encoded once and held in memory, on the device if they fit there; a batch is an index."""

    in_memory = True

    def __init__(self, part: Part, encoding: Encoding, device: torch.device) -> None:
        super().__init__(part, encoding, device)
        rows = encoding.encode_all(part)
        if device.type == "cuda" and rows.nbytes <= torch.cuda.mem_get_info(device)[0] // 4:
            rows = rows.to(device)
        self.rows = rows

    def lengths(self) -> IntArray | None:
        """How long the sequence of each example is, in the order of ids; None where all have one shape."""
        return lengths_of(self.rows)

    def _rows(self, positions: list[Tensor]) -> Iterator[Rows]:
        for where in positions:
            yield self.rows.take(where)


class EncodedPart(Dataset[Rows]):
    """Lists of positions -> encoded rows. Picklable, so that workers can be forked or spawned."""

    def __init__(self, part: Part, encoding: Encoding) -> None:
        self.part = part
        self.encoding = encoding

    def __getitem__(self, positions: Any) -> Rows:
        return self.encoding.encode(self.part, positions.numpy())


class Schedule(Sampler[Tensor]):
    """The positions of each batch of the epoch that comes next."""

    def __init__(self) -> None:
        self.positions: list[Tensor] = []

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.positions)

    def __len__(self) -> int:
        return len(self.positions)


def _as_it_is(rows: Any) -> Any:
    return rows


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
        self._schedule = Schedule()
        self._loader: DataLoader[Rows] | None = None
        self._busy = False
        self._lengths: IntArray | None = None
        self._measured = False

    def lengths(self) -> IntArray | None:
        """How long the sequence of each example is, in the order of ids; None where all have one shape.

        The first call encodes all examples once for it, and keeps nothing but the lengths.
        """
        if not self._measured:
            one = self.encoding.encode(self.part, np.zeros(min(1, len(self)), dtype=np.int64))
            if lengths_of(one) is not None:
                found = [
                    lengths_of(
                        self.encoding.encode(self.part, np.arange(len(self))[start : start + CHUNK_ROWS])
                    )
                    for start in range(0, len(self), CHUNK_ROWS)
                ]
                self._lengths = np.concatenate([lengths for lengths in found if lengths is not None])
            self._measured = True
        return self._lengths

    def _rows(self, positions: list[Tensor]) -> Iterator[Rows]:
        if self._busy:
            # The workers serve one epoch at a time; another one beside it gets workers of its own.
            schedule = Schedule()
            schedule.positions = positions
            yield from self._new_loader(schedule, persistent=False)
            return
        self._busy = True
        try:
            if self._loader is None:
                self._loader = self._new_loader(self._schedule, persistent=self.num_workers > 0)
            self._schedule.positions = positions
            yield from self._loader
        finally:
            self._busy = False

    def _new_loader(self, schedule: Schedule, *, persistent: bool) -> DataLoader[Rows]:
        return DataLoader(
            EncodedPart(self.part, self.encoding),
            batch_size=None,
            sampler=schedule,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
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
