"""One call of a torch function with tracked arguments, and its place in the plan of one example."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from datadiet.pergrad.layout import Layout, NeedsPlanError, PathError, Print, resolve

if TYPE_CHECKING:
    from datadiet.pergrad.ledger import Derived
    from datadiet.pergrad.watch import Watch


Event = list[Print]


@dataclass
class Plan:
    """What one example alone does to the tracked tensors, call by call.

    `repeated` holds the positions of events that make a copy of a parameter for each example
    (`token.expand(batch, -1, -1)`): with one example they look like any other function of parameters.
    """

    example: int = 0
    events: list[Event] = field(default_factory=list)
    repeated: set[int] = field(default_factory=set)


REPEATING = frozenset(
    ["expand", "expand_as", "repeat", "tile", "broadcast_to", "repeat_interleave", "broadcast_tensors"]
)


class Call:
    """One call of a torch function that takes a tracked tensor."""

    def __init__(self, watch: Watch, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.watch = watch
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self._planned: Event | None = None
        self._order: dict[int, int] = {}

    def log_inputs(self) -> None:
        """Note the call in the run of one example; find its counterpart there in the run of the batch."""
        inputs = list(tensors_in((*self.args, *self.kwargs.values())))
        _, self._planned = self._logged(inputs, {id(t) for t in self.tracked_tensors()})
        self._order = {id(tensor): position for position, tensor in enumerate(inputs)}

    def planned_output(self, output: torch.Tensor) -> tuple[int, Print | None]:
        """Its place in the plan, and what the same call returned for one example alone if that is known."""
        watch = self.watch
        if watch.plan is None and watch.batch > 1 and getattr(self.func, "__name__", "") in REPEATING:
            raise NeedsPlanError(self.where(), repeats=watch.calls)
        position, planned = self._logged([output])
        return position, None if planned is None else planned[0]

    def _logged(
        self, tensors: list[torch.Tensor], unsampled: Collection[int] = ()
    ) -> tuple[int, Event | None]:
        watch = self.watch
        position = watch.calls
        watch.calls += 1
        if watch.plan is None:
            return position, None
        if watch.recording:
            watch.plan.events.append([Print.of(t, id(t) not in unsampled) for t in tensors])
        if position >= len(watch.plan.events) or len(watch.plan.events[position]) != len(tensors):
            raise PathError(f"{self.where()}: one example alone takes another path through the model")
        return position, watch.plan.events[position]

    def option(self, name: str, position: int, default: Any = None) -> Any:
        """An argument by name or position."""
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[position] if len(self.args) > position else default

    def tracked_tensors(self) -> list[torch.Tensor]:
        """Every tracked tensor among the arguments."""
        return [
            t for t in tensors_in((*self.args, *self.kwargs.values())) if self.watch.tracked(t) is not None
        ]

    def is_tracked(self, tensor: Any) -> bool:
        return isinstance(tensor, torch.Tensor) and self.watch.tracked(tensor) is not None

    def is_batched(self, tensor: Any) -> bool:
        return isinstance(tensor, torch.Tensor) and self.watch.is_batched(tensor)

    def known(self, tensor: torch.Tensor) -> torch.Tensor | Derived:
        found = self.watch.tracked(tensor)
        assert found is not None
        return found

    def layout(self, tensor: torch.Tensor, candidates: Sequence[int]) -> Layout:
        """Where the examples lie in a batched argument."""
        planned = None
        if self._planned is not None:
            planned = self._planned[self._order[id(tensor)]]
        return resolve(tensor, self.watch.batch, candidates, planned, self.where(), self.watch.example)

    def output_layout(self, output: torch.Tensor) -> Layout:
        """Where the examples lie in the output of a function that has no rule of its own."""
        _, planned = self.planned_output(output)
        return resolve(
            output, self.watch.batch, range(output.dim()), planned, self.where(), self.watch.example
        )

    def names(self) -> list[str]:
        """Names of the parameters that the call takes directly."""
        found = (self.watch.names.get(id(tensor)) for tensor in self.tracked_tensors())
        return [name for name in found if name is not None]

    def where(self) -> str:
        """The operation and the parameters that it takes, for messages."""
        names = self.names()
        taking = " with " + ", ".join(f"`{name}`" for name in names) if names else ""
        return f"`{getattr(self.func, '__name__', self.func)}`{taking}"


def replaced(value: Any, copies: Mapping[int, torch.Tensor]) -> Any:
    """Nested arguments with some tensors exchanged."""
    if isinstance(value, torch.Tensor):
        return copies.get(id(value), value)
    if isinstance(value, (tuple, list)):
        return type(value)([replaced(v, copies) for v in value])
    if isinstance(value, dict):
        return {key: replaced(v, copies) for key, v in value.items()}
    return value


def plain(tensor: Any) -> Any:
    """A tracked tensor cut off from autograd; anything else as it is."""
    return tensor.detach() if isinstance(tensor, torch.Tensor) else tensor


def tensors_in(values: Any) -> Iterator[torch.Tensor]:
    """Every tensor in nested tuples, lists and dicts."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from tensors_in(value)
        elif isinstance(value, dict):
            yield from tensors_in(tuple(value.values()))


def opened(function: types.FunctionType) -> Callable[..., Any]:
    """A copy of a composite torch function that runs its body under the watch."""
    blind = dict(function.__globals__)
    for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
        if name in blind:
            blind[name] = lambda *_: False
    copy = types.FunctionType(
        function.__code__, blind, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
