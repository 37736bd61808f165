"""The data-dependent neural tangent kernel of a network on some examples, and how far two kernels are apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from datadiet.foundation.errors import BadInputError
from datadiet.landscape.gram import LogitRows, explicit_gram, implicit_gram
from datadiet.pergrad.batches import module_label, uncompiled
from datadiet.pergrad.calls import ForwardFunction
from datadiet.pergrad.eager import plainly_differentiable, recurrent_kernels
from datadiet.pergrad.parameters import Selection, choose_parameters, preserved_state
from datadiet.pergrad.refusals import refuse_parameters

DEFAULT_MEMORY = 2 * 1024**3


def refuse_training_mode(model: nn.Module) -> None:
    """Raise unless every module is in evaluation mode and BatchNorm has running statistics.

    Raises:
        BadInputError: naming the module; one that acts otherwise while training, if there is one.
    """
    training = [(name, module) for name, module in model.named_modules() if module.training]
    acting = [pair for pair in training if isinstance(pair[1], (_BatchNorm, _DropoutNd))]
    for name, module in (*acting, *training):
        raise BadInputError(f"{module_label(name, module)} is in training mode: call model.eval() first.")
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise BadInputError(
                f"{module_label(name, module)} keeps no running statistics and normalises with those of the batch, "
                "so an example has no gradient of its own: use track_running_stats=True."
            )


def ntk_gram(
    model: nn.Module,
    inputs: Any,
    *,
    parameters: Selection = "all",
    outputs: Sequence[int] | None = None,
    method: Literal["auto", "explicit", "implicit"] = "auto",
    chunk_size: int | None = None,
    max_memory: int | None = None,
    autocast: torch.dtype | None = None,
    forward: ForwardFunction | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Gram matrix of the logit gradients: `K[(i,c),(j,d)] = ⟨∇_θ f_c(x_i), ∇_θ f_d(x_j)⟩`, exact.

    The explicit form holds the gradients of all logits for one block of parameters at a time and adds the blocks'
    products. The implicit form holds no more than a few gradients, and takes a product of the kernel with each
    unit vector; "auto" takes it where the explicit form would need more blocks than there are examples. The model
    is left as it was found: flags, `.grad`, buffers and random generators.

    Args:
        model: any module in evaluation mode whose examples do not interact; buffers are constants, shared
            parameters count once.
        inputs: examples, tensor (n, ...) on the model's device, or such tensors in a tuple, list, mapping or
            dataclass; a mapping is passed by keyword where `forward` takes its names.
        parameters: "all" that require gradients, a regular expression searched for in parameter names, or a
            callable `(name, parameter) -> bool`.
        outputs: positions of the logits to take; all of them by default.
        method: "explicit", "implicit" or "auto".
        chunk_size: parameters in a block of the explicit form; by default as many as fit.
        max_memory: bytes to aim at beside the model and its activations; 2 GiB by default.
        autocast: torch.bfloat16 or torch.float16 to run the model under autocast.
        forward: `(model, inputs) -> outputs`, where neither `model(inputs)` nor `model(**inputs)` is right.
        progress: called with (done, total) as the work goes on.

    Returns:
        Symmetric, positive semi-definite up to rounding, shape (n·classes, n·classes), row `i·classes + c` for
        logit c of example i; `.view(n, classes, n, classes)` separates them. In squared units of a logit's
        gradient. Float64 for a float64 model, else float32, summed in float64 where the device has it.

    Raises:
        BadInputError: if a module is in training mode or draws at random (the message names it), no parameter is
            chosen, one holds complex numbers, the logits do not depend on the parameters, or the Gram matrix alone
            exceeds `max_memory`.

    Source:
        Paul, Ganguli, Dziugaite 2021, "Deep Learning on a Data Diet", the section on kernel velocity; the
        implicit form: Novak, Sohl-Dickstein, Schoenholz 2022, "Fast Finite Width Neural Tangent Kernel",
        NTK-vector products.

    Example:
        >>> model = nn.Linear(2, 1, bias=False).eval()
        >>> ntk_gram(model, torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
        tensor([[25.,  8.],
                [ 8.,  4.]])
    """
    model = uncompiled(model)
    _check_numbers(method, chunk_size, max_memory)
    refuse_training_mode(model)
    refuse_parameters(model)
    chosen = choose_parameters(model, parameters)
    for name, parameter in chosen.items():
        if parameter.is_complex():
            raise BadInputError(
                f"`{name}` holds complex numbers, which the kernel is not defined for here: leave it out with "
                "parameters=, a function (name, parameter) -> bool."
            )
    memory = DEFAULT_MEMORY if max_memory is None else max_memory
    narrow = torch.float64 if any(p.dtype == torch.float64 for p in chosen.values()) else torch.float32
    on_mps = next(iter(chosen.values())).device.type == "mps"
    wide = torch.float32 if on_mps else torch.float64

    kernels = recurrent_kernels(model)
    with plainly_differentiable(), preserved_state(model), kernels, warnings.catch_warnings():
        # Operations without a batching rule are looped over: slower, and nothing the caller can change.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        rows = LogitRows(model, inputs, outputs, forward, autocast)
        left = memory - rows.total**2 * (wide.itemsize + narrow.itemsize)
        if left <= 0:
            raise BadInputError(
                f"The Gram matrix of {rows.examples} examples x {rows.classes} logits takes "
                f"{(memory - left) / 1e9:.1f} GB, more than max_memory: take fewer examples, some of the logits "
                "(outputs=), or more memory."
            )
        _check_dependence(rows, chosen)
        columns = chunk_size or max(1, left * 3 // 4 // (rows.total * narrow.itemsize))
        report = progress or _silent
        if method == "auto" and chunk_size is None:
            # To go through all examples once for each block may cost more than through all for each example.
            size = sum(parameter.numel() for parameter in chosen.values())
            method = "implicit" if -(-size // columns) > rows.examples else "explicit"
        if method == "implicit":
            gram = implicit_gram(rows, chosen, left, wide, report)
        else:
            gram = explicit_gram(rows, chosen, columns, left // 4, wide, narrow, report)
        return gram.to(narrow)


def _check_numbers(method: str, chunk_size: int | None, max_memory: int | None) -> None:
    if method not in ("auto", "explicit", "implicit"):
        raise BadInputError(f"method={method!r} is not one of 'auto', 'explicit', 'implicit'.")
    if chunk_size is not None and chunk_size < 1:
        raise BadInputError(f"chunk_size is a number of parameters above zero, not {chunk_size}.")
    if chunk_size is not None and method == "implicit":
        raise BadInputError("chunk_size is for the explicit form; limit the implicit one with max_memory.")
    if max_memory is not None and max_memory < 1:
        raise BadInputError(f"max_memory is a number of bytes above zero, not {max_memory}.")


def _check_dependence(rows: LogitRows, chosen: dict[str, torch.Tensor]) -> None:
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    logits = rows.of(0, 1)
    reached: Sequence[torch.Tensor | None] = ()
    if logits.requires_grad:
        reached = torch.autograd.grad(logits.sum(), list(chosen.values()), allow_unused=True)
    if all(gradient is None for gradient in reached):
        raise BadInputError(
            "The logits do not depend on the chosen parameters: choose others, or look for a detach() in the model."
        )


def _silent(done: int, total: int) -> None:
    """Report to nobody."""


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
