"""The rows of a Trainer and their ids: checked before training, kept through any collator, dealt out by position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datadiet.dynamic import DynamicSampler
from datadiet.foundation.errors import BadInputError
from datadiet.integrations.loader_rows import same_random_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray


class CollatorWithIds:
    """Any collator, with the ids of the rows taken off before it and put into its batch.

    Args:
        collator: of the Trainer.
        column: where rows have their id.
    """

    def __init__(self, collator: Any, column: str) -> None:
        self.collator, self.column = collator, column

    def __call__(self, rows: list[Any]) -> Any:
        """The batch of the collator; with ids where every row has a whole number."""
        if not all(isinstance(row, Mapping) and self.column in row for row in rows):
            return self.collator(rows)
        ids = [row[self.column] for row in rows]
        batch = self.collator([{key: row[key] for key in row if key != self.column} for row in rows])
        numbers = np.array([np.asarray(each) for each in ids])
        if numbers.dtype.kind in "iu" and isinstance(batch, Mapping):
            batch[self.column] = torch.from_numpy(numbers.astype(np.int64))  # type: ignore[index]
        return batch


class Positions(torch.utils.data.Sampler[int]):
    """Where in the data the examples stand whose ids a sampler deals out.

    Args:
        sampler: of ids.
        places: (last id + 1,) the position of each id.
    """

    def __init__(self, sampler: DynamicSampler, places: NDArray[np.int64]) -> None:
        self.sampler, self.places = sampler, places

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        for number in self.sampler:
            yield int(self.places[number])


def places_of_ids(dataset: Any, column: str, sampler: DynamicSampler) -> NDArray[np.int64] | None:
    """The position of each id in the data; None where ids are positions.

    Raises:
        BadInputError: data without a length or ids, ids that are no whole numbers or come twice, or that lack one of
            the sampler's.
    """
    size = size_of(dataset)
    last = int(sampler.ids[-1])
    if not hasattr(dataset, "column_names"):
        with same_random_numbers():
            rows = {place: dataset[place] for place in sorted({0, size // 2, size - 1})}
        for place, row in rows.items():
            if isinstance(row, Mapping) and column in row and int(row[column]) != place:
                raise BadInputError(
                    f"row {place} of the training set has the id {int(row[column])}: ids are positions in the data "
                    "that is trained on; call datadiet.dynamic.with_ids last, after what selects or shuffles."
                )
        if last >= size:
            raise BadInputError(f"the sampler has ids up to {last}, the training set {size} rows.")
        return None
    ids = np.asarray(dataset.with_format("numpy")[column][:])
    if ids.dtype.kind not in "iu" or ids.ndim != 1:
        raise BadInputError(
            f"the ids in column {column!r} of the training set are no whole numbers; take another id_column, and "
            "datadiet.dynamic.with_ids(dataset, column=...) to add it."
        )
    if np.array_equal(ids, np.arange(size)):
        if last >= size:
            raise BadInputError(f"the sampler has ids up to {last}, the training set {size} rows.")
        return None
    places = np.full(max(last, int(ids.max(initial=0))) + 1, -1, np.int64)
    inside = ids >= 0
    places[ids[inside]] = np.flatnonzero(inside)
    if not inside.all() or len(np.unique(ids)) != size:
        raise BadInputError(f"the ids in column {column!r} of the training set come twice, or are below 0.")
    missing = sampler.ids[places[sampler.ids] < 0]
    if len(missing):
        raise BadInputError(
            f"{len(missing)} of the sampler's {sampler.num_examples} ids are not in column {column!r} of the training "
            f"set (first {missing[0]}); make the sampler with ids= of what is left, sorted, or call "
            "datadiet.dynamic.with_ids after what selects."
        )
    return places


def size_of(dataset: Any) -> int:
    """How many rows the data has.

    Raises:
        BadInputError: it has no length, or there is none.
    """
    if dataset is None:
        raise BadInputError("the Trainer has no train_dataset.")
    if isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__len__"):
        raise BadInputError(
            "the training set has no length (an iterable one), so that no row of it can be chosen; give one with rows "
            "by number, such as datasets.Dataset."
        )
    if len(dataset) == 0:
        raise BadInputError("the training set has no rows.")
    return len(dataset)
