"""Kernels and barriers of models that write to inputs, draw, checkpoint or wrap, and of labels that do not fit."""

from __future__ import annotations

from collections import UserDict
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from ntk_oracle import gram_by_loop
from torch import nn
from torch.utils.checkpoint import checkpoint

from datadiet.foundation.errors import BadInputError
from datadiet.landscape import error_barrier, ntk_gram

INPUTS = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LABELS = torch.tensor([0, 2, 1, 0, 1])


class Net(nn.Module):
    """An affine map after a function of the inputs."""

    def __init__(self, before=lambda inputs: inputs, outputs: int = 3) -> None:
        super().__init__()
        self.before, self.head = before, nn.Linear(4, outputs).double()

    def forward(self, inputs):
        return self.head(self.before(inputs))


class Wrapper(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


def normalising(inputs):
    return inputs.sub_(0.5).div_(0.25)


def noisy(inputs):
    return inputs + torch.randn_like(inputs)


def losses_of(model: nn.Module) -> torch.Tensor:
    return F.cross_entropy(model(INPUTS.clone()), LABELS, reduction="none").detach()


# Kernels


@pytest.mark.parametrize("method", ["explicit", "implicit"])
def test_the_kernel_of_a_model_that_writes_to_its_inputs(method):
    model, inputs = Net(normalising).eval(), INPUTS.clone()
    same = Net(lambda inputs: (inputs - 0.5) / 0.25).eval()
    same.head = model.head
    torch.testing.assert_close(ntk_gram(model, inputs, method=method), gram_by_loop(same, INPUTS))
    assert torch.equal(inputs, INPUTS)


class Deep(Net):
    """Has another layer below, checkpointed or not."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.layer, self.reentrant = nn.Linear(4, 4).double(), reentrant

    def forward(self, inputs):
        if self.reentrant is None:
            return self.head(self.layer(inputs).tanh())
        return self.head(checkpoint(self.layer, inputs, use_reentrant=self.reentrant).tanh())


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("method", ["explicit", "implicit"])
def test_the_kernel_of_a_checkpointed_model(method, reentrant):
    model, plain = Deep(reentrant).eval(), Deep(None).eval()
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(ntk_gram(model, INPUTS, method=method), gram_by_loop(plain, INPUTS))


def test_the_kernel_of_a_wrapped_model_and_of_any_mapping():
    model = Net().eval()
    expected = ntk_gram(model, INPUTS)
    for inputs in ({"inputs": INPUTS}, UserDict(inputs=INPUTS)):
        assert torch.equal(ntk_gram(Wrapper(model).eval(), inputs), expected)


def test_the_kernel_of_a_model_that_draws_is_refused():
    with pytest.raises(BadInputError, match=r"The model \(Net\) draws random numbers"):
        ntk_gram(Net(noisy).eval(), INPUTS)


def test_the_kernel_has_no_complex_weights():
    model = Net().eval()
    model.turn = nn.Parameter(torch.ones(2, dtype=torch.cdouble))
    with pytest.raises(BadInputError, match="`turn` holds complex numbers"):
        ntk_gram(model, INPUTS)
    assert ntk_gram(model, INPUTS, parameters=lambda name, p: not p.is_complex()).shape == (15, 15)


def test_a_model_made_under_inference_mode_has_no_kernel():
    with torch.inference_mode():
        model = Net().eval()
    with pytest.raises(BadInputError, match=r"made under torch.inference_mode\(\)"):
        ntk_gram(model, INPUTS)


# Barriers


def test_the_line_between_networks_that_write_to_their_inputs():
    a, b, inputs = Net(normalising), Net(normalising), INPUTS.clone()
    line = error_barrier(a, b, [(inputs, LABELS)], alphas=3)
    torch.testing.assert_close(line.losses[0], losses_of(a))
    torch.testing.assert_close(line.losses[-1], losses_of(b))
    assert torch.equal(inputs, INPUTS)


@pytest.mark.parametrize(
    ("outputs", "labels", "options", "words"),
    [
        (3, LABELS + 1, {}, "target 3 in row 1 is outside the 3 classes"),
        (3, LABELS.double(), {}, "class numbers must be integers"),
        (1, LABELS * 0, {}, "one logit an example"),
        (1, LABELS * 0, {"loss": lambda o, t: o[:, 0]}, "no classification: pass task="),
        (3, LABELS.where(LABELS > 0, -100), {}, "label -100 is neither right nor wrong"),
    ],
)
def test_labels_that_do_not_fit_have_no_barrier(outputs, labels, options, words):
    a, b = Net(outputs=outputs), Net(outputs=outputs)
    with pytest.raises(BadInputError, match=words):
        error_barrier(a, b, [(INPUTS, labels)], alphas=3, **options)


def test_networks_that_draw_have_no_barrier():
    with pytest.raises(BadInputError, match=r"The model \(Net\) draws random numbers"):
        error_barrier(Net(noisy), Net(noisy), [(INPUTS, LABELS)], alphas=3)


class WithHidden(Net):
    def forward(self, inputs):
        return {"logits": super().forward(inputs), "hidden": inputs}


def test_a_loss_of_everything_that_the_network_returns():
    def loss(outputs, targets):
        return outputs["hidden"].sum(1) + F.cross_entropy(outputs["logits"], targets, reduction="none")

    a, b = WithHidden(), WithHidden()
    line = error_barrier(a, b, [(INPUTS, LABELS)], alphas=3, loss=loss)
    torch.testing.assert_close(line.losses[0], loss(a(INPUTS), LABELS).detach())
    predicted = a(INPUTS)["logits"].argmax(1)
    assert line.errors[0].tolist() == (predicted != LABELS).double().tolist()


class Row(NamedTuple):
    inputs: Any
    targets: Any
    ids: Any


def test_a_named_batch_is_read_by_its_names():
    a, b = Net(), Net()
    named = error_barrier(a, b, [Row(INPUTS, LABELS, torch.arange(5).flip(0))], alphas=3)
    plain = error_barrier(a, b, [(INPUTS, LABELS)], alphas=3)
    assert torch.equal(named.losses.flip(1), plain.losses)
