"""What was presented in the epoch under way, in its order, and how that becomes one row an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.foundation.errors import BadInputError
from datadiet.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Below 2**24, so that float32 holds every remainder exactly; prime, so that few targets share one.
_MODULUS = 16_777_213
_IGNORED = -100


def read_task_batch(task: Task, outputs: Any, targets: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The measures that the task has of a batch, and the numbers of its targets.

    Args:
        task: of several labels, tags or numbers an example.
        outputs: as the task takes them.
        targets: as the task takes them.

    Returns:
        The measures by name, each (batch,); and (batch,) int64 from `target_numbers`.
    """
    with torch.no_grad():
        return task.measures(_detached(outputs), targets), target_numbers(targets)


def target_numbers(targets: Any) -> torch.Tensor:
    """A number for each example's target, by which one that changed is noticed: (batch,) int64, below 2**24.

    Padding does not count: a sequence has the same number in every batch.

    Args:
        targets: (batch, ...) tensor, -100 where there is nothing, or a dict of such tensors.

    Raises:
        BadInputError: targets of another type.

    Example:
        >>> target_numbers(torch.tensor([[1, -100, 2], [1, 2, -100], [2, 1, -100]])).tolist()
        [8, 8, 7]
    """
    if isinstance(targets, Mapping):
        return sum(
            (target_numbers(targets[name]) * (1 + place) for place, name in enumerate(sorted(targets))),
            start=torch.zeros((), dtype=torch.int64),
        ).remainder(_MODULUS)
    if not isinstance(targets, torch.Tensor):
        raise BadInputError(f"targets must be a tensor or a dict of tensors, not {type(targets).__name__}.")
    values = targets.detach()
    if values.is_floating_point():
        values = values.float().contiguous().view(torch.int32)
    rows = values.to(torch.int64).flatten(1) if values.ndim > 1 else values.to(torch.int64)[:, None]
    real = rows != _IGNORED
    weights = real.cumsum(1)  # the place among what is there, so that padding moves nothing
    terms = ((rows + 1).remainder(_MODULUS) * weights).masked_fill(~real, 0)
    return terms.sum(1).remainder(_MODULUS)


def _detached(outputs: Any) -> Any:
    if isinstance(outputs, Mapping):
        return {name: _detached(part) for name, part in outputs.items()}
    return outputs.detach() if isinstance(outputs, torch.Tensor) else outputs


#: Columns of every presentation beside the real measures; kept as float32, exact up to 16 million classes.
_WHOLE = ("prediction", "correct", "target")


class PresentationLog:
    """Every presentation of the epoch under way, one row each, on the device where it was measured.

    An update is one copy into a buffer that doubles when full: nothing is looked up, sorted or moved between
    devices before the epoch ends.

    Args:
        measures: names of the real measures to keep.
    """

    def __init__(self, measures: tuple[str, ...]) -> None:
        self.measures = measures
        self._ids: list[_Buffer] = []
        self._values: list[_Buffer] = []

    def __len__(self) -> int:
        return sum(buffer.length for buffer in self._ids)

    @property
    def device(self) -> torch.device:
        """Where the last update's logits were."""
        return self._values[-1].data.device if self._values else torch.device("cpu")

    def add(self, ids: torch.Tensor, measured: dict[str, torch.Tensor], targets: torch.Tensor) -> None:
        """Append one batch: ids (batch,), measures (batch,) each, targets (batch,)."""
        columns = [measured[name].float() for name in self.measures]
        columns += [measured["prediction"].float(), measured["correct"].float(), targets.float()]
        self.extend(ids, torch.stack(columns, dim=1))

    def extend(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        """Append rows: ids (rows,) int64, values (rows, measures + 3) float32, each on any device."""
        _append(self._ids, ids)
        _append(self._values, values)

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All rows in order, on the CPU: ids (rows,) int64, values (rows, measures + 3) float32."""
        if not self._ids:
            return torch.empty(0, dtype=torch.int64), torch.empty(0, len(self.measures) + len(_WHOLE))
        return (
            torch.cat([buffer.filled().cpu() for buffer in self._ids]),
            torch.cat([buffer.filled().cpu() for buffer in self._values]),
        )

    def clear(self) -> None:
        """Forget every row; buffers that are in use keep their room."""
        del self._ids[:-1], self._values[:-1]
        for buffer in (*self._ids, *self._values):
            buffer.length = 0


class _Buffer:
    """Rows of one device in a tensor that doubles when full."""

    def __init__(self, first: torch.Tensor) -> None:
        self.data = first.new_empty((max(4096, len(first)), *first.shape[1:]))
        self.length = 0

    def filled(self) -> torch.Tensor:
        return self.data[: self.length]

    def append(self, rows: torch.Tensor) -> None:
        needed = self.length + len(rows)
        if needed > len(self.data):
            larger = self.data.new_empty((max(needed, 2 * len(self.data)), *self.data.shape[1:]))
            larger[: self.length] = self.filled()
            self.data = larger
        self.data[self.length : needed] = rows
        self.length = needed


def _append(buffers: list[_Buffer], rows: torch.Tensor) -> None:
    if not buffers or buffers[-1].data.device != rows.device:
        buffers.append(_Buffer(rows))
    buffers[-1].append(rows)


@dataclass
class EpochRows:
    """One row an example of one epoch, (n,) each; what was not seen holds 0 and False.

    Of an example presented several times in the epoch the real measures are means, `prediction`, `correct`
    and `target` are those of the last time, `first_correct` of the first, and `forgotten` counts the times
    from correct to wrong within the epoch.
    """

    presentations: NDArray[np.int64]
    real: dict[str, NDArray[np.float32]]
    prediction: NDArray[np.int64]
    target: NDArray[np.int64]
    correct: NDArray[np.bool_]
    first_correct: NDArray[np.bool_]
    learnt: NDArray[np.bool_]
    forgotten: NDArray[np.int64]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(n,) bool: presented at least once."""
        return self.presentations > 0


def collapse(log: PresentationLog, positions: NDArray[np.int64], count: int) -> EpochRows:
    """One row an example from the rows of a log.

    Args:
        log: the presentations.
        positions: (rows,) place in 0 .. count - 1 of each presentation's example.
        count: number of examples.
    """
    values = log.rows()[1].numpy()
    presentations = np.bincount(positions, minlength=count)
    if presentations.max(initial=0) > 1:
        return _collapse_repeated(log.measures, values, positions, presentations)
    real = {}
    for column, name in enumerate(log.measures):
        real[name] = np.zeros(count, np.float32)
        real[name][positions] = values[:, column]
    prediction, target = np.zeros(count, np.int64), np.zeros(count, np.int64)
    correct = np.zeros(count, bool)
    prediction[positions], correct[positions], target[positions] = values[:, len(log.measures) :].T
    return EpochRows(
        presentations, real, prediction, target, correct, correct, correct, np.zeros(count, np.int64)
    )


def _collapse_repeated(
    measures: tuple[str, ...],
    values: NDArray[np.float32],
    positions: NDArray[np.int64],
    presentations: NDArray[np.int64],
) -> EpochRows:
    order = np.argsort(positions, kind="stable")  # stable: presentations of one example stay in their order
    values, positions = values[order], positions[order]
    starts = np.flatnonzero(np.r_[True, positions[1:] != positions[:-1]])
    ends = np.r_[starts[1:], len(positions)] - 1
    examples = positions[starts]

    def spread(found: NDArray[Any], kind: Any) -> NDArray[Any]:
        column = np.zeros(len(presentations), kind)
        column[examples] = found
        return column

    real = {}
    for column, name in enumerate(measures):
        sums = np.add.reduceat(values[:, column].astype(np.float64), starts)
        real[name] = spread(sums / presentations[examples], np.float32)
    prediction, was_correct, target = values[:, len(measures) :].T
    right = was_correct > 0
    again = np.r_[False, positions[1:] == positions[:-1]]
    lost = again & np.r_[False, right[:-1]] & ~right
    return EpochRows(
        presentations,
        real,
        spread(prediction[ends], np.int64),
        spread(target[ends], np.int64),
        spread(right[ends], bool),
        spread(right[starts], bool),
        spread(np.logical_or.reduceat(right, starts), bool),
        spread(np.add.reduceat(lost.astype(np.int64), starts), np.int64),
    )


def merge(
    rows: EpochRows, all_reduce: Callable[[torch.Tensor], torch.Tensor], device: torch.device
) -> EpochRows:
    """What all ranks saw together, from two sums over ranks.

    Means weigh every presentation alike. Of an example that several ranks saw in one epoch (a sampler that
    pads the last batch does that) nobody knows the order: it counts as correct when every rank had it right,
    and its prediction is -1 when they differ.

    Args:
        rows: what this rank saw.
        all_reduce: returns the sum of a tensor over all ranks.
        device: where the tensors to reduce must be.

    Raises:
        BadInputError: `all_reduce` does not return the sum, or ranks saw different labels of one example.
    """
    seen = rows.seen.astype(np.int64)
    names = tuple(rows.real)
    sums = np.stack([rows.real[name] * rows.presentations for name in names]).astype(np.float32)
    counts = np.stack(
        [
            rows.presentations, seen, rows.forgotten, rows.first_correct * seen, rows.correct * seen,
            rows.learnt * seen, rows.prediction * seen, rows.prediction**2 * seen, rows.target * seen,
            rows.target**2 * seen,
        ]
    )  # fmt: skip
    summed = [_reduced(all_reduce, array, device) for array in (sums, counts)]
    presentations, ranks, forgotten, first, last, learnt, prediction, prediction2, target, target2 = summed[1]
    some = np.maximum(ranks, 1)
    differs = target2 * some != target**2
    if differs.any():
        raise BadInputError(
            f"ranks saw different labels of the same example, at place {int(np.argmax(differs))} of the ids; "
            "ids must be fixed positions in the data, the same on every rank."
        )
    return EpochRows(
        presentations,
        {
            name: summed[0][row] / np.maximum(presentations, 1).astype(np.float32)
            for row, name in enumerate(names)
        },
        np.where(prediction2 * some == prediction**2, prediction // some, -1),
        target // some,
        (last == ranks) & (ranks > 0),
        (first == ranks) & (ranks > 0),
        learnt > 0,
        forgotten,
    )


def _reduced(
    all_reduce: Callable[[torch.Tensor], torch.Tensor], array: NDArray[Any], device: torch.device
) -> NDArray[Any]:
    tensor = torch.from_numpy(array).to(device)
    result: Any = all_reduce(tensor)
    if not isinstance(result, torch.Tensor) or result.shape != tensor.shape:
        raise BadInputError("all_reduce must return the sum over ranks, a tensor of the same shape.")
    summed: NDArray[Any] = result.cpu().numpy()
    return summed
