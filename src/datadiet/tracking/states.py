"""Parts of a state that is loaded: each is there, of its type and of its size, before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.foundation.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORDS = {"i": "whole numbers", "u": "bytes", "f": "numbers", "b": "truth values"}


class StateParts:
    """The parts of a state by name, checked as they are read.

    Args:
        state: a mapping of tensors, as `state_dict` gives it.
        owner: whose it is, as errors call it.

    Raises:
        BadInputError: it is no mapping.

    Example:
        >>> parts = StateParts({"epoch": torch.tensor(3)}, "recorder")
        >>> parts.number("epoch")
        3
        >>> parts.array("labels", "i", 5)
        Traceback (most recent call last):
        ...
        datadiet.foundation.errors.BadInputError: The recorder's state has no 'labels'; load a state that it saved.
    """

    def __init__(self, state: Any, owner: str) -> None:
        self.owner = owner
        if not isinstance(state, Mapping):
            raise BadInputError(f"A {owner}'s state is a mapping of tensors, not {type(state).__name__}.")
        self.state: Mapping[str, Any] = state

    def __contains__(self, name: str) -> bool:
        return name in self.state

    def array(self, name: str, kind: str, *shape: int | None) -> NDArray[Any]:
        """A part as an array of its own.

        Args:
            name: of the part.
            kind: of its numbers, as numpy calls it: "i", "u", "f" or "b".
            shape: its size; None for any.

        Raises:
            BadInputError: it is not there, or is of another type or size.
        """
        if name not in self.state:
            raise BadInputError(f"The {self.owner}'s state has no {name!r}; load a state that it saved.")
        part = self.state[name]
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().numpy() if part.dtype != torch.bfloat16 else part
        fits = isinstance(part, np.ndarray) and part.dtype.kind == kind and part.ndim == len(shape)
        if not fits or any(
            wanted not in (None, size) for wanted, size in zip(shape, part.shape, strict=True)
        ):
            found = (
                f"{part.dtype} of shape {tuple(part.shape)}"
                if hasattr(part, "shape")
                else type(part).__name__
            )
            sizes = tuple("any" if size is None else size for size in shape)
            raise self.wrong(name, f"is {found}; it must be {_WORDS[kind]} of shape {sizes}".replace("'", ""))
        return np.array(part)

    def number(self, name: str, least: int = 0) -> int:
        """A whole number of at least so much.

        Raises:
            BadInputError: it is not there, or is something else.
        """
        found = int(self.array(name, "i"))
        if found < least:
            raise self.wrong(name, f"is {found}; it must be {least} or more")
        return found

    def places(self, name: str, count: int) -> NDArray[Any]:
        """Places of so many examples, strictly increasing.

        Raises:
            BadInputError: they are not there, or are something else.
        """
        found = self.array(name, "i", None)
        if len(found) and (found[0] < 0 or found[-1] >= count or (np.diff(found) <= 0).any()):
            raise self.wrong(name, f"holds no increasing places of {count} examples")
        return found

    def wrong(self, name: str, what: str) -> BadInputError:
        """The error for a part, and what is wrong with it."""
        return BadInputError(f"{name!r} of the {self.owner}'s state {what}. Load a state that it saved.")
