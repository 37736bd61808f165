"""What was told of the epoch under way: one number an example, the latest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FLUSH = 1 << 18


class Places:
    """The place of each id among the sampler's: ids are 0 to n - 1, or explicit."""

    def __init__(self, num_examples: int, ids: NDArray[np.int64] | None) -> None:
        self.num_examples = num_examples
        self.ids = ids

    def of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of ids.

        Raises:
            BadInputError: an unknown id.
        """
        if self.ids is None:
            # Read as unsigned, a negative id is larger than any: one look finds both.
            if len(ids) and int(ids.view(np.uint64).max()) >= self.num_examples:
                self._refuse(ids[(ids < 0) | (ids >= self.num_examples)][0], 0, self.num_examples - 1)
            return ids
        found = np.searchsorted(self.ids, ids)
        known = self.ids[np.minimum(found, len(self.ids) - 1)] == ids
        if not known.all():
            self._refuse(ids[~known][0], self.ids[0], self.ids[-1])
        return found

    def to_ids(self, places: NDArray[Any]) -> NDArray[Any]:
        """The ids at places."""
        return places if self.ids is None else self.ids[places]

    def _refuse(self, wrong: int, first: int, last: int) -> None:
        raise BadInputError(
            f"id {wrong} is not one of the sampler's {self.num_examples} ids ({first} to {last}); "
            "ids are positions in the whole data set, not places in the loader."
        )


class Reports:
    """Collects updates; on an accelerator they wait there, so that no update waits for the device.

    A number that is not finite is kept as infinity, NaN says that nothing was told.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self.count = 0  # updates' rows so far, repeats included
        self._here: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []  # places and numbers
        self._waiting: list[tuple[torch.Tensor, torch.Tensor]] = []  # ids and numbers on an accelerator
        self._waiting_rows = 0
        self._numbers: NDArray[np.float32] | None = None

    def add(self, ids: Any, numbers: torch.Tensor) -> None:
        """Take one batch.

        Raises:
            BadInputError: ids that are no integers or do not fit; on the CPU also unknown ones.
        """
        given = id_tensor(ids)
        if given.shape != numbers.shape:
            raise BadInputError(
                f"update got ids of shape {tuple(given.shape)} and numbers of shape {tuple(numbers.shape)}; "
                "give one of each an example."
            )
        if given.is_cpu and numbers.is_cpu:
            # Both are copies: the loop may write over its own before they are read.
            where = self.places.of(given.numpy()).astype(np.int64)
            self._here.append((where, numbers.float().numpy().copy()))
        else:
            self._waiting.append((given.clone(), numbers.to(given.device, torch.float32, copy=True)))
        self._waiting_rows += len(given)
        self.count += len(given)
        if self._waiting_rows >= _FLUSH:
            self.flush()

    def flush(self) -> NDArray[np.float32] | None:
        """Everything told so far, (n,) by place, or None.

        Raises:
            BadInputError: an unknown id among those that came from an accelerator.
        """
        if not self._waiting_rows:
            return self._numbers
        rows = self._here
        for device in dict.fromkeys(ids.device for ids, _ in self._waiting):
            there = [row for row in self._waiting if row[0].device == device]
            where = torch.cat([ids for ids, _ in there]).cpu().numpy()
            values = torch.cat([numbers for _, numbers in there]).cpu().numpy()
            rows.append((self.places.of(where), values))
        self._here, self._waiting, self._waiting_rows = [], [], 0
        if self._numbers is None:
            self._numbers = np.full(self.places.num_examples, np.nan, np.float32)
        values = np.concatenate([values for _, values in rows])
        finite = np.isfinite(values)
        if not finite.all():
            values[~finite] = np.inf
        self._numbers[np.concatenate([where for where, _ in rows])] = values
        return self._numbers

    def restore(self, numbers: NDArray[np.float32] | None, count: int) -> None:
        """Stand as if these had been told."""
        self._here, self._waiting, self._waiting_rows = [], [], 0
        self._numbers, self.count = numbers, count

    def clear(self) -> None:
        """Forget everything."""
        self.restore(None, 0)


def id_tensor(ids: Any) -> torch.Tensor:
    """Ids as a one-dimensional int64 tensor, on the device where they are.

    Raises:
        BadInputError: there are none, or they are no integers.
    """
    if ids is None:
        raise BadInputError(
            "the batch has no ids; wrap the data set with datadiet.dynamic.with_ids, so that each row brings its own."
        )
    if isinstance(ids, torch.Tensor):
        if ids.dtype == torch.int64 and ids.ndim == 1:
            return ids  # what comes for every batch of a long epoch
        numbers = ids.detach()
    else:
        numbers = torch.as_tensor(ids)
        if numbers.numel() == 0:
            numbers = numbers.to(torch.int64)  # an empty list has no dtype of its own
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise BadInputError(f"ids must be integers, got {numbers.dtype}; floats lose large ids.")
    if numbers.ndim != 1:
        raise BadInputError(f"ids must be one a row, shape (batch,), got {tuple(numbers.shape)}.")
    return numbers.to(torch.int64)
