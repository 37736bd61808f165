"""One batch through a forward and a backward pass to squared norms by parameter, in parts where memory is short."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.accumulator import Accumulator, roots_of
from datadiet.pergrad.batches import Batch, autocast_on, module_label, saved_bytes, shape_key
from datadiet.pergrad.calls import ForwardFunction, OnOutputs, outputs_of
from datadiet.pergrad.eager import recurrent_kernels
from datadiet.pergrad.factors import WORKSPACE_BYTES, widened
from datadiet.pergrad.interception import Interceptor, layer_rules
from datadiet.pergrad.layout import NeedsPlanError, OpaqueError, PathError
from datadiet.pergrad.randomness import FEW_SEEDS, SEEDS, Generators, alike, refuse_randomness
from datadiet.pergrad.tape import Plan

# Losses of half precision are scaled so that small gradients do not vanish on the way back.
HALF_SCALES = (1024.0, 1.0)

# How often a plan may be remade; each time takes one example through the model.
REPLANNINGS = 32

# Beside what autograd keeps: gradients on the way back, and the working buffers of one layer.
HEADROOM = 1.5

# How many examples the check of independence runs by themselves.
EXAMPLES_CHECKED = 4


@dataclass
class Engine:
    """Everything about a computation but its batch; remembers plans, so that later batches need none."""

    model: nn.Module
    forward: ForwardFunction | None
    loss: OnOutputs
    chosen: dict[str, torch.Tensor]
    autocast: torch.dtype | None
    plans: dict[Any, Plan] = field(default_factory=dict)
    opaque: set[str] = field(default_factory=set)
    warned: bool = False
    draws_in_vain: bool = False

    def squared_norms(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Squared gradient norm of each example by parameter name, each of shape (batch,)."""
        complex_one = next((name for name, p in self.chosen.items() if p.is_complex()), None)
        if complex_one is not None:
            return self._one_at_a_time(batch, f"`{complex_one}` holds complex numbers")
        try:
            return self._planned(batch)
        except (BadInputError, torch.OutOfMemoryError):
            raise
        except OpaqueError as reason:
            return self._one_at_a_time(batch, str(reason))
        except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
            if out_of_memory(error):
                raise
            # Of the model's own, then it comes again for an example alone, or of the tape's.
            return self._one_at_a_time(
                batch, f"{type(error).__name__} while they were taken together, {error}"
            )

    def _planned(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Run the batch, and one example before it where shapes alone leave a doubt.

        A plan is remade when the batch shows that it copies a parameter for each example, when a module turns
        out to be opaque, and when the example went another way than the batch (a mask that is left out where
        nothing is masked): then another example is tried.
        """
        key = shape_key((batch.inputs, batch.targets))
        plan = self.plans.get(key) if batch.size > 1 else None
        if plan is not None and plan.sampled:
            plan.events.clear()
        candidates = [0, batch.size - 1, *range(1, batch.size - 1)]
        untried = iter(candidates)
        for _ in range(REPLANNINGS):
            try:
                if plan is not None and not plan.events:
                    self._taped_losses(self._tape(1, plan, recording=True), batch.example(plan.example))
                return self._scaled(partial(self._run, batch, plan))
            except NeedsPlanError as need:
                repeated = set() if plan is None else plan.repeated
                if need.repeats is not None:
                    repeated.add(need.repeats)
                plan = Plan(next(untried) if plan is None else plan.example, repeated=repeated)
            except PathError:
                example = next(untried, None)
                if example is None:
                    raise
                plan = Plan(example)
            except OpaqueError as reason:
                if batch.size == 1 or not self._make_opaque(reason.parameters):
                    raise
                self.plans.clear()
                plan = None
                untried = iter(candidates)
                continue
            self.plans[key] = plan
        raise OpaqueError(
            "the model copies its parameters for each example in too many places, or no example goes its way"
        )

    def _one_at_a_time(self, batch: Batch, reason: str) -> dict[str, torch.Tensor]:
        rows: list[dict[str, torch.Tensor]] = []
        for position in range(batch.size):
            rows.append(self._scaled(partial(self._alone, batch.example(position))))
            if not self.warned and batch.size > 1:
                self.warned = True
                warnings.warn(
                    f"Gradient norms are taken one example at a time, which is exact but slow: {reason}.",
                    stacklevel=2,
                )
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def _alone(self, example: Batch, scale: float) -> dict[str, torch.Tensor]:
        """Squared norms of one example by autograd alone."""
        with recurrent_kernels(self.model):
            losses = _differentiable(self._checked_losses(example, lambda: self.losses(example)))
            found = torch.autograd.grad(
                losses.sum() * scale, list(self.chosen.values()), allow_unused=True, materialize_grads=True
            )
        return {name: squared_length(g) for name, g in zip(self.chosen, found, strict=True)}

    def _tape(self, batch: int, plan: Plan | None, recording: bool = False) -> Interceptor:
        device = next(iter(self.chosen.values())).device
        names = {id(p): name for name, p in self.model.named_parameters()}
        return Interceptor(Accumulator(self.chosen, batch, device), names, plan, recording)

    def _taped_losses(self, tape: Interceptor, batch: Batch) -> torch.Tensor:
        given = (batch.inputs, batch.targets)

        def taped() -> torch.Tensor:
            with layer_rules(self.model, tape, self.opaque), tape:
                return self.losses(batch)

        tape.mark(given)
        try:
            return self._checked_losses(batch, taped, tape.generators)
        finally:
            tape.unmark(given)

    def _checked_losses(
        self, batch: Batch, run: Callable[[], torch.Tensor], own: Sequence[torch.Generator] = ()
    ) -> torch.Tensor:
        """What `run` returns, refused where it depends on random numbers."""
        before = Generators(self.model)
        losses = run()
        if own or before.moved():
            seeds = FEW_SEEDS if self.draws_in_vain else SEEDS
            refuse_randomness(self.model, lambda: self.losses(batch), own, seeds)
            self.draws_in_vain = True
        return losses

    def losses(self, batch: Batch) -> torch.Tensor:
        """The loss of each example.

        Raises:
            BadInputError: if there is not one for each.
        """
        device = next(iter(self.chosen.values())).device
        with autocast_on(device, self.autocast):
            losses: Any = self.loss(outputs_of(self.model, batch.inputs, self.forward), batch.targets)
        if not isinstance(losses, torch.Tensor) or tuple(losses.shape) != (batch.size,):
            got = tuple(losses.shape) if isinstance(losses, torch.Tensor) else type(losses).__name__
            raise BadInputError(
                f"The loss must return one value for each of the {batch.size} examples, shape ({batch.size},), but "
                f"returned {got}: use reduction='none' and sum or average over everything but the batch."
            )
        return losses

    def _scaled(self, run: Callable[[float], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        scales = HALF_SCALES if self.autocast == torch.float16 else (1.0,)
        for scale in scales:
            squared = run(scale)
            if scale == scales[-1] or all(bool(s.isfinite().all()) for s in squared.values()):
                break
        return {name: s / scale**2 for name, s in squared.items()} if scale != 1.0 else squared

    def _run(self, batch: Batch, plan: Plan | None, scale: float) -> dict[str, torch.Tensor]:
        tape = self._tape(batch.size, plan)
        losses = _differentiable(self._taped_losses(tape, batch))
        uses = tape.accumulator.uses
        missed = [tape.names[id(leaf)] for leaf in roots_of(losses) if id(leaf) in uses]
        if missed:
            raise OpaqueError(f"`{missed[0]}` is used where torch functions do not show it", missed)
        total = losses.sum() * scale if scale != 1.0 else losses.sum()
        del losses
        torch.autograd.grad(total, [tape.seed], allow_unused=True)
        with torch.no_grad():
            tape.accumulator.close()
        return tape.accumulator.squared

    def _make_opaque(self, names: Iterable[str]) -> bool:
        """Take the owners of these parameters as a whole from now on; False if that was tried before."""
        owners = {name.rpartition(".")[0] for name in names}
        known = owners <= self.opaque
        self.opaque |= owners
        return not known


def _differentiable(losses: torch.Tensor) -> torch.Tensor:
    if not losses.requires_grad:
        raise BadInputError(
            "The loss does not depend on the chosen parameters: the model may run under torch.no_grad(), "
            "or the parameters are not used in its forward pass."
        )
    return losses


def squared_length(gradient: torch.Tensor) -> torch.Tensor:
    """Squared length of one gradient, of real or complex numbers, shape (1,)."""
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    parts = torch.view_as_real(values) if values.is_complex() else values
    length: torch.Tensor = torch.linalg.vector_norm(widened(parts.detach()))
    return length.square().reshape(1)


def in_parts(engine: Engine, batch: Batch, max_memory: int | None) -> dict[str, torch.Tensor]:
    """Squared norms by parameter name, computed on as many examples at a time as fit.

    Raises:
        BadInputError: if not even one example fits.
    """
    size = batch.size if max_memory is None else min(batch.size, _fitting(engine, batch, max_memory))
    found: list[dict[str, torch.Tensor]] = []
    start = 0
    while start < batch.size:
        stop = min(start + size, batch.size)
        try:
            found.append(engine.squared_norms(batch.part(start, stop)))
            start = stop
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if stop - start == 1:
                raise BadInputError(
                    "One example alone does not fit into the memory of the device: use a device with more, "
                    "half precision (autocast=torch.bfloat16) or shorter inputs."
                ) from error
            size = max(1, (stop - start) // 2)
        if torch.cuda.is_available() and size < batch.size:
            torch.cuda.empty_cache()
    if len(found) == 1:
        return found[0]
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(
        words in str(error) for words in ("not enough memory", "can't allocate memory", "out of memory")
    )


def _fitting(engine: Engine, batch: Batch, max_memory: int) -> int:
    """How many examples fit in a budget, from what autograd keeps for one."""
    first = batch.example(0)
    kept = saved_bytes(lambda: engine.losses(first), engine.model.parameters())
    each = int(HEADROOM * kept) + 1
    fitting = (max_memory - min(WORKSPACE_BYTES, max_memory // 2)) // each
    if fitting < 1:
        raise BadInputError(
            f"One example takes about {each + WORKSPACE_BYTES} bytes, more than max_memory={max_memory}: "
            "raise it to at least that."
        )
    return fitting


def check_independence(engine: Engine, batch: Batch) -> None:
    """Compare the losses of a few examples in their batch with their losses alone.

    The tolerance leaves room for kernels that round differently for other batch sizes, and for nothing else.

    Raises:
        BadInputError: if a loss changes; the message names the first module whose output does.
    """
    if batch.size < 2:
        return
    together, outputs = _losses_and_outputs(engine, batch)
    with torch.no_grad():
        if not alike(together, engine.losses(batch)):
            refuse_randomness(engine.model, lambda: engine.losses(batch))
    half = engine.autocast is not None or any(
        p.dtype in (torch.float16, torch.bfloat16) for p in engine.chosen.values()
    )
    tolerance = 5e-2 if half else 1e-3
    positions = {round(i * (batch.size - 1) / (EXAMPLES_CHECKED - 1)) for i in range(EXAMPLES_CHECKED)}
    for position in sorted(positions):
        alone, one = _losses_and_outputs(engine, batch.example(position))
        for (name, whole), (_, single) in zip(outputs, one, strict=False):
            if _differs(whole, single, batch.size, position, tolerance):
                raise BadInputError(
                    f"{name} gives example {position} another output in its batch than alone, so examples "
                    "interact and have no gradients of their own (statistics over the batch, attention or "
                    "sampling across it?)."
                )
        if not torch.allclose(together[position], alone[0], rtol=tolerance, atol=tolerance):
            raise BadInputError(
                f"The loss of example {position} is {together[position].item():.6g} in its batch and "
                f"{alone[0].item():.6g} alone: the loss or the model compares examples with each other (a "
                "contrastive loss, batch statistics), so an example has no gradient of its own."
            )


def _losses_and_outputs(engine: Engine, batch: Batch) -> tuple[torch.Tensor, list[tuple[str, torch.Tensor]]]:
    """Losses of a batch, and the output of each module that returns one tensor, in the order of calls."""
    labels = {module: module_label(name, module) for name, module in engine.model.named_modules()}
    outputs: list[tuple[str, torch.Tensor]] = []

    def keep(module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.is_floating_point():
            outputs.append((labels[module], output.detach()))

    with ExitStack() as handles, torch.no_grad():
        for module in labels:
            handles.enter_context(module.register_forward_hook(keep))
        return engine.losses(batch), outputs


def _differs(whole: torch.Tensor, single: torch.Tensor, batch: int, position: int, tolerance: float) -> bool:
    """Whether an example's rows differ; outputs without the examples in the first dimension pass."""
    if whole.dim() == 0 or len(whole) != batch or single.shape != (1, *whole.shape[1:]) or not single.numel():
        return False
    mine = whole[position : position + 1]
    scale = max(float(mine.abs().amax()), float(single.abs().amax()))
    return bool((mine - single).abs().amax() > tolerance * max(scale, 1e-6))
