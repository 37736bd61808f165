"""The softmax of a batch, taken apart so that the scores of easy examples keep their last digits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from datadiet.foundation.errors import BadInputError


@dataclass(eq=False)
class SoftmaxTerms:
    """The softmax of one batch of logits in the parts that its scores share, each computed once, when asked for.

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

    logits: torch.Tensor
    targets: torch.Tensor
    class_dim: int = 1
    overwrite: bool = False

    @cached_property
    def _index(self) -> torch.Tensor:
        return self.targets.unsqueeze(self.class_dim)

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
        return self.logits.argmax(self.class_dim).to(torch.int32)

    @cached_property
    def correct(self) -> torch.Tensor:
        return self.prediction == self.targets


def as_tensor(values: Any, name: str) -> torch.Tensor:
    """A tensor or numpy array as a tensor, without copying where that can be.

    Raises:
        BadInputError: not numbers.
    """
    if isinstance(values, torch.Tensor):
        return values.detach()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise BadInputError(f"{name} must be an array, all rows of one length.") from error
    if array.dtype.kind not in "fiub":
        raise BadInputError(f"{name} must hold numbers, got an array of {array.dtype}; convert it first.")
    # torch shares memory with the array; a read-only or byte-swapped one has to be copied.
    if not array.flags.writeable or not array.dtype.isnative or array.dtype.kind == "u":
        array = array.astype(
            np.int64 if array.dtype.kind == "u" else array.dtype.newbyteorder("="), copy=True
        )
    return torch.from_numpy(array)
