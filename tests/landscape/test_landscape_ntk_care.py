"""The tangent kernel leaves models as they were found, and refuses what has no kernel."""

from __future__ import annotations

import copy

import pytest
import torch
from ntk_oracle import (
    convolutional,
    gram_by_loop,
    mlp,
    noise,
    randomised,
)
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.landscape import ntk_gram


class Counting(nn.Module):
    """Counts its calls in a buffer, draws at random, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)
        self.frozen = nn.Linear(6, 3).requires_grad_(False)
        self.register_buffer("calls", torch.zeros(()))
        self.fails_at = -1

    def forward(self, inputs):
        self.calls += 1
        torch.rand(3)
        if int(self.calls) == self.fails_at:
            raise KeyError("as told")
        return self.inner(inputs) + self.frozen(inputs)


@pytest.mark.parametrize("fails_at", [-1, 1, 2, 5])
@pytest.mark.parametrize("method", ["explicit", "implicit"])
def test_the_model_is_left_as_it_was_found_also_after_an_exception(method, fails_at):
    model, inputs = randomised(Counting()), noise(5, 6)
    with torch.no_grad():
        model.calls.zero_()
    model.fails_at = fails_at
    model.inner.weight.grad = torch.ones_like(model.inner.weight)
    inputs.requires_grad_(True)
    state = copy.deepcopy(model.state_dict())
    rng = torch.get_rng_state()
    if fails_at > 0:
        with pytest.raises(KeyError, match="as told"):
            ntk_gram(model, inputs, method=method)
    else:
        ntk_gram(model, inputs, method=method)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [True, True, False, False]
    assert torch.equal(model.inner.weight.grad, torch.ones_like(model.inner.weight))
    assert model.inner.bias.grad is None and inputs.grad is None
    assert not model.training
    assert torch.equal(torch.get_rng_state(), rng)


def test_it_works_where_gradients_are_switched_off():
    model, inputs = mlp(), noise(5, 6)
    expected = gram_by_loop(model, inputs)
    with torch.no_grad():
        torch.testing.assert_close(ntk_gram(model, inputs), expected)
        torch.testing.assert_close(ntk_gram(model, inputs, method="implicit"), expected)


def test_a_module_in_training_mode_is_refused_by_name():
    model = convolutional()
    model[5].train()
    with pytest.raises(BadInputError, match=r"`5` \(BatchNorm2d\) is in training mode"):
        ntk_gram(model, noise(4, 2, 6, 6))
    with pytest.raises(BadInputError, match=r"`2` \(Dropout\) is in training mode"):
        ntk_gram(mlp().train(), noise(4, 6))


def test_batch_norm_without_running_statistics_is_refused_by_name():
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False)).double().eval()
    with pytest.raises(BadInputError, match=r"`1` \(BatchNorm1d\) keeps no running statistics"):
        ntk_gram(model, noise(4, 6))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"parameters": "nothing"}, "no name matches"),
        ({"parameters": "("}, "not a regular expression"),
        ({"parameters": lambda *_: False}, "accepts none"),
        ({"outputs": []}, "different positions"),
        ({"outputs": [0, 0]}, "different positions"),
        ({"outputs": [3]}, "from 0 to 2"),
        ({"method": "guess"}, "not one of"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"chunk_size": 5, "method": "implicit"}, "explicit form"),
        ({"max_memory": 0}, "max_memory"),
        ({"max_memory": 100}, "The Gram matrix of 5 examples x 3 logits"),
        ({"forward": lambda m, x: m(x).detach()}, "do not depend"),
        ({"forward": lambda m, x: (m(x),)}, "without logits"),
        ({"forward": lambda m, x: m(x)[0]}, "first dimension must be the examples"),
        ({"forward": lambda m, x: m(x).argmax(1)}, "first dimension must be the examples"),
    ],
)
def test_bad_options_are_refused(options, told):
    with pytest.raises(BadInputError, match=told):
        ntk_gram(mlp(), noise(5, 6), **options)


@pytest.mark.parametrize("inputs", [torch.zeros(0, 6), {}, {"a": torch.zeros(2, 6), "b": torch.zeros(3)}])
def test_inputs_without_a_common_number_of_examples_are_refused(inputs):
    with pytest.raises(BadInputError, match="inputs"):
        ntk_gram(mlp().float(), inputs)
