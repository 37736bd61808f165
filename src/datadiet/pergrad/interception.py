"""A forward pass intercepted: torch functions that take parameters, and modules taken as a whole by a rule."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.accumulator import Derived, is_distinct_view
from datadiet.pergrad.batches import map_tensors, module_label, tensors_in
from datadiet.pergrad.elementwise import FALLBACK_RULES, gradients_by_example
from datadiet.pergrad.factors import Dense, Factor, widened
from datadiet.pergrad.layout import Fingerprint, NeedsPlanError, OpaqueError
from datadiet.pergrad.refusals import FUNCTION_CHECKS
from datadiet.pergrad.tape import (
    FUNCTION_RULES,
    LAYER_RULES,
    Call,
    Operand,
    Tape,
    constant,
    jointly,
    replaced,
)


class Interceptor(Tape):
    """A context in which parameters are recognised wherever a torch function takes them.

    Where a tracked tensor meets a batched one, a rule computes the output with the tracked tensor cut off from
    autograd, and taps the output's gradient.
    """

    def __torch_function__(
        self, func: Any, types_: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if isinstance(kwargs.get("generator"), torch.Generator):
            self.generators.append(kwargs["generator"])
        if func in FUNCTION_CHECKS:
            FUNCTION_CHECKS[func](Call(self, func, args, kwargs))
        if self._ignored:
            args, kwargs = replaced(args, self._ignored), replaced(kwargs, self._ignored)
        tracked = batched = False
        for tensor in tensors_in((*args, *kwargs.values())):
            tracked = tracked or id(tensor) in self._tracked
            batched = batched or self.is_batched(tensor)
        call = Call(self, func, args, kwargs) if tracked else None
        if call is not None and torch.is_grad_enabled() and call.name != "__get__":
            return self._tap(call) if batched else self._compute(call)
        output = func(*args, **kwargs)
        if batched:
            self.mark(output)
        elif call is not None and isinstance(output, torch.Tensor):
            self._derive(call, output)
        return output

    def _tap(self, call: Call) -> Any:
        call.log_inputs()
        # The contractions of the rules are of real numbers; of complex ones autograd knows what to conjugate.
        is_complex = any(tensor.is_complex() for tensor in call.tensors())
        own_rule = None if is_complex else FUNCTION_RULES.get(call.func)
        for rule in (own_rule, *FALLBACK_RULES):
            output = NotImplemented if rule is None else rule(call)
            if output is not NotImplemented:
                self.mark(output)
                return output
        if isinstance(call.func, types.FunctionType):
            with self:
                return _without_overrides(call.func)(*call.args, **call.kwargs)
        raise OpaqueError(f"{call.description()}: no rule takes this use apart", call.names())

    def _compute(self, call: Call) -> Any:
        """A function of parameters and constants keeps its autograd graph until it meets the examples."""
        call.log_inputs()
        return map_tensors(lambda output: self._derive(call, output), call.func(*call.args, **call.kwargs))

    def _derive(self, call: Call, output: torch.Tensor) -> torch.Tensor:
        if not output.requires_grad or id(output) in self._tracked:
            return output
        derived = Derived(output)
        for tensor in call.tracked_tensors():
            known = self.tracked(tensor)
            base = known.view_of if isinstance(known, Derived) else known
            if base is not None and is_distinct_view(output, base):
                derived.view_of = base
        if call.name == "embedding" and len(call.args) > 1 and isinstance(call.args[0], torch.Tensor):
            known = self.tracked(call.args[1])
            if isinstance(known, torch.Tensor) and call.option("padding_idx", 2) is None:
                derived.rows = (known, call.args[0])
        self._tracked[id(output)] = derived
        position, planned = call.planned_output(output)
        if planned is None or self.plan is None:
            return output
        if not self.recording and (planned.shape != tuple(output.shape)) != (position in self.plan.repeated):
            self.plan.repeated ^= {position}
            raise NeedsPlanError(call.description())
        return self._repeated(call, output, planned) if position in self.plan.repeated else output

    def _repeated(self, call: Call, output: torch.Tensor, planned: Fingerprint) -> torch.Tensor:
        """A parameter repeated for every example (`token.expand(batch, -1, -1)`): each gets its own copy."""
        if self.recording:
            copy = output.detach()
            self.mark(copy)
            return copy
        layout = call.resolved(output, range(output.dim()), planned)
        if not layout.is_constant(output):
            raise OpaqueError(
                f"{call.description()}: a tensor made from parameters alone differs between the examples"
            )
        one = layout.examples_first(output)[0]
        self._tracked[id(one)] = Derived(one)
        copy = output.detach().clone()
        return self.tap(copy, Operand(one, lambda g: Dense(widened(layout.examples_first(g)))))


def _without_overrides(function: types.FunctionType) -> Callable[..., Any]:
    """A copy of a composite torch function that runs its body under the tape."""
    names = dict(function.__globals__)
    for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
        if name in names:
            names[name] = lambda *_: False
    copy = types.FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


@contextmanager
def layer_rules(model: nn.Module, tape: Tape, opaque: Collection[str]) -> Iterator[None]:
    """Hook the modules with a registered rule and the opaque ones; the hooks are gone on the way out."""
    with ExitStack() as handles:
        for name, module in model.named_modules():
            own = {n: p for n, p in module.named_parameters(recurse=False) if tape.tracked(p) is not None}
            if own and (type(module) in LAYER_RULES or name in opaque):
                hooks = _Hooks(tape, module_label(name, module), own)
                after = module.register_forward_hook(hooks.after, with_kwargs=True, always_call=True)
                handles.enter_context(module.register_forward_pre_hook(hooks.before))
                handles.enter_context(after)
        yield


class _Hooks:
    """Makes a module's own parameters constants while it runs, and taps its output."""

    def __init__(self, tape: Tape, label: str, own: Mapping[str, torch.Tensor]) -> None:
        self.tape = tape
        self.label = label
        self.own = own

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        # Before the tape exchanges them: it would hand this very call a copy.
        for parameter in self.own.values():
            parameter.requires_grad_(False)
        self.tape.ignore(self.own.values())

    def after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        self.tape.stop_ignoring(self.own.values())
        for parameter in self.own.values():
            parameter.requires_grad_(True)
        if output is None:  # the module raised: the hook only had to clean up
            return None
        if not isinstance(output, torch.Tensor):
            raise OpaqueError(f"{self.label} returns something other than one tensor")
        given = [t for t in (*args, *kwargs.values()) if isinstance(t, torch.Tensor)]
        if any(t.dim() == 0 or len(t) != self.tape.batch for t in (output, *given)):
            raise OpaqueError(
                f"{self.label} does not have the examples in the first dimension of its tensors"
            )
        plain_args, plain_kwargs = constant(args), constant(kwargs)
        rule = LAYER_RULES.get(type(module))

        def gradients(gradient: torch.Tensor) -> Mapping[str, Factor]:
            found: Mapping[str, torch.Tensor | Factor]
            if rule is None:
                found = _products(module, plain_args, plain_kwargs, gradient)
            else:
                found = rule(module, plain_args, gradient)
            return {name: self._checked(found, name) for name in self.own}

        return self.tape.tap(output, *jointly(self.own, gradients, given))

    def _checked(self, found: Mapping[str, torch.Tensor | Factor], name: str) -> Factor:
        if name not in found:
            raise BadInputError(f"The rule of {self.label} returned nothing for its parameter `{name}`.")
        value = found[name]
        if not isinstance(value, torch.Tensor):
            return value
        expected = (self.tape.batch, *self.own[name].shape)
        if tuple(value.shape) != expected:
            raise BadInputError(
                f"The rule of {self.label} returned shape {tuple(value.shape)} for `{name}`; expected the "
                f"gradient of each example, {expected}."
            )
        return Dense(widened(value))


def _products(
    layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], gradient: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Gradients of one module's own parameters, example by example."""
    batched = {id(t): t for t in (*args, *kwargs.values()) if isinstance(t, torch.Tensor)}

    def run(own: dict[str, torch.Tensor], parts: list[torch.Tensor]) -> torch.Tensor:
        copies = {key: part.unsqueeze(0) for key, part in zip(batched, parts, strict=True)}
        given, named = replaced(args, copies), replaced(kwargs, copies)
        output: torch.Tensor = torch.func.functional_call(layer, own, given, named)
        return output.squeeze(0)

    weights = {name: p.detach() for name, p in layer.named_parameters(recurse=False)}
    return gradients_by_example(run, weights, list(batched.values()), gradient)
