"""The choice that is trained on at the moment, its weights, and both as a flat mapping of tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.dynamic.selector import Choice
from datadiet.foundation.errors import BadInputError

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


class StandingChoice:
    """Everything, or the places of a choice with their weights.

    Args:
        num_examples: n.
    """

    def __init__(self, num_examples: int) -> None:
        self.num_examples = num_examples
        self.places: NDArray[Any] | None = None  # None: everything
        self._weights: NDArray[np.float32] | None = None
        self._weights_there: torch.Tensor | None = None  # the same on an accelerator, once asked for

    @property
    def size(self) -> int:
        """How many examples stay."""
        return self.num_examples if self.places is None else len(self.places)

    @property
    def is_weighted(self) -> bool:
        """Whether some weights are not 1."""
        return self._weights is not None

    def in_order(self) -> NDArray[Any]:
        """The places, increasing; four bytes each where that is enough."""
        if self.places is None:
            return np.arange(self.num_examples, dtype=self._narrow)
        return self.places

    def take_everything(self) -> None:
        """Let everything stay, at weight 1."""
        self.places = self._weights = self._weights_there = None

    def take(self, choice: Choice) -> None:
        """Let a choice stand."""
        self.take_everything()
        self.places = choice.places.astype(self._narrow)
        if choice.weights is not None:
            self._weights = np.ones(self.num_examples, np.float32)
            self._weights[choice.places] = choice.weights

    def weights_at(self, places: torch.Tensor) -> torch.Tensor:
        """(batch,) float32 weights on the device of the places."""
        if self._weights is None:
            return torch.ones(len(places), device=places.device)
        if places.is_cpu:
            return torch.from_numpy(self._weights[places.numpy()])
        if self._weights_there is None or self._weights_there.device != places.device:
            self._weights_there = torch.from_numpy(self._weights).to(places.device)
        return self._weights_there[places]

    def state(self) -> dict[str, torch.Tensor]:
        """One bit an example, and a float for each that stays where there are weights."""
        if self.places is None:
            return {}
        state = {"choice.bits": pack_bits(self.places, self.num_examples)}
        if self._weights is not None:
            state["choice.weights"] = torch.from_numpy(self._weights[self.places])
        return state

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """The same choice again."""
        self.take_everything()
        if "choice.bits" in state:
            weights = state["choice.weights"].cpu().numpy() if "choice.weights" in state else None
            self.take(Choice(unpack_bits(state["choice.bits"], self.num_examples), weights))

    @property
    def _narrow(self) -> type[Any]:
        return np.int32 if self.num_examples < 2**31 else np.int64


def with_always(choice: Choice, always: NDArray[np.int64], num_examples: int, name: str) -> Choice:
    """The choice with the places that have to stay, at weight 1 where it left them out.

    Raises:
        BadInputError: the choice is not of strictly increasing places of what there is.
    """
    places, weights = np.asarray(choice.places, np.int64), choice.weights
    if len(places) and (places[0] < 0 or places[-1] >= num_examples or (np.diff(places) <= 0).any()):
        raise BadInputError(
            f"selector {name!r} must choose strictly increasing places from 0 to {num_examples - 1}."
        )
    missing = np.setdiff1d(always, places, assume_unique=True) if len(always) else always
    if not len(missing):
        return Choice(places, weights)
    both = np.concatenate((places, missing))
    order = np.argsort(both, kind="stable")
    if weights is not None:
        weights = np.concatenate((weights, np.ones(len(missing), np.float32)))[order]
    return Choice(both[order], weights)
