"""A mask: which weights of a network stay, by name, with exact counts and a digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datadiet.errors import BadInputError
from datadiet.training.checkpoint import read_tensors, weights_hash, write_tensors


@dataclass(frozen=True, eq=False)
class Mask:
    """Which weights stay, for every parameter that was open to pruning.

    Attributes:
        parts: parameter name -> bool tensor of the parameter's shape, on the CPU; True stays.

    Example:
        >>> mask = Mask({"weight": torch.tensor([[True, False], [False, False]])})
        >>> mask.kept, mask.total, mask.sparsity
        (1, 4, 0.75)
    """

    parts: Mapping[str, torch.Tensor]

    @property
    def total(self) -> int:
        """Weights that were open to pruning."""
        return sum(part.numel() for part in self.parts.values())

    @property
    def kept(self) -> int:
        """Weights that stay."""
        return sum(int(part.sum()) for part in self.parts.values())

    @property
    def sparsity(self) -> float:
        """Share of the weights that is removed."""
        return 1 - self.kept / self.total

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is removed."""
        return all(bool(part.all()) for part in self.parts.values())

    @property
    def emptied(self) -> tuple[str, ...]:
        """Parameters of which no weight stays."""
        return tuple(name for name, part in self.parts.items() if not bool(part.any()))

    def layers(self) -> list[dict[str, Any]]:
        """One row a parameter: `name`, `total`, `kept`."""
        return [{"name": n, "total": p.numel(), "kept": int(p.sum())} for n, p in self.parts.items()]

    def digest(self) -> str:
        """SHA-256 over names, shapes and bits, 64 hexadecimal digits."""
        return weights_hash(self.parts)

    def check_model(self, model: nn.Module) -> None:
        """Refuse a model that this mask was not made for.

        Raises:
            BadInputError: a parameter is missing or has another shape.
        """
        parameters = dict(model.named_parameters())
        for name, part in self.parts.items():
            if name not in parameters:
                raise BadInputError(
                    f"The mask is of another model: it has weights {name!r}, which this model has not."
                )
            if parameters[name].shape != part.shape:
                raise BadInputError(
                    f"The mask is of another model: {name!r} has shape {tuple(part.shape)} there and "
                    f"{tuple(parameters[name].shape)} here."
                )

    def write(self, path: str | Path) -> None:
        """Write the mask as a safetensors file."""
        write_tensors(Path(path), self.parts, {"kept": self.kept, "total": self.total})

    @classmethod
    def read(cls, path: str | Path) -> Mask:
        """Read what `write` wrote.

        Raises:
            BadInputError: there is no such file.
            RunFailedError: the file is damaged.
        """
        if not Path(path).exists():
            raise BadInputError(f"There is no mask {str(path)!r}.")
        tensors, _ = read_tensors(Path(path))
        return cls({name: tensors[name].bool() for name in sorted(tensors)})
