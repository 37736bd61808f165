"""GraNd: the card of the norm over all weights, and the closed form of the norm over the last layer."""

from __future__ import annotations

import torch

from datadiet.foundation.errors import BadInputError
from datadiet.scores.outputs import Array, read_batch
from datadiet.scores.registry import ANY, DATA_DIET, SCORES, ScoreCard, register_score
from datadiet.scores.softmax import as_tensor

SCORES.add(
    "grand",
    ScoreCard(
        name="grand",
        needs="gradients",
        higher_is_harder=True,
        range=ANY,
        source=DATA_DIET,
        summary="L2 norm of the loss gradient with respect to all weights.",
        function=None,
    ),
)


@register_score(
    "grand_last_layer",
    needs="features",
    range=ANY,
    source=f"closed form for the last layer of GraNd, {DATA_DIET}",
)
def grand_last_layer(logits: Array, targets: Array, features: Array, bias: bool = True) -> Array:
    """L2 norm of the loss gradient with respect to the last linear layer.

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
        >>> import numpy as np
        >>> grand_last_layer(np.array([[0.0, 0.0]]), np.array([0]), np.array([[1.0, 1.0, 1.0]]))
        array([1.41421356])
    """
    with torch.no_grad():
        terms = read_batch(logits, targets)
        hidden = as_tensor(features, "features")
        if hidden.ndim != 2 or len(hidden) != len(terms.targets):
            raise BadInputError(
                f"features must be (batch, features) with {len(terms.targets)} rows like the logits, "
                f"got shape {tuple(hidden.shape)}."
            )
        hidden = hidden.to(terms.logits.device, terms.logits.dtype)
        squared = (hidden * hidden).sum(dim=1)
        result = terms.el2n * torch.sqrt(squared + 1.0 if bias else squared)
    return result if isinstance(logits, torch.Tensor) else result.numpy()
