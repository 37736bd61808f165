"""The watch over a forward pass: it sees each use of a parameter and taps the gradient that flows back."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from datadiet.pergrad.calls import Call, Plan, opened, replaced, tensors_in
from datadiet.pergrad.factors import Dense, Factor, Gram, widened
from datadiet.pergrad.layout import NeedsPlanError, OpaqueError, Print, resolve
from datadiet.pergrad.ledger import Derived, Ledger, is_distinct_view
from datadiet.pergrad.refusals import refuse_function
from datadiet.pergrad.rules import FUNCTION_RULES, fallback_rules


class _Root(torch.autograd.Function):
    """Makes an output require gradients without a weight that does: the start of the tapped graph."""

    @staticmethod
    def forward(ctx: Any, seed: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None]:
        return None, None


class _Entry(torch.autograd.Function):
    """The same for an operand made by the watch itself, which may be an expanded view."""

    @staticmethod
    def forward(ctx: Any, seed: torch.Tensor, operand: torch.Tensor) -> torch.Tensor:
        return operand.view_as(operand)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None]:
        return None, None


class Watch(TorchFunctionMode):
    """A context in which parameters are recognised wherever a torch function takes them.

    Tensors are of three kinds. *Tracked* ones are parameters or computed from parameters alone; *batched*
    ones depend on the examples; all others are constants. Where a tracked tensor meets a batched one, a rule
    computes the output with the tracked tensor cut off from autograd, and taps the output's gradient.
    """

    def __init__(
        self,
        ledger: Ledger,
        names: dict[int, str],
        batch: int,
        plan: Plan | None = None,
        recording: bool = False,
    ) -> None:
        super().__init__()
        self.ledger = ledger
        self.names = names
        self.batch = batch
        self.plan = plan
        self.recording = recording
        self.calls = 0
        first = next(iter(ledger.accounts.values())).parameter
        self.seed = torch.zeros((), device=first.device, requires_grad=True)
        self.tapped = False
        self._mark = object()
        self._ignored: dict[int, torch.Tensor] = {}
        self._tracked: dict[int, torch.Tensor | Derived] = {
            key: a.parameter for key, a in ledger.accounts.items()
        }

    @property
    def example(self) -> int:
        """Place in the batch of the example that was run by itself."""
        return 0 if self.plan is None else self.plan.example

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

    def tracked(self, tensor: torch.Tensor) -> torch.Tensor | Derived | None:
        """The parameter or derived tensor that this object is, or None."""
        return self._tracked.get(id(tensor))

    def is_batched(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor depends on the examples."""
        if getattr(tensor, "_datadiet_mark", None) is self._mark:
            return True
        return tensor.requires_grad and id(tensor) not in self._tracked

    def look_away(self, parameters: Iterable[torch.Tensor]) -> None:
        """Treat these parameters as constants: a layer's own rule accounts for them."""
        for parameter in parameters:
            self._ignored[id(parameter)] = parameter.detach()

    def look_back(self, parameters: Iterable[torch.Tensor]) -> None:
        """End `look_away`."""
        for parameter in parameters:
            self._ignored.pop(id(parameter), None)

    # The interception

    def __torch_function__(
        self, func: Any, types_: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        refuse_function(func, args, kwargs)
        if self._ignored:
            args, kwargs = replaced(args, self._ignored), replaced(kwargs, self._ignored)
        tracked = batched = False
        for tensor in tensors_in(args):
            tracked = tracked or id(tensor) in self._tracked
            batched = batched or self.is_batched(tensor)
        for tensor in tensors_in(tuple(kwargs.values())) if kwargs else ():
            tracked = tracked or id(tensor) in self._tracked
            batched = batched or self.is_batched(tensor)
        if not tracked:
            output = func(*args, **kwargs)
            if batched:
                self.mark(output)
            return output
        if not torch.is_grad_enabled() or getattr(func, "__name__", "") == "__get__":
            output = func(*args, **kwargs)
            if batched:
                self.mark(output)
            elif isinstance(output, torch.Tensor) and output.requires_grad:
                self._derive(Call(self, func, args, kwargs), output)
            return output
        call = Call(self, func, args, kwargs)
        output = self._tap(call) if batched else self._compute(call)
        return output

    def _tap(self, call: Call) -> Any:
        call.log_inputs()
        rule = FUNCTION_RULES.get(call.func)
        attempts = [rule] if rule is not None else []
        for attempt in [*attempts, *fallback_rules()]:
            output = attempt(call)
            if output is not NotImplemented:
                self.mark(output)
                return output
        if isinstance(call.func, types.FunctionType):
            return self.inside(opened(call.func), *call.args, **call.kwargs)
        if self.batch == 1 and not self.recording:
            return call.func(*call.args, **call.kwargs)  # autograd's own gradient is the one example's
        raise OpaqueError(f"{call.where()}: no rule takes this use apart", call.names())

    def _compute(self, call: Call) -> Any:
        """A function of parameters and constants keeps its autograd graph until it meets the examples."""
        call.log_inputs()
        output = call.func(*call.args, **call.kwargs)
        if isinstance(output, torch.Tensor):
            return self._derive(call, output)
        if isinstance(output, (tuple, list)):
            return type(output)([self._derive(call, o) if isinstance(o, torch.Tensor) else o for o in output])
        return output

    def _derive(self, call: Call, output: torch.Tensor) -> torch.Tensor:
        if not output.requires_grad or id(output) in self._tracked:
            return output
        derived = Derived(output)
        source = call.args[0] if call.args else None
        for tensor in call.tracked_tensors():
            known = self.tracked(tensor)
            base = known.view_of if isinstance(known, Derived) else known
            if base is not None and is_distinct_view(output, base):
                derived.view_of = base
        name = getattr(call.func, "__name__", "")
        if name == "embedding" and len(call.args) > 1 and isinstance(source, torch.Tensor):
            known = self.tracked(call.args[1])
            if isinstance(known, torch.Tensor) and call.option("padding_idx", 2) is None:
                derived.rows = (known, source)
        self._tracked[id(output)] = derived
        position, planned = call.planned_output(output)
        if planned is None or self.plan is None:
            return output
        if not self.recording and (planned.shape != tuple(output.shape)) != (position in self.plan.repeated):
            self.plan.repeated ^= {position}
            raise NeedsPlanError(call.where())
        if position in self.plan.repeated:
            return self._repeated(call, derived, planned)
        return output

    def _repeated(self, call: Call, derived: Derived, planned: Print) -> torch.Tensor:
        """A parameter repeated for every example (`token.expand(batch, -1, -1)`): each gets its own copy."""
        output = derived.tensor
        if self.recording:
            copy = output.detach()
            self.mark(copy)
            return copy
        layout = resolve(output, self.batch, range(output.dim()), planned, call.where(), self.example)
        rows = layout.examples_first(output)
        if not bool((rows.detach() == rows[:1].detach()).all()):
            raise OpaqueError(
                f"{call.where()}: a tensor made from parameters alone differs between the examples"
            )
        one = Derived(rows[0])
        self._tracked[id(one.tensor)] = one
        copy = output.detach().clone()
        return self.tap(copy, [(one, lambda gradient: _dense(layout.examples_first(gradient)))])

    def inside(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function with the watch switched on again."""
        with self:
            return function(*args, **kwargs)

    # Taps

    def entry(self, operand: torch.Tensor) -> torch.Tensor:
        """An operand that takes the place of a tracked tensor and whose gradient can be tapped."""
        self.tapped = True
        entered: torch.Tensor = _Entry.apply(self.seed, operand)  # type: ignore[no-untyped-call]
        return entered

    def listen(
        self, operand: torch.Tensor, weight: torch.Tensor | Derived, make: Callable[[torch.Tensor], Factor]
    ) -> None:
        """Hand what an entered operand's gradient makes to the ledger."""
        self.ledger.open_use(weight)
        if self.recording:
            return

        def on_gradient(gradient: torch.Tensor) -> None:
            with torch.no_grad():
                self.ledger.add(weight, make(gradient))

        operand.register_hook(on_gradient)  # type: ignore[no-untyped-call]

    def tap(
        self,
        output: torch.Tensor,
        uses: Sequence[tuple[torch.Tensor | Derived, Callable[[torch.Tensor], Factor]]],
        saved: Sequence[torch.Tensor] = (),
    ) -> torch.Tensor:
        """Register what each use makes of the gradient of the output; returns the output to hand on.

        `saved` are tensors that the makers need: changing them in place before the backward pass is an error.
        """
        for weight, _ in uses:
            self.ledger.open_use(weight)
        if self.recording:
            self.mark(output)
            return output
        self.tapped = True
        if not output.requires_grad:
            if output._is_view():
                output = output.clone()
            output = _Root.apply(self.seed, output)  # type: ignore[no-untyped-call]
        versions = [tensor._version for tensor in saved]
        pending, kept = list(uses), list(saved)

        def on_gradient(gradient: torch.Tensor) -> None:
            if [tensor._version for tensor in kept] != versions:
                raise OpaqueError("an input of a layer was changed in place after the layer had used it")
            # The makers hold the layer's input: dropped here, as autograd drops its own saved tensors.
            kept.clear()
            with torch.no_grad():
                while pending:
                    weight, make = pending.pop(0)
                    self.ledger.add(weight, make(gradient))

        output.register_hook(on_gradient)  # type: ignore[no-untyped-call]
        return output


def _dense(values: torch.Tensor) -> Factor:
    return Dense(widened(values))
