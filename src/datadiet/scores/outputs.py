"""Scores of one forward pass: logits and labels in, one number an example out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from datadiet.foundation.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


Array = TypeVar("Array", torch.Tensor, "NDArray[Any]")

#: What `measure` returns, in its order: the real numbers first, then the prediction and its correctness.
REAL_MEASURES = ("probability", "el2n", "l1_error", "entropy", "loss", "margin", "logit_margin")
MEASURES = (*REAL_MEASURES, "prediction", "correct")


class Reading:
    """Everything that the scores share about one batch of logits, each part computed once, when asked for.

    The label's own logit is taken out first, and the others are exponentiated against the largest of them.
    So `1 - p_label` is a sum of the other classes and never a difference of nearly equal numbers: the
    easiest examples keep distinct scores in float32, and logits of 10,000 neither overflow nor lose rank.

    Args:
        logits: float tensor, one row an example; classes along `class_dim`.
        targets: int64 tensor, one class an example.
        class_dim: 1 for (batch, classes); 0 for (classes, batch), faster on a CPU when classes are few.
        overwrite: the logits are a scratch copy: computed in place, which spares touching fresh memory. The
            prediction has to be asked for first then; `measures_of` does.
    """

    def __init__(
        self, logits: torch.Tensor, targets: torch.Tensor, class_dim: int = 1, overwrite: bool = False
    ) -> None:
        self.logits = logits
        self.targets = targets
        self.class_dim = class_dim
        self.overwrite = overwrite
        self._index = targets.unsqueeze(class_dim)

    @cached_property
    def _label_logit(self) -> torch.Tensor:
        return self.logits.gather(self.class_dim, self._index).squeeze(self.class_dim)

    @cached_property
    def _other_logits(self) -> torch.Tensor:
        if not self.overwrite:
            return self.logits.scatter(self.class_dim, self._index, float("-inf"))
        _ = self._label_logit  # read before it is overwritten
        return self.logits.scatter_(self.class_dim, self._index, float("-inf"))

    @cached_property
    def _largest_other(self) -> torch.Tensor:
        # Finite also where every other class is masked out with -inf, so that differences stay numbers.
        return self._other_logits.amax(self.class_dim).clamp_(min=torch.finfo(self.logits.dtype).min)

    @cached_property
    def _largest(self) -> torch.Tensor:
        return torch.maximum(self._label_logit, self._largest_other)

    @cached_property
    def _others(self) -> torch.Tensor:
        """exp(logit - largest other logit) of every class; the label's place holds (next to) nothing."""
        largest = self._largest_other.unsqueeze(self.class_dim)
        if self.overwrite:
            # exp(-43) is nothing beside the largest term, which is 1; far smaller results, and those of -inf,
            # take a processor twice the time.
            return self._other_logits.sub_(largest).clamp_(min=-43.0).exp_()
        return torch.sub(self._other_logits, largest).exp_()

    @cached_property
    def _scale(self) -> torch.Tensor:
        """exp(largest other logit - largest logit): 1 unless the label is on top."""
        return (self._largest_other - self._largest).exp_()

    @cached_property
    def _unscaled_sum(self) -> torch.Tensor:
        return self._others.sum(self.class_dim)

    @cached_property
    def _others_sum(self) -> torch.Tensor:
        return self._unscaled_sum * self._scale

    @cached_property
    def _label_gap(self) -> torch.Tensor:
        return self._label_logit - self._largest

    @cached_property
    def _label(self) -> torch.Tensor:
        return self._label_gap.exp()

    @cached_property
    def _total(self) -> torch.Tensor:
        """Sum over all classes of exp(logit - largest logit)."""
        return self._others_sum + self._label

    @cached_property
    def _log_total(self) -> torch.Tensor:
        # The largest term is exactly 1; with the label on top the rest is the others' sum, without rounding.
        return torch.log1p(self._others_sum + (self._label - 1))

    @cached_property
    def probability(self) -> torch.Tensor:
        return self._label / self._total

    @cached_property
    def el2n(self) -> torch.Tensor:
        # Scaled after the root: the square of a probability of 1e-20 would be 0 in float32.
        squares = (self._others * self._others).sum(self.class_dim)
        norms = squares.addcmul_(self._unscaled_sum, self._unscaled_sum).sqrt_()
        return norms.mul_(self._scale).div_(self._total)

    @cached_property
    def l1_error(self) -> torch.Tensor:
        return (self._others_sum * 2).div_(self._total)

    @cached_property
    def entropy(self) -> torch.Tensor:
        others: torch.Tensor = torch.special.entr(self._others).sum(self.class_dim).mul_(self._scale)
        others.addcmul_(self._others_sum, self._largest - self._largest_other)
        return others.add_(torch.special.entr(self._label)).div_(self._total).add_(self._log_total)

    @cached_property
    def loss(self) -> torch.Tensor:
        return self._log_total - self._label_gap

    @cached_property
    def margin(self) -> torch.Tensor:
        return (self._label - self._scale).div_(self._total)

    @cached_property
    def logit_margin(self) -> torch.Tensor:
        return self._label_logit - self._largest_other

    @cached_property
    def prediction(self) -> torch.Tensor:
        return self.logits.argmax(self.class_dim)

    @cached_property
    def correct(self) -> torch.Tensor:
        return self.prediction == self.targets


def _as_tensor(values: Any, name: str) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values.detach()
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise BadInputError(f"{name} must hold numbers, got an array of {array.dtype}; convert it first.")
    # torch shares memory with the array; a read-only or byte-swapped one has to be copied.
    if not array.flags.writeable or not array.dtype.isnative or array.dtype.kind == "u":
        array = array.astype(
            np.int64 if array.dtype.kind == "u" else array.dtype.newbyteorder("="), copy=True
        )
    return torch.from_numpy(array)


def read_batch(logits: Any, targets: Any) -> Reading:
    """Check a batch and prepare it for the scores.

    Args:
        logits: (batch, classes), floating point, torch or numpy; half precision is computed in float32.
        targets: (batch,) integers in [0, classes). Their range is checked on the CPU only, where it is free.

    Raises:
        BadInputError: wrong rank, dtype, number of rows or classes, or a label outside the classes.
    """
    values, labels = _as_tensor(logits, "logits"), _as_tensor(targets, "targets")
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
    return Reading(values, labels)


def _score(name: str, logits: Array, targets: Array) -> Array:
    with torch.no_grad():
        result: torch.Tensor = getattr(read_batch(logits, targets), name)
    return result if isinstance(logits, torch.Tensor) else result.numpy()


def el2n(logits: Array, targets: Array) -> Array:
    """Error L2 norm: `|| softmax(logits) - one_hot(targets) ||_2`.

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


def l1_error(logits: Array, targets: Array) -> Array:
    """Error L1 norm: `|| softmax(logits) - one_hot(targets) ||_1 = 2 (1 - p_label)`.

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


def entropy(logits: Array, targets: Array) -> Array:
    """Entropy of the predicted distribution in nats: `-sum_j p_j log p_j`; the label does not matter.

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


def loss(logits: Array, targets: Array) -> Array:
    """Cross-entropy of each example in nats: `-log p_label`, never reduced over the batch.

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


def margin(logits: Array, targets: Array) -> Array:
    """Probability margin: `p_label - max_{j != label} p_j`; low is hard, negative is a wrong prediction.

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


def logit_margin(logits: Array, targets: Array) -> Array:
    """Logit margin: `z_label - max_{j != label} z_j`; low is hard, negative is a wrong prediction.

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


def measures_of(reading: Reading, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """The named measures of a reading, without computing those that were not asked for."""
    asked = tuple(names)
    before = [name for name in ("prediction", "correct") if name in asked]  # as long as the logits stand
    found: dict[str, torch.Tensor] = {name: getattr(reading, name) for name in (*before, *asked)}
    found = {name: found[name] for name in asked}
    if "prediction" in found:
        found["prediction"] = found["prediction"].to(torch.int32)
    return found
