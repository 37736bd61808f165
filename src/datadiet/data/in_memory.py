"""A store that encodes all rows once and holds them in memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from datadiet.data.batches import Encoding, Store
from datadiet.data.examples import IntArray, Part
from datadiet.data.rows import Rows, lengths_of


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
