"""Between Python values and a flat mapping of tensors, which any checkpoint format takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def pack_json(value: Mapping[str, Any]) -> torch.Tensor:
    """A mapping as the bytes of its JSON."""
    return torch.frombuffer(bytearray(json.dumps(value, sort_keys=True).encode()), dtype=torch.uint8)


def unpack_json(tensor: torch.Tensor) -> dict[str, Any]:
    """The mapping again."""
    content: dict[str, Any] = json.loads(tensor.cpu().numpy().tobytes())
    return content


def pack_bits(places: NDArray[Any], size: int) -> torch.Tensor:
    """Increasing places below `size`, one bit each."""
    mask = np.zeros(size, bool)
    mask[places] = True
    return torch.from_numpy(np.packbits(mask))


def unpack_bits(tensor: torch.Tensor, size: int) -> NDArray[np.int64]:
    """The places again."""
    return np.flatnonzero(np.unpackbits(tensor.cpu().numpy(), count=size))


def pack_sparse(numbers: NDArray[np.float32]) -> dict[str, torch.Tensor]:
    """Numbers that are NaN in places, in the smaller of two forms."""
    there = np.flatnonzero(~np.isnan(numbers))
    if 2 * len(there) >= len(numbers):
        return {"dense": torch.from_numpy(numbers.copy())}
    narrow = np.int32 if len(numbers) < 2**31 else np.int64
    return {"places": torch.from_numpy(there.astype(narrow)), "values": torch.from_numpy(numbers[there])}


def unpack_sparse(parts: Mapping[str, torch.Tensor], size: int) -> NDArray[np.float32]:
    """The numbers again."""
    if "dense" in parts:
        return parts["dense"].cpu().numpy().copy()
    numbers = np.full(size, np.nan, np.float32)
    numbers[parts["places"].cpu().numpy()] = parts["values"].cpu().numpy()
    return numbers


def check_identity(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Refuse the state of another sampler, naming the first thing that differs.

    Raises:
        BadInputError: they differ.
    """
    for key in mine:
        if theirs.get(key) != mine[key]:
            raise BadInputError(
                f"the state is of another sampler: its {key.replace('_', ' ')} is {theirs.get(key)!r}, "
                f"this one's is {mine[key]!r}."
            )
