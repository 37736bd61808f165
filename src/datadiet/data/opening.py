"""Whether the rows of a part are held in memory or streamed."""

from __future__ import annotations

import psutil
import torch

from datadiet.data.batches import Encoding, Store
from datadiet.data.examples import Part
from datadiet.data.in_memory import MemoryStore
from datadiet.data.streaming import StreamingStore


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
    >>> from datadiet.data.image_encoding import ImageEncoding
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
