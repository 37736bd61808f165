"""The loss that norms are taken of where none is named: cross-entropy of logits and labels that fit them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from datadiet.foundation.errors import BadInputError

# Labels that cross-entropy passes over.
IGNORED = -100


def cross_entropy(outputs: Any, targets: Any) -> torch.Tensor:
    """Cross-entropy of each example's logits, at least in float32, shape (batch,).

    Args:
        outputs: logits (batch, classes).
        targets: class numbers from 0, (batch,); or probabilities of the classes, in the shape of the logits.

    Raises:
        BadInputError: if they do not fit each other, or there is one logit only. Values of labels are looked at
            on the CPU only.

    Example:
        >>> cross_entropy(torch.zeros(1, 2), torch.tensor([1]))
        tensor([0.6931])
    """
    check_labels(outputs, targets)
    half = outputs.dtype in (torch.float16, torch.bfloat16)
    wide = outputs.float() if half else outputs
    targets = targets.to(wide.dtype) if targets.is_floating_point() else targets.long()
    return F.cross_entropy(wide, targets, reduction="none")


def check_labels(outputs: Any, targets: Any) -> None:
    """Raise `BadInputError` unless logits and targets are those of a classification, as `cross_entropy` takes them."""
    if not isinstance(outputs, torch.Tensor):
        raise BadInputError(
            f"The model returned {type(outputs).__name__}, not logits: pass loss= or forward=."
        )
    shape = tuple(outputs.shape)
    if outputs.dim() < 2 or not outputs.is_floating_point():
        raise BadInputError(
            f"The model returned {outputs.dtype} of shape {shape}, not logits of shape (batch, classes): pass loss=, "
            "a function (outputs, targets) -> one loss for each example."
        )
    classes = shape[1]
    if classes == 1:
        raise BadInputError(
            f"The model returned one logit an example, shape {shape}, whose cross-entropy is always 0: for two classes "
            "on one logit pass loss=lambda outputs, targets: torch.nn.functional.binary_cross_entropy_with_logits("
            "outputs[:, 0], targets.float(), reduction='none'), for numbers task=datadiet.tasks.Regression()."
        )
    if not isinstance(targets, torch.Tensor):
        raise BadInputError(
            f"targets must be a tensor of class numbers, not {type(targets).__name__}: pass loss= for others."
        )
    if targets.is_floating_point() and tuple(targets.shape) == shape:
        return
    if targets.is_floating_point() or targets.is_complex():
        raise BadInputError(
            f"targets are {targets.dtype} of shape {tuple(targets.shape)}: class numbers must be integers "
            f"(targets.long()), probabilities of the classes must have the shape of the logits, {shape}; pass loss= "
            "for anything else."
        )
    if tuple(targets.shape) != (shape[0], *shape[2:]):
        raise BadInputError(
            f"logits of shape {shape} need targets of shape {(shape[0], *shape[2:])}, one label each, not "
            f"{tuple(targets.shape)}: pass loss= or task= for anything else."
        )
    if targets.device.type == "cpu":
        _check_range(targets, classes)


def _check_range(labels: torch.Tensor, classes: int) -> None:
    outside = ((labels < 0) & (labels != IGNORED)) | (labels >= classes)
    if bool(outside.any()):
        row = int(outside.nonzero()[0, 0])
        label = int(labels[outside][0])
        raise BadInputError(
            f"target {label} in row {row} is outside the {classes} classes of the logits; labels must be 0 to "
            f"{classes - 1}."
        )
