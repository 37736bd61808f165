"""The rows of a loader and their ids: looked at before training, and taken off batches for loops that know none."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from datadiet.dynamic import DynamicSampler, WithIds
from datadiet.foundation.errors import BadInputError
from datadiet.tracking.presentations import is_whole


def check_rows(dataset: Any, sampler: DynamicSampler) -> None:
    """See that a loader over this data can go by this sampler's ids, and that its rows bring them.

    Raises:
        BadInputError: data without a length or of another one, rows without ids, ids that are not positions.
    """
    if isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__len__"):
        raise BadInputError(
            f"the training data ({type(dataset).__name__}) can only be gone through in order, so that no row of it can "
            "be chosen; give a data set with a length and rows by number."
        )
    size, last = len(dataset), int(sampler.ids[-1])
    if last >= size or (size > sampler.num_examples == last + 1):
        raise BadInputError(
            f"the training data has {size} rows, but the sampler deals out the ids 0 to {last}; make the sampler with "
            "num_examples=len(dataset)."
        )
    if isinstance(dataset, WithIds):
        return
    with same_random_numbers():
        rows = {place: dataset[place] for place in sorted({0, size // 2, size - 1})}
    if hasattr(dataset, "column_names") and isinstance(rows[0], Mapping):
        named = [name for name in rows[0] if _is_id(rows[0][name], 0) and _holds_positions(dataset, name)]
    else:
        named = [name for name in _names(rows[0]) if all(_is_id(row[name], at) for at, row in rows.items())]
    if not named:
        raise BadInputError(
            "the rows of the training data do not bring their positions as ids; hand the loader "
            "datadiet.dynamic.with_ids(dataset), called last, after what selects or shuffles rows."
        )


def _names(row: Any) -> list[Any]:
    """Where a row may have its id: in front, or under any key."""
    if isinstance(row, Mapping):
        return list(row)
    return [0] if isinstance(row, tuple | list) and row else []


def _is_id(value: Any, place: int) -> bool:
    if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    return is_whole(value, 0) and int(value) == place


def _holds_positions(dataset: Any, column: str) -> bool:
    """Whether a column of a Hugging Face data set is 0 to n - 1."""
    return np.array_equal(dataset.with_format("numpy")[column][:], np.arange(len(dataset)))


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Rows that are made at random shall not draw from what training draws from."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002


def rows_have_ids_in_front(dataset: Any) -> bool:
    """Whether these are rows of `with_ids`, or some of them."""
    if isinstance(dataset, torch.utils.data.ConcatDataset):
        return all(rows_have_ids_in_front(part) for part in dataset.datasets)
    if isinstance(dataset, torch.utils.data.Subset):
        return rows_have_ids_in_front(dataset.dataset)
    return isinstance(dataset, WithIds)


def split_batch(batch: Any, dataset: Any, column: str) -> tuple[Any, Any]:
    """The ids of a batch, and the batch as it is without them.

    Args:
        batch: a mapping with the ids under `column`, or a tuple or list that begins with them.
        dataset: whose rows it is made of.
        column: where mappings have their ids.

    Returns:
        ids: None where a mapping has none.
        rest: of the same kind as the batch.
    """
    if isinstance(batch, Mapping):
        if column not in batch:
            return None, batch
        rest: Any = copy.copy(batch)
        return rest.pop(column), rest
    if not isinstance(batch, tuple | list) or not batch:
        return None, batch
    rest = batch[1:]
    return batch[0], rest[0] if len(rest) == 1 and _is_bare(dataset) else rest


def _is_bare(dataset: Any) -> bool:
    """Whether rows were no tuples before `with_ids` made pairs of them."""
    if isinstance(dataset, torch.utils.data.ConcatDataset):
        return _is_bare(dataset.datasets[0])
    if isinstance(dataset, torch.utils.data.Subset):
        return _is_bare(dataset.dataset)
    if not isinstance(dataset, WithIds):
        return False
    with same_random_numbers():
        return not isinstance(dataset.dataset[0], tuple | list | Mapping)
