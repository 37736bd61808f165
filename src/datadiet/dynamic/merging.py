"""One epoch's numbers from all ranks: each example counted once, whatever ranks have seen it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from numpy.typing import NDArray


def process_count() -> int:
    """How many processes `torch.distributed` joins; 1 where it is not initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Which of these this one is."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def merged_over_ranks(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """The numbers that any rank has, NaN where none has; every rank must call it.

    Where several ranks have seen an example (the filled-up tail of an epoch), that of the first rank counts, and
    nothing is averaged: so the result has the same bits however the examples were dealt out.

    Args:
        numbers: (n,) this rank's, NaN where it has none.
    """
    world = process_count()
    if world == 1:
        return numbers
    device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
    has = ~np.isnan(numbers)
    owner = torch.from_numpy(np.where(has, np.int32(process_rank()), np.int32(world))).to(device)
    dist.all_reduce(owner, op=dist.ReduceOp.MIN)
    first = owner.cpu().numpy()
    mine = torch.from_numpy(np.where(has & (first == process_rank()), numbers, np.float32(0))).to(device)
    dist.all_reduce(mine)
    result: NDArray[np.float32] = np.where(first == world, np.float32(np.nan), mine.cpu().numpy())
    return result
