"""The rows of a Jacobian: one for each logit of each example, and how they are pulled back to parameters."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from datadiet.errors import BadInputError
from datadiet.landscape.outputs import ForwardFunction, count_examples, outputs_of, take


class LogitRows:
    """The chosen logits of a model for any stretch of the examples.

    Args:
        model: in evaluation mode.
        inputs: a tensor or dict of tensors, examples in the first dimension.
        outputs: positions of the logits that count; all of them where it is None.
        forward: `(model, inputs) -> outputs`, or None to call the model.
        autocast: precision that the model is run in.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        outputs: Sequence[int] | None,
        forward: ForwardFunction | None,
        autocast: torch.dtype | None,
    ) -> None:
        self.model, self.inputs, self._forward, self._autocast = model, inputs, forward, autocast
        self.examples = count_examples(inputs)
        self._outputs: torch.Tensor | None = None
        with torch.no_grad():
            first = self.of(0, 1)
        width = first.shape[1]
        if outputs is not None:
            chosen = [int(position) for position in outputs]
            if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0 or max(chosen) >= width:
                raise BadInputError(f"outputs={chosen} must be different positions from 0 to {width - 1}.")
            self._outputs = torch.tensor(chosen, device=first.device)
        self.classes = width if outputs is None else len(outputs)
        self.total = self.examples * self.classes

    def of(self, start: int, stop: int) -> torch.Tensor:
        """Logits of the examples from start to stop, shape (stop − start, classes)."""
        with self._precision():
            logits = outputs_of(self.model, take(self.inputs, slice(start, stop)), self._forward)
        if not logits.dim() or len(logits) != stop - start or not logits.is_floating_point():
            raise BadInputError(
                f"The model returned {logits.dtype} outputs of shape {tuple(logits.shape)} for {stop - start} "
                "example(s): the first dimension must be the examples."
            )
        logits = logits.reshape(stop - start, -1)
        return logits if self._outputs is None else logits.index_select(1, self._outputs)

    def _precision(self) -> AbstractContextManager[Any]:
        if self._autocast is None:
            return nullcontext()
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, dtype=self._autocast)


class Pullback:
    """Vector-Jacobian products for several vectors: at once under `vmap`, or one by one where that fails.

    What failed once is not tried again.
    """

    def __init__(self) -> None:
        self._at_once = True

    def __call__(
        self, outputs: Sequence[torch.Tensor], wrt: Sequence[torch.Tensor], vectors: Sequence[torch.Tensor]
    ) -> list[torch.Tensor | None]:
        """`vᵀ ∂outputs/∂wrt`, with the vectors in the first dimension; None for what has no influence."""
        if self._at_once:
            try:
                return list(
                    torch.autograd.grad(
                        outputs,
                        wrt,
                        vectors,
                        retain_graph=True,
                        allow_unused=True,
                        is_grads_batched=True,
                    )
                )
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                # Autograd functions that vmap cannot batch; another reason comes up again below.
                self._at_once = False
        single = [
            torch.autograd.grad(
                outputs, wrt, [vector[k] for vector in vectors], retain_graph=True, allow_unused=True
            )
            for k in range(len(vectors[0]))
        ]
        return [
            None if entries[0] is None else torch.stack([e for e in entries if e is not None])
            for entries in zip(*single, strict=True)
        ]
