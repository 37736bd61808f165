"""Gradient norms that have a closed form in what the forward pass already gives."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from datadiet.foundation.errors import BadInputError
from datadiet.scores.outputs import Array, read_batch


def grand_last_layer(logits: Array, targets: Array, features: Array, bias: bool = True) -> Array:
    """Norm of the cross-entropy gradient with respect to the last linear layer alone.

    `|| softmax(z) - y ||_2 * sqrt(|| h ||_2^2 + 1[bias])`, because the gradient of the weight is the outer
    product of the error and the layer's input, and that of the bias is the error itself. It is not the GraNd
    of the papers, which takes all weights; that one is `grand`.

    Args:
        logits: (batch, classes), torch on any device or numpy.
        targets: (batch,) integer labels.
        features: (batch, features), what goes into the last linear layer.
        bias: whether that layer has a bias.

    Returns:
        (batch,), at least 0, of the same kind as `logits`.

    Raises:
        BadInputError: shapes, dtypes or labels do not fit.

    Source: Paul, Ganguli, Dziugaite, "Deep Learning on a Data Diet", NeurIPS 2021, section 2 (definition);
    Fayyaz et al., "BERT on a Data Diet", 2022 (classifier head only).

    Example:
        >>> grand_last_layer(np.array([[0.0, 0.0]]), np.array([0]), np.array([[1.0, 1.0, 1.0]]))
        array([1.41421356])
    """
    is_tensor = isinstance(logits, torch.Tensor)
    with torch.no_grad():
        reading = read_batch(logits, targets)
        hidden: Any = (
            features.detach() if isinstance(features, torch.Tensor) else torch.tensor(np.asarray(features))
        )
        if hidden.ndim != 2 or len(hidden) != len(reading.targets):
            raise BadInputError(
                f"features must be (batch, features) with {len(reading.targets)} rows like the logits, "
                f"got shape {tuple(hidden.shape)}."
            )
        hidden = hidden.to(reading.logits.device, reading.logits.dtype)
        squared = (hidden * hidden).sum(dim=1)
        result = reading.el2n * torch.sqrt(squared + 1.0 if bias else squared)
    return cast(Array, result if is_tensor else result.numpy())
