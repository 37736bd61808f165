"""What cannot be exact is refused, and the message names the module and the reason."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad import gradient_norms

INPUTS, TARGETS = torch.linspace(-1, 1, 20).reshape(4, 5), torch.tensor([0, 1, 2, 0])


class Block(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.head = inner, nn.Linear(5, 3)

    def forward(self, inputs):
        return self.head(self.inner(inputs))


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        (nn.BatchNorm1d(5), r"`inner` \(BatchNorm1d\) is in training mode.*model.eval"),
        (nn.BatchNorm1d(5, affine=False), r"`inner` \(BatchNorm1d\) is in training mode"),
        (nn.BatchNorm1d(5, track_running_stats=False).eval(), r"`inner`.*no running statistics"),
        (nn.Dropout(0.5), r"`inner` \(Dropout\).*at random"),
        (
            nn.Sequential(nn.Unflatten(1, (5, 1)), nn.InstanceNorm1d(5, track_running_stats=True)),
            r"`inner.1`",
        ),
    ],
)
def test_modules_that_mix_examples_or_draw_at_random_are_named(inner, words):
    with pytest.raises(BadInputError, match=words):
        gradient_norms(Block(inner), INPUTS, TARGETS)


@pytest.mark.parametrize("layer", [nn.Embedding, nn.EmbeddingBag])
@pytest.mark.parametrize(("option", "value"), [("scale_grad_by_freq", True), ("max_norm", 1.0)])
def test_embeddings_whose_gradient_depends_on_the_batch_are_named(layer, option, value):
    model = nn.Sequential(layer(5, 3, **{option: value}), nn.Flatten(), nn.LazyLinear(3))
    ids = torch.tensor([[0, 1], [2, 3], [4, 4], [1, 0]])
    model(ids)
    with pytest.raises(BadInputError, match=rf"`0` \({layer.__name__}\).*{option}"):
        gradient_norms(model, ids, TARGETS)


def test_a_recurrent_layer_that_drops_between_its_layers_is_named():
    model = nn.Sequential(nn.LSTM(5, 4, 2, dropout=0.1, batch_first=True))
    with pytest.raises(BadInputError, match=r"`0` \(LSTM\).*at random"):
        gradient_norms(model, torch.zeros(2, 3, 5), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: F.batch_norm(x, None, None, training=True), "statistics of the batch"),
        (lambda x: F.dropout(x, 0.5, True), "at random"),
    ],
)
def test_functions_that_mix_examples_or_draw_at_random_are_refused(function, words):
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(5, 3)

        def forward(self, inputs):
            return self.head(function(inputs))

    with pytest.raises(BadInputError, match=words):
        gradient_norms(Functional(), INPUTS, TARGETS)


def test_a_loss_that_is_not_per_example_is_refused():
    with pytest.raises(BadInputError, match=r"shape \(4,\).*reduction='none'"):
        gradient_norms(nn.Linear(5, 3), INPUTS, TARGETS, loss=F.cross_entropy)


class Centred(nn.Module):
    """Subtracts the mean over the batch."""

    def forward(self, inputs):
        return inputs - inputs.mean(0, keepdim=True)


def test_the_independence_check_names_the_module_that_mixes_examples():
    model = nn.Sequential(nn.Linear(5, 5), Centred(), nn.Linear(5, 3))
    with pytest.raises(BadInputError, match=r"`1` \(Centred\).*examples interact"):
        gradient_norms(model, INPUTS, TARGETS, verify_independence=True)


def contrastive(outputs, targets):
    return F.cross_entropy(outputs @ outputs.T, torch.arange(len(outputs)), reduction="none")


def test_the_independence_check_finds_a_contrastive_loss():
    with pytest.raises(BadInputError, match="contrastive"):
        gradient_norms(nn.Linear(5, 3), INPUTS, TARGETS, loss=contrastive, verify_independence=True)


def test_the_independence_check_passes_what_is_independent():
    model = nn.Sequential(nn.Linear(5, 5), nn.LayerNorm(5), nn.Linear(5, 3))
    checked = gradient_norms(model, INPUTS, TARGETS, verify_independence=True)
    assert torch.equal(checked, gradient_norms(model, INPUTS, TARGETS))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parameters": "nothing"}, "no name matches parameters='nothing'"),
        ({"parameters": "("}, "not a regular expression"),
        ({"parameters": lambda name, p: False}, "accepts none"),
        ({"task": "classification", "loss": contrastive}, "not both"),
        ({"task": "unknown"}, "task must be"),
        ({"max_memory": 0}, "above zero"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, words):
    with pytest.raises(BadInputError, match=words):
        gradient_norms(nn.Linear(5, 3), INPUTS, TARGETS, **options)


def test_batches_whose_tensors_differ_in_length_are_refused():
    with pytest.raises(BadInputError, match="inputs: 4, targets: 3"):
        gradient_norms(nn.Linear(5, 3), INPUTS, TARGETS[:3])


def test_a_model_that_runs_without_gradients_is_refused_rather_than_zero():
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(5, 3)

        def forward(self, inputs):
            with torch.no_grad():
                return self.head(inputs)

    with pytest.raises(BadInputError, match="does not depend on the chosen parameters"):
        gradient_norms(Frozen(), INPUTS, TARGETS)


def test_a_scripted_model_is_refused():
    class Doubling(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs * 2

    with pytest.raises(BadInputError, match="TorchScript"):
        gradient_norms(torch.jit.trace(Doubling(), INPUTS), INPUTS, TARGETS)
