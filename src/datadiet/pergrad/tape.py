"""The tape of a forward pass: what depends on parameters and on examples, and the rules for functions and layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from datadiet.pergrad.accumulator import Accumulator, Derived
from datadiet.pergrad.batches import map_tensors, tensors_in
from datadiet.pergrad.factors import Factor, Gram
from datadiet.pergrad.layout import Fingerprint, Layout, NeedsPlanError, OpaqueError, PathError, resolve

# Functions that may make a copy of a parameter for each example.
REPEATING = frozenset(
    ["expand", "expand_as", "repeat", "tile", "broadcast_to", "repeat_interleave", "broadcast_tensors"]
)


@dataclass
class Plan:
    """What one example alone does to the tracked tensors, call by call.

    `repeated` holds the positions of events that make a copy of a parameter for each example
    (`token.expand(batch, -1, -1)`): with one example they look like any other function of parameters. `sampled`
    says whether values of the example were needed, not just shapes, which hold for other batches too.
    """

    example: int = 0
    events: list[list[Fingerprint]] = field(default_factory=list)
    repeated: set[int] = field(default_factory=set)
    sampled: bool = False


class Operand(NamedTuple):
    """One operand of a call and what the gradient of the output makes of it; of no account where it is not tracked.

    `saved` are tensors that `make` needs: changing them in place before the backward pass is an error.
    """

    tensor: torch.Tensor | None
    make: Callable[[torch.Tensor], Factor]
    saved: Sequence[torch.Tensor] = ()


Key = TypeVar("Key")


def jointly(
    tensors: Mapping[Key, torch.Tensor],
    gradients: Callable[[torch.Tensor], Mapping[Key, Factor]],
    saved: Sequence[torch.Tensor],
) -> list[Operand]:
    """Operands whose gradients are made all at once, when the first of them is asked for."""
    found: dict[Key, Factor] = {}

    def maker(key: Key) -> Callable[[torch.Tensor], Factor]:
        def make(gradient: torch.Tensor) -> Factor:
            if not found:
                found.update(gradients(gradient))
            return found.pop(key)

        return make

    return [Operand(tensor, maker(key), saved) for key, tensor in tensors.items()]


class _RequireGrad(torch.autograd.Function):
    """Makes an output require gradients without a weight that does: the start of the tapped graph."""

    @staticmethod
    def forward(ctx: Any, seed: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None]:
        return None, None


class _RequireGradOfView(_RequireGrad):
    """The same for an operand made by the tape itself, which may be an expanded view."""

    @staticmethod
    def forward(ctx: Any, seed: torch.Tensor, operand: torch.Tensor) -> torch.Tensor:
        return operand.view_as(operand)


class Tape(TorchFunctionMode):
    """Which tensors depend on parameters and which on examples, and the hooks on gradients that flow back.

    Tensors are of three kinds. *Tracked* ones are parameters or computed from parameters alone; *batched*
    ones depend on the examples; all others are constants.
    """

    def __init__(
        self,
        accumulator: Accumulator,
        names: dict[int, str],
        plan: Plan | None = None,
        recording: bool = False,
    ) -> None:
        super().__init__()
        self.accumulator = accumulator
        self.batch = accumulator.batch
        self.names = names
        self.plan = plan
        self.recording = recording
        self.calls = 0
        self.generators: list[torch.Generator] = []
        parameters = {key: uses.parameter for key, uses in accumulator.uses.items()}
        self.seed = torch.zeros((), device=next(iter(parameters.values())).device, requires_grad=True)
        self._mark = object()
        self._ignored: dict[int, torch.Tensor] = {}
        self._tracked: dict[int, torch.Tensor | Derived] = {**parameters}

    # Kinds of tensors

    def mark(self, value: Any) -> None:
        """Say that a tensor, or every tensor in a container, depends on the examples."""
        for tensor in tensors_in((value,)):
            tensor._datadiet_mark = self._mark  # type: ignore[attr-defined]

    def unmark(self, value: Any) -> None:
        """Take the mark off the caller's own tensors."""
        for tensor in tensors_in((value,)):
            for name in ("_datadiet_mark", "_datadiet_gram"):
                if hasattr(tensor, name):
                    delattr(tensor, name)

    def gram_of(self, tensor: torch.Tensor) -> Gram:
        """The Gram matrices that every linear map of this very tensor shares; each call is one reader more."""
        gram: Gram | None = getattr(tensor, "_datadiet_gram", None)
        if gram is None or gram.mark is not self._mark:
            gram = Gram(self._mark)
            tensor._datadiet_gram = gram  # type: ignore[attr-defined]
        gram.readers += 1
        return gram

    def tracked(self, tensor: Any) -> torch.Tensor | Derived | None:
        """The parameter or derived tensor that this object is, or None."""
        return self._tracked.get(id(tensor))

    def is_batched(self, tensor: Any) -> bool:
        """Whether it is a tensor that depends on the examples."""
        if not isinstance(tensor, torch.Tensor):
            return False
        if getattr(tensor, "_datadiet_mark", None) is self._mark:
            return True
        return tensor.requires_grad and id(tensor) not in self._tracked

    def ignore(self, parameters: Iterable[torch.Tensor]) -> None:
        """Treat these parameters as constants: a layer's own rule accounts for them."""
        self._ignored.update((id(parameter), parameter.detach()) for parameter in parameters)

    def stop_ignoring(self, parameters: Iterable[torch.Tensor]) -> None:
        """End `ignore`."""
        for parameter in parameters:
            self._ignored.pop(id(parameter), None)

    # Gradients

    def tap_copy(self, copy: torch.Tensor, operand: Operand) -> torch.Tensor:
        """A copy that takes the place of a tracked tensor, and whose gradient the operand's function is given."""
        entered: torch.Tensor = _RequireGradOfView.apply(self.seed, copy)  # type: ignore[no-untyped-call]
        self._hook(entered, [operand])
        return entered

    def tap(self, output: torch.Tensor, *operands: Operand) -> torch.Tensor:
        """Let the gradient of the output make those of its tracked operands; returns the output to hand on."""
        if self.recording:
            self.mark(output)
        elif not output.requires_grad:
            if output._is_view():
                output = output.clone()
            output = _RequireGrad.apply(self.seed, output)  # type: ignore[no-untyped-call]
        self._hook(output, operands)
        return output

    def _hook(self, tensor: torch.Tensor, operands: Sequence[Operand]) -> None:
        uses = [(weight, o) for o in operands if (weight := self.tracked(o.tensor)) is not None]
        for weight, _ in uses:
            self.accumulator.expect(weight)
        if self.recording:
            return
        saved = [needed for _, operand in uses for needed in operand.saved]
        versions = [needed._version for needed in saved]

        def on_gradient(gradient: torch.Tensor) -> None:
            if [needed._version for needed in saved] != versions:
                raise OpaqueError("an input of a layer was changed in place after the layer had used it")
            # The makers hold the layer's input: dropped here, as autograd drops its own saved tensors.
            saved.clear()
            with torch.no_grad():
                while uses:
                    weight, operand = uses.pop(0)
                    self.accumulator.add(weight, operand.make(gradient))

        tensor.register_hook(on_gradient)  # type: ignore[no-untyped-call]


class Call:
    """One call of a torch function that takes a tracked tensor, and its place in the plan of one example."""

    def __init__(self, tape: Tape, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.tape = tape
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self._planned: dict[int, Fingerprint] = {}

    @property
    def name(self) -> str:
        """Name of the function."""
        return getattr(self.func, "__name__", "")

    def option(self, name: str, position: int, default: Any = None) -> Any:
        """An argument by name or position."""
        positional = self.args[position] if len(self.args) > position else default
        return self.kwargs.get(name, positional)

    def arguments(self, **defaults: Any) -> list[Any]:
        """The first arguments by name or position, given their names in order and their defaults."""
        return [
            self.option(name, position, default) for position, (name, default) in enumerate(defaults.items())
        ]

    def tensors(self) -> list[torch.Tensor]:
        """Every tensor among the arguments."""
        return list(tensors_in((*self.args, *self.kwargs.values())))

    def tracked_tensors(self) -> list[torch.Tensor]:
        """Every tracked tensor among the arguments."""
        return [tensor for tensor in self.tensors() if self.is_tracked(tensor)]

    def is_tracked(self, tensor: Any) -> bool:
        """Whether it is a parameter, or computed from parameters alone."""
        return self.tape.tracked(tensor) is not None

    def is_batched(self, *tensors: Any) -> bool:
        """Whether one of them depends on the examples."""
        return any(self.tape.is_batched(tensor) for tensor in tensors)

    def maps_batch(self, inputs: Any, *weights: Any) -> bool:
        """Whether the inputs depend on the examples, and nothing else does."""
        return self.is_batched(inputs) and not self.is_tracked(inputs) and not self.is_batched(*weights)

    def run(self, copies: Mapping[int, torch.Tensor]) -> Any:
        """The function's output with some tensors, by their id, exchanged."""
        return self.func(*replaced(self.args, copies), **replaced(self.kwargs, copies))

    # The plan

    def log_inputs(self) -> None:
        """Note the call in the run of one example; find its counterpart there in the run of the batch."""
        inputs = self.tensors()
        _, planned = self._logged(inputs, {id(t) for t in inputs if self.is_tracked(t)})
        if planned is not None:
            self._planned = {id(tensor): found for tensor, found in zip(inputs, planned, strict=True)}

    def planned_output(self, output: torch.Tensor) -> tuple[int, Fingerprint | None]:
        """Its place in the plan, and what the same call returned for one example alone if that is known."""
        if self.tape.plan is None and self.tape.batch > 1 and self.name in REPEATING:
            raise NeedsPlanError(self.description(), repeats=self.tape.calls)
        position, planned = self._logged([output])
        return position, None if planned is None else planned[0]

    def _logged(
        self, tensors: list[torch.Tensor], unsampled: Collection[int] = ()
    ) -> tuple[int, list[Fingerprint] | None]:
        tape, position = self.tape, self.tape.calls
        tape.calls += 1
        if tape.plan is None:
            return position, None
        events = tape.plan.events
        if tape.recording:
            events.append([Fingerprint.of(t, id(t) not in unsampled) for t in tensors])
        if position >= len(events) or len(events[position]) != len(tensors):
            raise PathError(f"{self.description()}: one example alone takes another path through the model")
        return position, events[position]

    def layout(self, tensor: torch.Tensor, candidates: Sequence[int]) -> Layout:
        """Where the examples lie in a batched argument."""
        return self.resolved(tensor, candidates, self._planned.get(id(tensor)))

    def resolved(
        self, tensor: torch.Tensor, candidates: Sequence[int], planned: Fingerprint | None
    ) -> Layout:
        """Where the examples lie in a tensor that was as planned for one example alone."""
        plan = self.tape.plan
        layout = resolve(
            tensor,
            self.tape.batch,
            candidates,
            planned,
            self.description,
            0 if plan is None else plan.example,
        )
        if plan is not None and planned is not None and planned.sample is not None and layout.inner > 1:
            plan.sampled = True
        return layout

    # Messages

    def names(self) -> list[str]:
        """Names of the parameters that the call takes directly."""
        found = (self.tape.names.get(id(tensor)) for tensor in self.tracked_tensors())
        return [name for name in found if name is not None]

    def description(self) -> str:
        """The operation and the parameters that it takes, for messages."""
        names = self.names()
        taking = " with " + ", ".join(f"`{name}`" for name in names) if names else ""
        return f"`{getattr(self.func, '__name__', self.func)}`{taking}"


def replaced(value: Any, copies: Mapping[int, torch.Tensor]) -> Any:
    """Nested arguments with some tensors exchanged."""
    return map_tensors(lambda tensor: copies.get(id(tensor), tensor), value)


def constant(value: Any) -> Any:
    """Nested arguments cut off from autograd."""
    return map_tensors(torch.Tensor.detach, value)


# Rules

LayerRule = Callable[[Any, tuple[Any, ...], torch.Tensor], Mapping[str, "torch.Tensor | Factor"]]
FunctionRule = Callable[[Call], Any]

LAYER_RULES: dict[type[nn.Module], LayerRule] = {}
FUNCTION_RULES: dict[Any, FunctionRule] = {}

Registered = TypeVar("Registered", bound=Callable[..., Any])


def registered_for(table: dict[Any, Any], keys: Iterable[Any]) -> Callable[[Registered], Registered]:
    """A decorator that enters a function in a table under each of the keys; the latest wins."""

    def register(function: Registered) -> Registered:
        table.update(dict.fromkeys(keys, function))
        return function

    return register


def function_rule(*functions: Any) -> Callable[[Registered], Registered]:
    """Register how calls of torch functions with tracked arguments are computed and tapped.

    The decorated function takes a `Call`, returns the output, or NotImplemented to leave it to the next rule.
    """
    return registered_for(FUNCTION_RULES, functions)


def gradient_norm_rule(*layers: type[nn.Module]) -> Callable[[Registered], Registered]:
    """Register how the per-example gradients of a layer class follow from its inputs and output gradient.

    The decorated function takes `(layer, inputs, output_gradient)`: the module, the tuple of its positional
    inputs, and the gradient of the summed losses with respect to its output; both have the examples in
    dimension 0. It returns, for each of the layer's own parameters by name, one of

    - a tensor of shape (batch, *parameter shape): the gradient of each example;
    - `LowRank(left, right)` with shapes (batch, T, p) and (batch, T, d): `Σ_t left[b, t] right[b, t]ᵀ`;
    - `Rows(indices, values, num_rows)`: rows added at indices;
    - `SquaredNorm(values)`, shape (batch,), where the gradient itself is never needed because the parameter
      is used nowhere else.

    Most layers need no rule: parameters are recognised wherever a torch function takes them. A rule is for a
    cheaper contraction, or for code that torch functions do not show (custom autograd functions, kernels).

    Args:
        layers: the classes, exactly; subclasses are not included.

    Returns:
        The decorator, which returns the function unchanged.

    Example:
        >>> class Scale(torch.nn.Module):
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.factor = torch.nn.Parameter(torch.ones(width))
        ...     def forward(self, inputs):
        ...         return inputs * self.factor
        >>> @gradient_norm_rule(Scale)
        ... def scale_rule(layer, inputs, output_gradient):
        ...     return {"factor": output_gradient * inputs[0]}
        >>> from datadiet.pergrad import gradient_norms
        >>> model = torch.nn.Sequential(Scale(2))
        >>> inputs, targets = torch.tensor([[3.0, 0.0]]), torch.tensor([0])
        >>> gradient_norms(model, inputs, targets, loss=lambda outputs, _: outputs.sum(1)).tolist()
        [3.0]
        >>> _ = LAYER_RULES.pop(Scale)
    """
    return registered_for(LAYER_RULES, layers)
