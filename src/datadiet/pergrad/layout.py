"""Where the examples of a batch lie inside a tensor, and how that is found out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

SAMPLES = 128


class NeedsPlanError(Exception):
    """The shapes alone do not say where the examples lie: one example must be run by itself first.

    `repeats` is the place in the plan of a call that seems to copy a parameter for each example.
    """

    def __init__(self, message: str, repeats: int | None = None) -> None:
        super().__init__(message)
        self.repeats = repeats


class OpaqueError(Exception):
    """This batch cannot be taken apart along its examples; the message says which operation is to blame.

    `parameters` names those whose modules, taken as a whole, may still be taken apart.
    """

    def __init__(self, message: str, parameters: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.parameters = tuple(parameters)


class PathError(OpaqueError):
    """The example that was run by itself took another path through the model than the batch."""


@dataclass(frozen=True)
class Layout:
    """One dimension of a tensor holds the examples, `inner` consecutive rows of each (or strided, if minor).

    `dim=None` means that the whole tensor belongs to the one example of a batch of one.
    """

    dim: int | None
    batch: int
    inner: int = 1
    major: bool = True

    def examples_first(self, tensor: torch.Tensor) -> torch.Tensor:
        """Shape (batch, *shape of one example's tensor); a view wherever strides allow."""
        if self.dim is None:
            return tensor.unsqueeze(0)
        if self.inner == 1:
            return tensor.movedim(self.dim, 0).unsqueeze(self.dim + 1)
        split = (self.batch, self.inner) if self.major else (self.inner, self.batch)
        shape = (*tensor.shape[: self.dim], *split, *tensor.shape[self.dim + 1 :])
        return tensor.reshape(shape).movedim(self.dim if self.major else self.dim + 1, 0)

    def rows(self, tensor: torch.Tensor, *trailing: int) -> torch.Tensor:
        """Shape (batch, rows of an example, *trailing); trailing are the sizes of the last dimensions."""
        first = self.examples_first(tensor)
        return first.reshape(first.shape[0], -1, *trailing)

    def is_constant(self, tensor: torch.Tensor) -> bool:
        """Whether every example has the same values."""
        first = self.examples_first(tensor.detach())
        return bool((first == first[:1]).all())


@dataclass(frozen=True)
class Fingerprint:
    """Shape and a fixed sample of the values of one tensor in the run of a single example."""

    shape: tuple[int, ...]
    sample: torch.Tensor | None

    @classmethod
    def of(cls, tensor: torch.Tensor, sampled: bool = True) -> Fingerprint:
        shape = tuple(tensor.shape)
        # A leading 1 can only grow into the batch dimension itself: no order of rows to tell apart.
        if not sampled or not shape or shape[0] == 1 or tensor.numel() == 0:
            return cls(shape, None)
        return cls(shape, tensor.detach()[_sample_index(shape, tensor.device)].clone())


def _sample_index(shape: Sequence[int], device: torch.device) -> tuple[torch.Tensor, ...]:
    """Coordinates of `SAMPLES` fixed positions, spread over the tensor by a multiplicative hash."""
    flat = torch.arange(SAMPLES, device=device) * 2654435761 % math.prod(shape)
    return torch.unravel_index(flat, tuple(shape))


def resolve(
    tensor: torch.Tensor,
    batch: int,
    candidates: Sequence[int],
    planned: Fingerprint | None,
    where: Callable[[], str],
    example: int = 0,
) -> Layout:
    """The layout of a tensor that is known to hold the whole batch.

    Without the run of a single example, only a shape that leaves no doubt is accepted: exactly one of the
    candidate dimensions is divisible by the batch size, and equal to it. With it, the dimension that grew
    is the one, and sampled values tell whether an example's rows are consecutive; `example` is its place
    in the batch. `where` says for messages what the tensor belongs to.
    """
    if batch == 1:
        return Layout(None, 1)
    shape = tuple(tensor.shape)
    if planned is None:
        divisible = [dim for dim in candidates if shape[dim] % batch == 0]
        if len(divisible) == 1 and shape[divisible[0]] == batch:
            return Layout(divisible[0], batch)
        raise NeedsPlanError(where())
    grown = []
    if len(planned.shape) == len(shape):
        grown = [dim for dim in range(len(shape)) if shape[dim] != planned.shape[dim]]
    if len(grown) != 1 or grown[0] not in candidates or shape[grown[0]] != batch * planned.shape[grown[0]]:
        raise OpaqueError(
            f"{where()}: a tensor of shape {shape} for the batch has shape {planned.shape} for one example, "
            "so its rows cannot be assigned to examples"
        )
    dim, inner = grown[0], planned.shape[grown[0]]
    if inner <= 1:
        return Layout(dim, batch)
    return Layout(dim, batch, inner, major=_is_major(tensor, dim, batch, planned, where, example))


def _is_major(
    tensor: torch.Tensor, dim: int, batch: int, planned: Fingerprint, where: Callable[[], str], example: int
) -> bool:
    if planned.sample is None:
        return True
    index = list(_sample_index(planned.shape, tensor.device))
    values = tensor.detach()
    rows = index[dim]
    index[dim] = rows + example * planned.shape[dim]
    consecutive = _close(values[tuple(index)], planned.sample)
    index[dim] = rows * batch + example
    strided = _close(values[tuple(index)], planned.sample)
    if consecutive and strided:
        # Masks and tables that are the same for every example: only the true layout makes them all equal.
        consecutive, strided = (
            Layout(dim, batch, planned.shape[dim], major).is_constant(values) for major in (True, False)
        )
    if consecutive == strided:
        raise OpaqueError(f"{where()}: the rows of a tensor of shape {tuple(tensor.shape)} mix the examples")
    return consecutive


def _close(values: torch.Tensor, expected: torch.Tensor) -> bool:
    if not values.is_floating_point():
        return bool(torch.equal(values, expected))
    tolerance = 5e-2 if values.dtype in (torch.float16, torch.bfloat16) else 1e-3
    scale = expected.abs().amax()
    return bool(((values - expected).abs().amax() <= tolerance * scale).item())
