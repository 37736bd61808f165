"""What the sampler hands out, epoch by epoch, and how it goes on from a state."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch.utils.data import DataLoader

import datadiet.dynamic as dynamic
from datadiet.dynamic import (
    Curriculum,
    DynamicSampler,
    InfoBatch,
    NluDataDiet,
    RandomCycles,
    Schedule,
    Uncertainty,
    WithIds,
    selector_cards,
)
from datadiet.dynamic.sharding import shuffled, smallest, stream
from datadiet.foundation.errors import BadInputError
from datadiet.tracking import Recorder
from datadiet.tracking.presentations import ExampleIds

N = 41
SELECTORS: dict[str, Any] = {
    "random": lambda: RandomCycles(keep=0.5),
    "nlu-data-diet": lambda: NluDataDiet(keep=0.5, offset=0.1, deviation=0.5, scoring_pass=False),
    "infobatch": lambda: InfoBatch(),
    "uncertainty": lambda: Uncertainty(keep=0.5, window=3),
    "curriculum": lambda: Curriculum(start=0.4, grow_epochs=3),
}


def number_of(identity: Any, epoch: int) -> np.ndarray:
    """A number in (0, 1) for each id and epoch, the same wherever it is asked for."""
    identity = np.asarray(identity, np.int64)
    return ((identity * 7919 + epoch * 104729 + identity * identity * 31) % 9973 / 9973.0).astype(np.float32)


def make(name: str, **options: Any) -> DynamicSampler:
    options = {"schedule": Schedule(warmup=1, every=2), "batch_size": 4, "seed": 3, **options}
    return DynamicSampler(N, selector=SELECTORS[name](), **options)


def play(sampler: DynamicSampler, epochs: int) -> list[list[list[int]]]:
    """Train for some epochs; returns the batches of each."""
    seen = []
    for _ in range(epochs):
        batches = []
        for batch in sampler:
            sampler.update(torch.tensor(batch), measured=torch.from_numpy(number_of(batch, sampler.epoch)))
            batches.append(batch)
        seen.append(batches)
        sampler.end_epoch()
    return seen


def flat(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


def test_every_registered_selector_is_tried_here() -> None:
    assert {card.name for card in selector_cards()} == set(SELECTORS)


@pytest.mark.parametrize("name", SELECTORS)
def test_warm_up_is_on_everything_and_lengths_are_exact(name: str) -> None:
    sampler = make(name)
    for epoch in range(5):
        announced, chosen = len(sampler), sampler.chosen_ids.tolist()
        (batches,) = play(sampler, 1)
        assert len(batches) == announced == -(-len(chosen) // 4)
        assert sorted(flat(batches)) == chosen
        assert (len(chosen) == N) == (epoch == 0) or name == "curriculum"


@pytest.mark.parametrize("name", SELECTORS)
def test_a_choice_holds_for_its_cycle_in_a_new_order(name: str) -> None:
    sampler = make(name)
    _, first, second, _, _ = play(sampler, 5)
    assert sorted(flat(first)) == sorted(flat(second))
    assert flat(first) != flat(second)


def test_the_end_of_training_is_on_everything() -> None:
    sampler = make("random", schedule=Schedule(warmup=0, epochs=8, full_tail=0.25))
    assert [len(flat(batches)) for batches in play(sampler, 8)] == [21] * 6 + [N] * 2
    assert [Schedule(epochs=200, full_tail=0.125).phase(e) for e in (174, 175)] == ["choose", "full"]


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    one, same, other = make("random"), make("random"), make("random", seed=4)
    first = play(one, 3)
    assert play(same, 3) == first
    assert play(other, 3) != first
    assert flat(first[0]) != sorted(flat(first[0]))
    torch.manual_seed(1)
    np.random.default_rng(0).random()
    assert play(make("random"), 3) == first


def test_the_global_generators_are_left_alone() -> None:
    state = torch.random.get_rng_state()
    play(make("infobatch"), 2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_single_ids_come_in_the_order_of_batches() -> None:
    batches = play(make("random"), 1)[0]
    assert list(make("random", batch_size=None)) == flat(batches)


def test_large_orders_are_permutations_and_uniform() -> None:
    order = shuffled(np.arange(200_001), stream(0, "order", 0))
    assert np.array_equal(np.sort(order), np.arange(200_001))
    assert not np.array_equal(order, shuffled(np.arange(200_001), stream(0, "order", 1)))
    # Of a uniform permutation, the correlation of place and value is normal with deviation 1 / sqrt(n).
    assert abs(np.corrcoef(order, np.arange(200_001))[0, 1]) < 5 / np.sqrt(200_001)
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 5 / np.sqrt(200_001)


def test_every_order_of_a_few_is_as_likely() -> None:
    generator, draws = np.random.default_rng(7), 4_800
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        order = tuple(shuffled(np.array([2, 3, 11, 40], np.int32), generator).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert all(sorted(order) == [2, 3, 11, 40] for order in counts)
    assert len(counts) == 24
    expected = draws / 24
    assert all(abs(count - expected) < 5 * np.sqrt(expected * 23 / 24) for count in counts.values())


def test_ties_at_the_border_are_drawn_evenly() -> None:
    counts = np.zeros(6)
    for seed in range(600):
        counts[smallest(np.array([0.0, 1, 1, 1, 1, 2]), 3, np.random.default_rng(seed))] += 1
    assert counts[0] == 600
    assert counts[5] == 0
    assert np.all(np.abs(counts[1:5] - 300) < 5 * np.sqrt(600 * 0.25))


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize(("epochs", "batches"), [(0, 3), (1, 0), (2, 2), (3, 4)])
def test_a_resumed_epoch_has_the_same_remaining_ids_and_so_have_later_ones(
    name: str, epochs: int, batches: int
) -> None:
    through = play(make(name), 6)
    first = make(name)
    play(first, epochs)
    handed = iter(first)
    for batch in (next(handed) for _ in range(batches)):
        first.update(batch, measured=number_of(batch, first.epoch))
    state = load(save(first.state_dict()))  # through the format that models are kept in
    second = make(name)
    second.load_state_dict(state)
    assert len(second) == len(through[epochs])
    rest = play(second, 6 - epochs)
    assert rest[0] == through[epochs][batches:]
    assert rest[1:] == through[epochs + 1 :]


def test_a_loader_that_reads_ahead_does_not_move_the_place_to_resume_at() -> None:
    sampler = make("infobatch")
    handed = iter(sampler)
    ahead = [next(handed) for _ in range(6)]
    sampler.update(ahead[0], number_of(ahead[0], 0))
    second = make("infobatch")
    second.load_state_dict(sampler.state_dict())
    assert list(second)[:5] == ahead[1:]
    third = make("infobatch")
    third.load_state_dict(sampler.state_dict(done=4))
    assert list(third)[:2] == ahead[4:]


def test_rewound_a_state_hands_its_epoch_out_again() -> None:
    through = play(make("infobatch"), 3)
    first = make("infobatch")
    play(first, 1)
    handed = iter(first)
    done = [next(handed) for _ in range(2)]
    for batch in done:
        first.update(batch, number_of(batch, 1))
    second = make("infobatch")
    second.load_state_dict(first.state_dict(), rewind=True)
    assert play(second, 2) == through[1:]


def test_a_sampler_survives_pickling_in_the_middle_of_an_epoch() -> None:
    sampler = make("infobatch")
    play(sampler, 2)
    assert play(pickle.loads(pickle.dumps(sampler)), 2) == play(sampler, 2)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_of_either_start_method_get_the_same_batches(context: str) -> None:
    rows = WithIds([(float(i), i % 2) for i in range(N)])
    expected = play(make("infobatch"), 3)
    sampler = make("infobatch")
    loader = DataLoader(
        rows, batch_sampler=sampler, num_workers=2, multiprocessing_context=context, persistent_workers=True
    )
    for epoch in range(3):
        assert len(loader) == len(expected[epoch])
        seen = []
        for ids, inputs, _ in loader:
            assert torch.equal(ids.to(inputs.dtype), inputs)
            sampler.update(ids, measured=number_of(ids, epoch))
            seen.append(ids.tolist())
        assert seen == expected[epoch]
        sampler.end_epoch()


@pytest.mark.parametrize("name", SELECTORS)
def test_a_recorder_says_the_same_as_updates(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(N, 3, generator=generator)
    targets = torch.arange(N) % 3
    told, recorded, recorder = make(name), make(name), Recorder(num_examples=N)
    for _ in range(4):
        for batch, same in zip(told, recorded, strict=True):
            assert batch == same
            told.update(torch.tensor(batch), logits[batch], targets[batch])
            recorder.update(torch.tensor(batch), logits[batch], targets[batch])
        told.end_epoch()
        recorder.end_epoch()
        recorded.end_epoch(recorder)
        assert told.chosen_ids.tolist() == recorded.chosen_ids.tolist()


def test_explicit_ids_are_what_is_handed_out_and_told_of() -> None:
    known = np.arange(N) * 3 + 5
    plain = play(make("infobatch"), 1)
    sampler = DynamicSampler(
        selector="infobatch", ids=known, schedule=Schedule(warmup=1, every=2), batch_size=4, seed=3
    )
    assert list(sampler) == [known[batch].tolist() for batch in plain[0]]
    sampler.update(known[:20], np.arange(20.0))
    sampler.end_epoch()
    assert set(sampler.chosen_ids.tolist()) <= set(known.tolist())
    assert sampler.weights(sampler.chosen_ids).max() == 2


def test_ids_told_of_twice_count_once() -> None:
    sampler = make("infobatch")
    sampler.update([0, 1, 0], np.array([5.0, 1.0, 7.0]))
    sampler.update([1], np.array([2.0]))
    sampler.end_epoch()
    assert sampler.selector.arrays["value"][:3].tolist() == pytest.approx([7.0, 2.0, np.nan], nan_ok=True)


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_examples_with_a_loss_that_is_no_number_stay_and_are_reported(name: str, value: float) -> None:
    sampler = make(name, schedule=Schedule(warmup=1, every=1))
    bad = [7, 30]
    for epoch in range(4):
        for batch in sampler:
            numbers = number_of(batch, epoch)
            numbers[np.isin(batch, bad)] = value
            sampler.update(batch, measured=numbers)
        with pytest.warns(UserWarning, match=rf"2 examples had a .* in epoch {epoch} \(first id 7\)"):
            sampler.end_epoch()
        assert sampler.non_finite_ids.tolist() == sampler.broken_ids.tolist() == bad
        assert set(bad) <= set(sampler.chosen_ids.tolist())
        assert sampler.weights(bad).tolist() == [1, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play(sampler, 1)
    assert sampler.non_finite_ids.tolist() == []


def test_an_example_that_was_not_finite_and_not_shown_again_stays_so_in_a_state() -> None:
    sampler = make("infobatch")
    sampler.update([3, 4], np.array([np.nan, 1.0]))
    with pytest.warns(UserWarning, match="first id 3"):
        sampler.end_epoch()
    second = make("infobatch")
    second.load_state_dict(sampler.state_dict())
    assert second.non_finite_ids.tolist() == [3]


def test_state_of_ten_thousand_examples_is_below_twenty_bytes_each() -> None:
    n = 10_000
    for name, build in SELECTORS.items():
        selector = Uncertainty(window=10) if name == "uncertainty" else build()
        sampler = DynamicSampler(n, Schedule(warmup=1), selector, batch_size=100)
        play(sampler, 2)
        for batch in sampler:
            sampler.update(batch, measured=number_of(batch, 2))
        size = sum(part.numel() * part.element_size() for part in sampler.state_dict().values())
        assert size < 20 * n, name


def update_with(ids: Any, *arguments: Any, **named: Any) -> Any:
    return lambda: make("infobatch").update(ids, *arguments, **named)


def nlu_update() -> None:
    make("nlu-data-diet").update([0], np.array([1.0]))


def second_iteration() -> None:
    sampler = make("random")
    list(sampler)
    list(sampler)


def nothing_told() -> None:
    sampler = make("infobatch")
    list(sampler)
    sampler.end_epoch()


def state_of(theirs: DynamicSampler, mine: DynamicSampler) -> Any:
    return lambda: mine.load_state_dict(theirs.state_dict())


def change_size() -> None:
    make("random").num_examples = 5  # type: ignore[misc]


BAD = {
    "neither size nor ids": (lambda: DynamicSampler(), "either num_examples or ids"),
    "size and ids": (lambda: DynamicSampler(3, ids=[1]), "either num_examples or ids"),
    "a size of 0": (lambda: DynamicSampler(0), "num_examples must be a whole number of at least 1, got 0"),
    "half a batch": (lambda: DynamicSampler(9, batch_size=0.5), "batch_size must be"),
    "a rank without a world": (lambda: DynamicSampler(9, rank=0), "both, or neither"),
    "a rank beyond the world": (lambda: DynamicSampler(9, rank=2, world_size=2), "rank 2 is not one of"),
    "an unknown selector": (lambda: DynamicSampler(9, selector="infobach"), "Did you mean 'infobatch'"),
    "an unknown schedule field": (lambda: DynamicSampler(9, {"tau": 1}), "no 'tau'"),
    "a negative warm-up": (lambda: Schedule(warmup=-1), "warmup must be a whole number of at least 0"),
    "a tail without a length": (lambda: Schedule(full_tail=0.1), "give the schedule its length"),
    "an unknown id": (update_with([0, N], np.ones(2)), f"id {N} is not one of the sampler's {N} ids"),
    "a negative id": (update_with([-1], np.ones(1)), "id -1 is not one"),
    "ids that are floats": (
        update_with(torch.ones(1), torch.ones(1)),
        "ids must be integers, got torch.float32",
    ),
    "no ids": (update_with(None, torch.ones(1)), "wrap the data set with datadiet.dynamic.with_ids"),
    "a mean loss": (update_with([0, 1], torch.tensor(1.0)), "reduction='none'"),
    "logits without targets": (update_with([0], torch.ones(1, 3)), "no targets"),
    "ids alone": (update_with([0]), "ids alone"),
    "fewer losses than ids": (update_with([0, 1], torch.ones(1)), "one of each an example"),
    "losses for el2n": (nlu_update, "ranks by el2n, which losses do not give"),
    "an unknown id asked for its weight": (lambda: make("infobatch").weights([N]), f"id {N} is not one"),
    "a second iteration": (second_iteration, "call sampler.end_epoch()"),
    "nothing told": (nothing_told, "nothing was reported in epoch 0"),
    "a state of another size": (
        state_of(DynamicSampler(50, selector="random"), DynamicSampler(51, selector="random")),
        "its num examples is 50, this one's is 51",
    ),
    "a state of another selector": (state_of(make("random"), make("infobatch")), "its selector is 'random'"),
    "a state of other options": (
        state_of(
            DynamicSampler(9, selector=RandomCycles(0.5)), DynamicSampler(9, selector=RandomCycles(0.6))
        ),
        "its options is",
    ),
    "a state of another seed": (state_of(make("random"), make("random", seed=9)), "its seed is 3"),
    "a state of another world": (
        state_of(make("random"), make("random", rank=0, world_size=2)),
        "its world size is 1, this one's is 2",
    ),
    "a state of something else": (
        lambda: make("random").load_state_dict({}),
        "not the state of a DynamicSampler",
    ),
    "less than a batch": (
        lambda: DynamicSampler(100, selector=RandomCycles(0.1), batch_size=16),
        "leaves 10 of 100 examples, less than one batch of 16 on each of 1 ranks",
    ),
    "less than a batch a rank": (
        lambda: DynamicSampler(100, selector=RandomCycles(0.3), batch_size=16, rank=0, world_size=2),
        "leaves 30 of 100 examples, less than one batch of 16 on each of 2 ranks",
    ),
    "a keep of 0": (lambda: RandomCycles(0.0), "keep is 0.0"),
    "too large an offset": (lambda: NluDataDiet(keep=0.8, offset=0.3), "may add up to 1"),
    "a smoothing of 0": (lambda: NluDataDiet(smoothing=0.0), "smoothing is 0.0"),
    "dropping all": (lambda: InfoBatch(drop=1.0), "drop is 1.0"),
    "a window of one": (lambda: Uncertainty(window=1), "window is 1"),
    "difficulties of other length": (
        lambda: DynamicSampler(9, selector=Curriculum(difficulty=np.ones(8))),
        "difficulty has 8 numbers, but there are 9 examples",
    ),
    "an unknown option": (
        lambda: dynamic.make_selector("random", keeep=0.5),
        "no option 'keeep'; it has keep",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_with_what_to_do(what: str) -> None:
    action, message = BAD[what]
    with pytest.raises(BadInputError) as caught:
        action()
    assert message in str(caught.value)


def test_the_number_of_examples_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        change_size()


def test_a_recorder_that_does_not_fit_is_refused() -> None:
    with pytest.raises(BadInputError, match="the recorder has 5 ids and the sampler 41"):
        make("infobatch").end_epoch(Recorder(num_examples=5))
    with pytest.raises(BadInputError, match="no epoch yet"):
        make("infobatch").end_epoch(Recorder(num_examples=N))
    recorder = Recorder(num_examples=N, columns=["el2n"])
    recorder.update([0], torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))
    recorder.end_epoch()
    with pytest.raises(BadInputError, match="ranks by loss, which the recorder does not keep"):
        make("infobatch").end_epoch(recorder)


def test_between_epochs_a_state_fits_another_world_when_that_is_said() -> None:
    first = make("infobatch")
    play(first, 2)
    second = make("infobatch", rank=0, world_size=2)
    second.load_state_dict(first.state_dict(), any_world_size=True)
    assert second.chosen_ids.tolist() == first.chosen_ids.tolist()
    next(iter(first))
    with pytest.raises(BadInputError, match="world size"):
        second.load_state_dict(first.state_dict(), any_world_size=True)


@pytest.mark.parametrize("ids", [np.arange(5) + 4, np.array([1, 5, 9, 2**40, 2**53 + 1])])
def test_ids_have_their_places_whether_they_follow_each_other_or_not(ids: np.ndarray) -> None:
    known = ExampleIds("sampler", None, ids)
    assert known.places_of(ids[[3, 0, 3]]).tolist() == [3, 0, 3]
    assert known.at(np.array([4, 1])).tolist() == ids[[4, 1]].tolist()
    for unknown in (-1, int(ids[0]) - 1, int(ids[-1]) + 1, -(2**63), 2**63 - 1):
        with pytest.raises(BadInputError, match=f"id {unknown} is not one of the sampler's 5 ids"):
            known.places_of(np.array([ids[0], unknown]))
