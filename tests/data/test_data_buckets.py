"""Batches of similar length hold every example once, in the sizes that other epochs have."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datadiet.data as dd
from datadiet.data.stores.order import by_length, num_batches, order_of, shards
from datadiet.foundation.errors import BadInputError

CASES = {
    "lengths": st.lists(st.integers(0, 9), max_size=60),
    "batch_size": st.integers(1, 9),
    "run": st.integers(1, 6),
    "seed": st.one_of(st.none(), st.integers(0, 3)),
    "epoch": st.integers(0, 3),
}


@settings(deadline=None, max_examples=150)
@given(**CASES)
def test_every_place_is_there_once_and_the_small_batch_stays_last(lengths, batch_size, run, seed, epoch):
    lengths = np.array(lengths, dtype=np.int64)
    places = by_length(lengths, batch_size=batch_size, seed=seed, epoch=epoch, bucket_batches=run)
    again = by_length(lengths, batch_size=batch_size, seed=seed, epoch=epoch, bucket_batches=run)
    assert np.array_equal(places, again)
    assert sorted(places) == list(range(len(lengths)))
    rest = len(lengths) % batch_size
    if seed is None:
        assert (np.diff(lengths[places]) >= 0).all()
    elif rest:
        assert places[-rest:].tolist() == list(range(len(lengths) - rest, len(lengths)))


@settings(deadline=None, max_examples=100)
@given(world_size=st.integers(1, 5), **CASES)
def test_ranks_partition_the_same_batches_for_any_number_of_them(
    lengths, batch_size, run, seed, epoch, world_size
):
    lengths = np.array(lengths, dtype=np.int64)
    ordered = order_of(np.arange(len(lengths)), seed=seed, epoch=epoch)
    ordered = ordered[
        by_length(lengths[ordered], batch_size=batch_size, seed=seed, epoch=epoch, bucket_batches=run)
    ]
    whole = shards(ordered, batch_size=batch_size)
    count = num_batches(len(lengths), batch_size)
    assert [len(step) for step in whole] == [
        min(batch_size, len(lengths) - step * batch_size) for step in range(count)
    ]
    ranks = [shards(ordered, batch_size=batch_size, rank=r, world_size=world_size) for r in range(world_size)]
    for step, ids in enumerate(whole):
        assert sorted(np.concatenate([steps[step] for steps in ranks])) == sorted(ids)


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    batch_size=st.integers(1, 9),
    run=st.integers(1, 6),
)
def test_each_run_is_cut_where_its_sorted_lengths_say(lengths, batch_size, run):
    lengths = np.array(lengths, dtype=np.int64)
    places = by_length(lengths, batch_size=batch_size, seed=5, epoch=2, bucket_batches=run)
    whole = len(lengths) // batch_size
    found = sorted(sorted(places[i * batch_size : (i + 1) * batch_size].tolist()) for i in range(whole))
    expected = []
    for start in range(0, whole, run):
        stop = min(start + run, whole) * batch_size
        members = sorted(range(start * batch_size, stop), key=lambda place: (lengths[place], place))
        expected += [sorted(members[i : i + batch_size]) for i in range(0, len(members), batch_size)]
    assert found == sorted(expected)


def texts(count=57):
    generator = np.random.default_rng(0)
    rows = [" ".join(["word"] * int(n)) for n in generator.integers(1, 30, count)]
    return dd.load((rows, np.arange(count) % 2)).train


@pytest.mark.parametrize("memory_limit", [None, 0])
def test_an_epoch_by_length_sees_the_same_ids_with_less_padding_and_resumes(memory_limit):
    part = texts()
    store = dd.open_store(part, dd.NgramEncoding(), memory_limit=memory_limit)
    plain = list(store.epoch(batch_size=4, seed=3, epoch=1))
    found = list(store.epoch(batch_size=4, seed=3, epoch=1, bucket_by_length=True))
    assert [len(batch) for batch in found] == [len(batch) for batch in plain]
    assert sorted(int(i) for batch in found for i in batch.ids) == part.ids.tolist()
    sizes = [sum(batch.inputs.numel() for batch in batches) for batches in (plain, found)]
    assert sizes[1] < sizes[0]
    rest = list(store.epoch(batch_size=4, seed=3, epoch=1, bucket_by_length=True, start_batch=5))
    assert [batch.ids.tolist() for batch in rest] == [batch.ids.tolist() for batch in found[5:]]
    other = list(store.epoch(batch_size=4, seed=3, epoch=2, bucket_by_length=True))
    assert [batch.ids.tolist() for batch in other] != [batch.ids.tolist() for batch in found]
    subset = list(store.epoch(part.ids[::3], batch_size=4, bucket_by_length=True))
    assert sorted(int(i) for batch in subset for i in batch.ids) == part.ids[::3].tolist()
    widths = [batch.inputs.shape[1] for batch in subset]
    assert widths == sorted(widths)


def test_both_stores_make_the_same_batches():
    part = texts()
    memory = dd.open_store(part, dd.NgramEncoding())
    streaming = dd.open_store(part, dd.NgramEncoding(), memory_limit=0)
    assert memory.lengths().tolist() == streaming.lengths().tolist()
    one, two = (
        [batch.ids.tolist() for batch in store.epoch(batch_size=4, seed=0, bucket_by_length=3)]
        for store in (memory, streaming)
    )
    assert one == two


@pytest.mark.parametrize("memory_limit", [None, 0])
def test_examples_of_one_shape_keep_their_order(memory_limit):
    examples = dd.load("digits")
    store = dd.open_store(examples.test, dd.ImageEncoding.fit(examples), memory_limit=memory_limit)
    assert store.lengths() is None
    one, two = (
        [batch.ids.tolist() for batch in store.epoch(batch_size=50, seed=0, bucket_by_length=on)]
        for on in (True, False)
    )
    assert one == two


def test_runs_of_less_than_one_batch_are_refused():
    with pytest.raises(BadInputError, match="at least 1"):
        dd.open_store(texts(), dd.NgramEncoding()).epoch(batch_size=4, seed=0, bucket_by_length=-2)
