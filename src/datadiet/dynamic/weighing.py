"""The loss of somebody's own loop, weighed example by example: the losses that it calls are taken apart."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from datadiet.dynamic.sampler import DynamicSampler
from datadiet.foundation.errors import BadInputError

#: Losses of `torch.nn.functional` that have a value for each element under reduction="none".
_LOSSES = (
    F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits,
    F.cosine_embedding_loss,
    F.cross_entropy,
    F.gaussian_nll_loss,
    F.hinge_embedding_loss,
    F.huber_loss,
    F.kl_div,
    F.l1_loss,
    F.margin_ranking_loss,
    F.mse_loss,
    F.multi_margin_loss,
    F.multilabel_margin_loss,
    F.multilabel_soft_margin_loss,
    F.nll_loss,
    F.poisson_nll_loss,
    F.smooth_l1_loss,
    F.soft_margin_loss,
)
_SIGNATURES = {loss: inspect.signature(loss) for loss in _LOSSES}
#: Between a loss that is taken apart and put together again, and the loss itself.
TOLERANCE = 1e-5
_HALF_TOLERANCE = 2e-2

Result = TypeVar("Result")


@dataclass
class LossPart:
    """One call of a loss function: what the loop was handed, and what of it is each example's.

    Attributes:
        value: what the call returned, weighed; of any shape.
        reduction: of the call.
        sums: (batch,) the unweighed losses of each example's elements, summed; no gradient.
        counts: (batch,) how many elements of each example count.
        logits: (batch, classes) and `targets` (batch,), where it was a cross-entropy of such; else None.
        kept: whether putting the elements together gave what the function gives.
    """

    value: torch.Tensor
    reduction: str
    sums: torch.Tensor
    counts: torch.Tensor
    logits: torch.Tensor | None
    targets: torch.Tensor | None
    kept: bool


class LossParts(TorchFunctionMode):
    """While it is active, losses of `torch.nn.functional` are noted and weighed example by example.

    Args:
        batch: number of examples; their elements lie one example after the other.
        weights: (batch,) what each example's elements are multiplied by; None leaves every loss as it is, to the bit.
        check: compare each loss with the elements put together.
    """

    def __init__(self, batch: int, weights: torch.Tensor | None = None, check: bool = False) -> None:
        super().__init__()
        self.batch, self.weights, self.check = batch, weights, check
        self.parts: list[LossPart] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _SIGNATURES:
            return func(*args, **kwargs)
        bound = _SIGNATURES[func].bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        if given.get("size_average") is not None or given.get("reduce") is not None:
            return func(*args, **kwargs)  # the old names of reduction: seen in the sum, which will lack it
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.weights is not None):
            elements = func(**{**given, "reduction": "none"})
        per_example = self._per_example(elements)
        if per_example is None:
            return func(*args, **kwargs)
        if self.weights is None:
            value = func(*args, **kwargs)
            again = _reduced(func, given, elements, elements) if self.check else None
        else:
            weights = self.weights.to(elements.device, elements.dtype)
            weighed = (per_example * weights[:, None]).view(elements.shape)
            value = _reduced(func, given, elements, weighed)
            again = _reduced(func, given, elements, elements).detach() if self.check else None
        kept = True
        if again is not None:
            with torch.no_grad():
                whole = func(*args, **kwargs)
            kept = torch.allclose(again, whole, rtol=tolerance_of(whole), atol=1e-7, equal_nan=True)
        real = _counted(func, given, elements).view(self.batch, -1)
        single = func is F.cross_entropy and _is_classification(given["input"], given["target"], self.batch)
        part = LossPart(
            value,
            given["reduction"],
            per_example.detach().float().sum(1),
            real.sum(1),
            given["input"].detach() if single else None,
            given["target"] if single else None,
            kept,
        )
        self.parts.append(part)
        return value

    def _per_example(self, elements: torch.Tensor) -> torch.Tensor | None:
        """(batch, elements of each), or None where they cannot be told apart."""
        if elements.numel() == 0:
            return None
        if self.batch == 1:
            return elements.reshape(1, -1)
        if elements.dim() == 0 or self.batch == 0:
            return None
        by_row = len(elements) == self.batch
        if by_row or (elements.dim() == 1 and len(elements) % self.batch == 0):
            return elements.reshape(self.batch, -1)
        return None


def _is_classification(logits: torch.Tensor, targets: torch.Tensor, batch: int) -> bool:
    return logits.dim() == 2 and targets.shape == (batch,) and not targets.is_floating_point()


def _counted(func: Any, given: Mapping[str, Any], elements: torch.Tensor) -> torch.Tensor:
    """Which elements count: all but those of the ignored class."""
    target = given.get("target")
    if func in (F.cross_entropy, F.nll_loss) and target is not None and not target.is_floating_point():
        real: torch.Tensor = target != given["ignore_index"]
        return real.reshape(elements.shape)
    return torch.ones_like(elements, dtype=torch.bool)


def _reduced(
    func: Any, given: Mapping[str, Any], elements: torch.Tensor, weighed: torch.Tensor
) -> torch.Tensor:
    """The weighed elements as the function reduces them; by what it divides does not depend on the weights."""
    reduction = given["reduction"]
    if reduction == "none":
        return weighed
    if reduction == "sum":
        return weighed.sum()
    if reduction == "batchmean":
        return weighed.sum() / len(given["input"])
    target, class_weights = given.get("target"), given.get("weight")
    if func in (F.cross_entropy, F.nll_loss) and target is not None and not target.is_floating_point():
        real = target != given["ignore_index"]
        count: torch.Tensor = real.sum() if class_weights is None else class_weights[target[real]].sum()
        return weighed.sum() / count
    return weighed.sum() / elements.numel()


def tolerance_of(value: torch.Tensor) -> float:
    """How far from another a number computed in another way may be, relative to it."""
    return _HALF_TOLERANCE if value.dtype in (torch.float16, torch.bfloat16) else TOLERANCE


def loss_in(result: Any) -> torch.Tensor:
    """The loss in what a loop's own function returns: a tensor, the first of a tuple, or "loss" of a mapping.

    Raises:
        BadInputError: there is none, or it is not one number.
    """
    loss: Any = result
    if isinstance(result, Mapping):
        loss = result.get("loss")
    elif isinstance(result, tuple | list):
        loss = result[0] if result else None
    elif not isinstance(result, torch.Tensor):
        loss = getattr(result, "loss", None)
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        raise BadInputError(
            "the loop's function returned no loss; return a tensor with one number, a tuple that begins with it, or a "
            "mapping that has it under 'loss'."
        )
    return loss


class LossWeigher:
    """`weighed_loss` for one sampler; remembers what the first batch showed.

    Args:
        sampler: whose weights.
        shares: of each part in an example's loss, as an earlier batch showed them.
    """

    def __init__(self, sampler: DynamicSampler, shares: tuple[float, ...] | None = None) -> None:
        self.sampler, self.shares = sampler, shares
        #: (batch,) each example's own loss in the last batch: the mean over its elements, of every part of the loss.
        self.last_losses = torch.empty(0)

    def __call__(self, ids: Any, compute: Callable[[], Result], *, tell: bool = True) -> Result:
        """What `weighed_loss` says."""
        weights = self.sampler.weights(ids) if self.sampler.is_weighted else None
        result, parts = self.taken_apart(ids, compute, weights=weights)
        if (self.shares is None or len(self.shares) != len(parts)) and not self.learn(loss_in(result), parts):
            raise BadInputError(not_taken_apart(parts))
        self.last_losses = self._example_losses(parts)
        if tell:
            self._tell(ids, parts)
        return result

    def taken_apart(
        self, ids: Any, compute: Callable[[], Result], *, weights: torch.Tensor | None = None
    ) -> tuple[Result, list[LossPart]]:
        """Run the loop's function with its losses weighed, and noted."""
        with LossParts(len(ids), weights, check=self.shares is None) as noted:
            result = compute()
        return result, noted.parts

    def learn(self, loss: torch.Tensor, parts: list[LossPart]) -> bool:
        """See from a batch how the loss is made of its parts; False where it is not.

        Raises:
            BadInputError: the loss is no number, so that nothing can be seen from it.
        """
        if not bool(torch.isfinite(loss.detach()).all()):
            raise BadInputError(
                f"the loss of the first batch is {float(loss.detach().sum())}, from which it cannot be seen how it is "
                "made of the losses of examples; look at its inputs and labels (NaN, or labels that are all ignored)."
            )
        self.shares = shares_of(loss, parts)
        return self.shares is not None

    def forget(self) -> None:
        """Look at the next batch as at the first one."""
        self.shares = None

    def predicted(self, loss: torch.Tensor, parts: list[LossPart], weights: torch.Tensor) -> float:
        """What the loss of a batch that was taken apart would be with these weights."""
        parts = [part for part in parts if part.value.requires_grad]
        found: Any = torch.autograd.grad(loss, [part.value for part in parts], allow_unused=True)
        total = 0.0
        for part, gradient in zip(parts, found, strict=True):
            if gradient is not None and float(part.sums.sum()):
                rows = (gradient * part.value.detach()).double()
                if part.value.dim():
                    total += float((rows.reshape(len(weights), -1) * weights[:, None].double()).sum())
                else:
                    total += float(rows) * float((part.sums * weights).sum() / part.sums.sum())
        return total

    def _example_losses(self, parts: list[LossPart]) -> torch.Tensor:
        losses = [share * part.sums / part.counts.clamp_min(1) for share, part in self._used(parts)]
        return torch.stack(losses).sum(0)

    def _used(self, parts: list[LossPart]) -> list[tuple[float, LossPart]]:
        assert self.shares is not None
        return [(share, part) for share, part in zip(self.shares, parts, strict=True) if share]

    def _tell(self, ids: Any, parts: list[LossPart]) -> None:
        selector = self.sampler.selector
        if selector.measure == "loss":
            self.sampler.update(ids, self.last_losses)
            return
        found = [part for _, part in self._used(parts) if part.logits is not None]
        if found:
            self.sampler.update(ids, found[0].logits, found[0].targets)
        elif selector.needs_reports:
            raise BadInputError(
                f"selector {selector.name!r} ranks by {selector.measure}, which the loss of this loop does not show; "
                "give tell=False, and call sampler.update(ids, logits, targets) or with measured=."
            )


def shares_of(loss: torch.Tensor, parts: list[LossPart]) -> tuple[float, ...] | None:
    """How much of a loss each part is, the largest as 1; None where the loss is not made of them and nothing else.

    It is where it is a weighted sum of what the calls returned: the sum of each value times the gradient with respect
    to it is then the loss itself.
    """
    parts_used = [part for part in parts if part.value.requires_grad]
    if not parts_used or not loss.requires_grad or not all(part.kept for part in parts_used):
        return None
    found: Any = torch.autograd.grad(
        loss.sum(), [part.value for part in parts_used], retain_graph=True, allow_unused=True
    )
    total, size = torch.zeros((), dtype=torch.float64), 0.0
    shares: dict[int, float] = {}
    for part, gradient in zip(parts_used, found, strict=True):
        if gradient is None:
            continue
        product = (gradient.double() * part.value.detach().double()).cpu()
        total += product.sum()
        size += float(product.abs().sum())
        of_a_mean = float(gradient.double().abs().sum())
        shares[id(part)] = of_a_mean * (float(part.counts.sum()) if part.reduction == "sum" else 1.0)
    whole = float(loss.detach().double().sum())
    if not shares or not abs(float(total) - whole) <= tolerance_of(loss) * max(size, abs(whole), 1e-12):
        return None
    largest = max(shares.values())
    if largest == 0:
        return None
    return tuple(shares.get(id(part), 0.0) / largest for part in parts)


_BY_HAND = (
    "compute one loss an example yourself, multiply it by sampler.weights(ids), "
    "and tell sampler.update(ids, losses)"
)


def not_taken_apart(parts: list[LossPart], remedy: str = _BY_HAND) -> str:
    """Why a loss could not be weighed, and what to do."""
    what = (
        "is not a sum of losses of torch.nn.functional over examples alone"
        if parts
        else "calls no loss of torch.nn.functional that has elements of each example"
    )
    return f"the loss of this loop {what}, so it cannot be weighed example by example; {remedy}."


#: What the first batch of each sampler's loop showed.
_SHARES: weakref.WeakKeyDictionary[DynamicSampler, tuple[float, ...] | None] = weakref.WeakKeyDictionary()


def weighed_loss(
    sampler: DynamicSampler, ids: Any, compute: Callable[[], Result], *, tell: bool = True
) -> Result:
    """Compute the loop's own loss with each example weighed, and tell the sampler what each example's loss was.

    The loss that is weighed is the one that the loop would have minimised: while `compute` runs, each loss of
    `torch.nn.functional` that it calls (class weights, smoothing, ignored tokens and all; from inside a model, too) is
    `Σ_i w_i ℓ_i` over what it would have divided by. On the first batch it is checked that the loss is made of these
    calls and nothing else. As long as no example is weighed, nothing is changed, to the bit.

    Args:
        sampler: whose weights; it is told here, `update` is not to be called beside.
        ids: (batch,) integers, of the examples in their order.
        compute: runs the model and returns the loss, with a gradient: a tensor with one number, a tuple that begins
            with it, or a mapping that has it under "loss". The elements of a loss lie one example after the other.
        tell: False to call `sampler.update` yourself.

    Returns:
        What `compute` returned, its loss weighed.

    Raises:
        BadInputError: a loss that is not a sum of losses of examples, before anything is trained on it.

    Example:
        >>> sampler = DynamicSampler(4, selector="infobatch", batch_size=4)
        >>> model, inputs, targets = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> for ids in sampler:
        ...     loss = weighed_loss(sampler, ids, lambda: F.cross_entropy(model(inputs), targets))
        ...     loss.backward()
    """
    weigher = LossWeigher(sampler, _SHARES.get(sampler))
    result = weigher(ids, compute, tell=tell)
    _SHARES[sampler] = weigher.shares
    return result
