"""The straight line between networks: values worked by hand, ends met exactly, differences refused by name."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.landscape import interpolate


def network(seed: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).to(dtype)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*model.parameters(), model[1].running_mean):
            tensor.copy_(torch.randn(tensor.shape, generator=draw))
        model[1].running_var.copy_(torch.rand(4, generator=draw) + 0.5)
        model[1].num_batches_tracked.fill_(10 * (seed + 1))
    return model


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.9, 1.0, 1.5, -0.5])
def test_parameters_and_statistics_lie_on_the_line(alpha):
    a, b = network(0, torch.float64), network(1, torch.float64)
    found = interpolate(a, b, alpha)
    for name, value in found.state_dict().items():
        if value.is_floating_point():
            first, second = a.state_dict()[name].numpy(), b.state_dict()[name].numpy()
            np.testing.assert_allclose(value.numpy(), (1 - alpha) * first + alpha * second, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_ends_are_met_exactly_and_equal_networks_stay_what_they_are(dtype):
    a, b = network(0, dtype), network(1, dtype)
    for alpha, end in ((0.0, a), (1.0, b)):
        state = interpolate(a, b, alpha).state_dict()
        assert all(torch.equal(value, end.state_dict()[name]) for name, value in state.items())
    state = interpolate(a, copy.deepcopy(a), 0.3).state_dict()
    assert all(torch.equal(value, a.state_dict()[name]) for name, value in state.items())


def test_counters_of_batches_come_from_the_nearer_network():
    a, b = network(0), network(1)
    assert int(interpolate(a, b, 0.4)[1].num_batches_tracked) == 10
    assert int(interpolate(a, b, 0.5)[1].num_batches_tracked) == 20


def test_statistics_can_be_taken_from_either_network():
    a, b = network(0), network(1)
    for choice, end in (("first", a), ("second", b)):
        found = interpolate(a, b, 0.25, batchnorm=choice)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            assert torch.equal(getattr(found[1], name), getattr(end[1], name))
        assert torch.allclose(found[0].weight, 0.75 * a[0].weight + 0.25 * b[0].weight)


def test_nothing_is_shared_with_the_networks_given_and_gradients_stay_behind():
    a, b = network(0).eval(), network(1)
    a[0].weight.grad = torch.ones_like(a[0].weight)
    a[2].weight.requires_grad_(False)
    before = [copy.deepcopy(m.state_dict()) for m in (a, b)]
    found = interpolate(a, b, 0.0)
    assert found[0].weight.grad is None and not found.training
    assert not found[2].weight.requires_grad and found[0].weight.requires_grad
    states = [
        interpolate(m.state_dict(), n.state_dict(), alpha) for alpha in (0.0, 1.0) for m, n in ((a, b),)
    ]
    states.append(interpolate(a.state_dict(), b.state_dict(), 0.5, batchnorm="first"))
    with torch.no_grad():
        for value in (*found.state_dict().values(), *(v for state in states for v in state.values())):
            value.fill_(7)
    for model, kept in zip((a, b), before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert torch.equal(a[0].weight.grad, torch.ones_like(a[0].weight))


def test_state_dicts_give_a_state_dict_and_a_module_with_one_gives_a_module():
    a, b = network(0), network(1)
    states = interpolate(a.state_dict(), b.state_dict(), 0.3)
    mixed = interpolate(a, b.state_dict(), 0.3)
    assert isinstance(states, dict) and isinstance(mixed, nn.Module)
    assert all(torch.equal(value, states[name]) for name, value in mixed.state_dict().items())


def test_tied_weights_stay_tied():
    class Tied(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
            self.second.weight = self.first.weight
            nn.init.constant_(self.first.weight, value)

    found = interpolate(Tied(1.0), Tied(3.0), 0.25)
    assert found.second.weight is found.first.weight
    assert found.first.weight.unique().tolist() == [1.5]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), "`2.weight` is in the first one only"),
        (
            nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)),
            r"`0.weight` has shape \(4, 3\)",
        ),
        (
            nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2), nn.Linear(2, 2)),
            "`3.weight` is in the second one only",
        ),
    ],
)
def test_another_architecture_is_refused_with_the_first_name_that_differs(other, told):
    with pytest.raises(BadInputError, match=told):
        interpolate(network(0), other, 0.5)


def test_integer_buffers_that_differ_are_refused_by_name():
    a, b = network(0), network(0)
    a.register_buffer("mask", torch.tensor([True, False]))
    b.register_buffer("mask", torch.tensor([True, False]))
    assert interpolate(a, b, 0.5).mask.tolist() == [True, False]
    b.mask[1] = True
    with pytest.raises(BadInputError, match=r"`mask` \(torch.bool\) has other values"):
        interpolate(a, b, 0.5)
    c = network(0)
    c.register_buffer("mask", torch.tensor([1.0, 0.0]))
    with pytest.raises(BadInputError, match=r"`mask` is torch\.bool and torch\.float32"):
        interpolate(a, c, 0.5)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf")])
def test_an_alpha_that_is_no_number_is_refused(alpha):
    with pytest.raises(BadInputError, match="not a finite number"):
        interpolate(network(0), network(1), alpha)


def test_unknown_choices_are_refused():
    with pytest.raises(BadInputError, match="'interpolated', 'first', 'second'"):
        interpolate(network(0), network(1), 0.5, batchnorm="reset")
    with pytest.raises(BadInputError, match="not str"):
        interpolate("weights.safetensors", network(1), 0.5)
