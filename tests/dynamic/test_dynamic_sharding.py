"""The exact examples that each rank gets, batch by batch."""

from __future__ import annotations

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DistributedSampler

from datadiet.dynamic import DynamicSampler
from datadiet.dynamic.sharding import Shards

# size, batch size, world size, drop_last, even_batches -> the batches of each rank
TABLE = [
    (8, 2, 2, False, True, [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]),
    (7, 2, 2, False, True, [[[0, 1], [4, 5]], [[2, 3], [6, 0]]]),
    (5, 2, 2, False, True, [[[0, 1], [4, 0]], [[2, 3], [1, 2]]]),
    (6, 2, 2, False, True, [[[0, 1], [4, 5]], [[2, 3], [0, 1]]]),
    (1, 2, 2, False, True, [[[0, 0]], [[0, 0]]]),
    (3, 2, 2, False, True, [[[0, 1]], [[2, 0]]]),
    (7, 2, 2, False, False, [[[0, 1], [4, 5]], [[2, 3], [6]]]),
    (5, 2, 2, False, False, [[[0, 1], [4]], [[2, 3]]]),
    (1, 2, 2, False, False, [[[0]], []]),
    (7, 2, 2, True, True, [[[0, 1]], [[2, 3]]]),
    (3, 2, 2, True, False, [[], []]),
    (7, 3, 1, False, True, [[[0, 1, 2], [3, 4, 5], [6]]]),
    (7, 3, 1, True, True, [[[0, 1, 2], [3, 4, 5]]]),
    (10, 2, 3, False, True, [[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [0, 1]]]),
    (10, 3, 3, False, True, [[[0, 1, 2], [9, 0, 1]], [[3, 4, 5], [2, 3, 4]], [[6, 7, 8], [5, 6, 7]]]),
    (10, 3, 3, False, False, [[[0, 1, 2], [9]], [[3, 4, 5]], [[6, 7, 8]]]),
    (10, 3, 3, True, True, [[[0, 1, 2]], [[3, 4, 5]], [[6, 7, 8]]]),
]


@pytest.mark.parametrize(("size", "batch", "world", "drop_last", "even", "expected"), TABLE)
def test_each_rank_gets_exactly_these_examples(
    size: int, batch: int, world: int, drop_last: bool, even: bool, expected: list[list[list[int]]]
) -> None:
    for rank in range(world):
        sampler = (
            DynamicSampler(
                size,
                selector="random",
                schedule={"warmup": 1},
                batch_size=batch,
                drop_last=drop_last,
                even_batches=even,
                shuffle=False,
                rank=rank,
                world_size=world,
            )
            if size >= 2 * batch * world
            else None
        )
        shards = Shards(size, batch, world, drop_last, even)
        got = [shards.batch(np.arange(size), rank, k).tolist() for k in range(shards.count(rank))]
        assert got == expected[rank]
        if sampler is not None:
            assert len(sampler) == len(expected[rank])
            assert list(sampler) == expected[rank]


@given(st.integers(1, 60), st.integers(1, 7), st.integers(1, 5), st.booleans(), st.booleans())
def test_batches_are_those_that_accelerate_deals_out(
    size: int, batch: int, world: int, drop_last: bool, even: bool
) -> None:
    shards = Shards(size, batch, world, drop_last, even)
    order = np.arange(size) * 10
    whole = BatchSampler(order.tolist(), batch, drop_last)
    for rank in range(world):
        ours = [shards.batch(order, rank, k).tolist() for k in range(shards.count(rank))]
        if world == 1:
            assert ours == list(whole)
        else:
            theirs = BatchSamplerShard(whole, world, rank, even_batches=even)
            assert ours == list(theirs)
            assert shards.count(rank) == len(theirs)


@given(st.integers(1, 50), st.integers(1, 5))
def test_single_ids_go_to_ranks_as_torch_deals_them_out(size: int, world: int) -> None:
    for rank in range(world):
        shards = Shards(size, 1, world)
        ours = shards.singles(np.arange(size), rank, 0, shards.count(rank)).tolist()
        assert ours == list(DistributedSampler(range(size), world, rank, shuffle=False))


@given(st.integers(1, 80), st.integers(1, 6), st.integers(1, 5))
def test_without_filling_up_every_example_is_dealt_out_once(size: int, batch: int, world: int) -> None:
    shards = Shards(size, batch, world, even_batches=False)
    dealt = [
        number
        for rank in range(world)
        for k in range(shards.count(rank))
        for number in shards.batch(np.arange(size), rank, k).tolist()
    ]
    assert sorted(dealt) == list(range(size))


@given(st.integers(1, 80), st.integers(1, 6), st.integers(2, 5))
def test_filled_up_every_rank_takes_as_many_full_batches(size: int, batch: int, world: int) -> None:
    shards = Shards(size, batch, world)
    steps = {shards.count(rank) for rank in range(world)}
    dealt = [
        shards.batch(np.arange(size), rank, k) for rank in range(world) for k in range(shards.count(rank))
    ]
    assert len(steps) == 1
    assert {len(part) for part in dealt} == {batch}
    assert set(np.concatenate(dealt).tolist()) == set(range(size))
