"""Data sets that bring the id of each row along."""

from __future__ import annotations

from typing import Any

import torch


class WithIds(torch.utils.data.Dataset[Any]):
    """A map-style data set whose rows come with their position.

    A row that is a tuple or list gets it in front, a mapping gets it under `column`, anything else becomes `(id, row)`.

    Example:
        >>> rows = WithIds([("a", 0), ("b", 1)])
        >>> rows[1]
        (1, 'b', 1)
        >>> WithIds([{"text": "a"}])[0]
        {'text': 'a', 'id': 0}
    """

    def __init__(self, dataset: Any, column: str = "id") -> None:
        self.dataset = dataset
        self.column = column

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        row = self.dataset[index]
        if isinstance(row, dict):
            return {**row, self.column: index}
        return (index, *row) if isinstance(row, tuple | list) else (index, row)


def with_ids(dataset: Any, column: str = "id") -> Any:
    """The same data set with ids: a column of a Hugging Face `Dataset`, otherwise `WithIds`.

    Example:
        >>> len(with_ids([(0.5, 1)]))
        1
    """
    if hasattr(dataset, "add_column") and hasattr(dataset, "column_names"):
        if column in dataset.column_names:
            return dataset
        return dataset.add_column(column, list(range(len(dataset))))
    return WithIds(dataset, column)
