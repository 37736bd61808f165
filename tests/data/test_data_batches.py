"""Stores in memory and streaming stores give the same batches, ids and all."""

import multiprocessing
import pickle

import numpy as np
import pytest
import torch

import datadiet.data as dd
from datadiet.data.stores.order import num_batches, order_of
from datadiet.foundation.errors import BadInputError
from tiny_models import save_tokenizer


def image_examples():
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    return dd.load((pixels, np.arange(60) % 3), holdout_seed=1)


def vector_examples():
    return dd.load((np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3))


def text_examples():
    words = np.random.default_rng(0).integers(0, 50, (60, 9))
    texts = [" ".join(f"w{w}" for w in row[: 1 + i % 9]) for i, row in enumerate(words)]
    return dd.load((texts, np.arange(60) % 3))


KINDS = {"image": image_examples, "vector": vector_examples, "text": text_examples}


def encoding_of(examples):
    if examples.kind == "text":
        return dd.NgramEncoding(buckets=1000)
    return (dd.ImageEncoding if examples.kind == "image" else dd.VectorEncoding).fit(examples)


def same(first, second):
    first, second = list(first), list(second)
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.ids, b.ids) and torch.equal(a.targets, b.targets)
        assert a.inputs.dtype == b.inputs.dtype and torch.equal(a.inputs, b.inputs)
        assert a.ids.dtype == a.targets.dtype == torch.int64


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("num_workers", [0, 2])
def test_streaming_gives_the_same_batches_as_memory(kind, num_workers):
    examples = KINDS[kind]()
    encoding = encoding_of(examples)
    memory = dd.open_store(examples.train, encoding)
    streaming = dd.open_store(examples.train, encoding, memory_limit=0, num_workers=num_workers)
    assert memory.in_memory and not streaming.in_memory
    augment = dd.Augmentation(pad=2, cutout=2) if kind == "image" else None
    for arguments in (
        {"batch_size": 7, "seed": 3, "epoch": 0, "augment": augment},
        {"batch_size": 7, "seed": 3, "epoch": 1, "augment": augment, "start_batch": 3},
        {"batch_size": 10, "seed": None},
        {"batch_size": 8, "seed": 5, "rank": 1, "world_size": 3, "augment": augment},
    ):
        same(memory.epoch(**arguments), streaming.epoch(**arguments))


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_workers_may_be_forked_or_spawned(start_method):
    if start_method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this platform cannot {start_method}")
    examples = vector_examples()
    encoding = encoding_of(examples)
    streaming = dd.open_store(
        examples.test, encoding, memory_limit=0, num_workers=1, start_method=start_method
    )
    same(
        streaming.epoch(batch_size=5, seed=1),
        dd.open_store(examples.test, encoding).epoch(batch_size=5, seed=1),
    )


@pytest.mark.parametrize("kind", list(KINDS))
def test_ids_stay_with_their_inputs_and_labels(kind):
    examples = KINDS[kind]()
    encoding = encoding_of(examples)
    store = dd.open_store(examples.train, encoding)
    label_of = dict(zip(examples.train.ids.tolist(), examples.train.labels.tolist(), strict=True))
    seen = []
    for batch in store.epoch(batch_size=11, seed=4):
        for row, example in enumerate(batch.ids.tolist()):
            position = examples.train.positions_of([example])
            alone = encoding.prepare(encoding.encode(examples.train, position))[0]
            found = batch.inputs[row]
            assert torch.equal(found[: len(alone)] if kind == "text" else found, alone)
            assert int(batch.targets[row]) == label_of[example]
            seen.append(example)
    assert sorted(seen) == examples.train.ids.tolist()


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 4, 16, 100])
def test_ranks_share_each_global_batch_and_change_nothing_in_it(world_size, batch_size):
    examples = image_examples()
    store = dd.open_store(examples.train, dd.ImageEncoding.fit(examples))
    arguments = {"batch_size": batch_size, "seed": 2, "epoch": 5, "augment": dd.Augmentation(pad=2)}
    whole = list(store.epoch(**arguments))
    ranks = [list(store.epoch(**arguments, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert {len(steps) for steps in ranks} == {num_batches(len(store), batch_size)} == {len(whole)}
    for step, batch in enumerate(whole):
        for rank, steps in enumerate(ranks):
            share = steps[step]
            assert share.ids.tolist() == batch.ids[rank::world_size].tolist()
            assert torch.equal(share.inputs, batch.inputs[rank::world_size])
            assert torch.equal(share.targets, batch.targets[rank::world_size])
            assert share.inputs.shape[1:] == batch.inputs.shape[1:]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("memory_limit", [None, 0])
def test_an_empty_share_is_an_empty_batch(kind, memory_limit):
    examples = KINDS[kind]()
    store = dd.open_store(examples.train, encoding_of(examples), memory_limit=memory_limit)
    augment = dd.Augmentation(pad=2) if kind == "image" else None
    few = store.ids[:2]
    (empty,) = store.epoch(few, batch_size=4, rank=3, world_size=4, seed=0, augment=augment)
    assert len(empty) == 0 and len(empty.inputs) == 0 and len(empty.targets) == 0


def test_resuming_gives_the_rest_and_reads_nothing_of_the_start():
    examples = vector_examples()
    asked = []

    class Watched(dd.VectorEncoding):
        def encode(self, part, positions):
            asked.extend(part.ids[positions].tolist())
            return super().encode(part, positions)

    fitted = dd.VectorEncoding.fit(examples)
    store = dd.open_store(examples.train, Watched(fitted.mean, fitted.std), memory_limit=0)
    whole = list(store.epoch(batch_size=10, seed=1))
    asked.clear()
    rest = list(store.epoch(batch_size=10, seed=1, start_batch=3))
    same(rest, whole[3:])
    assert asked == [i for batch in whole[3:] for i in batch.ids.tolist()]
    assert list(store.epoch(batch_size=10, seed=1, start_batch=99)) == []


def test_subsets_are_seen_in_the_order_of_their_seed():
    store = dd.open_store((examples := vector_examples()).train, dd.VectorEncoding.fit(examples))
    subset = store.ids[::3]
    batches = list(store.epoch(subset[::-1], batch_size=4, seed=9, epoch=2))
    found = [i for batch in batches for i in batch.ids.tolist()]
    assert found == order_of(subset, seed=9, epoch=2).tolist()
    assert [len(batch) for batch in batches] == [4, 4, 4, 4]
    assert list(store.epoch([], batch_size=4, seed=9)) == []


def test_two_epochs_can_run_beside_each_other():
    """Evaluation in the middle of a training epoch, on the same workers' store."""
    examples = vector_examples()
    encoding = dd.VectorEncoding.fit(examples)
    store = dd.open_store(examples.train, encoding, memory_limit=0, num_workers=1)
    memory = dd.open_store(examples.train, encoding)
    outer = store.epoch(batch_size=16, seed=1)
    first = next(outer)
    same(store.epoch(batch_size=20), memory.epoch(batch_size=20))
    same([first, *outer], memory.epoch(batch_size=16, seed=1))
    half = store.epoch(batch_size=4, seed=2)
    next(half)
    half.close()
    same(store.epoch(batch_size=16, seed=3), memory.epoch(batch_size=16, seed=3))


def test_the_global_generators_are_left_alone():
    examples = vector_examples()
    stores = [
        dd.open_store(examples.train, dd.VectorEncoding.fit(examples), memory_limit=m) for m in (None, 0)
    ]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for store in stores:
        list(store.epoch(batch_size=8, seed=0))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_a_dictionary_of_inputs_travels_on_its_ids(tmp_path):
    save_tokenizer(tmp_path / "tokenizer", [*(f"w{i}" for i in range(50))])
    examples = text_examples()
    encoding = dd.TokenEncoding(str(tmp_path / "tokenizer"))
    memory = dd.open_store(examples.train, encoding)
    streaming = dd.open_store(examples.train, encoding, memory_limit=0, num_workers=1)
    pairs = zip(memory.epoch(batch_size=9, seed=0), streaming.epoch(batch_size=9, seed=0), strict=True)
    for one, two in pairs:
        assert torch.equal(one.ids, two.ids) and one.inputs.keys() == two.inputs.keys()
        assert all(torch.equal(one.inputs[name], two.inputs[name]) for name in one.inputs)
    (empty,) = memory.epoch(memory.ids[:1], batch_size=2, rank=1, world_size=2)
    assert all(len(value) == 0 for value in empty.inputs.values())


def test_parts_and_encodings_are_picklable_without_their_pixels():
    examples = image_examples()
    copy = pickle.loads(pickle.dumps(examples.train))
    assert copy.decoded == {} and examples.train.decoded
    assert np.array_equal(copy.ids, examples.train.ids) and len(copy) == len(examples.train)


def test_channels_last_batches():
    store = dd.open_store((examples := image_examples()).train, dd.ImageEncoding.fit(examples))
    batch = next(store.epoch(batch_size=4, memory_format=torch.channels_last))
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": [10**6], "batch_size": 4}, "1 of the given ids are not in this part.*1000000"),
        ({"ids": [0.5], "batch_size": 4}, "whole numbers"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 4, "rank": 2, "world_size": 2}, "rank 2"),
        ({"batch_size": 4, "start_batch": -1}, "start_batch"),
    ],
)
def test_impossible_epochs_are_refused_at_once(arguments, message):
    store = dd.open_store((examples := vector_examples()).train, dd.VectorEncoding.fit(examples))
    with pytest.raises(BadInputError, match=message):
        store.epoch(**arguments)


def test_augmentation_of_texts_and_vectors_is_refused():
    for kind in ("text", "vector"):
        examples = KINDS[kind]()
        store = dd.open_store(examples.train, encoding_of(examples))
        with pytest.raises(BadInputError, match="Augmentation is for images"):
            next(store.epoch(batch_size=4, augment=dd.Augmentation()))
