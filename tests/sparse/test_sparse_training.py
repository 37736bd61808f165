"""Masked training: zeros that stay exactly zero whatever the optimiser does, and nothing else changed."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import datadiet as dd
from datadiet.sparse import apply_mask, full_mask, magnitude_mask

OPTIMISERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "fused": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "adam fused": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
}


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5)
        ).to(memory_format=torch.channels_last)


def step(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(8, 2, 4, 4, generator=generator)
    targets = torch.randint(5, (8,), generator=generator)
    F.cross_entropy(net(inputs), targets).backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_removed_weights_are_zero_after_every_step_and_so_is_their_state(name) -> None:
    net = network()
    optimizer = OPTIMISERS[name](net.parameters())
    for seed in range(3):  # so that the state has something of every weight
        step(net, optimizer, seed)
    mask = magnitude_mask(net, 0.6)
    apply_mask(net, mask, optimizer)
    parameters = dict(net.named_parameters())
    before = {n: parameters[n].detach().clone() for n in mask.parts}
    for seed in range(3, 15):
        step(net, optimizer, seed)
        for n, part in mask.parts.items():
            assert torch.count_nonzero(parameters[n][~part]) == 0
            for value in optimizer.state[parameters[n]].values():
                if isinstance(value, torch.Tensor) and value.shape == part.shape:
                    assert torch.count_nonzero(value[~part]) == 0
    for n, part in mask.parts.items():
        assert bool((parameters[n][part] != before[n][part]).all())


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_stays_takes_the_steps_of_a_network_whose_removed_weights_are_frozen_by_hand(name) -> None:
    ours, theirs = network(), network()
    mask = magnitude_mask(ours, 0.5)
    one, two = OPTIMISERS[name](ours.parameters()), OPTIMISERS[name](theirs.parameters())
    apply_mask(ours, mask, one)
    for seed in range(6):
        with torch.no_grad():
            for n, parameter in theirs.named_parameters():
                if n in mask.parts:
                    parameter[~mask.parts[n]] = 0.0
        step(theirs, two, seed)
        step(ours, one, seed)
    other = dict(theirs.named_parameters())
    for n, parameter in ours.named_parameters():
        kept = mask.parts.get(n, torch.ones_like(parameter, dtype=torch.bool))
        assert torch.equal(parameter[kept], other[n][kept])


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_mask_that_removes_nothing_changes_no_bit(name) -> None:
    masked, plain = network(), network()
    one, two = OPTIMISERS[name](masked.parameters()), OPTIMISERS[name](plain.parameters())
    apply_mask(masked, full_mask(masked), one)
    for seed in range(4):
        step(masked, one, seed)
        step(plain, two, seed)
    for first, second in zip(masked.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(first, second)


def test_a_taken_off_mask_lets_the_weights_grow_again() -> None:
    net = network()
    optimizer = OPTIMISERS["momentum"](net.parameters())
    mask = magnitude_mask(net, 0.5)
    held = apply_mask(net, mask, optimizer)
    step(net, optimizer, 0)
    held.remove()
    step(net, optimizer, 1)
    assert torch.count_nonzero(net[4].weight[~mask.parts["4.weight"]]) > 0


def test_parameters_keep_their_names_and_a_checkpoint_fits_the_plain_model() -> None:
    net, plain = network(), network()
    apply_mask(net, magnitude_mask(net, 0.5), OPTIMISERS["momentum"](net.parameters()))
    plain.load_state_dict(net.state_dict())
    assert torch.equal(plain[0].weight, net[0].weight)


def test_a_mask_of_another_model_is_refused_before_anything_is_changed() -> None:
    other = nn.Linear(24, 5)
    before = other.weight.detach().clone()
    with pytest.raises(dd.BadInputError, match="another model"):
        apply_mask(other, magnitude_mask(network(), 0.5))
    assert torch.equal(other.weight, before)


def test_the_magnitude_ticket_of_a_planted_problem_is_the_planted_one() -> None:
    """A linear target that looks at 5 of 40 inputs: what pruning leaves are these 5, from any initialisation."""
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        planted = torch.randperm(40, generator=generator)[:5]
        truth = torch.zeros(40)
        truth[planted] = 1.0 + torch.rand(5, generator=generator)
        inputs = torch.randn(400, 40, generator=generator)
        net = nn.Linear(40, 1, bias=False)
        net.weight.data = torch.randn(1, 40, generator=generator)
        first = net.weight.detach().clone()
        mask = full_mask(net)
        for sparsity in (0.0, 0.5, 0.875):
            if sparsity:
                mask = magnitude_mask(net, sparsity, within=mask)
            net.weight.data.copy_(first)
            sgd = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
            apply_mask(net, mask, sgd)
            for _, batch in zip(range(300), itertools.cycle(inputs.split(100)), strict=False):
                F.mse_loss(net(batch).squeeze(1), batch @ truth).backward()
                sgd.step()
                sgd.zero_grad()
        assert mask.kept == 5
        assert mask.parts["weight"][0].nonzero().flatten().tolist() == sorted(planted.tolist())
        torch.testing.assert_close(net.weight[0], truth, rtol=1e-3, atol=1e-3)
