"""Rows that bring their positions, whatever they are, and data that have none."""

from __future__ import annotations

from collections import UserDict, namedtuple
from dataclasses import dataclass
from typing import Any, NamedTuple

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from datadiet.dynamic import WithIds, with_ids
from datadiet.foundation.errors import BadInputError

N = 7


class Pair(NamedTuple):
    x: float
    y: int


Numbered = namedtuple("Numbered", "id x")


@dataclass
class Record:
    x: float


class Stream(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(N))

    def __len__(self) -> int:
        return N


def table(**columns: Any) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"x": [float(i) for i in range(N)], **columns})


def test_every_kind_of_row_brings_its_position() -> None:
    kinds: list[tuple[Any, Any]] = [
        ((1.5, 2), (3, 1.5, 2)),
        ([1.5, 2], (3, 1.5, 2)),
        ({"x": 1.5}, {"x": 1.5, "id": 3}),
        (UserDict(x=1.5), {"x": 1.5, "id": 3}),
        (Record(1.5), (3, Record(1.5))),
        (1.5, (3, 1.5)),
        (Pair(1.5, 2), (3, 1.5, 2)),
        (Numbered(9, 1.5), (3, 9, 1.5)),
        ({"x": 1.5, "id": torch.tensor(3)}, {"x": 1.5, "id": 3}),
    ]
    for row, expected in kinds:
        assert WithIds([row] * N)[3] == expected
        assert WithIds([row] * N)[-4] == expected
    assert WithIds([(1.5,)] * N)[torch.tensor(3)] == (3, 1.5)


@pytest.mark.parametrize("workers", [0, 2])
def test_named_rows_keep_their_names_also_in_batches_from_workers(workers: int) -> None:
    rows = with_ids([Pair(float(i), i % 3) for i in range(N)])
    for batch in DataLoader(rows, batch_size=3, num_workers=workers):
        ids, x, y = batch
        assert batch.id is ids and batch.x is x and batch.y is y
        assert torch.equal(ids.to(x.dtype), x)


def test_ids_twice_are_ids_once() -> None:
    rows = [(float(i), i) for i in range(N)]
    once = with_ids(rows)
    assert with_ids(once) is once
    assert WithIds(once)[2] == with_ids(once, "row")[2] == (2, 2.0, 2)
    assert with_ids(with_ids([{"x": 1}]), "row")[0] == {"x": 1, "row": 0}
    made = with_ids(table())
    assert with_ids(made) is made


def test_a_column_that_counts_the_rows_is_as_good() -> None:
    for ids in (list(range(N)), np.arange(N, dtype=np.int32)):
        own = table(id=ids)
        assert with_ids(own) is own
    assert with_ids(table(id=list(range(N))).with_format("torch"))[2]["id"] == 2


@pytest.mark.parametrize(
    "own",
    [
        list(reversed(range(N))),
        list(range(1, N + 1)),
        [0, 1, 2, 3, 4, 5, 7],
        [str(i) for i in range(N)],
        [float(i) for i in range(N)],
        [None, *range(1, N)],
        [[i] for i in range(N)],
    ],
)
def test_a_column_of_other_ids_is_refused(own: list[Any]) -> None:
    with pytest.raises(BadInputError, match=r"a column 'id' of its own .*with_ids\(dataset, column='row'\)"):
        with_ids(table(id=own))
    named = with_ids(table(id=own), "row")
    assert list(named["row"]) == list(range(N)) and list(named["id"]) == own
    rows = with_ids([{"id": each} for each in own])
    with pytest.raises(BadInputError, match="a column 'id' of its own"):
        [rows[place] for place in range(N)]
    named = with_ids([{"id": each} for each in own], "row")
    assert [named[place] for place in range(N)] == [{"id": each, "row": i} for i, each in enumerate(own)]


@pytest.mark.parametrize("change", ["shuffle", "sort", "filter", "select", "split"])
def test_ids_that_were_added_before_rows_moved_are_refused_when_added_again(change: str) -> None:
    made = with_ids(table(key=[(i * 3) % N for i in range(N)]))
    moved = {
        "shuffle": lambda: made.shuffle(seed=1),
        "sort": lambda: made.sort("key"),
        "filter": lambda: made.filter(lambda row: row["x"] > 2),
        "select": lambda: made.select([2, 1, 5]),
        "split": lambda: made.train_test_split(0.5, seed=1)["train"],
    }[change]()
    with pytest.raises(BadInputError, match="remove it if it was added before a shuffle"):
        with_ids(moved)
    again = with_ids(moved.remove_columns("id"))
    assert list(again["id"]) == list(range(len(moved)))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (Stream(), "Stream is read in its own order"),
        (table().to_iterable_dataset(), "IterableDataset is read in its own order"),
        ((i for i in range(3)), "generator is read in its own order"),
        (datasets.DatasetDict(train=table(), test=table()), "has the parts train, test: give one of them"),
        (torch.utils.data.Dataset(), "Dataset has no length"),
    ],
)
@pytest.mark.parametrize("make", [with_ids, WithIds])
def test_data_without_positions_are_refused_in_one_sentence(make: Any, data: Any, what: str) -> None:
    with pytest.raises(BadInputError, match=what) as caught:
        make(data)
    assert str(caught.value).startswith("ids are positions in a data set") and "\n" not in str(caught.value)


def test_a_part_is_taken_before_the_ids_are_added() -> None:
    rows = TensorDataset(torch.arange(N).float())
    assert [row[0] for row in with_ids(Subset(rows, [4, 2]))] == [0, 1]  # type: ignore[attr-defined]
