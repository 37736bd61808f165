"""A model is left as it was found, and only the chosen parameters take part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from datadiet.pergrad.parameters import preserved_state, require_gradients


@pytest.mark.parametrize("fails", [False, True])
def test_flags_buffers_and_the_generator_are_put_back_also_after_an_exception(fails: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].bias.requires_grad_(False)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    generator = torch.get_rng_state()

    def work() -> None:
        with preserved_state(model):
            require_gradients(model, [model[0].bias])
            model(torch.rand(4, 2))
            if fails:
                raise KeyError("as told")

    if fails:
        with pytest.raises(KeyError, match="as told"):
            work()
    else:
        work()
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True]
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), generator)


def test_buffers_stay_as_they_became_where_they_are_not_asked_for() -> None:
    model = nn.BatchNorm1d(2)
    with preserved_state(model, buffers=False):
        model(torch.ones(4, 2))
    assert int(model.num_batches_tracked) == 1


def test_whole_numbers_among_the_parameters_are_left_alone() -> None:
    model = nn.Linear(2, 1)
    model.counts = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
    require_gradients(model, [model.counts, model.bias])
    assert [p.requires_grad for p in (model.weight, model.bias, model.counts)] == [False, True, False]
