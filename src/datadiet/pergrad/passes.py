"""One batch through a forward and a backward pass to squared norms by parameter, in parts where memory is short."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.accumulator import Accumulator, roots_of
from datadiet.pergrad.batches import (
    Batch,
    ForwardFunction,
    LossFunction,
    autocast_on,
    module_label,
    outputs_of,
    saved_bytes,
)
from datadiet.pergrad.factors import WORKSPACE_BYTES, Dense, widened
from datadiet.pergrad.interception import Interceptor, layer_rules
from datadiet.pergrad.layout import NeedsPlanError, OpaqueError, PathError
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
    loss: LossFunction
    chosen: dict[str, torch.Tensor]
    autocast: torch.dtype | None
    plans: dict[Any, Plan] = field(default_factory=dict)
    opaque: set[str] = field(default_factory=set)
    warned: bool = False

    def squared_norms(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Squared gradient norm of each example by parameter name, each of shape (batch,)."""
        try:
            return self._planned(batch)
        except OpaqueError as reason:
            if batch.size == 1:
                raise BadInputError(f"Cannot take the gradient of one example: {reason}.") from reason
            return self._one_at_a_time(batch, str(reason))

    def _planned(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Run the batch, and one example before it where shapes alone leave a doubt.

        A plan is remade when the batch shows that it copies a parameter for each example, when a module turns
        out to be opaque, and when the example went another way than the batch (a mask that is left out where
        nothing is masked): then another example is tried.
        """
        key = shape_key((batch.inputs, batch.targets))
        plan = self.plans.get(key) if batch.size > 1 else None
        candidates = [0, batch.size - 1, *range(1, batch.size - 1)]
        untried = iter(candidates)
        for _ in range(REPLANNINGS):
            try:
                if plan is not None and not plan.events:
                    self._taped_losses(self._tape(1, plan, recording=True), batch.example(plan.example))
                return self._attempt(batch, plan)
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
        if not self.warned:
            self.warned = True
            warnings.warn(
                f"Gradient norms are taken one example at a time, which is exact but slow: {reason}.",
                stacklevel=2,
            )
        rows = [self._attempt(batch.example(i), None) for i in range(batch.size)]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def _tape(self, batch: int, plan: Plan | None, recording: bool = False) -> Interceptor:
        device = next(iter(self.chosen.values())).device
        names = {id(p): name for name, p in self.model.named_parameters()}
        return Interceptor(Accumulator(self.chosen, batch, device), names, plan, recording)

    def _taped_losses(self, tape: Interceptor, batch: Batch) -> torch.Tensor:
        given = (batch.inputs, batch.targets)
        tape.mark(given)
        try:
            with torch.enable_grad(), layer_rules(self.model, tape, self.opaque), tape:
                return self.losses(batch)
        finally:
            tape.unmark(given)

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

    def _attempt(self, batch: Batch, plan: Plan | None) -> dict[str, torch.Tensor]:
        scales = HALF_SCALES if self.autocast == torch.float16 else (1.0,)
        for scale in scales:
            squared = self._run(batch, plan, scale)
            if scale == scales[-1] or all(bool(s.isfinite().all()) for s in squared.values()):
                break
        return {name: s / scale**2 for name, s in squared.items()} if scale != 1.0 else squared

    def _run(self, batch: Batch, plan: Plan | None, scale: float) -> dict[str, torch.Tensor]:
        tape = self._tape(batch.size, plan)
        losses = self._taped_losses(tape, batch)
        if not losses.requires_grad:
            raise BadInputError(
                "The loss does not depend on the chosen parameters: the model may run under torch.no_grad(), "
                "or the parameters are not used in its forward pass."
            )
        uses = tape.accumulator.uses
        missed = [leaf for leaf in roots_of(losses) if id(leaf) in uses]
        if missed and batch.size > 1:
            names = [tape.names[id(leaf)] for leaf in missed]
            raise OpaqueError(f"`{names[0]}` is used where torch functions do not show it", names)
        for leaf in missed:
            uses[id(leaf)].expected += 1  # autograd brings more of its gradient: not summed before the end
        total = losses.sum() * scale if scale != 1.0 else losses.sum()
        del losses
        found = torch.autograd.grad(total, [tape.seed, *missed], allow_unused=True)
        for leaf, gradient in zip(missed, found[1:], strict=True):
            if gradient is not None:
                uses[id(leaf)].factors.append(Dense(widened(gradient).unsqueeze(0)))
        with torch.no_grad():
            tape.accumulator.close()
        return tape.accumulator.squared

    def _make_opaque(self, names: Iterable[str]) -> bool:
        """Take the owners of these parameters as a whole from now on; False if that was tried before."""
        owners = {name.rpartition(".")[0] for name in names}
        known = owners <= self.opaque
        self.opaque |= owners
        return not known


def shape_key(value: Any) -> Any:
    """What a plan depends on: the shapes and types of the inputs of a batch."""
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), value.dtype)
    if isinstance(value, (tuple, list)):
        return tuple(shape_key(v) for v in value)
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), shape_key(v)) for key, v in value.items()))
    return type(value).__name__


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
            if not _out_of_memory(error):
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


def _out_of_memory(error: RuntimeError) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(
        words in str(error) for words in ("not enough memory", "can't allocate memory", "out of memory")
    )


def _fitting(engine: Engine, batch: Batch, max_memory: int) -> int:
    """How many examples fit in a budget, from what autograd keeps for one."""
    first = batch.example(0)
    with torch.enable_grad():
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
