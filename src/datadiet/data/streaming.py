"""A store that reads and decodes each batch when it is needed, in worker processes if wished."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from datadiet.data.batches import Encoding, Store
from datadiet.data.columns import CHUNK_ROWS
from datadiet.data.examples import IntArray, Part
from datadiet.data.rows import Rows, lengths_of


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
