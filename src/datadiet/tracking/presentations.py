"""Ids of examples and their places, what was presented in the epoch under way, and how that becomes one row each."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.foundation.errors import BadInputError
from datadiet.scores.changes import CHANGE
from datadiet.tasks import IGNORED, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HOW_TO_GET = "ids are positions in the data set, and datadiet.dynamic.with_ids adds them"

#: Below 2**24, so that float32 holds every remainder exactly; prime, so that few targets share one.
_MODULUS = 16_777_213

#: Columns of every presentation beside the real measures; kept as float32, exact up to 16 million classes.
_WHOLE = ("prediction", "correct", "target")


def is_whole(value: Any, least: int) -> bool:
    """Whether a value is a whole number, and at least so large."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


def ids_of_batch(ids: Any) -> torch.Tensor:
    """Ids of a batch as a (batch,) int64 tensor, on the device where they are.

    Raises:
        BadInputError: there are none, or they are no integers.
    """
    if ids is None:
        raise BadInputError(
            "the batch has no ids; wrap the data set with datadiet.dynamic.with_ids, so that each row brings its own."
        )
    if isinstance(ids, torch.Tensor) and ids.dtype == torch.int64 and ids.ndim == 1:
        return ids
    numbers = ids.detach() if isinstance(ids, torch.Tensor) else _tensor_of_ids(ids)
    if numbers.numel() == 0:
        numbers = numbers.to(torch.int64)  # an empty list has no dtype of its own
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise BadInputError(f"ids must be integers, got {numbers.dtype}; {_HOW_TO_GET}.")
    if numbers.ndim != 1:
        raise BadInputError(f"ids must be one a row, shape (batch,), got {tuple(numbers.shape)}.")
    return numbers.to(torch.int64)


def _tensor_of_ids(ids: Any) -> torch.Tensor:
    """Ids that are no tensor as one: an array, or a row of numbers or of tensors of one number."""
    if isinstance(ids, list | tuple) and any(isinstance(each, torch.Tensor) for each in ids):
        ids = [each.item() if isinstance(each, torch.Tensor) and each.numel() == 1 else each for each in ids]
    try:
        array = np.array(ids)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInputError(
            f"ids must be a row of integers, got {type(ids).__name__}; {_HOW_TO_GET}."
        ) from error
    if array.size and array.dtype.kind not in "iufcb":
        each = array.ravel().tolist()
        odd = next((one for one in each if not is_whole(one, 0)), each[0])
        raise BadInputError(f"ids must be integers, got {reprlib.repr(odd)}; {_HOW_TO_GET}.")
    if array.dtype.kind == "u":
        array = array.astype(np.int64)
    return torch.from_numpy(array) if array.size else torch.empty(array.shape, dtype=torch.int64)


def as_ids(ids: Any) -> NDArray[np.int64]:
    """Ids of a data set as a (n,) int64 array of its own.

    Raises:
        BadInputError: not a row of integers, or not strictly increasing.
    """
    numbers: NDArray[np.int64] = ids_of_batch(ids).cpu().numpy().copy()
    if np.any(numbers[1:] <= numbers[:-1]):
        place = int(np.argmax(numbers[1:] <= numbers[:-1])) + 1
        raise BadInputError(f"ids must be strictly increasing; {numbers[place]} at place {place} is not.")
    return numbers


class ExampleIds:
    """The ids that a recorder or a sampler knows, 0 to n - 1 or explicit ones, and the place of each.

    Args:
        owner: whose they are, as errors call it.
        num_examples: n; the ids are 0 to n - 1.
        ids: explicit strictly increasing ids, instead of `num_examples`.
        meaning: what ids are, as errors say it.

    Raises:
        BadInputError: both or neither are given, none at all, or numbers that are no counts.

    Example:
        >>> ids = ExampleIds("sampler", None, [3, 5, 9])
        >>> ids.places_of(np.array([9, 3])).tolist(), ids.at(np.array([1])).tolist()
        ([2, 0], [5])
    """

    def __init__(
        self,
        owner: str,
        num_examples: Any,
        ids: Any,
        meaning: str = "ids are positions in the whole data set, not places in the loader",
    ) -> None:
        if (num_examples is None) == (ids is None):
            raise BadInputError(f"a {owner} needs either num_examples or ids.")
        if ids is None and not is_whole(num_examples, 1):
            raise BadInputError(f"num_examples must be a whole number of at least 1, got {num_examples!r}.")
        self.owner, self.meaning = owner, meaning
        self.explicit = None if ids is None else as_ids(ids)
        self.count = int(num_examples) if self.explicit is None else len(self.explicit)
        if self.count == 0:
            raise BadInputError(f"a {owner} needs at least one id.")
        self.first = 0 if self.explicit is None else int(self.explicit[0])
        self.last = self.count - 1 if self.explicit is None else int(self.explicit[-1])
        self._copy: torch.Tensor | None = (
            None  # of the explicit ids, on the device that places were asked for on
        )

    def at(self, places: NDArray[Any]) -> NDArray[Any]:
        """The ids at places."""
        return places if self.explicit is None else self.explicit[places]

    def all(self) -> NDArray[np.int64]:
        """Every id, increasing, as an array of its own."""
        return self.at(np.arange(self.count))

    def places_of(self, ids: NDArray[np.int64], known: bool = False) -> NDArray[np.int64]:
        """The place of each id.

        Args:
            ids: in any order.
            known: that all of them are; they are not looked at then.

        Raises:
            BadInputError: an unknown id.
        """
        if known and self.explicit is None:
            return ids
        if self.explicit is None or self.last - self.first == self.count - 1:
            places = ids - self.first if self.first else ids
            # Read as unsigned, a negative place is larger than any: one look finds both.
            unsigned = places.view(np.uint64)
            unknown = unsigned >= self.count if unsigned.max(initial=0) >= self.count else None
        else:
            places = np.searchsorted(self.explicit, ids)
            unknown = self.explicit[np.minimum(places, self.count - 1)] != ids
        if unknown is not None and unknown.any():
            raise BadInputError(
                f"id {ids[np.argmax(unknown)]} is not one of the {self.owner}'s {self.count} ids "
                f"({self.first} to {self.last}); {self.meaning}."
            )
        return places

    def places_on_device(self, ids: torch.Tensor, device: torch.device) -> torch.Tensor:
        """The place of each id, on a device, where an unknown one has any: nothing is read back to find it."""
        ids = ids.to(device)
        if self.explicit is None or self.last - self.first == self.count - 1:
            places = ids - self.first
        else:
            if self._copy is None or self._copy.device != device:
                self._copy = torch.from_numpy(self.explicit).to(device)
            places = torch.searchsorted(self._copy, ids)
        return places.clamp(0, self.count - 1)


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
    real = rows != IGNORED
    weights = real.cumsum(1)  # the place among what is there, so that padding moves nothing
    terms = ((rows + 1).remainder(_MODULUS) * weights).masked_fill(~real, 0)
    return terms.sum(1).remainder(_MODULUS)


@contextmanager
def readable(task: Task, outputs: Any, targets: Any) -> Iterator[None]:
    """Around what a task measures of a batch: outputs and targets that do not fit it are said to.

    Raises:
        BadInputError: torch could not compute it.
    """
    try:
        yield
    except BadInputError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        what = " ".join(str(error).split())
        raise BadInputError(
            f"outputs {_form(outputs)} and targets {_form(targets)} do not fit the task {task.name!r} ({what})."
        ) from error


def _form(given: Any) -> str:
    return (
        f"of shape {tuple(given.shape)}" if isinstance(given, torch.Tensor) else f"({type(given).__name__})"
    )


def detached(outputs: Any) -> Any:
    """A tensor or a mapping of tensors without the graph."""
    if isinstance(outputs, Mapping):
        return {name: detached(part) for name, part in outputs.items()}
    return outputs.detach() if isinstance(outputs, torch.Tensor) else outputs


class PresentationLog:
    """Every presentation of the epoch under way, one row each, on the device where it was measured.

    An update is one copy into a buffer that doubles when full: nothing is looked up, sorted or moved between
    devices before the epoch ends.

    Args:
        measures: names of the real measures to keep.
    """

    def __init__(self, measures: tuple[str, ...]) -> None:
        self.measures = measures
        self._ids = _Rows(torch.empty(0, dtype=torch.int64))
        self._values = _Rows(torch.empty(0, len(measures) + len(_WHOLE)))

    @property
    def device(self) -> torch.device:
        """Where the last update's logits were, also in an epoch before."""
        return self._values.buffers[-1].device

    def add(self, ids: torch.Tensor, measures: dict[str, torch.Tensor], targets: torch.Tensor) -> None:
        """Append one batch: ids (batch,), measures (batch,) each, targets (batch,)."""
        columns = [measures[name].float() for name in (*self.measures, "prediction", "correct")]
        self.extend(ids, torch.stack([*columns, targets.float()], dim=1))

    def extend(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        """Append a copy of rows: ids (rows,) int64, values (rows, measures + 3) float32, each on any device."""
        self._ids.extend(ids)
        self._values.extend(values)

    def clear(self) -> None:
        """Forget every row; buffers that are in use keep their room."""
        self._ids.clear()
        self._values.clear()

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All rows in order, on the CPU: ids (rows,) int64, values (rows, measures + 3) float32."""
        return self._ids.on_cpu(), self._values.on_cpu()


class _Rows:
    """Rows in buffers that double when full, a new one whenever the device changes."""

    def __init__(self, empty: torch.Tensor) -> None:
        self.buffers, self.lengths = [empty], [0]

    def extend(self, rows: torch.Tensor) -> None:
        if self.buffers[-1].device != rows.device:
            self.buffers.append(rows.new_empty((0, *rows.shape[1:])))
            self.lengths.append(0)
        buffer, length = self.buffers[-1], self.lengths[-1]
        needed = length + len(rows)
        if needed > len(buffer):
            larger = buffer.new_empty((max(4096, needed, 2 * len(buffer)), *buffer.shape[1:]))
            larger[:length] = buffer[:length]
            self.buffers[-1] = buffer = larger
        buffer[length:needed] = rows
        self.lengths[-1] = needed

    def clear(self) -> None:
        self.buffers, self.lengths = self.buffers[-1:], [0]

    def on_cpu(self) -> torch.Tensor:
        return joined_on_cpu(buffer[:n] for buffer, n in zip(self.buffers, self.lengths, strict=True))


def joined_on_cpu(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    """One tensor on the CPU, with one copy from each stretch of parts on the same device."""
    return torch.cat([torch.cat(list(group)).cpu() for _, group in groupby(parts, attrgetter("device"))])


@dataclass
class EpochRows:
    """One row an example of one epoch, (n,) each; what was not seen holds 0 and False.

    Of an example presented several times in the epoch the real measures are means (of `tdds_change`, over all but its
    very first presentation), `prediction`, `correct`
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


def collapse(
    measures: tuple[str, ...], values: NDArray[np.float32], positions: NDArray[np.int64], count: int
) -> EpochRows:
    """One row an example from the rows of a log.

    Args:
        measures: names of the first columns.
        values: (rows, measures + 3), as `PresentationLog.rows` gives them.
        positions: (rows,) place in 0 .. count - 1 of each presentation's example.
        count: number of examples.
    """
    presentations = np.bincount(positions, minlength=count)
    if presentations.max(initial=0) <= 1:
        return _collapse_single(measures, values, positions, presentations)
    order = np.argsort(positions, kind="stable")  # stable: presentations of one example stay in their order
    values, positions = values[order], positions[order]
    examples = np.flatnonzero(presentations)
    ends = presentations[examples].cumsum() - 1
    starts = ends + 1 - presentations[examples]

    def spread(found: NDArray[Any], kind: Any) -> NDArray[Any]:
        column = np.zeros(count, kind)
        column[examples] = found
        return column

    real = {}
    for column, name in enumerate(measures):
        given = values[:, column].astype(np.float64)
        # Only a change can be unknown: that of the first presentation of all.
        there = ~np.isnan(given) if name == CHANGE else np.ones(len(given), bool)
        sums, counts = (np.add.reduceat(part, starts) for part in (np.where(there, given, 0.0), there * 1))
        real[name] = spread(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), np.float32)
    prediction, was_correct, target = values[:, len(measures) :].T
    right = was_correct > 0
    lost = np.zeros(len(right), np.int64)
    lost[1:] = (positions[1:] == positions[:-1]) & right[:-1] & ~right[1:]
    return EpochRows(
        presentations,
        real,
        spread(prediction[ends], np.int64),
        spread(target[ends], np.int64),
        spread(right[ends], bool),
        spread(right[starts], bool),
        spread(np.logical_or.reduceat(right, starts), bool),
        spread(np.add.reduceat(lost, starts), np.int64),
    )


def _collapse_single(
    measures: tuple[str, ...],
    values: NDArray[np.float32],
    positions: NDArray[np.int64],
    presentations: NDArray[np.int64],
) -> EpochRows:
    """`collapse` of an epoch that shows no example twice, as most do: every row is put in its place."""
    columns = np.zeros((values.shape[1], len(presentations)), np.float32)
    columns[:, positions] = values.T
    *real, prediction, correct, target = columns
    right = correct > 0
    return EpochRows(
        presentations,
        dict(zip(measures, real, strict=True)),
        prediction.astype(np.int64),
        target.astype(np.int64),
        right,
        right,
        right,
        np.zeros(len(presentations), np.int64),
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
    # A change that is unknown, that of a first presentation, does not count.
    weights = {
        name: rows.presentations * ~(np.isnan(values) & (name == CHANGE))
        for name, values in rows.real.items()
    }
    parts = [np.where(weights[name] > 0, values, 0) * weights[name] for name, values in rows.real.items()]
    changes = [weights[CHANGE]] if CHANGE in weights else []
    sums = np.stack([*parts, *changes]).astype(np.float32)
    counts = np.stack(
        [
            rows.presentations, seen, rows.forgotten, rows.first_correct * seen, rows.correct * seen,
            rows.learnt * seen, rows.prediction * seen, rows.prediction**2 * seen, rows.target * seen,
            rows.target**2 * seen,
        ]
    )  # fmt: skip
    reals, wholes = (
        summed(torch.from_numpy(array).to(device), all_reduce).cpu().numpy() for array in (sums, counts)
    )
    presentations, ranks, forgotten, first, last, learnt, prediction, prediction2, target, target2 = wholes
    some = np.maximum(ranks, 1)
    differs = target2 * some != target**2
    if differs.any():
        raise BadInputError(
            f"ranks saw different labels of the same example, at place {int(np.argmax(differs))} of the ids; "
            "ids must be fixed positions in the data, the same on every rank."
        )
    times = dict.fromkeys(rows.real, presentations) | ({CHANGE: reals[-1]} if changes else {})
    real = {
        name: total / np.maximum(times[name], 1).astype(np.float32)
        for name, total in zip(rows.real, reals, strict=False)
    }
    if changes:
        real[CHANGE][times[CHANGE] == 0] = np.nan
    return EpochRows(
        presentations,
        real,
        np.where(prediction2 * some == prediction**2, prediction // some, -1),
        target // some,
        (last == ranks) & (ranks > 0),
        (first == ranks) & (ranks > 0),
        learnt > 0,
        forgotten,
    )


def summed(tensor: torch.Tensor, all_reduce: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The sum of a tensor over all ranks.

    Raises:
        BadInputError: `all_reduce` returns something else.
    """
    result: Any = all_reduce(tensor)
    if not isinstance(result, torch.Tensor) or result.shape != tensor.shape:
        raise BadInputError("all_reduce must return the sum over ranks, a tensor of the same shape.")
    return result
