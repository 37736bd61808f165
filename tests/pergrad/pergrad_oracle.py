"""The slow way: a float64 copy of the model, one example at a time, plain autograd; and models worth testing it on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from datadiet.pergrad import gradient_norms


def cross_entropy(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(getattr(outputs, "logits", outputs), targets, reduction="none")


def in_double(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: in_double(entry) for key, entry in value.items()}
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def oracle(
    model: nn.Module, inputs: Any, targets: torch.Tensor, loss: Callable[..., torch.Tensor] = cross_entropy
) -> dict[str, torch.Tensor]:
    """Gradient norm of each example by parameter name, each of shape (batch,), float64."""
    model = copy.deepcopy(model).double()
    names = [name for name, p in model.named_parameters()]
    rows = []
    for i in range(len(targets)):
        one = {k: v[i : i + 1] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[i : i + 1]
        one = in_double(one)
        outputs = model(**one) if isinstance(one, dict) else model(one)
        value = loss(outputs, targets[i : i + 1]).sum()
        found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
        rows.append(torch.tensor([0.0 if g is None else float(g.norm()) for g in found], dtype=torch.float64))
    table = torch.stack(rows)
    return {name: table[:, column] for column, name in enumerate(names)}


def total(by_name: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(by_name.values())).square().sum(0).sqrt()


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((found.double() - expected).abs() / expected.clamp_min(1e-12)).max())


def lively(model: nn.Module) -> nn.Module:
    """Scales, shifts and running statistics away from their initial ones and zeros."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() <= 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.3 * torch.randn_like(buffer))
            if name.endswith("running_var"):
                buffer.mul_(1.0 + torch.rand_like(buffer))
    return model.eval()


def assert_exact(model: nn.Module, inputs: Any, targets: torch.Tensor, **options: Any) -> None:
    """Within 1e-4 in float32 and 1e-9 in float64 of the loop, in total and for each parameter."""
    loss = options.get("loss", cross_entropy)
    by_name = oracle(model, inputs, targets, loss)
    expected = total(by_name)
    found = gradient_norms(model, inputs, targets, **options)
    assert found.shape == (len(targets),) and found.dtype == torch.float32
    assert relative_error(found, expected) <= 1e-4
    double = copy.deepcopy(model).double()
    found = gradient_norms(double, in_double(inputs), targets, **options)
    assert found.dtype == torch.float64
    assert relative_error(found, expected) <= 1e-9
    by_layer = gradient_norms(double, in_double(inputs), targets, per_layer=True, **options)
    assert set(by_layer) == set(by_name)
    for name, norms in by_layer.items():
        # A gradient that is zero but for rounding (the bias of an attention key) has no relative error.
        assert bool(((norms - by_name[name]).abs() <= 1e-9 * by_name[name] + 1e-9 * expected).all()), name


def norms_by_loop(model: nn.Module, loss_of: Callable[[int], torch.Tensor], examples: int) -> torch.Tensor:
    """Gradient norm of `loss_of(i)` for each example by autograd alone, over parameters that require gradients."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for i in range(examples):
        found = torch.autograd.grad(loss_of(i), wanted, allow_unused=True)
        rows.append(sum(float(g.abs().double().square().sum()) for g in found if g is not None) ** 0.5)
    return torch.tensor(rows, dtype=torch.float64)
