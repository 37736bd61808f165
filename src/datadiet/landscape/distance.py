"""How far two kernels are apart, and how fast a kernel turns from epoch to epoch."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from datadiet.errors import BadInputError


def kernel_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """Distance of two kernels up to scale: `1 − ⟨K, K′⟩ / (‖K‖ ‖K′‖)` with the Frobenius product.

    0 for kernels that are multiples of each other. Gram matrices are positive semi-definite, so theirs is at
    most 1; any other pair of tensors has at most 2. It is computed in float64 as `½ ‖K/‖K‖ − K′/‖K′‖‖²`, the same
    number without the cancellation that would swallow small distances.

    Args:
        first: a kernel, any shape, for instance (n·classes, n·classes).
        second: a kernel of the same shape, of the same examples in the same order.

    Returns:
        The distance, without unit.

    Raises:
        BadInputError: if the shapes differ, or a kernel is zero or not finite.

    Source:
        Paul, Ganguli, Dziugaite 2021, "Deep Learning on a Data Diet", the section on kernel velocity;
        the distance is that of Fort et al. 2020, "Deep learning versus kernel learning".

    Example:
        >>> identity, ones = torch.eye(2), torch.ones(2, 2)
        >>> kernel_distance(identity, 3 * identity), round(kernel_distance(identity, ones), 4)
        (0.0, 0.2929)
    """
    if first.shape != second.shape:
        raise BadInputError(
            f"The kernels have shapes {tuple(first.shape)} and {tuple(second.shape)}: compare kernels of the same "
            "examples and logits."
        )
    a, b = _unit(first, "first"), _unit(second, "second")
    return min(0.5 * float((a - b).square().sum()), 2.0)


def kernel_velocity(kernels: Iterable[torch.Tensor]) -> torch.Tensor:
    """Distance between each kernel and the one before it: `v_t = kernel_distance(K_t, K_{t+1})`.

    Args:
        kernels: kernels of the same examples at consecutive epochs, a list or a generator; two are held at a time.

    Returns:
        Velocities per step between kernels, float64, shape (kernels − 1,).

    Raises:
        BadInputError: if there are fewer than two kernels, or as `kernel_distance`.

    Source:
        Paul, Ganguli, Dziugaite 2021, "Deep Learning on a Data Diet", the section on kernel velocity.

    Example:
        >>> kernel_velocity([torch.eye(2), 2 * torch.eye(2), torch.ones(2, 2)])
        tensor([0.0000, 0.2929], dtype=torch.float64)
    """
    found: list[float] = []
    before: torch.Tensor | None = None
    for kernel in kernels:
        if before is not None:
            found.append(kernel_distance(before, kernel))
        before = kernel
    if not found:
        raise BadInputError("A velocity needs at least two kernels, of consecutive epochs.")
    return torch.tensor(found, dtype=torch.float64)


def _unit(kernel: torch.Tensor, which: str) -> torch.Tensor:
    # Moved before it is widened: some devices have no float64.
    wide = kernel.detach().cpu().double()
    largest = float(wide.abs().max()) if wide.numel() else 0.0
    if not torch.isfinite(wide).all():
        raise BadInputError(
            f"The {which} kernel has entries that are not finite: the network may have diverged."
        )
    if largest == 0.0:
        raise BadInputError(f"The {which} kernel is zero everywhere and has no direction to compare.")
    scaled = wide / largest
    unit: torch.Tensor = scaled / torch.linalg.vector_norm(scaled)
    return unit
