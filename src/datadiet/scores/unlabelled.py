"""Scores of one forward pass without labels: how unsure a model is of its own hypothesis."""

from __future__ import annotations

from typing import Any

import torch

from datadiet.scores.outputs import Array, Reading, read_batch

# Each is the score of the same example with the model's own hypothesis in the place of the label, so the
# rounding care of `Reading` holds here too: a sure model's examples keep distinct scores in float32.


def _reading(logits: Any) -> Reading:
    values = logits if isinstance(logits, torch.Tensor) else torch.as_tensor(logits)
    hypotheses = torch.zeros(values.shape[:1], dtype=torch.int64, device=values.device)
    if values.ndim == 2 and values.shape[1]:
        hypotheses = values.argmax(dim=1)
    return read_batch(values, hypotheses)


def _score(name: str, logits: Array) -> Array:
    with torch.no_grad():
        result: torch.Tensor = getattr(_reading(logits), name)
    return result if isinstance(logits, torch.Tensor) else result.numpy()


def least_confidence(logits: Array, targets: Array | None = None) -> Array:
    """One minus the probability of the hypothesis: `1 - max_j p_j`.

    Args:
        logits: (batch, classes), torch on any device or numpy.
        targets: not looked at; taken so that it can be called as every other score of outputs.

    Returns:
        (batch,) in [0, 1 - 1 / classes], of the same kind as `logits`.

    Raises:
        BadInputError: the logits are not (batch, classes) of floats.

    Source: Culotta and McCallum, "Reducing Labeling Effort for Structured Prediction Tasks", AAAI 2005.

    Example:
        >>> least_confidence(torch.tensor([[0.0, 0.0, 0.0, 0.0]]))
        tensor([0.7500])
    """
    # The error of a label of probability p sums to 2 (1 - p); half of it is exact where 1 - p would round.
    return _score("l1_error", logits) / 2


def hypothesis_el2n(logits: Array, targets: Array | None = None) -> Array:
    """Error L2 norm against the hypothesis: `|| softmax(logits) - one_hot(argmax) ||_2`.

    Args:
        logits: (batch, classes), torch on any device or numpy.
        targets: not looked at.

    Returns:
        (batch,) in [0, 1).

    Raises:
        BadInputError: the logits are not (batch, classes) of floats.

    Source: EL2N of Paul, Ganguli, Dziugaite, NeurIPS 2021, with the model's own confident hypothesis as label, as
    pools of weakly labelled utterances are scored (entropy and margin based scoring in industrial NLU, 2023).

    Example:
        >>> hypothesis_el2n(torch.tensor([[0.0, 0.0]]))
        tensor([0.7071])
    """
    return _score("el2n", logits)


def probability_margin(logits: Array, targets: Array | None = None) -> Array:
    """The largest probability minus the second: low where two classes compete.

    Args:
        logits: (batch, classes), torch on any device or numpy.
        targets: not looked at.

    Returns:
        (batch,) in [0, 1].

    Raises:
        BadInputError: the logits are not (batch, classes) of floats.

    Source: Scheffer, Decomain, Wrobel, "Active Hidden Markov Models for Information Extraction", 2001.

    Example:
        >>> probability_margin(torch.tensor([[0.0, 0.0]]))
        tensor([0.])
    """
    return _score("margin", logits)


def top_logit_margin(logits: Array, targets: Array | None = None) -> Array:
    """The largest logit minus the second: low where two classes compete.

    Args:
        logits: (batch, classes), torch on any device or numpy.
        targets: not looked at.

    Returns:
        (batch,), at least 0.

    Raises:
        BadInputError: the logits are not (batch, classes) of floats.

    Source: the margin above on the scale of logits, where sure examples do not crowd at 1.

    Example:
        >>> top_logit_margin(torch.tensor([[3.0, 1.0, 0.0]]))
        tensor([2.])
    """
    return _score("logit_margin", logits)
