"""Going through the same batches several times, and matching what is found by example id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from datadiet.errors import BadInputError

Batches = Iterable[Any] | Callable[[], Iterable[Any]]


def fresh(batches: Batches, name: str) -> Iterable[Any]:
    """The batches from the beginning: of an iterable, or of what a callable returns.

    Raises:
        BadInputError: for an iterator, which can be gone through only once.
    """
    if not isinstance(batches, Iterable):
        if not callable(batches):
            raise BadInputError(f"{name} is an iterable of batches or a callable that returns one.")
        return batches()
    if isinstance(batches, Iterator):
        raise BadInputError(
            f"{name} is an iterator and can be gone through only once: pass a list, a DataLoader, or a callable that "
            "returns a new iterable."
        )
    return batches


def parts_of(batch: Any) -> tuple[torch.Tensor | None, Any, Any]:
    """Ids (or None), inputs and targets of a batch: an object with these attributes, a triple, or a pair without ids.

    Raises:
        BadInputError: if it is none of them.
    """
    if isinstance(batch, (tuple, list)) and len(batch) == 3:
        return torch.as_tensor(batch[0]), batch[1], batch[2]
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return None, batch[0], batch[1]
    if hasattr(batch, "inputs") and hasattr(batch, "targets"):
        ids = getattr(batch, "ids", None)
        return None if ids is None else torch.as_tensor(ids), batch.inputs, batch.targets
    raise BadInputError(
        "A batch is an (inputs, targets) pair, an (ids, inputs, targets) triple, or an object with inputs and "
        f"targets, not {type(batch).__name__}."
    )


def inputs_of(batches: Iterable[Any]) -> Iterator[Any]:
    """The inputs of each batch; what has no targets is all inputs."""
    for batch in batches:
        bare = isinstance(batch, (torch.Tensor, dict))
        yield batch if bare else parts_of(batch)[1]


class InOrder:
    """The order of ids in the first pass, which later passes are brought into.

    Without ids, examples are numbered as they come, and a pass that gives other targets than the first is refused.
    """

    def __init__(self) -> None:
        self.ids: torch.Tensor | None = None
        self._targets: list[Any] = []

    def sorted(self, ids: torch.Tensor | None, targets: list[Any], columns: torch.Tensor) -> torch.Tensor:
        """Columns of one pass, (k, examples), in ascending order of ids.

        Raises:
            BadInputError: if an id comes twice, or the pass differs from the first one.
        """
        if ids is None:
            if self._targets and not _same(self._targets, targets):
                raise BadInputError(
                    "The batches came in another order the second time: give them ids, or do not shuffle."
                )
            ids = torch.arange(columns.shape[1])
            self._targets = targets
        found, order = ids.sort(stable=True)
        twice = torch.nonzero(found[1:] == found[:-1])
        if len(twice):
            raise BadInputError(
                f"Example id {int(found[int(twice[0])])} comes more than once in the batches."
            )
        if self.ids is not None and not torch.equal(self.ids, found):
            raise BadInputError(
                "The batches hold other ids the second time: every pass needs the same examples."
            )
        self.ids = found
        return columns[:, order]


def _same(first: list[Any], second: list[Any]) -> bool:
    if len(first) != len(second):
        return False
    pairs = zip(first, second, strict=True)
    return all(
        torch.equal(a, b) for a, b in pairs if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
    )
