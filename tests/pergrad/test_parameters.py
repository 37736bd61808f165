"""Parameters are chosen by name, by predicate, as the head, or all; a model's state is preserved."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.parameters import choose_parameters, preserved_state, require_gradients


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def test_all_and_the_head_leave_frozen_parameters_out_and_a_pattern_takes_them() -> None:
    model = two_layers()
    model[1].bias.requires_grad_(False)
    assert list(choose_parameters(model, "all")) == ["0.weight", "0.bias", "1.weight"]
    assert list(choose_parameters(model, "head", lambda: [model[1]])) == ["1.weight"]
    assert list(choose_parameters(model, r"bias$")) == ["0.bias", "1.bias"]
    assert list(choose_parameters(model, lambda name, p: p.dim() == 2)) == ["0.weight", "1.weight"]


def test_a_shared_parameter_appears_once_under_its_first_name() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    assert list(choose_parameters(model, "weight")) == ["0.weight"]


def test_without_a_finder_head_is_a_pattern() -> None:
    model = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 1)})
    assert list(choose_parameters(model, "head")) == ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        ("(", "regular expression"),
        ("none", "names look like 0.weight"),
        (lambda name, p: False, "accepts none"),
    ],
)
def test_what_chooses_nothing_is_refused(selection, told) -> None:
    with pytest.raises(BadInputError, match=told):
        choose_parameters(two_layers(), selection)


def test_frozen_models_are_told_how_to_take_their_parameters() -> None:
    model = two_layers().requires_grad_(False)
    with pytest.raises(BadInputError, match=r"parameters='\.\*'"):
        choose_parameters(model, "all")
    with pytest.raises(BadInputError, match="head are frozen"):
        choose_parameters(model, "head", lambda: [model[1]])


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
