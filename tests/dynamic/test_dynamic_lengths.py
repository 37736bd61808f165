"""Batches of similar length from a dynamic sampler."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from datadiet.dynamic import DynamicSampler
from datadiet.foundation.errors import BadInputError

LENGTHS = np.random.default_rng(0).integers(1, 60, size=1000)


def padded(batches: list[list[int]]) -> int:
    return sum(len(batch) * int(LENGTHS[batch].max()) for batch in batches)


@pytest.mark.parametrize("size", [1000, 993])
def test_batches_by_length_hold_every_chosen_id_once_and_pad_less(size: int) -> None:
    plain = DynamicSampler(size, selector="random", batch_size=16, seed=3)
    bucketed = DynamicSampler(size, selector="random", batch_size=16, seed=3, lengths=LENGTHS[:size])
    for _ in range(2):
        ours, theirs = list(bucketed), list(plain)
        assert [len(batch) for batch in ours] == [len(batch) for batch in theirs]
        assert sorted(itertools.chain(*ours)) == sorted(itertools.chain(*theirs))
        assert padded(ours) < 0.65 * padded(theirs)
        bucketed.end_epoch()
        plain.end_epoch()


def test_the_remaining_batches_after_a_resume_are_the_same() -> None:
    whole = DynamicSampler(300, selector="random", batch_size=8, seed=1, lengths=LENGTHS[:300])
    everything = list(whole)
    begun = DynamicSampler(300, selector="random", batch_size=8, seed=1, lengths=LENGTHS[:300])
    dealing = iter(begun)
    first = [next(dealing) for _ in range(5)]
    again = DynamicSampler(300, selector="random", batch_size=8, seed=1, lengths=LENGTHS[:300])
    again.load_state_dict(begun.state_dict())
    assert first + list(again) == everything


def test_ranks_together_see_batches_of_one_length_range() -> None:
    ranks = [
        DynamicSampler(
            320, selector="random", batch_size=4, seed=1, lengths=LENGTHS[:320], rank=r, world_size=2
        )
        for r in range(2)
    ]
    one = DynamicSampler(
        320, selector="random", batch_size=8, seed=1, lengths=LENGTHS[:320], rank=0, world_size=1
    )
    together = [a + b for a, b in zip(*(list(rank) for rank in ranks), strict=True)]
    assert together == list(one)


@pytest.mark.parametrize(
    ("lengths", "options"),
    [
        (LENGTHS[:5], {"batch_size": 2}),
        (torch.rand(10).numpy(), {"batch_size": 2}),
        (LENGTHS[:10], {}),
        (LENGTHS[:10], {"batch_size": 2, "shuffle": False}),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths: np.ndarray, options: dict[str, object]) -> None:
    with pytest.raises(BadInputError, match="lengths"):
        DynamicSampler(10, selector="random", lengths=lengths, **options)


def test_a_state_of_other_lengths_is_refused() -> None:
    one = DynamicSampler(10, selector="random", batch_size=2, lengths=LENGTHS[:10])
    other = DynamicSampler(10, selector="random", batch_size=2, lengths=LENGTHS[1:11])
    with pytest.raises(BadInputError, match="lengths"):
        other.load_state_dict(one.state_dict())
