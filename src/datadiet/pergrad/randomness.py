"""Whether what a model returns depends on numbers that it draws at random, and the state of what it draws from."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.batches import module_label, tensors_in

# How often it is tried again with other random numbers, beside the smallest and the largest ones.
SEEDS = range(8)
FEW_SEEDS = range(1)


class Generators:
    """The states of the random generators that a model may draw from: torch's, Python's and NumPy's.

    Args:
        model: whose devices count.
        own: generators that the model brings along.

    Example:
        >>> before = Generators(nn.Linear(1, 1))
        >>> drawn = torch.rand(1)
        >>> before.moved()
        True
        >>> before.restore()
        >>> torch.equal(torch.rand(1), drawn)
        True
    """

    def __init__(self, model: nn.Module, own: Iterable[torch.Generator] = ()) -> None:
        self._devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
        self._own = list(own)
        self._states = self._read()

    def _read(self) -> tuple[list[torch.Tensor], Any, Any]:
        # The generator of a CUDA device counts on the host: nothing waits for the device.
        states = [torch.get_rng_state(), *(torch.cuda.get_rng_state(index) for index in self._devices)]
        states += [generator.get_state() for generator in self._own]
        return states, random.getstate(), pickle.dumps(np.random.get_state(legacy=False))  # noqa: NPY002

    def moved(self) -> bool:
        """Whether anything was drawn since."""
        (before, python, numpy), (now, python_now, numpy_now) = self._states, self._read()
        return (python, numpy) != (python_now, numpy_now) or not all(map(torch.equal, before, now))

    def restore(self) -> None:
        """Put all of them back."""
        states, python, numpy = self._states
        random.setstate(python)
        np.random.set_state(pickle.loads(numpy))  # noqa: NPY002
        torch.set_rng_state(states[0])
        rest = iter(states[1:])
        for index in self._devices:
            torch.cuda.set_rng_state(next(rest), index)
        for generator in self._own:
            generator.set_state(next(rest))


class _Extreme(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Draws of uniform and of binary numbers come out as the smallest or the largest that they can be.

    A rate of a tenth shows itself in a few random draws by chance only, in these always.
    """

    def __init__(self, largest: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = largest

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name in ("rand", "rand_like", "uniform", "uniform_") and output.is_floating_point():
            low, high = (*args[1:3], 0.0, 1.0)[:2] if name.startswith("uniform") else (0.0, 1.0)
            output.fill_(low + (high - low) * (1 - torch.finfo(output.dtype).eps) if self.largest else low)
        elif name in ("bernoulli", "bernoulli_"):
            chance = kwargs.get("p", args[1] if len(args) > 1 else None)
            if chance is None:
                chance = args[0] if name == "bernoulli" else 0.5
            chance = torch.as_tensor(chance, device=output.device)
            output.copy_((chance > 0) if self.largest else (chance >= 1))
        return output


def refuse_randomness(
    model: nn.Module,
    run: Callable[[], torch.Tensor],
    own: Iterable[torch.Generator] = (),
    seeds: Iterable[int] = SEEDS,
) -> None:
    """Raise `BadInputError` if what `run` returns depends on random numbers, with the module that draws them.

    The generators are left as they were found.

    Args:
        model: called by `run`.
        run: returns losses or logits.
        own: generators that the model brings along.
        seeds: one more try for each; fewer are enough where the draws were of no effect before.
    """
    generators = Generators(model, own)
    try:
        first, calls = _watched(model, run)
        tries: list[tuple[int, AbstractContextManager[Any]]] = [(seed, nullcontext()) for seed in seeds]
        for seed, draws in [(0, _Extreme(largest=True)), (0, _Extreme(largest=False)), *tries]:
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            with draws:
                again, calls_again = _watched(model, run)
            if not alike(first, again):
                changed = [
                    label
                    for (label, drew, output), (_, _, other) in zip(calls, calls_again, strict=False)
                    if drew and not alike(output, other)
                ]
                raise BadInputError(_refusal(changed[0] if changed else None, model.training))
    finally:
        generators.restore()


def _refusal(label: str | None, training: bool) -> str:
    who = f"{label} draws" if label else "The model or the loss draws"
    remedy = "call model.eval() first" if training and label else "take it out, or set its rate to 0"
    return f"{who} random numbers that the result depends on, so it would be another one each time: {remedy}."


def alike(first: Any, second: Any) -> bool:
    """Whether nested tensors hold the same numbers; rounding that is not repeatable is allowed for off the CPU."""
    pairs = list(zip(tensors_in((first,)), tensors_in((second,)), strict=False))
    return all(
        a.shape == b.shape
        and torch.allclose(
            a,
            b,
            rtol=0 if a.device.type == "cpu" else 1e-3,
            atol=0 if a.device.type == "cpu" else 1e-5,
            equal_nan=True,
        )
        for a, b in pairs
    )


def _watched(model: nn.Module, run: Callable[[], Any]) -> tuple[Any, list[tuple[str, bool, Any]]]:
    """What `run` returns, and of each call of a module its name, whether it drew, and its output."""
    calls: list[tuple[str, bool, Any]] = []
    before: list[Generators] = []

    with ExitStack() as handles, torch.no_grad():
        for name, module in model.named_modules():

            def keep(
                module: nn.Module, given: Any, output: Any, label: str = module_label(name, module)
            ) -> None:
                calls.append((label, before.pop().moved(), output))

            handles.enter_context(
                module.register_forward_pre_hook(lambda *_: before.append(Generators(model)))
            )
            handles.enter_context(module.register_forward_hook(keep))
        return run(), calls
