"""States of recorders and samplers: gone on from to the same bits, or refused with nothing changed."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from datadiet.dynamic import DynamicSampler, Schedule, make_selector, selector_card, selector_cards
from datadiet.foundation.errors import BadInputError
from datadiet.tracking import Recorder
from mutations import ODD, altered_states

N = 24


def recorder(epochs=0, part=True, **options):
    found = Recorder(N, **options)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(epochs + part):
        ids = torch.arange(N)[: N if epoch < epochs else 10]
        found.update(ids, torch.randn(len(ids), 3, generator=generator), ids % 3)
        if epoch < epochs:
            found.end_epoch()
    return found


def sampler(epochs=0, part=True, selector="infobatch"):
    found = DynamicSampler(N, selector=selector, batch_size=4, seed=1)
    for epoch in range(epochs + part):
        for number, ids in enumerate(found):
            if epoch == epochs and number == 2:
                break
            found.update(ids, torch.tensor([float(id_ % 5) for id_ in ids]))
        if epoch < epochs:
            found.end_epoch()
    return found


MAKERS = {"recorder": recorder, "sampler": sampler}


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(part.numpy(), other[name].numpy(), equal_nan=part.dtype.is_floating_point)
        for name, part in one.items()
    )


@pytest.mark.parametrize("kind", MAKERS)
def test_states_are_whole(kind):
    state = MAKERS[kind](2).state_dict()
    other = MAKERS[kind]()
    other.load_state_dict(state)
    assert same(other.state_dict(), state)


def check_states(kind, count):
    state = MAKERS[kind](2).state_dict()
    refused = 0
    for form in altered_states(state, count, seed=count):
        mine = MAKERS[kind](1, part=False)
        before = mine.state_dict()
        try:
            mine.load_state_dict(form)
        except BadInputError as error:
            refused += 1
            assert "\n" not in str(error)
            assert same(mine.state_dict(), before), form
        else:
            mine.state_dict()
    assert refused > count // 4


@pytest.mark.parametrize("kind", MAKERS)
def test_damaged_states(kind):
    check_states(kind, 40)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_states_damaged_in_two_thousand_ways(kind):
    check_states(kind, 2000)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("sampler", "progress", torch.tensor([2, -1, 8, 2, -1, 0])),
        ("sampler", "progress", torch.tensor([2, 700, 8, 2, -1, 0])),
        ("sampler", "progress", torch.tensor([2, 2, 8, 3, -1, 0])),
        ("sampler", "broken", torch.tensor([N])),
        ("sampler", "broken", torch.tensor([-1])),
        ("sampler", "scoring.seconds", torch.tensor(float("nan"), dtype=torch.float64)),
        ("sampler", "identity", torch.frombuffer(bytearray(b"[" * 9999), dtype=torch.uint8)),
        ("sampler", "selector.value", torch.zeros(N + 1)),
        ("recorder", "epoch", torch.tensor(-1)),
        ("recorder", "epoch", torch.tensor(2**60)),
        ("recorder", "epoch", torch.tensor(1)),
        ("recorder", "labels", torch.zeros(N - 1, dtype=torch.int64)),
        ("recorder", "was_correct", torch.zeros(N)),
        ("recorder", "presented.ids", torch.full((10,), N)),
    ],
)
def test_parts_that_do_not_fit(kind, name, value):
    mine = MAKERS[kind]()
    state, before = MAKERS[kind](2).state_dict(), mine.state_dict()
    assert name in state
    with pytest.raises(BadInputError):
        mine.load_state_dict({**state, name: value})
    assert same(mine.state_dict(), before)
    for odd in (None, [], "state"):
        with pytest.raises(BadInputError, match=r"mapping of tensors|has no|not the state"):
            mine.load_state_dict(odd if odd != [] else {})


def test_a_recorder_that_begins_anew_never_mixes_two_trainings_and_loses_none(tmp_path):
    first = recorder(5, part=False, folder=tmp_path / "trace")
    before = {epoch: first.trace.of_epoch(epoch, "loss") for epoch in first.trace.epochs}
    second = recorder(2, part=False, folder=tmp_path / "trace")
    assert second.trace.epochs == (1, 2)
    aside = type(second.trace).open(tmp_path / "trace" / "earlier-1")
    assert aside.epochs == (1, 2, 3, 4, 5)
    assert all(np.array_equal(aside.of_epoch(epoch, "loss"), before[epoch]) for epoch in before)
    recorder(1, part=False, folder=tmp_path / "trace")
    assert (tmp_path / "trace" / "earlier-2" / "train-00002.safetensors").is_file()


def test_a_recorder_that_goes_on_leaves_the_epochs_where_they_are(tmp_path):
    first = recorder(3, part=False, folder=tmp_path / "trace")
    second = Recorder(N, folder=tmp_path / "trace")
    second.load_state_dict(first.state_dict())
    second.update(torch.arange(N), torch.zeros(N, 3), torch.arange(N) % 3)
    second.end_epoch()
    assert second.trace.epochs == (1, 2, 3, 4) and not list((tmp_path / "trace").glob("earlier-*"))


@pytest.mark.parametrize("field", Schedule.__dataclass_fields__)
def test_schedules_of_odd_fields(field):
    for value in ODD:
        try:
            Schedule(**{field: value})
        except BadInputError:
            continue
        assert value is None or value in (True, 0, 1, 0.5, 2**63, 2**70, 10**400)


@pytest.mark.parametrize("name", [card.name for card in selector_cards()])
def test_selectors_of_odd_options(name):
    for option in selector_card(name).options:
        for value in ODD:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    sampler(2, selector=make_selector(name, **{option: value}))
            except BadInputError as error:
                assert "\n" not in str(error)
