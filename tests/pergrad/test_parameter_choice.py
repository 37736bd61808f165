"""Parameters are chosen by name, by predicate, as the head, or all that are not frozen."""

from __future__ import annotations

import pytest
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad.parameters import choose_parameters


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
