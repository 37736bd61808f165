"""What comes back was dealt: right loops are never refused, ids that are no positions are, and saves lose nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, skip_first_batches
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader

import datadiet.dynamic.dealt as dealt_module
import datadiet.dynamic.sampler as sampler_module
from datadiet.dynamic import DynamicSampler, InfoBatch, RandomCycles, Schedule, with_ids
from datadiet.foundation.errors import BadInputError
from datadiet.tracking import Recorder

SEEDS = st.integers(0, 2**32 - 1)


def infobatch(n: int, batch_size: int | None, seed: int = 0, **options: Any) -> DynamicSampler:
    options = {"rank": 0, "world_size": 1, **options}
    return DynamicSampler(n, Schedule(warmup=1), InfoBatch(), batch_size=batch_size, seed=seed, **options)


def losses(ids: Any) -> torch.Tensor:
    return torch.tensor([float(number * 7919 % 101) for number in ids])


class Loop:
    """A loop of one process with its habits: windows told in one go, parts, repeats, any order within a batch."""

    def __init__(self, draw: np.random.Generator) -> None:
        self.draw = draw
        self.window = int(draw.integers(1, 4))
        self.part, self.twice, self.mixed = (draw.random(3) < 0.4).tolist()
        self.ask = bool(draw.random() < 0.7)

    def tell(self, sampler: DynamicSampler, ids: list[int]) -> list[int]:
        """Tells of a window, perhaps of a part; returns what was told."""
        told = np.array(ids)
        if self.part:
            told = told[(self.draw.random(len(told)) < 0.5) | (np.arange(len(told)) == 0)]
        if self.mixed:
            self.draw.shuffle(told)
        for _ in range(1 + self.twice):
            sampler.update(torch.from_numpy(told), losses(told))
        return told.tolist()

    def step(self, sampler: DynamicSampler, batches: list[list[int]]) -> list[int]:
        if self.ask:
            for batch in batches:
                assert len(sampler.weights(batch)) == len(batch)
        return self.tell(sampler, [number for batch in batches for number in batch])


def windows(batches: Any, size: int) -> Iterator[list[list[int]]]:
    window = []
    for batch in batches:
        window.append(batch)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window


def ahead(batches: Any, count: int) -> Iterator[list[int]]:
    """As workers read: so many batches ahead of the loop."""
    waiting = []
    for batch in batches:
        waiting.append(batch)
        if len(waiting) > count:
            yield waiting.pop(0)
    yield from waiting


def saved(sampler: DynamicSampler, batch_size: int | None, seed: int) -> DynamicSampler:
    """Another sampler that goes on from the state of one."""
    other = infobatch(sampler.num_examples, batch_size, seed)
    other.load_state_dict(sampler.state_dict())
    return other


@settings(max_examples=120, deadline=None)
@given(SEEDS)
def test_right_loops_are_never_refused_and_go_on_after_the_furthest_that_was_told(seed: int) -> None:
    draw = np.random.default_rng(seed)
    n, size = int(draw.integers(16, 60)), int(draw.integers(1, 8))
    single, loop, lead = bool(draw.random() < 0.3), Loop(draw), int(draw.integers(0, 6))
    batch_size = None if single else size
    sampler = infobatch(n, batch_size, seed)
    for _ in range(4):
        due = list(saved(sampler, batch_size, seed))
        unit = 1 if single else size
        order = due if single else [number for batch in due for number in batch]
        place = 0  # in that order, where the loop is
        while place < len(order):
            batches = BatchSampler(sampler, size, False) if single else sampler
            stop, furthest = int(draw.integers(place + 1, len(order) + 1)), 0
            for window in windows(ahead(batches, lead), loop.window):
                flat = [number for batch in window for number in batch]
                assert flat == order[place : place + len(flat)]
                furthest = max(order.index(number) for number in loop.step(sampler, window))
                place += len(flat)
                if place >= stop:
                    break
            if place >= len(order) or draw.random() < 0.2:
                break  # the epoch's end, or a loop that leaves it early
            sampler = saved(sampler, batch_size, seed)
            place = (furthest // unit + 1) * unit
            assert sampler.resumed_at == place // unit
        sampler.end_epoch()


def sharded(n: int, size: int | None, seed: int, world: int, **options: Any) -> list[DynamicSampler]:
    return [infobatch(n, size, seed, rank=rank, world_size=world, **options) for rank in range(world)]


@settings(max_examples=120, deadline=None)
@given(SEEDS)
def test_ranks_that_tell_their_own_batches_or_those_of_all_are_never_refused(seed: int) -> None:
    draw = np.random.default_rng(seed)
    world, size = int(draw.integers(2, 4)), int(draw.integers(1, 5))
    n = int(draw.integers(2, 5)) * world * size + int(draw.integers(0, world * size))
    options = {"drop_last": bool(draw.random() < 0.3), "even_batches": bool(draw.random() < 0.6)}
    loop, lead, gathers = Loop(draw), int(draw.integers(0, 4)), bool(draw.random() < 0.5)
    single = bool(draw.random() < 0.3)
    # Of a part, one cannot tell where the batch ended if it is somebody else's, or all repeats.
    loop.part &= not (single or options["even_batches"])
    batch_size = None if single else size
    samplers = sharded(n, batch_size, seed, world, **options)

    def batches_of(sampler: DynamicSampler) -> Any:
        return BatchSampler(sampler, size, False) if single else sampler

    due = [list(batches_of(twin)) for twin in sharded(n, batch_size, seed, world, **options)]
    counts = [len(batches) for batches in due]
    place = 0
    while place < max(counts):
        stop = int(draw.integers(place, max(counts))) + 1
        streams = [ahead(batches_of(sampler), lead) for sampler in samplers]
        while place < stop:
            step = [next(stream, []) for stream in streams]
            assert step == [batches[place] if place < len(batches) else [] for batches in due]
            everything = [number for batch in step for number in batch]
            for sampler, batch in zip(samplers, step, strict=True):
                if gathers:
                    sampler.update(everything, losses(everything))
                elif batch:
                    loop.step(sampler, [batch])
            place += 1
        states = [sampler.state_dict() for sampler in samplers]
        samplers = sharded(n, batch_size, seed, world, **options)
        for rank, sampler in enumerate(samplers):
            sampler.load_state_dict(states[rank])
            done = due[rank][:place]
            assert sampler.resumed_at == (sum(len(batch) for batch in done) if single else len(done))


@settings(max_examples=80, deadline=None)
@given(SEEDS)
def test_ranks_to_which_a_framework_deals_out_are_never_refused(seed: int) -> None:
    """As under Accelerate: each process has the whole sampler, and takes its batches out of it."""
    draw = np.random.default_rng(seed)
    world, size = int(draw.integers(2, 4)), int(draw.integers(1, 5))
    n = int(draw.integers(2, 5)) * world * size + int(draw.integers(0, world * size))
    loop, lead, gathers = Loop(draw), int(draw.integers(0, 3)), bool(draw.random() < 0.5)
    place = 0
    with pytest.MonkeyPatch.context() as patch:
        rank_now = [0]
        for module in (dealt_module, sampler_module):
            patch.setattr(module, "process_count", lambda: world)
            patch.setattr(module, "process_rank", lambda: rank_now[0])

        def all_ranks() -> list[DynamicSampler]:
            return [infobatch(n, size, seed) for _ in range(world)]

        samplers, whole = all_ranks(), list(infobatch(n, size, seed))
        rounds = -(-len(whole) // world)
        while place < rounds:
            streams = []
            for rank, sampler in enumerate(samplers):
                shard = BatchSamplerShard(_Batches(sampler, size), world, rank)
                streams.append(ahead(shard, lead))
            stop = int(draw.integers(place, rounds)) + 1
            while place < stop:
                step = []
                for rank, stream in enumerate(streams):
                    rank_now[0] = rank
                    step.append(next(stream))
                    if place < rounds - 1:
                        assert step[-1] == whole[place * world + rank]
                    if not gathers:
                        loop.step(samplers[rank], [step[-1]])
                for rank, sampler in enumerate(samplers):
                    rank_now[0] = rank
                    if gathers:
                        everything = [number for batch in step for number in batch]
                        sampler.update(everything, losses(everything))
                place += 1
            states = []
            for rank, sampler in enumerate(samplers):
                rank_now[0] = rank
                states.append(sampler.state_dict())
            samplers = all_ranks()
            for rank, sampler in enumerate(samplers):
                rank_now[0] = rank
                sampler.load_state_dict(states[rank])
                if place < rounds:
                    assert sampler.resumed_at == place * world


class _Batches:
    """A sampler of batches as Accelerate looks at one."""

    def __init__(self, sampler: DynamicSampler, batch_size: int) -> None:
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, False

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.sampler)


def moved(draw: np.random.Generator, n: int, kind: str) -> np.ndarray:
    """Which id each row brings, where ids are no positions any more."""
    if kind == "shifted":
        return np.roll(np.arange(n), int(draw.integers(1, n)))
    if kind == "swapped":
        permutation = np.arange(n)
        one, other = draw.choice(n, 2, replace=False)
        permutation[[one, other]] = other, one
        return permutation
    return draw.permutation(n)


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.sampled_from(["shifted", "swapped", "shuffled"]), st.booleans())
def test_ids_that_are_no_positions_are_refused_at_the_first_batch_that_shows_it(
    seed: int, kind: str, single: bool
) -> None:
    draw = np.random.default_rng(seed)
    n, size = int(draw.integers(16, 60)), int(draw.integers(1, 8))
    sampler, brings = infobatch(n, None if single else size, seed), moved(draw, n, kind)
    wrong_at = told_at = None
    dealt: set[int] = set()
    for index, batch in enumerate(BatchSampler(sampler, size, False) if single else sampler):
        dealt |= set(batch)
        ids = brings[batch]
        if wrong_at is None and set(ids.tolist()) != set(batch):
            wrong_at = index
        try:
            sampler.weights(torch.from_numpy(ids))
        except BadInputError as error:
            assert "with_ids(dataset.shuffle(...))" in str(error) and "\n" not in str(error)
            told_at = index
            break
    assert told_at == wrong_at or (single and set(ids.tolist()) <= dealt)


@pytest.mark.parametrize("size", [None, 4])
def test_another_epochs_ids_are_refused(size: int | None) -> None:
    one, other = infobatch(40, size, 1), infobatch(40, size, 2)
    theirs, ours = (BatchSampler(each, 4, False) if size is None else each for each in (one, other))
    with pytest.raises(BadInputError, match="has not been dealt yet"):
        for _, batch in zip(ours, list(theirs), strict=True):
            other.update(batch, losses(batch))


def test_ids_of_the_whole_are_refused_by_the_sampler_of_a_part() -> None:
    rows = torch.utils.data.random_split(
        with_ids([(float(i), i) for i in range(40)]), [30, 10], torch.Generator().manual_seed(0)
    )[0]
    sampler = infobatch(30, 5)
    with pytest.raises(BadInputError, match=r"positions in the data set that the loader reads"):
        for ids, _, _ in DataLoader(rows, batch_sampler=sampler):
            sampler.update(ids, losses(ids.tolist()))
    right = with_ids(torch.utils.data.Subset([(float(i), i) for i in range(40)], range(10, 40)))
    sampler = infobatch(30, 5)
    for ids, _, _ in DataLoader(right, batch_sampler=sampler):
        sampler.update(ids, losses(ids.tolist()))
    sampler.end_epoch()


def loading(sampler: DynamicSampler, size: int | None, **options: Any) -> dict[str, Any]:
    how = {"sampler": sampler, "batch_size": 4} if size is None else {"batch_sampler": sampler}
    return {"dataset": with_ids([(float(i), i) for i in range(80)]), **how, **options}


def resumed(size: int | None) -> DynamicSampler:
    """A sampler of 80 ids that goes on after the second batch of four."""
    sampler = infobatch(80, size)
    for ids, _, _ in itertools.islice(DataLoader(**loading(sampler, size)), 2):
        sampler.update(ids, losses(ids.tolist()))
    other = saved(sampler, size, 0)
    assert other.resumed_at == (8 if size is None else 2)
    return other


@pytest.mark.parametrize(("ask", "size"), [(True, None), (True, 4), (False, 4)])
def test_batches_skipped_once_more_after_a_resume_are_refused_before_any_is_trained_on(
    ask: bool, size: int | None
) -> None:
    sampler = resumed(size)
    ids, _, _ = next(iter(skip_first_batches(DataLoader(**loading(sampler, size)), 2)))
    with pytest.raises(BadInputError, match="leave out skip_first_batches"):
        sampler.weights(ids) if ask else sampler.update(ids, losses(ids.tolist()))


@pytest.mark.parametrize(("skipped", "soon"), [(2, 6), (9, 1), (15, 3)])
def test_batches_skipped_where_workers_read_ahead_are_refused_within_what_they_read(
    skipped: int, soon: int
) -> None:
    sampler, told = resumed(4), 0
    loader = skip_first_batches(DataLoader(**loading(sampler, 4, num_workers=2)), skipped)
    with pytest.raises(BadInputError, match="leave out skip_first_batches"):
        for told, (ids, _, _) in enumerate(loader, 1):  # noqa: B007
            sampler.weights(ids)
            sampler.update(ids, losses(ids.tolist()))
    assert told <= soon


def test_the_first_batch_that_never_comes_is_missed_at_the_end_of_the_epoch() -> None:
    sampler = resumed(4)
    due = list(sampler)[3:]  # one batch too few, but read far ahead
    sampler = resumed(4)
    handed = ahead(sampler, 12)
    assert next(handed) != due[0]
    for batch in itertools.islice(handed, 6):
        sampler.update(batch, losses(batch))
    with pytest.raises(BadInputError, match="leave out skip_first_batches"):
        sampler.end_epoch()


def test_workers_that_need_not_keep_the_order_bring_the_first_batch_later() -> None:
    sampler = resumed(4)
    handed = ahead(sampler, 4)
    first = [next(handed) for _ in range(4)]
    for batch in (first[1], first[2], first[0], first[3], *handed):
        assert len(sampler.weights(batch)) == 4
        sampler.update(batch, losses(batch))
    sampler.end_epoch()


@pytest.mark.parametrize("size", [None, 4])
def test_loaders_out_of_order_and_persistent_workers_go_on_as_they_are(size: int | None) -> None:
    sampler = infobatch(80, size)
    options = {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 3, "in_order": False}
    loader = DataLoader(**loading(sampler, size, **options))
    for epoch in range(3):
        chosen = sampler.chosen_ids.tolist()
        seen = []
        for index, (ids, inputs, _) in enumerate(loader):
            assert torch.equal(ids.to(inputs.dtype), inputs)
            sampler.weights(ids)
            sampler.update(ids, losses(ids.tolist()))
            seen += ids.tolist()
            if epoch == 1 and index == 3:
                break
        assert epoch == 1 or sorted(seen) == chosen
        sampler.end_epoch()


def test_a_recorder_of_other_ids_than_were_dealt_is_refused() -> None:
    sampler, recorder = DynamicSampler(40, Schedule(warmup=0), RandomCycles(), batch_size=5), Recorder(40)
    for batch in sampler:
        recorder.update(np.array(batch), torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64))
    other = next(number for number in range(40) if number not in sampler.chosen_ids)
    recorder.update([other], torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))
    recorder.end_epoch()
    with pytest.raises(BadInputError, match=f"brought id {other}, which is not among the ids of this epoch"):
        sampler.end_epoch(recorder)


def test_ids_on_an_accelerator_are_refused_when_they_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(torch.Tensor):
        """A tensor that says it is not on the CPU."""

        is_cpu = False  # type: ignore[assignment]

    sampler = infobatch(40, 4)
    handed = iter(sampler)
    ids = torch.tensor(next(handed)).as_subclass(Elsewhere)
    sampler.update(ids, torch.ones(4))
    strange = torch.tensor([(number + 1) % 40 for number in next(handed)]).as_subclass(Elsewhere)
    sampler.update(strange, torch.ones(4))
    list(handed)
    with pytest.raises(BadInputError, match=r"positions in the data set"):
        sampler.end_epoch()


def test_what_a_loop_that_broke_off_was_handed_may_be_told_in_its_next_iteration() -> None:
    sampler = infobatch(40, 4)
    earlier = list(itertools.islice(sampler, 5))
    assert next(iter(sampler)) == earlier[0]
    sampler.update(earlier[4], losses(earlier[4]))


def test_parts_of_one_step_of_all_ranks_may_be_told_of_together_again_and_again() -> None:
    sampler, other = sharded(40, 4, 0, 2)
    second = iter(other)
    ours, theirs = next(iter(sampler)), next(second)
    for place in range(4):
        together = [ours[place], theirs[place]]
        sampler.update(together, losses(together))
    strange = [ours[0], next(second)[0]]
    with pytest.raises(BadInputError, match="has not been dealt yet"):
        sampler.update(strange, losses(strange))


def test_ranks_that_share_each_batch_go_on_after_it_once_they_are_gathered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (dealt_module, sampler_module):
        monkeypatch.setattr(module, "process_count", lambda: 2)
        monkeypatch.setattr(module, "process_rank", lambda: 0)
    sampler = infobatch(40, 4)
    half = next(iter(sampler))[:2]
    sampler.update(half, losses(half))
    assert saved(sampler, 4, 0).resumed_at == 2  # of whole batches, the other rank has had one too
    sampler.gather()
    assert saved(sampler, 4, 0).resumed_at == 1


def test_a_part_without_the_first_batch_may_be_told_where_its_weights_were_asked_for() -> None:
    sampler = resumed(4)
    window = list(itertools.islice(sampler, 3))
    for batch in window:
        sampler.weights(batch)
    sampler.update(window[2][:2], losses(window[2][:2]))
