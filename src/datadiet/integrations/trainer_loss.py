"""The loss of a Trainer, weighed: what is checked on the first batch, and what the sampler and the recorder are told."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from datadiet.dynamic import DynamicSampler
from datadiet.dynamic.weighing import TOLERANCE, LossWeigher, not_taken_apart
from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.batches import take
from datadiet.tasks import IGNORED
from datadiet.tracking import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Of an example's loss in its batch and alone, whose kernels round differently.
_ALONE_TOLERANCE = 1e-3
_HALF_TOLERANCE = 5e-2

Compute = Callable[[torch.nn.Module, Mapping[str, Any], Any], tuple[torch.Tensor, Any]]
ExampleLosses = Callable[[Any, Any], torch.Tensor]


class TrainerLoss:
    """Computes the Trainer's own loss with each example weighed, and tells sampler and recorder.

    Args:
        trainer: whose settings.
        sampler: gives the weights.
        recorder: told of every batch.
        example_losses: `(outputs, labels) -> (batch,)` losses that rank examples, and that are weighed where the
            Trainer's own loss cannot be taken apart; None for the Trainer's own.
    """

    def __init__(
        self,
        trainer: Any,
        sampler: DynamicSampler | None,
        recorder: Recorder | None,
        example_losses: ExampleLosses | None,
    ) -> None:
        self.trainer, self.sampler, self.recorder = trainer, sampler, recorder
        self.example_losses = example_losses
        self._weigher = None if sampler is None else LossWeigher(sampler)
        self._checked = False
        self._apart = True  # whether the Trainer's loss can be taken apart
        self._undivided = False  # whether it is a batch's mean where the Trainer believes it to be a step's share

    @property
    def _by_loss(self) -> bool:
        return self.sampler is not None and self.sampler.selector.measure == "loss"

    def __call__(
        self, model: torch.nn.Module, inputs: Mapping[str, Any], ids: Any, num_items: Any, compute: Compute
    ) -> tuple[torch.Tensor, Any]:
        """The weighed loss of a training batch, and the outputs.

        Args:
            model: as the Trainer calls it.
            inputs: without ids.
            ids: (batch,) integers.
            num_items: that the Trainer divides by, or None.
            compute: the Trainer's `(model, inputs, num_items) -> (loss, outputs)`.

        Raises:
            BadInputError: on the first batch, what cannot be weighed or told.
        """
        labels = self.labels_of(inputs)
        apart = self._weigher is not None and (self.sampler_weighs or self._by_loss)
        if not apart:
            loss, outputs = compute(model, inputs, num_items)
            self._tell(ids, outputs, labels, None)
            return loss, outputs
        assert self._weigher is not None
        with self._smoothing():
            if not self._checked:
                # A wrapper of several processes would wait for a backward pass that does not come.
                one = self.trainer.accelerator.unwrap_model(model)
                self._check(one, ids, inputs, num_items, compute)
            if self._apart:
                loss, outputs = self._weigher(
                    ids, lambda: compute(model, inputs, num_items), tell=False
                )
                losses = self._weigher.last_losses
            else:
                loss, outputs = compute(model, inputs, num_items)
                losses = self._losses(outputs, labels)
                loss = self._scaled(loss, losses, ids)
        if self._apart and self.example_losses is not None:
            losses = self._losses(outputs, labels)
        self._tell(ids, outputs, labels, losses)
        return self._divided(loss, inputs, num_items), outputs

    @property
    def sampler_weighs(self) -> bool:
        """Whether the sampler's choices may carry weights."""
        return self.sampler is not None and getattr(self.sampler, "may_weigh", True)

    def labels_of(self, inputs: Mapping[str, Any]) -> Any:
        """The labels under the name that the Trainer knows; of several names, a mapping."""
        found = {name: inputs[name] for name in self.trainer.label_names or ("labels",) if name in inputs}
        return next(iter(found.values())) if len(found) == 1 else found or None

    def _losses(self, outputs: Any, labels: Any) -> torch.Tensor:
        assert self.example_losses is not None
        return self.example_losses(outputs, labels)

    def _tell(self, ids: Any, outputs: Any, labels: Any, losses: torch.Tensor | None) -> None:
        sampler = self.sampler
        if sampler is not None:
            if losses is not None and self._by_loss:
                sampler.update(ids, losses)
            elif sampler.selector.needs_reports:
                sampler.update(ids, logits_of(outputs), labels)
            else:  # it asks for nothing; how far the epoch is goes into checkpoints
                sampler.update(ids, measured=torch.zeros(len(ids)))
        if self.recorder is not None:
            self.recorder.update(ids, logits_of(outputs), labels)

    def _check(
        self, model: torch.nn.Module, ids: Any, inputs: Mapping[str, Any], num_items: Any, compute: Compute
    ) -> None:
        """Before the first step: that the loss is a sum over examples, and what the Trainer divides it by."""
        modes = [(module, module.training) for module in model.modules()]
        devices = [ids.device] if ids.is_cuda else []

        def run(given: Mapping[str, Any] = inputs, items: Any = num_items) -> tuple[torch.Tensor, Any]:
            return compute(model, given, items)

        model.eval()
        try:
            with torch.random.fork_rng(devices):
                self._check_sum(run, ids, self.labels_of(inputs))
                with torch.no_grad():
                    if self._apart:
                        self._check_alone(run, ids, inputs)
                    self._check_items(run, num_items)
        finally:
            for module, mode in modes:
                module.training = mode
        self._checked = True

    def _check_sum(self, run: Callable[..., tuple[torch.Tensor, Any]], ids: Any, labels: Any) -> None:
        """That the loss is made of losses that can be taken apart, or of the given ones."""
        assert self._weigher is not None
        (loss, outputs), parts = self._weigher.taken_apart(ids, run, weighed=False)
        if self._weigher.learn(loss, parts):
            return
        if self.example_losses is None:
            reason = not_taken_apart(parts, "give example_losses=, a function (outputs, labels) -> (batch,)")
            if getattr(self.trainer.args, "torch_compile", False) or self.trainer.args.n_gpu > 1:
                reason += " (torch_compile, and several GPUs in one process, hide the loss of a model.)"
            raise BadInputError(reason)
        self._apart = False
        losses = self.example_losses(outputs, labels)
        if losses.shape != (len(ids),):
            raise BadInputError(
                f"example_losses returned shape {tuple(losses.shape)}; give one loss an example, ({len(ids)},)."
            )
        if not self.sampler_weighs:
            return
        parameters = [p for p in self.trainer.model.parameters() if p.requires_grad]
        whole = _gradient(loss, parameters)
        summed = _gradient(losses.sum() * _ratio(loss, losses), parameters)
        if not (whole - summed).norm() <= 10 * TOLERANCE * whole.norm():
            raise BadInputError(
                "example_losses does not add up to the loss that the Trainer minimises, and that loss cannot be taken "
                "apart: with every weight at 1 the step would be another. Return the losses whose mean it is."
            )

    def _check_alone(
        self, run: Callable[..., tuple[torch.Tensor, Any]], ids: Any, inputs: Mapping[str, Any]
    ) -> None:
        """That an example's part of the loss is the same when it is alone."""
        assert self._weigher is not None
        _, together = self._weigher.taken_apart(ids, run, weighed=False)
        for place in sorted({0, len(ids) - 1}):
            one = slice(place, place + 1)
            given = take(dict(inputs), one, len(ids))
            _, alone = self._weigher.taken_apart(ids[one], lambda given=given: run(given), weighed=False)
            for whole, single in zip(together, alone, strict=False):
                mine, same = whole.sums[place].cpu(), single.sums[0].cpu()
                half = whole.value.dtype in (torch.float16, torch.bfloat16) or torch.is_autocast_enabled()
                tolerance = _HALF_TOLERANCE if half else _ALONE_TOLERANCE
                if not torch.allclose(mine, same, rtol=tolerance, atol=tolerance):
                    raise BadInputError(
                        f"the loss of example {int(ids[place])} is {float(mine):.6g} in its batch and "
                        f"{float(same):.6g} alone: the loss compares examples, or their order is not that of "
                        "the ids, so that none can be weighed; take a selector without weights."
                    )

    def _check_items(self, run: Callable[..., tuple[torch.Tensor, Any]], num_items: Any) -> None:
        """Whether the loss is divided by the number of items of a step where the Trainer believes so."""
        trainer = self.trainer
        several = trainer.args.gradient_accumulation_steps > 1 or trainer.accelerator.num_processes > 1
        if num_items is None or not several or not self.sampler_weighs:
            return
        by_model = trainer.compute_loss_func is None
        if by_model and not getattr(trainer, "model_accepts_loss_kwargs", False):
            return
        once, twice = (float(run(items=items)[0]) for items in (num_items, 2 * num_items))
        self._undivided = abs(once - 2 * twice) > 1e-3 * abs(once)
        if self._undivided:
            name = type(trainer.accelerator.unwrap_model(trainer.model)).__name__
            warnings.warn(
                f"{name if by_model else 'compute_loss_func'} is handed the number of items of a step and does not "
                "divide its loss by it, so that transformers would add up the means of the batches of a step, where "
                "the mean over the step is meant. That mean is taken here; for trainings that you compare with, set "
                "accepts_loss_kwargs = False on the model.",
                stacklevel=2,
            )

    def _divided(self, loss: torch.Tensor, inputs: Mapping[str, Any], num_items: Any) -> torch.Tensor:
        """A mean over the items of a batch as its share in the mean over a step."""
        if not self._undivided or num_items is None:
            return loss
        labels = inputs["labels"]
        if getattr(self.trainer, "_loss_shifts_labels", False):
            labels = labels[..., 1:]
        return loss * (labels != IGNORED).sum().to(loss.device) / num_items

    def _scaled(self, loss: torch.Tensor, losses: torch.Tensor, ids: Any) -> torch.Tensor:
        """The Trainer's loss with the given losses of examples weighed."""
        assert self.sampler is not None
        if not self.sampler.is_weighted:
            return loss
        weights = self.sampler.weights(ids).to(losses)
        return (losses * weights).sum() * _ratio(loss, losses)

    @contextmanager
    def _smoothing(self) -> Iterator[None]:
        """Smooth labels by `torch.nn.functional.cross_entropy` meanwhile, which can be taken apart."""
        smoother = self.trainer.label_smoother
        if smoother is None:
            yield
            return
        self.trainer.label_smoother = _Smoother(smoother.epsilon, smoother.ignore_index)
        try:
            yield
        finally:
            self.trainer.label_smoother = smoother


class _Smoother:
    """The same numbers as the LabelSmoother of transformers."""

    def __init__(self, epsilon: float, ignore_index: int) -> None:
        self.epsilon, self.ignore_index = epsilon, ignore_index

    def __call__(
        self, outputs: Any, labels: torch.Tensor, shift_labels: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        logits = logits_of(outputs)
        if shift_labels:
            logits, labels = logits[..., :-1, :], labels[..., 1:]
        loss = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(),
            labels.reshape(-1),
            label_smoothing=self.epsilon,
            ignore_index=self.ignore_index,
            reduction="mean" if num_items_in_batch is None else "sum",
        )
        return loss if num_items_in_batch is None else loss / num_items_in_batch


def _ratio(loss: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
    """By what the sum of the losses of examples is to be multiplied to be the loss; no gradient."""
    total = losses.detach().sum()
    return torch.where(total == 0, torch.zeros_like(total), loss.detach() / total)


def _gradient(loss: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return torch.cat([gradient.flatten().float() for gradient in found if gradient is not None])


def logits_of(outputs: Any) -> Any:
    """The logits in what a model returned.

    Raises:
        BadInputError: there are none.
    """
    if outputs is None:
        raise BadInputError("compute_loss returned no outputs; return (loss, outputs) for return_outputs=True.")
    if isinstance(outputs, Mapping):
        if "logits" not in outputs:
            raise BadInputError(f"the model returns no logits, only {', '.join(outputs)}.")
        return outputs["logits"]
    if isinstance(outputs, tuple | list):
        return outputs[1]
    return outputs if isinstance(outputs, torch.Tensor) else outputs.logits
