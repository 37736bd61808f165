"""Scores of one forward pass: logits in, with labels or without, and one number an example out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray

from datadiet.foundation.errors import BadInputError
from datadiet.scores.registry import ANY, AUM, DATA_DIET, SIGNED, register_score
from datadiet.scores.softmax import SoftmaxTerms, as_tensor

Array = TypeVar("Array", torch.Tensor, "NDArray[Any]")

#: What `measure` returns, in its order: the real numbers first, then the prediction and its correctness.
REAL_MEASURES = ("probability", "el2n", "l1_error", "entropy", "loss", "margin", "logit_margin")
MEASURES = (*REAL_MEASURES, "prediction", "correct")


def read_batch(logits: Any, targets: Any) -> SoftmaxTerms:
    """Check a batch and prepare it for the scores.

    Args:
        logits: (batch, classes), floating point, torch or numpy; half precision is computed in float32.
        targets: (batch,) integers in [0, classes). Their range is checked on the CPU only, where it is free.

    Raises:
        BadInputError: wrong rank, dtype, number of rows or classes, or a label outside the classes.
    """
    values, labels = as_tensor(logits, "logits"), as_tensor(targets, "targets")
    if values.ndim != 2:
        raise BadInputError(
            f"logits must be (batch, classes), got shape {tuple(values.shape)}; flatten it first."
        )
    if not values.is_floating_point():
        raise BadInputError(f"logits must be floating point, got {values.dtype}; pass the raw model outputs.")
    if values.shape[1] < 2:
        raise BadInputError(
            f"logits need at least 2 classes, got {values.shape[1]} in shape {tuple(values.shape)}."
        )
    if labels.shape != values.shape[:1]:
        raise BadInputError(
            f"logits have {values.shape[0]} rows but targets have shape {tuple(labels.shape)}; "
            "give one label a row, shape (batch,)."
        )
    if labels.is_floating_point() or labels.dtype == torch.bool or labels.is_complex():
        raise BadInputError(f"targets must be integer class numbers, got {labels.dtype}.")
    labels = labels.to(values.device, torch.int64)
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    if labels.device.type == "cpu" and len(labels):
        low, high = (int(bound) for bound in torch.aminmax(labels))
        if low < 0 or high >= values.shape[1]:
            row = int(((labels < 0) | (labels >= values.shape[1])).nonzero()[0])
            raise BadInputError(
                f"target {int(labels[row])} in row {row} is outside the {values.shape[1]} classes of the "
                f"logits; labels must be 0 to {values.shape[1] - 1}."
            )
    return SoftmaxTerms(values, labels)


def _score(name: str, logits: Array, targets: Array) -> Array:
    with torch.no_grad():
        result: torch.Tensor = getattr(read_batch(logits, targets), name)
    return result if isinstance(logits, torch.Tensor) else result.numpy()


def _score_of_hypothesis(name: str, logits: Array) -> Array:
    """The score with the model's own hypothesis in the place of the label: how unsure a model is of itself."""
    values = torch.as_tensor(logits)
    hypotheses = torch.zeros(values.shape[:1], dtype=torch.int64, device=values.device)
    if values.ndim == 2 and values.shape[1]:
        hypotheses = values.argmax(dim=1)
    result = _score(name, values, hypotheses)
    return result if isinstance(logits, torch.Tensor) else result.numpy()


@register_score("el2n", needs="outputs", range=(0.0, math.sqrt(2)), source=DATA_DIET)
def el2n(logits: Array, targets: Array) -> Array:
    """L2 norm of softmax minus label.

    The error L2 norm: `|| softmax(logits) - one_hot(targets) ||_2`.

    Args:
        logits: (batch, classes), torch on any device or numpy.
        targets: (batch,) integer labels.

    Returns:
        (batch,) in [0, sqrt 2], of the same kind as `logits`; float64 for float64, else float32.

    Raises:
        BadInputError: shapes, dtypes or labels do not fit.

    Source: Paul, Ganguli, Dziugaite, "Deep Learning on a Data Diet", NeurIPS 2021, section 2.

    Example:
        >>> el2n(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        tensor([0.7071])
    """
    return _score("el2n", logits, targets)


@register_score("l1_error", needs="outputs", range=(0.0, 2.0), source=f"code released with {DATA_DIET}")
def l1_error(logits: Array, targets: Array) -> Array:
    """L1 norm of softmax minus label.

    The error L1 norm: `|| softmax(logits) - one_hot(targets) ||_1 = 2 (1 - p_label)`.

    Args:
        logits: (batch, classes), torch on any device or numpy.
        targets: (batch,) integer labels.

    Returns:
        (batch,) in [0, 2].

    Raises:
        BadInputError: shapes, dtypes or labels do not fit.

    Source: code released with "Deep Learning on a Data Diet", NeurIPS 2021.

    Example:
        >>> l1_error(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        tensor([1.])
    """
    return _score("l1_error", logits, targets)


@register_score(
    "entropy", needs="outputs", range=ANY, source="Coleman et al., Selection via Proxy, ICLR 2020"
)
def entropy(logits: Array, targets: Array) -> Array:
    """Entropy of the prediction in nats; the label does not matter.

    `-sum_j p_j log p_j`.

    Args:
        logits: (batch, classes), torch on any device or numpy.
        targets: (batch,) integer labels, only checked.

    Returns:
        (batch,) in [0, log classes].

    Raises:
        BadInputError: shapes, dtypes or labels do not fit.

    Source: Shannon 1948; as a pruning score, Coleman et al., "Selection via Proxy", ICLR 2020, section 3.

    Example:
        >>> entropy(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        tensor([0.6931])
    """
    return _score("entropy", logits, targets)


@register_score("loss", needs="outputs", range=ANY, source="the cross-entropy itself")
def loss(logits: Array, targets: Array) -> Array:
    """Cross-entropy in nats.

    `-log p_label` of each example, never reduced over the batch.

    Args:
        logits: (batch, classes), torch on any device or numpy.
        targets: (batch,) integer labels.

    Returns:
        (batch,), at least 0.

    Raises:
        BadInputError: shapes, dtypes or labels do not fit.

    Example:
        >>> loss(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        tensor([0.6931])
    """
    return _score("loss", logits, targets)


@register_score(
    "margin",
    needs="outputs",
    higher_is_harder=False,
    range=(-1.0, 1.0),
    source=f"code released with {DATA_DIET}",
)
def margin(logits: Array, targets: Array) -> Array:
    """Probability of the label minus the largest other.

    `p_label - max_{j != label} p_j`; low is hard, negative is a wrong prediction.

    Args:
        logits: (batch, classes), torch on any device or numpy.
        targets: (batch,) integer labels.

    Returns:
        (batch,) in [-1, 1].

    Raises:
        BadInputError: shapes, dtypes or labels do not fit.

    Source: Scheffer et al., "Active Hidden Markov Models for Information Extraction", 2001; here against the
    label, as in the code released with "Deep Learning on a Data Diet".

    Example:
        >>> margin(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        tensor([0.])
    """
    return _score("margin", logits, targets)


@register_score("logit_margin", needs="outputs", higher_is_harder=False, range=SIGNED, source=AUM)
def logit_margin(logits: Array, targets: Array) -> Array:
    """Logit of the label minus the largest other.

    `z_label - max_{j != label} z_j`; low is hard, negative is a wrong prediction.

    Args:
        logits: (batch, classes), torch on any device or numpy.
        targets: (batch,) integer labels.

    Returns:
        (batch,), unbounded.

    Raises:
        BadInputError: shapes, dtypes or labels do not fit.

    Source: Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking",
    NeurIPS 2020, section 3.1.

    Example:
        >>> logit_margin(torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([1]))
        tensor([-2.])
    """
    return _score("logit_margin", logits, targets)


@register_score(
    "least_confidence",
    needs="outputs",
    range=(0.0, 1.0),
    source="Culotta and McCallum, Reducing Labeling Effort for Structured Prediction Tasks, AAAI 2005",
)
def least_confidence(logits: Array, targets: Array | None = None) -> Array:
    """One minus the largest probability; no label is looked at.

    `1 - max_j p_j`.

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
    return _score_of_hypothesis("l1_error", logits) / 2


@register_score(
    "hypothesis_el2n",
    needs="outputs",
    range=(0.0, 1.0),
    source=f"{DATA_DIET}, with the model's hypothesis as label",
)
def hypothesis_el2n(logits: Array, targets: Array | None = None) -> Array:
    """L2 norm of softmax minus the model's own hypothesis; no label is looked at.

    `|| softmax(logits) - one_hot(argmax) ||_2`.

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
    return _score_of_hypothesis("el2n", logits)


@register_score(
    "probability_margin",
    needs="outputs",
    higher_is_harder=False,
    range=(0.0, 1.0),
    source="Scheffer et al., Active Hidden Markov Models for Information Extraction, 2001",
)
def probability_margin(logits: Array, targets: Array | None = None) -> Array:
    """Largest probability minus the second; no label is looked at.

    Low where two classes compete.

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
    return _score_of_hypothesis("margin", logits)


@register_score(
    "top_logit_margin",
    needs="outputs",
    higher_is_harder=False,
    range=(0.0, math.inf),
    source="the probability margin on the scale of logits",
)
def top_logit_margin(logits: Array, targets: Array | None = None) -> Array:
    """Largest logit minus the second; no label is looked at.

    Low where two classes compete.

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
    return _score_of_hypothesis("logit_margin", logits)


def measure(logits: Any, targets: Any) -> dict[str, torch.Tensor]:
    """All of a batch's measures at once, from one exponential, on the device of the logits.

    Args:
        logits: (batch, classes), torch on any device or numpy.
        targets: (batch,) integer labels.

    Returns:
        `probability` (of the label), `el2n`, `l1_error`, `entropy`, `loss`, `margin`, `logit_margin`, each
        (batch,) float; `prediction` (batch,) int32; `correct` (batch,) bool. Always tensors.

    Raises:
        BadInputError: shapes, dtypes or labels do not fit.

    Example:
        >>> sorted(measure(torch.tensor([[2.0, 0.0]]), torch.tensor([0])))[:3]
        ['correct', 'el2n', 'entropy']
    """
    with torch.no_grad():
        return measures_of(read_batch(logits, targets), MEASURES)


def measures_of(terms: SoftmaxTerms, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """The named measures of a batch, without computing those that were not asked for."""
    asked = tuple(names)
    if not {"prediction", "correct"}.isdisjoint(asked):
        _ = terms.prediction  # first, as long as the logits stand
    return {name: getattr(terms, name) for name in asked}
