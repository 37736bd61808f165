"""What a sampler may be given, held against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.dynamic.merging import process_count, process_rank
from datadiet.errors import BadInputError
from datadiet.tracking.trace import as_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray


def checked_ids(num_examples: Any, ids: Any, batch_size: Any) -> NDArray[np.int64] | None:
    """The explicit ids, or None where they are 0 to n - 1.

    Raises:
        BadInputError: both or neither are given, none at all, or numbers that are no counts.
    """
    if (num_examples is None) == (ids is None):
        raise BadInputError("a DynamicSampler needs either num_examples or ids.")
    for name, value in (("num_examples", num_examples), ("batch_size", batch_size)):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1
        ):
            raise BadInputError(f"{name} must be a whole number of at least 1, got {value!r}.")
    known = None if ids is None else as_ids(ids)
    if known is not None and not len(known):
        raise BadInputError("a DynamicSampler needs at least one id.")
    return known


def checked_rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and world size; those of `torch.distributed` by default.

    Raises:
        BadInputError: one without the other, or a rank that is none of the world's.
    """
    if (rank is None) != (world_size is None):
        raise BadInputError("give rank and world_size both, or neither.")
    own = process_rank() if rank is None else int(rank)
    world = process_count() if world_size is None else int(world_size)
    if not 0 <= own < world:
        raise BadInputError(f"rank {own} is not one of a world of {world}.")
    return own, world


def checked_lengths(
    lengths: Any, num_examples: int, batch_size: int | None, shuffle: bool
) -> NDArray[np.int64] | None:
    """The lengths of the examples, or None where batches are not made by them.

    Raises:
        BadInputError: not one whole number an example, or no shuffled batches to make by length.
    """
    if lengths is None:
        return None
    array = np.asarray(lengths)
    if array.shape != (num_examples,) or array.dtype.kind not in "iu":
        raise BadInputError(
            f"lengths must be one whole number for each of the {num_examples} examples, not an array of "
            f"{array.dtype} of shape {array.shape}."
        )
    if batch_size is None or not shuffle:
        raise BadInputError("lengths make batches of similar length: give batch_size, and leave shuffle on.")
    return array.astype(np.int64)
