"""Results that depend on random numbers are refused, whatever draws them; draws without effect are not."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pergrad_oracle import assert_exact
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad import GradientNorms, gradient_norms, grand
from datadiet.pergrad.randomness import Generators

INPUTS = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 2, 1, 0, 1])
OWN = torch.Generator().manual_seed(3)


class Layer(nn.Module):
    """Applies a function of its inputs and its mode."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs):
        return self.function(inputs, self.training)


class DropPath(nn.Module):
    """Stochastic depth, as vision transformers have it."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, inputs):
        if not self.training:
            return inputs
        kept = (1 - self.rate + torch.rand(len(inputs), 1)).floor_()
        return inputs.div(1 - self.rate) * kept


def around(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), layer, nn.Linear(6, 3))


@pytest.mark.parametrize("rate", [0.5, 0.001])
@pytest.mark.parametrize("examples", [5, 1])
def test_stochastic_depth_in_training_mode_is_named_however_small_its_rate(rate, examples):
    model = around(DropPath(rate))
    with pytest.raises(BadInputError, match=r"`1` \(DropPath\) draws random numbers.*model.eval\(\)"):
        gradient_norms(model, INPUTS[:examples], LABELS[:examples])
    assert_exact(model.eval(), INPUTS, LABELS)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, training: x * x.new_empty(len(x), 1).bernoulli_(0.999),
        lambda x, training: x * torch.bernoulli(torch.full_like(x, 0.999)),
        lambda x, training: x + 0.1 * torch.randn_like(x),
        lambda x, training: x * torch.empty(1).uniform_(0.9, 1.1),
        lambda x, training: F.gumbel_softmax(x, hard=True),
        lambda x, training: F.rrelu(x, training=True),
        lambda x, training: F.scaled_dot_product_attention(
            x[:, None], x[:, None], x[:, None], dropout_p=0.1
        ).squeeze(1),
        lambda x, training: torch.native_dropout(x, 0.3, True)[0],
        lambda x, training: x * random.random(),
        lambda x, training: x * float(np.random.rand()),  # noqa: NPY002
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_draws_of_every_kind_are_named_in_both_modes(function, training):
    model = around(Layer(function)).train(training)
    remedy = "call model.eval" if training else "set its rate to 0"
    with pytest.raises(BadInputError, match=rf"`1` \(Layer\) draws random numbers.*{remedy}"):
        gradient_norms(model, INPUTS, LABELS)


def test_a_generator_of_the_models_own_does_not_hide_its_draws():
    model = around(Layer(lambda x, training: x * torch.rand(x.shape, generator=OWN)))
    with pytest.raises(BadInputError, match="draws random numbers"):
        gradient_norms(model, INPUTS, LABELS)


def test_draws_that_nothing_shows_are_found_by_the_check_of_independence():
    own = np.random.default_rng(0)
    model = around(Layer(lambda x, training: x * own.random()))
    with pytest.raises(BadInputError, match="draws random numbers"):
        grand([model], [(range(5), INPUTS, LABELS)])


def test_a_loss_that_draws_is_refused():
    def noisy(outputs, targets):
        return F.cross_entropy(outputs + torch.randn_like(outputs), targets, reduction="none")

    with pytest.raises(BadInputError, match="The model or the loss draws random numbers"):
        gradient_norms(nn.Linear(4, 3), INPUTS, LABELS, loss=noisy)


@pytest.mark.parametrize("verify", [True, False])
def test_random_is_not_called_interacting(verify):
    with pytest.raises(BadInputError, match="draws random numbers"):
        gradient_norms(around(DropPath(0.5)), INPUTS, LABELS, verify_independence=verify)


@pytest.mark.parametrize(
    "layer",
    [
        DropPath(0.0),
        Layer(lambda x, training: x + 0 * torch.randn_like(x)),
        Layer(lambda x, training: x * x.new_empty(len(x), 1).bernoulli_(1.0)),
        Layer(lambda x, training: x if torch.rand(()) >= 0 else x * 0),
        Layer(lambda x, training: x if random.random() < 2 else x * 0),
    ],
)
def test_draws_without_effect_are_no_matter(layer):
    model = around(layer)
    expected = gradient_norms(around(nn.Identity()), INPUTS, LABELS)
    norms = GradientNorms(model)
    for _ in range(2):
        torch.testing.assert_close(norms(INPUTS, LABELS), expected)


def test_the_module_whose_draws_matter_is_named():
    harmless = Layer(lambda x, training: x + 0 * torch.rand_like(x))
    model = nn.Sequential(nn.Linear(4, 6), harmless, DropPath(0.5), nn.Linear(6, 3))
    with pytest.raises(BadInputError, match=r"`2` \(DropPath\) draws"):
        gradient_norms(model, INPUTS, LABELS)


def test_a_rate_that_is_raised_later_is_found():
    model = around(DropPath(0.0))
    norms = GradientNorms(model)
    norms(INPUTS, LABELS)
    model[1].rate = 0.001
    with pytest.raises(BadInputError, match="draws random numbers"):
        norms(INPUTS, LABELS)


def test_every_generator_is_left_as_it_was_found():
    model = around(Layer(lambda x, training: x + 0 * torch.rand_like(x) * random.random() * np.random.rand()))  # noqa: NPY002
    before = Generators(model)
    gradient_norms(model, INPUTS, LABELS)
    assert not before.moved()
    for draw in (torch.rand, lambda n: random.random(), np.random.rand):
        draw(1)
        assert before.moved()
        before.restore()
        assert not before.moved()


def test_stochastic_depth_of_transformers_is_refused_in_training_only():
    transformers = pytest.importorskip("transformers")
    config = transformers.SwinConfig(
        image_size=8, patch_size=2, embed_dim=8, depths=[2], num_heads=[2], window_size=2, num_labels=3
    )
    config.drop_path_rate = 0.05
    model = transformers.SwinForImageClassification(config).train()
    images = torch.randn(4, 3, 8, 8)
    with pytest.raises(BadInputError, match=r"drop_path` \(SwinDropPath\) draws"):
        gradient_norms(model, images, LABELS[:4])
    assert_exact(model.eval(), images, LABELS[:4])
