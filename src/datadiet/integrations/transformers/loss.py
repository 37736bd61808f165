"""The loss of a Trainer, weighed: what is checked on its first batch; what sampler and recorder are told."""

from __future__ import annotations

import copy
import functools
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from datadiet.dynamic import DynamicSampler
from datadiet.dynamic.measurements import measure_batch
from datadiet.dynamic.weighing import TOLERANCE, LossPart, LossWeigher, not_taken_apart, tolerance_of
from datadiet.foundation.errors import BadInputError
from datadiet.integrations.transformers.outputs import OutputWeigher
from datadiet.pergrad.batches import take
from datadiet.tasks import IGNORED
from datadiet.tracking import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How far from parallel the gradients of an example in its batch and alone may be.
_ANGLE = 1e-5
_HALF_ANGLE = 1e-2
#: Over how many entries of the weights gradients are compared.
_ENTRIES = 10_000_000
_MIXED = "the loss compares examples, or their order is not that of the ids, so that none can be weighed;"
EXAMPLE_LOSSES = "give example_losses=, a function (outputs, labels) -> (batch,) that says how large each is"
#: What trainers of TRL count in compute_loss.
_COUNTED = ("_metrics", "_total_train_tokens")

Compute = Callable[[torch.nn.Module, Mapping[str, Any], Any], tuple[torch.Tensor, Any]]
Run = Callable[..., tuple[torch.Tensor, Any]]
ExampleLosses = Callable[[Any, Any], torch.Tensor]


class TrainerLoss:
    """Computes the Trainer's own loss with each example weighed, and tells sampler and recorder.

    A loss that calls those of torch.nn.functional is taken apart there (`LossWeigher`); any other is weighed where the
    model's outputs lie (`OutputWeigher`), and `example_losses` then says how large each example's is.

    Args:
        trainer: whose settings.
        sampler: gives the weights.
        recorder: told of every batch.
        example_losses: `(outputs, labels) -> (batch,)` losses by which examples are ranked; None for the Trainer's own.
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
        self._outputs: OutputWeigher | None = None  # where the loss cannot be taken apart
        self._checked = self._has_told = False
        # By what a batch's mean is multiplied beside its items, where the Trainer believes it to be a step's share.
        self._share: float | None = None

    @property
    def wants_outputs(self) -> bool:
        """Whether anything of a model's outputs but the loss is looked at."""
        if self.sampler is not None and self.sampler.selector.wants_scoring_pass and not self._has_told:
            return True
        if self.sampler is None or not self.sampler.selector.needs_reports:
            return self.recorder is not None
        return self.recorder is not None or not self._asks_for_losses

    @property
    def _model(self) -> torch.nn.Module:
        model: torch.nn.Module = self.trainer.accelerator.unwrap_model(self.trainer.model)
        return model

    @property
    def _is_compiled(self) -> bool:
        return any(
            hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
            for module in self.trainer.model_wrapped.modules()
        )

    @property
    def _by_loss(self) -> bool:
        return self.sampler is not None and self.sampler.selector.measure == "loss"

    @property
    def _weighs(self) -> bool:
        return self.sampler is not None and self.sampler.may_weigh

    @property
    def _remedy(self) -> str:
        return "take a selector without weights" if self._weighs else EXAMPLE_LOSSES

    @property
    def _asks_for_losses(self) -> bool:
        """Whether the sampler has to be told losses that nobody else says."""
        asks = self.sampler is not None and self.sampler.selector.needs_reports
        return asks and self._by_loss and self.example_losses is None

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
        if self._weigher is None or not (self._weighs or self._asks_for_losses):
            loss, outputs = compute(model, inputs, num_items)
            self._tell(ids, outputs, labels, None)
            return loss, outputs
        with self._smoothing():
            if not self._checked:
                self._check(model, ids, inputs, num_items, compute)
            loss, outputs, losses = self._weighed(ids, lambda: compute(model, inputs, num_items))
        self._tell(ids, outputs, labels, losses)
        return self._divided(loss, inputs, num_items), outputs

    def labels_of(self, inputs: Mapping[str, Any]) -> Any:
        """The labels under the name that the Trainer knows; of several names, a mapping."""
        found = {name: inputs[name] for name in self.trainer.label_names or ("labels",) if name in inputs}
        return next(iter(found.values())) if len(found) == 1 else found or None

    def _weighed(
        self, ids: Any, run: Callable[[], tuple[torch.Tensor, Any]]
    ) -> tuple[torch.Tensor, Any, torch.Tensor | None]:
        """Weighed loss, outputs, and each example's loss where it is known."""
        assert self._weigher is not None
        assert self.sampler is not None
        if self._outputs is None:
            loss, outputs = self._weigher(ids, run, tell=False)
            return loss, outputs, self._weigher.last_losses
        with self._outputs.watching(self._model) as seen:
            loss, outputs = run()
        losses = self._outputs.parts(loss, seen)[1] if self._outputs.is_linear else None
        if self.sampler.is_weighted:
            loss = self._outputs.weigh(loss, seen, self.sampler.weights(ids))
        return loss, outputs, losses

    def _tell(self, ids: Any, outputs: Any, labels: Any, losses: torch.Tensor | None) -> None:
        sampler = self.sampler
        if sampler is not None:
            name = sampler.selector.name
            with self._said(f"selector {name!r}", "take one by loss, such as 'infobatch', or 'random'"):
                self._tell_sampler(sampler, ids, outputs, labels, losses)
        if self.recorder is not None:
            with self._said("the recorder", "leave it out"):
                self.recorder.update(ids, logits_of(outputs), labels)
        self._has_told = True

    def _tell_sampler(
        self, sampler: DynamicSampler, ids: Any, outputs: Any, labels: Any, losses: torch.Tensor | None
    ) -> None:
        if sampler.selector.wants_scoring_pass and not self._has_told and not self._by_loss:
            measure_batch(sampler.selector.measure, logits_of(outputs), labels)  # as the pass will
        if not sampler.selector.needs_reports:  # how far the epoch is goes into checkpoints
            sampler.update(ids, measured=torch.zeros(len(ids)))
        elif self._by_loss and self.example_losses is not None:
            sampler.update(ids, self.example_losses(outputs, labels))
        elif self._by_loss:
            sampler.update(ids, losses)
        else:
            sampler.update(ids, logits_of(outputs), labels)

    @contextmanager
    def _said(self, who: str, remedy: str) -> Iterator[None]:
        """On the first batch, say whom a Trainer's batches do not suit."""
        try:
            yield
        except BadInputError as error:
            if self._has_told:
                raise
            raise BadInputError(
                f"{who} wants logits of classes with one label an example, which this Trainer's batches do not give; "
                f"{remedy} ({error})"
            ) from error

    def _check(
        self, model: torch.nn.Module, ids: Any, inputs: Mapping[str, Any], num_items: Any, compute: Compute
    ) -> None:
        """Before the first step: that the loss is a sum over examples, and what the Trainer divides it by."""
        # A wrapper of several processes would wait for a backward pass that does not come.
        model = self.trainer.accelerator.unwrap_model(model)
        assert self._weigher is not None

        def run(given: Mapping[str, Any] = inputs, items: Any = num_items) -> tuple[torch.Tensor, Any]:
            return compute(model, given, items)

        with _undisturbed(self.trainer, model, ids.device):
            self._check_sum(run, ids)
            try:
                self._check_alone(run, ids, inputs)
            except RuntimeError as error:
                # Checkpoints of this kind have gradients of all weights at once, or none.
                if "use_reentrant" not in str(error):
                    raise
            with torch.no_grad():
                self._check_items(run, num_items)
        self._weigher.forget()  # to be seen again in training mode
        self._checked = True

    def _check_sum(self, run: Run, ids: Any) -> None:
        """That the loss can be taken apart, or else weighed where the outputs lie."""
        assert self._weigher is not None
        if self._is_compiled and self._weigher_of_outputs(run, ids) is None:
            raise BadInputError(not_taken_apart([], self._remedy) + self._hint())
        (loss, _), parts = self._weigher.taken_apart(ids, run)
        if self._weigher.learn(loss, parts) and self._is_linear(loss, parts, ids, run):
            return
        self._outputs = self._weigher_of_outputs(run, ids)
        if self._outputs is None:
            raise BadInputError(not_taken_apart(parts, self._remedy) + self._hint())

    def _weigher_of_outputs(self, run: Run, ids: Any) -> OutputWeigher | None:
        """What weighs the loss where the model's outputs lie; None where they are not all that it is made of."""
        weigher = OutputWeigher()
        with weigher.watching(self._model) as seen:
            loss, _ = run()
        return weigher if weigher.learn(loss, seen, len(ids)) else None

    def _is_linear(self, loss: torch.Tensor, parts: list[LossPart], ids: Any, run: Run) -> bool:
        """Whether other weights change the loss by what its parts say."""
        assert self._weigher is not None
        weights = torch.linspace(0.5, 1.5, len(ids), device=ids.device)
        expected = self._weigher.predicted(loss, parts, weights)
        with torch.no_grad():
            (found, _), _ = self._weigher.taken_apart(ids, run, weights=weights)
        tolerance = max(tolerance_of(loss), 10 * TOLERANCE)
        return abs(float(found) - expected) <= tolerance * max(abs(expected), 1e-6)

    def _hint(self) -> str:
        """What in the settings is known to hide the losses of examples."""
        args = self.trainer.args
        if getattr(args, "packing", False) or getattr(args, "padding_free", False):
            return " (Packing and padding_free put several examples into one row; leave them out.)"
        if args.n_gpu > 1:
            return " (Several GPUs in one process hide the loss of a model; start one process each with torchrun.)"
        if self._is_compiled:
            return " (A compiled model hides its loss; give compute_loss_func=, which is not compiled.)"
        return ""

    def _check_alone(self, run: Run, ids: Any, inputs: Mapping[str, Any]) -> None:
        """That the gradient of a batch in which one example alone has a weight is that of the example alone."""
        parameters = _some_of(self._model)
        half = self.trainer.accelerator.mixed_precision != "no" or any(
            parameter.dtype.itemsize < 4 for parameter in parameters
        )
        for place in sorted({0, len(ids) - 1}):
            one = slice(place, place + 1)
            weights = torch.zeros(len(ids), device=ids.device)
            weights[place] = 1
            mine = _gradient(self._loss_at(run, ids, weights), parameters)
            given = take(dict(inputs), one, len(ids))
            try:
                alone = self._loss_at(functools.partial(run, given), ids[one], weights[one])
            except (RuntimeError, ValueError, IndexError, TypeError, BadInputError) as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                raise BadInputError(
                    f"one example alone cannot go through the loss ({error}): {_MIXED} {self._remedy}."
                ) from error
            single = _gradient(alone, parameters)
            if not _parallel(mine, single, _HALF_ANGLE if half else _ANGLE):
                raise BadInputError(
                    f"the gradient of example {int(ids[place])} is not the same in its batch and alone: {_MIXED} "
                    f"{self._remedy}.{self._hint()}"
                )
        if self._outputs and not self._outputs.is_linear and self._asks_for_losses:
            raise BadInputError(not_taken_apart([], EXAMPLE_LOSSES))

    def _loss_at(self, run: Run, ids: Any, weights: torch.Tensor) -> torch.Tensor:
        """The loss of a batch with these weights."""
        assert self._weigher is not None
        if self._outputs is None:
            (loss, _), _ = self._weigher.taken_apart(ids, run, weights=weights)
            return loss
        with self._outputs.watching(self._model) as seen:
            loss, _ = run()
        return self._outputs.weigh(loss, seen, weights)

    def _check_items(self, run: Run, num_items: Any) -> None:
        """Whether the loss is divided by the number of items of a step where the Trainer believes so."""
        trainer = self.trainer
        several = trainer.args.gradient_accumulation_steps > 1 or trainer.accelerator.num_processes > 1
        if num_items is None or not several or not self._weighs:
            return
        by_model = trainer.compute_loss_func is None
        if by_model and not getattr(trainer, "model_accepts_loss_kwargs", False):
            return
        once, twice = (float(run(items=items)[0]) for items in (num_items, 2 * num_items))
        if abs(once - 2 * twice) > 1e-3 * abs(once):
            self._share = 1.0
            ranks = trainer.accelerator.num_processes
            if ranks > 1 and getattr(trainer.args, "average_tokens_across_devices", False):
                # The items are those of all processes, and the Trainer's own compute_loss multiplies by their number.
                trainer.args.average_tokens_across_devices = False
                bare = float(run(items=num_items)[0])
                trainer.args.average_tokens_across_devices = True
                self._share = ranks * bare / once if once else 1.0
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
        if self._share is None or num_items is None:
            return loss
        labels = inputs["labels"]
        if getattr(self.trainer, "_loss_shifts_labels", False):
            labels = labels[..., 1:]
        items: torch.Tensor = (labels != IGNORED).sum().to(loss.device)
        divided: torch.Tensor = loss * self._share * items / num_items
        return divided

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


def _some_of(model: torch.nn.Module) -> Sequence[torch.Tensor]:
    """Weights that are trained, the last ones first, as many as take little memory."""
    trained = [p for p in reversed(list(model.parameters())) if p.requires_grad]
    small = [p for p in trained if p.numel() <= _ENTRIES] or trained[:1]
    taken = itertools.accumulate(p.numel() for p in small)
    return [p for p, total in zip(small, taken, strict=True) if total <= _ENTRIES] or small[:1]


def _gradient(loss: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten().double() for gradient in found])


def _parallel(mine: torch.Tensor, other: torch.Tensor, angle: float) -> bool:
    """Whether two gradients point in one direction, or both are nothing."""
    lengths = mine.norm() * other.norm()
    return bool(mine.norm() == other.norm() if lengths == 0 else mine @ other >= (1 - angle) * lengths)


@contextmanager
def _undisturbed(trainer: Any, model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode; what is drawn, and what trainers of TRL count, is as before on the way out."""
    modes = [(module, module.training) for module in model.modules()]
    counted = {name: copy.deepcopy(vars(trainer)[name]) for name in _COUNTED if name in vars(trainer)}
    model.eval()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        vars(trainer).update(counted)


def logits_of(outputs: Any) -> Any:
    """The logits in what a model returned.

    Raises:
        BadInputError: there are none.
    """
    if outputs is None:
        raise BadInputError(
            "compute_loss returned no outputs; return (loss, outputs) for return_outputs=True."
        )
    if isinstance(outputs, Mapping):
        if "logits" not in outputs:
            raise BadInputError(f"the model returns no logits, only {', '.join(outputs)}.")
        return outputs["logits"]
    if isinstance(outputs, tuple | list):
        return outputs[1]
    return outputs if isinstance(outputs, torch.Tensor) else outputs.logits
