"""Inputs as people have them: written to by the model, in any container, for wrappers; losses of all outputs."""

from __future__ import annotations

import collections
import dataclasses
import types
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from pergrad_oracle import norms_by_loop, relative_error
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.pergrad import GradientNorms, gradient_norms, grand
from datadiet.pergrad.batches import batch_size, map_tensors, tensors_in

LABELS = torch.tensor([0, 2, 1, 0, 1])


def features(*shape: int) -> torch.Tensor:
    return torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))


class Normalising(nn.Module):
    """Writes to what it is given, and needs one example by itself before the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Parameter(torch.zeros(1, 4)), nn.Linear(4, 3)

    def forward(self, batch):
        pixels = batch["views"][0] if isinstance(batch, dict) else batch
        return self.head(pixels.sub_(0.5).div_(0.25) + self.table.expand(len(pixels), -1))


@pytest.mark.parametrize("options", [{}, {"verify_independence": True}, {"max_memory": 100_000}])
def test_a_model_that_writes_to_its_inputs_is_given_copies(options):
    model, inputs = Normalising(), features(4)
    expected = norms_by_loop(
        model, lambda i: F.cross_entropy(model(inputs[i : i + 1].clone()), LABELS[i : i + 1]), 5
    )
    for given in (inputs.clone(), {"views": [inputs.clone()]}):
        assert relative_error(gradient_norms(model, given, LABELS, **options), expected) <= 1e-4
        assert torch.equal(next(tensors_in((given,))), inputs)


def test_grand_of_several_models_gives_each_the_same_inputs():
    model, inputs = Normalising(), features(4)
    loader = [(torch.arange(5), inputs.clone(), LABELS)]
    result = grand([model, model], loader)
    assert result.std.tolist() == [0.0] * 5
    assert torch.equal(loader[0][1], inputs)


def test_a_loss_that_writes_to_the_targets_leaves_the_callers_alone():
    def binary(outputs, targets):
        targets[targets == 2] = 1
        return F.cross_entropy(outputs, targets, reduction="none")

    labels = LABELS.clone()
    gradient_norms(nn.Linear(4, 3), features(4), labels, loss=binary)
    assert torch.equal(labels, LABELS)


# Containers


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Frozen:
    left: torch.Tensor
    right: torch.Tensor
    name: str = "pair"


@dataclasses.dataclass
class Counted:
    left: torch.Tensor
    right: torch.Tensor
    tally: int = dataclasses.field(init=False, default=2)


class Both(nn.Module):
    """Takes a pair as one object, or its parts by name."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, left, right=None):
        if right is None:
            left, right = left.left, left.right
        return self.first(left) * self.second(right)


def containers() -> list[Any]:
    left, right = features(4), features(2)
    by_name = {"left": left, "right": right}
    return [
        by_name,
        collections.UserDict(by_name),
        collections.OrderedDict(by_name),
        collections.defaultdict(list, by_name),
        types.MappingProxyType(by_name),
        Pair(left, right),
        Frozen(left, right),
        Counted(left, right),
    ]


@pytest.mark.parametrize("given", containers(), ids=lambda given: type(given).__name__)
def test_every_container_of_inputs_and_of_targets_is_taken_apart(given):
    left, right = tensors_in((given,))
    model = Both()
    expected = norms_by_loop(
        model, lambda i: F.cross_entropy(model(left[i : i + 1], right[i : i + 1]), LABELS[i : i + 1]), 5
    )
    targets = type(given)({"labels": LABELS}) if type(given) is collections.UserDict else {"labels": LABELS}
    loss = lambda outputs, targets: F.cross_entropy(outputs, targets["labels"], reduction="none")  # noqa: E731
    for options in ({}, {"max_memory": 100_000}, {"verify_independence": True}):
        assert relative_error(gradient_norms(model, given, targets, loss=loss, **options), expected) <= 1e-4


@pytest.mark.parametrize("given", containers(), ids=lambda given: type(given).__name__)
def test_a_container_keeps_its_type_and_everything_that_is_no_tensor(given):
    halved = map_tensors(lambda tensor: tensor[:2], given)
    assert type(halved) is (dict if isinstance(given, types.MappingProxyType) else type(given))
    assert [tensor.shape for tensor in tensors_in((halved,))] == [(2, 4), (2, 2)]
    assert batch_size(inputs=given) == 5  # the caller's own is as it was
    for name in ("name", "tally"):
        assert getattr(halved, name, None) == getattr(given, name, None)


def test_the_encoding_of_a_tokenizer_goes_by_keyword():
    transformers = pytest.importorskip("transformers")
    encoding = transformers.BatchEncoding({"left": features(4), "right": features(2)})
    model = Both()
    assert torch.equal(gradient_norms(model, encoding, LABELS), gradient_norms(model, dict(encoding), LABELS))


def test_parts_of_other_lengths_are_named_by_their_way():
    with pytest.raises(BadInputError, match=r"inputs.left: 5, inputs.right: 3"):
        gradient_norms(Both(), Pair(features(4), features(2)[:3]), LABELS)


def test_inputs_without_a_tensor_are_refused():
    with pytest.raises(BadInputError, match="not SimpleNamespace"):
        gradient_norms(Both(), types.SimpleNamespace(left=features(4)), LABELS)


class Row(NamedTuple):
    inputs: Any
    targets: Any
    ids: Any


def test_a_named_batch_is_read_by_its_names():
    model = nn.Linear(4, 3)
    named = grand([model], [Row(features(4), LABELS, [4, 3, 2, 1, 0])])
    plain = grand([model], [([4, 3, 2, 1, 0], features(4), LABELS)])
    assert named.mean.tolist() == plain.mean.tolist()


def test_a_model_that_is_a_sequence_of_layers_is_one_model():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    loader = [(range(5), features(4), LABELS)]
    assert grand(model, loader).per_seed.tolist() == grand([model], loader).per_seed.tolist()
    assert grand(nn.ModuleList([model, model]), loader).per_seed.shape == (2, 5)


# Wrappers


class Wrapper(nn.Module):
    """Hands on what it is given."""

    def __init__(self, inner: nn.Module, *others: nn.Module) -> None:
        super().__init__()
        self.inner, self.others = inner, others
        for place, other in enumerate(others):
            self.add_module(f"other{place}", other)

    def forward(self, *args, **kwargs):
        outputs = self.inner(*args, **kwargs)
        for other in self.others:
            outputs = other(outputs)
        return outputs


class TakesDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Both()

    def forward(self, batch):
        return self.inner(batch["left"], batch["right"])


class ByKeywordOnly(Both):
    def forward(self, **parts):
        return super().forward(parts["left"], parts["right"])


@pytest.mark.parametrize(
    "model",
    [
        Wrapper(Both()),
        Wrapper(Wrapper(Both())),
        Wrapper(Both(), nn.Linear(3, 3)),
        nn.DataParallel(Both()),
        ByKeywordOnly(),
        TakesDict(),
        Wrapper(TakesDict()),
        nn.DataParallel(TakesDict()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_dict_reaches_the_model_as_it_takes_it(model):
    inputs = {"left": features(4), "right": features(2)}
    at_once = isinstance(model, TakesDict) or isinstance(next(model.children()), TakesDict)

    def loss_of(i):
        one = {name: tensor[i : i + 1] for name, tensor in inputs.items()}
        return F.cross_entropy(model(one) if at_once else model(**one), LABELS[i : i + 1])

    assert relative_error(gradient_norms(model, inputs, LABELS), norms_by_loop(model, loss_of, 5)) <= 1e-4


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"left": features(4), "mask": features(4)}, r"Both.forward takes left, right, but not 'mask'"),
        ({"right": features(2)}, "cannot be called"),
    ],
)
def test_names_that_do_not_fit_are_refused(inputs, words):
    with pytest.raises(BadInputError, match=words):
        gradient_norms(Both(), inputs, LABELS)


def test_an_error_of_types_inside_the_model_is_the_models_own():
    class Faulty(Both):
        def forward(self, left, right=None):
            return len(3)

    with pytest.raises(TypeError, match="has no len"):
        gradient_norms(Faulty(), features(4), LABELS)


# Losses


class Outputs(dict):
    logits = property(lambda self: self["logits"])
    hidden = property(lambda self: self["hidden"])


class WithHidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, inputs):
        hidden = self.body(inputs).tanh()
        return Outputs(logits=self.head(hidden), hidden=hidden)


def by_attribute(outputs, targets):
    return F.cross_entropy(outputs.logits, targets, reduction="none") + outputs.hidden.square().mean(1)


def by_key(outputs, targets):
    return F.cross_entropy(outputs["logits"], targets, reduction="none") + outputs["hidden"].square().mean(1)


def of_logits(outputs, targets):
    return F.cross_entropy(outputs, targets, reduction="none")


@pytest.mark.parametrize("loss", [by_attribute, by_key, of_logits])
def test_a_loss_gets_the_logits_or_everything_whichever_it_takes(loss):
    model = WithHidden()
    given = (lambda outputs: outputs["logits"]) if loss is of_logits else (lambda outputs: outputs)
    inputs = features(4)
    expected = norms_by_loop(
        model, lambda i: loss(given(model(inputs[i : i + 1])), LABELS[i : i + 1]).sum(), 5
    )
    norms = GradientNorms(model, loss=loss)
    for _ in range(2):
        assert relative_error(norms(inputs, LABELS), expected) <= 1e-4


def test_a_loss_that_takes_neither_is_refused_with_both_reasons():
    def of_attentions(outputs, targets):
        return outputs.attentions

    with pytest.raises(BadInputError, match=r"neither of the logits \(AttributeError.*nor of all that"):
        gradient_norms(WithHidden(), features(4), LABELS, loss=of_attentions)


def test_inputs_that_carry_a_graph_are_cut_off_from_it():
    source = features(4).requires_grad_()
    model = nn.Linear(4, 3)
    given = source * 2
    assert torch.equal(gradient_norms(model, given, LABELS), gradient_norms(model, given.detach(), LABELS))
    assert source.grad is None
