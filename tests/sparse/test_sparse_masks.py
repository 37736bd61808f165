"""Masks: exact counts against a direct sort, ties by name and position, layers that would be emptied."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import datadiet as dd
from datadiet.sparse import (
    Mask,
    full_mask,
    magnitude_mask,
    mask_of,
    prunable_weights,
    random_mask,
    schedule_to,
    sparsity_schedule,
)


def sorted_directly(weights: dict[str, np.ndarray], count: int) -> dict[str, list[bool]]:
    """All weights sorted by falling magnitude, name and position; the first `count` stay."""
    listed = [
        (-abs(float(value)), name, position)
        for name, values in weights.items()
        for position, value in enumerate(values)
    ]
    stay = {(name, position) for _, name, position in sorted(listed)[:count]}
    return {name: [(name, i) in stay for i in range(len(values))] for name, values in weights.items()}


few_values = st.lists(st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0, 0.5]), min_size=1, max_size=12)
networks = st.dictionaries(st.sampled_from(["b", "a.weight", "a", "c10", "c9"]), few_values, min_size=1)
sparsities = st.floats(0.0, 0.999)


@settings(deadline=None, max_examples=150)
@given(networks, sparsities)
def test_a_global_mask_is_what_a_direct_sort_with_ties_by_name_and_position_gives(network, sparsity) -> None:
    weights = {name: np.array(values, dtype=np.float32) for name, values in network.items()}
    total = sum(map(len, weights.values()))
    count = round((1 - sparsity) * total)
    mask = mask_of({n: torch.from_numpy(w) for n, w in weights.items()}, sparsity, allow_empty_layer=True)
    assert mask.kept == count and mask.total == total
    assert {name: part.tolist() for name, part in mask.parts.items()} == sorted_directly(weights, count)


@settings(deadline=None, max_examples=100)
@given(networks, sparsities)
def test_a_layer_mask_is_the_same_of_every_layer_alone(network, sparsity) -> None:
    weights = {name: np.array(values, dtype=np.float32) for name, values in network.items()}
    tensors = {name: torch.from_numpy(w) for name, w in weights.items()}
    mask = mask_of(tensors, sparsity, "layer", allow_empty_layer=True)
    for name, values in weights.items():
        count = round((1 - sparsity) * len(values))
        assert mask.parts[name].tolist() == sorted_directly({name: values}, count)[name]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=40), st.floats(0.0, 0.9), st.floats(0.0, 0.9)
)
def test_what_was_removed_stays_removed_even_where_it_grew(values, first, more) -> None:
    weights = {"w": torch.tensor(values)}
    one = mask_of(weights, first, allow_empty_layer=True)
    grown = {"w": torch.where(one.parts["w"], weights["w"], 100.0)}
    second = 1 - (1 - first) * (1 - more)
    two = mask_of(grown, second, within=one.parts, allow_empty_layer=True)
    assert two.kept == round((1 - second) * len(values))
    assert not bool((two.parts["w"] & ~one.parts["w"]).any())


def test_the_mask_of_a_model_with_another_shape_of_tensors_keeps_their_shapes() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 4))
    mask = magnitude_mask(net, 0.5)
    assert {n: tuple(p.shape) for n, p in mask.parts.items()} == {
        "0.weight": (3, 2, 3, 3),
        "3.weight": (4, 3),
    }
    assert mask.kept == 33 and mask.total == 66


def test_norms_biases_and_head_are_taken_in_or_left_out_as_asked() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 4))
    net.append(nn.Linear(4, 2))
    assert list(prunable_weights(net)) == ["0.weight", "3.weight", "4.weight"]
    assert list(prunable_weights(net, head=False)) == ["0.weight", "3.weight"]
    assert "1.weight" in prunable_weights(net, norms=True) and "1.bias" not in prunable_weights(
        net, norms=True
    )
    assert len(prunable_weights(net, norms=True, biases=True)) == len(list(net.parameters()))
    assert list(prunable_weights(net, include=["3.*"])) == ["3.bias", "3.weight"]
    net[0].requires_grad_(False)
    assert "0.weight" not in prunable_weights(net)
    net[4].weight = net[3].weight
    assert list(prunable_weights(net)) == ["3.weight"]


def test_a_model_that_is_one_layer_has_its_weight_pruned() -> None:
    assert magnitude_mask(nn.Linear(4, 2), 0.5).kept == 4


def test_a_sparsity_that_empties_a_layer_is_refused_unless_asked_for() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    net[1].weight.data.mul_(1e-6)
    with pytest.raises(dd.BadInputError, match=r"leaves no weight of '1.weight'.*allow_empty_layer"):
        magnitude_mask(net, 0.5)
    mask = magnitude_mask(net, 0.5, allow_empty_layer=True)
    assert mask.emptied == ("1.weight",) and mask.kept == 12
    assert magnitude_mask(net, 0.5, "layer").emptied == ()


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_a_sparsity_outside_its_range_is_refused(sparsity) -> None:
    with pytest.raises(dd.BadInputError, match=r"must be in \[0, 1\)"):
        magnitude_mask(nn.Linear(2, 2), sparsity)


def test_what_cannot_be_pruned_is_refused_in_one_sentence() -> None:
    with pytest.raises(dd.BadInputError, match="no weights to prune"):
        magnitude_mask(nn.BatchNorm1d(3), 0.5)
    with pytest.raises(dd.BadInputError, match="did you mean 'weight'"):
        magnitude_mask(nn.Linear(2, 2), 0.5, include=["wieght"])
    with pytest.raises(dd.BadInputError, match="scope is 'both'"):
        magnitude_mask(nn.Linear(2, 2), 0.5, "both")
    net = nn.Linear(2, 2)
    net.weight.data[0, 0] = float("nan")
    with pytest.raises(dd.BadInputError, match="'weight' are not finite"):
        magnitude_mask(net, 0.5)
    net = nn.Linear(2, 2)
    with pytest.raises(dd.BadInputError, match="only 2 left"):
        magnitude_mask(net, 0.0, within=magnitude_mask(net, 0.5))


def test_masks_of_another_model_are_refused() -> None:
    mask = magnitude_mask(nn.Sequential(nn.Linear(4, 3)), 0.5)
    with pytest.raises(dd.BadInputError, match="which this model has not"):
        mask.check_model(nn.Linear(4, 3))
    with pytest.raises(dd.BadInputError, match=r"shape \(3, 4\) there and \(3, 5\) here"):
        mask.check_model(nn.Sequential(nn.Linear(5, 3)))
    with pytest.raises(dd.BadInputError, match="over other parameters"):
        net = nn.Linear(4, 3)
        magnitude_mask(net, 0.6, within=magnitude_mask(net, 0.5), biases=True)


def test_a_random_mask_keeps_as_many_of_every_layer_and_another_seed_others() -> None:
    like = magnitude_mask(nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 10)), 0.7)
    one, two, again = random_mask(like, 1), random_mask(like, 2), random_mask(like, 1)
    counts = [{name: int(part.sum()) for name, part in mask.parts.items()} for mask in (one, like, two)]
    assert counts[0] == counts[1] == counts[2]
    assert one.digest() == again.digest() != two.digest()
    overlap = (one.parts["0.weight"] & like.parts["0.weight"]).float().mean() / like.parts[
        "0.weight"
    ].float().mean()
    assert float(overlap) < 0.6


def test_a_mask_comes_back_from_its_file_and_its_digest_tells_masks_apart(tmp_path) -> None:
    net = nn.Linear(5, 4)
    mask = magnitude_mask(net, 0.5)
    mask.write(tmp_path / "mask.safetensors")
    assert Mask.read(tmp_path / "mask.safetensors").digest() == mask.digest() != full_mask(net).digest()
    with pytest.raises(dd.BadInputError, match="There is no mask"):
        Mask.read(tmp_path / "none.safetensors")


def test_schedules_remove_a_share_of_what_is_left() -> None:
    left = 1.0
    for level, sparsity in enumerate(sparsity_schedule(16)):
        assert sparsity == pytest.approx(1 - left) and 1 - sparsity == pytest.approx(0.8**level)
        left -= 0.2 * left
    assert schedule_to(0.8)[0] == 0.0 and schedule_to(0.8)[-1] == schedule_to(0.8, 5)[-1] == 0.8
    kept = 1 - np.array(schedule_to(0.8, 5))
    np.testing.assert_allclose(kept[1:] / kept[:-1], 0.2 ** (1 / 5))


def test_schedules_without_levels_or_with_impossible_shares_are_refused() -> None:
    for call in (lambda: sparsity_schedule(0), lambda: schedule_to(0.5, 0)):
        with pytest.raises(dd.BadInputError, match="one level or more"):
            call()
    for rate in (0.0, 1.0, -1.0):
        with pytest.raises(dd.BadInputError, match="rate"):
            sparsity_schedule(3, rate)
    with pytest.raises(dd.BadInputError, match="sparsity is 1"):
        schedule_to(1.0)
