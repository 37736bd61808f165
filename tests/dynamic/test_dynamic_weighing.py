"""A loop's own loss, weighed, against the losses of its examples one by one."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from datadiet.dynamic import DynamicSampler, InfoBatch, NluDataDiet, RandomCycles, Schedule, weighed_loss
from datadiet.dynamic.weighing import LossParts
from datadiet.foundation.errors import BadInputError

BATCH, FEATURES, CLASSES = 5, 4, 3
WEIGHTS = torch.tensor([1.0, 2.5, 1.0, 0.0, 3.0])
CLASS_WEIGHTS = torch.tensor([1.0, 8.0, 3.0])


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, FEATURES, generator=generator), torch.tensor([0, 2, 1, 1, 0])


def model() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(FEATURES, CLASSES)


REAL = torch.randn(BATCH, CLASSES, generator=torch.Generator().manual_seed(1))
SIGNS = REAL.sign()
#: A loss of logits and labels, the same without reduction, and what its mean divides by (None: by the elements).
LOSSES: dict[str, tuple[Callable[..., Any], Callable[[torch.Tensor, torch.Tensor], dict[str, Any]], Any]] = {
    "cross entropy": (F.cross_entropy, lambda z, y: {"input": z, "target": y}, None),
    "class weights": (
        F.cross_entropy,
        lambda z, y: {"input": z, "target": y, "weight": CLASS_WEIGHTS},
        lambda y: CLASS_WEIGHTS[y].sum(),
    ),
    "smoothing": (F.cross_entropy, lambda z, y: {"input": z, "target": y, "label_smoothing": 0.3}, None),
    "smoothing and class weights": (
        F.cross_entropy,
        lambda z, y: {"input": z, "target": y, "label_smoothing": 0.3, "weight": CLASS_WEIGHTS},
        lambda y: CLASS_WEIGHTS[y].sum(),
    ),
    "an ignored class": (
        F.cross_entropy,
        lambda z, y: {"input": z, "target": y, "ignore_index": 2},
        lambda y: (y != 2).sum(),
    ),
    "soft targets": (F.cross_entropy, lambda z, y: {"input": z, "target": REAL.softmax(1)}, lambda _: BATCH),
    "nll": (F.nll_loss, lambda z, y: {"input": z.log_softmax(1), "target": y}, None),
    "nll with class weights": (
        F.nll_loss,
        lambda z, y: {"input": z.log_softmax(1), "target": y, "weight": CLASS_WEIGHTS},
        lambda y: CLASS_WEIGHTS[y].sum(),
    ),
    "bce": (
        F.binary_cross_entropy_with_logits,
        lambda z, y: {"input": z, "target": REAL.sigmoid(), "pos_weight": CLASS_WEIGHTS},
        None,
    ),
    "bce of probabilities": (
        F.binary_cross_entropy,
        lambda z, y: {"input": z.sigmoid(), "target": REAL.sigmoid()},
        None,
    ),
    "mse": (F.mse_loss, lambda z, y: {"input": z, "target": REAL}, None),
    "l1": (F.l1_loss, lambda z, y: {"input": z, "target": REAL}, None),
    "smooth l1": (F.smooth_l1_loss, lambda z, y: {"input": z, "target": REAL, "beta": 0.5}, None),
    "huber": (F.huber_loss, lambda z, y: {"input": z, "target": REAL, "delta": 0.5}, None),
    "kl": (F.kl_div, lambda z, y: {"input": z.log_softmax(1), "target": REAL.softmax(1)}, None),
    "poisson": (F.poisson_nll_loss, lambda z, y: {"input": z, "target": REAL.exp()}, None),
    "gaussian": (
        F.gaussian_nll_loss,
        lambda z, y: {"input": z, "target": REAL, "var": torch.ones_like(REAL)},
        None,
    ),
    "margin": (F.multi_margin_loss, lambda z, y: {"input": z, "target": y}, lambda _: BATCH),
    "soft margin": (F.soft_margin_loss, lambda z, y: {"input": z, "target": SIGNS}, None),
    "hinge": (F.hinge_embedding_loss, lambda z, y: {"input": z, "target": SIGNS}, None),
    "several labels": (
        F.multilabel_soft_margin_loss,
        lambda z, y: {"input": z, "target": (SIGNS > 0).float()},
        lambda _: BATCH,
    ),
}


def gradient(net: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    found = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
    return torch.cat([part.flatten() for part in found])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_weighed_by_example(name: str, reduction: str) -> None:
    function, given, divisor = LOSSES[name]
    net, (inputs, labels) = model(), batch()
    logits = net(inputs)
    with LossParts(BATCH, WEIGHTS, check=True) as noted:
        loss = function(**given(logits, labels), reduction=reduction)
        loss = loss.mean() if reduction == "none" else loss
    elements = function(**given(net(inputs), labels), reduction="none")
    rows = elements.reshape(BATCH, -1).sum(1)
    whole = 1 if reduction == "sum" else elements.numel()
    if reduction == "mean" and divisor is not None:
        whole = divisor(labels)
    torch.testing.assert_close(loss, (WEIGHTS * rows).sum() / whole)
    torch.testing.assert_close(gradient(net, loss), gradient(net, (WEIGHTS * rows).sum() / whole))
    (part,) = noted.parts
    assert part.kept
    torch.testing.assert_close(part.sums, rows.detach())
    with LossParts(BATCH, check=True) as noted:
        same = function(**given(logits, labels), reduction=reduction)
    assert torch.equal(same, function(**given(logits, labels), reduction=reduction))
    assert noted.parts[0].kept


def test_a_mean_over_the_batch_is_one_over_rows() -> None:
    net, (inputs, labels) = model(), batch()
    given = LOSSES["kl"][1](net(inputs), labels)
    with LossParts(BATCH, WEIGHTS, check=True) as noted:
        loss = F.kl_div(**given, reduction="batchmean")
    rows = F.kl_div(**given, reduction="none").sum(1)
    torch.testing.assert_close(loss, (WEIGHTS * rows).sum() / BATCH)
    assert noted.parts[0].kept


def test_tokens_in_one_row_belong_to_their_example() -> None:
    torch.manual_seed(0)
    net, tokens = nn.Embedding(7, CLASSES), torch.randint(0, 7, (BATCH, 6))
    labels = torch.randint(0, CLASSES, (BATCH, 6))
    labels[1, 2:] = -100
    labels[3, :] = -100
    with LossParts(BATCH, WEIGHTS) as noted:
        flat = F.cross_entropy(net(tokens).flatten(0, 1), labels.flatten())
        rows = F.cross_entropy(net(tokens).mT, labels)
    losses = F.cross_entropy(net(tokens).mT, labels, reduction="none").sum(1)
    expected = (WEIGHTS * losses).sum() / (labels != -100).sum()
    for loss, part in zip((flat, rows), noted.parts, strict=True):
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradient(net, loss), gradient(net, expected))
        assert part.counts.tolist() == [6, 2, 6, 0, 6]


def loop(
    compute: Callable[[torch.Tensor, torch.Tensor], Any], selector: Any = None, epochs: int = 3
) -> tuple[DynamicSampler, list[tuple[Any, torch.Tensor, torch.Tensor]]]:
    """A plain loop with InfoBatch; ids, weights and result of each batch."""
    sampler = DynamicSampler(12, Schedule(warmup=1), selector or InfoBatch(), batch_size=4, seed=3)
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(12, FEATURES, generator=generator), torch.arange(12) % CLASSES
    found = []
    for _ in range(epochs):
        for ids in sampler:
            weights = sampler.weights(ids)
            found.append(
                (ids, weights, weighed_loss(sampler, ids, lambda ids=ids: compute(inputs[ids], labels[ids])))
            )
        sampler.end_epoch()
    return sampler, found


def test_the_sampler_is_told_each_example_s_loss() -> None:
    net = model()
    sampler, found = loop(lambda x, y: F.cross_entropy(net(x), y, weight=CLASS_WEIGHTS))
    assert any(len(set(weights.tolist())) > 1 for _, weights, _ in found)
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(12, FEATURES, generator=generator), torch.arange(12) % CLASSES
    losses = F.cross_entropy(net(inputs), labels, weight=CLASS_WEIGHTS, reduction="none")
    torch.testing.assert_close(torch.from_numpy(sampler.selector.arrays["value"]), losses.detach())
    for ids, weights, loss in found:
        torch.testing.assert_close(loss, (weights * losses[ids]).sum() / CLASS_WEIGHTS[labels[ids]].sum())


def test_an_example_of_many_tokens_has_their_mean() -> None:
    torch.manual_seed(0)
    net, tokens = nn.Embedding(7, CLASSES), torch.randint(0, 7, (12, 6))
    labels = torch.randint(0, CLASSES, (12, 6))
    for row in range(12):
        labels[row, 1 + row % 6 :] = -100
    sampler = DynamicSampler(12, Schedule(warmup=1), InfoBatch(), batch_size=4, seed=3)
    for ids in sampler:
        weighed_loss(
            sampler,
            ids,
            lambda ids=ids: F.cross_entropy(net(tokens[ids]).flatten(0, 1), labels[ids].flatten()),
        )
    sampler.end_epoch()
    losses = F.cross_entropy(net(tokens).mT, labels, reduction="none").sum(1) / (labels != -100).sum(1)
    torch.testing.assert_close(torch.from_numpy(sampler.selector.arrays["value"]), losses.detach())


def test_two_losses_are_one_loss_of_each_example() -> None:
    net, second = model(), nn.Linear(FEATURES, 1)

    def compute(x: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
        return {"loss": 2 * F.cross_entropy(net(x), y) + F.mse_loss(second(x)[:, 0], y.float()), "other": 1}

    sampler, found = loop(compute, epochs=1)
    assert found[0][2]["other"] == 1
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(12, FEATURES, generator=generator), torch.arange(12) % CLASSES
    losses = F.cross_entropy(net(inputs), labels, reduction="none") + 0.5 * F.mse_loss(
        second(inputs)[:, 0], labels.float(), reduction="none"
    )
    torch.testing.assert_close(torch.from_numpy(sampler.selector.arrays["value"]), losses.detach())


@pytest.mark.parametrize(
    "compute",
    [
        lambda z, y: F.cross_entropy(z, y) ** 2,
        lambda z, y: F.cross_entropy(z, y, reduction="none").square().mean(),
        lambda z, y: F.cross_entropy(z, y) + 0.1 * z.square().mean(),
        lambda z, y: F.cross_entropy(z, y) + 1.0,
        lambda z, y: -z.log_softmax(1).gather(1, y[:, None]).mean(),
        lambda z, y: F.mse_loss(z.mean(0), torch.zeros(CLASSES)),
        lambda z, y: F.cross_entropy(z, y).detach().requires_grad_(),
    ],
)
def test_what_is_no_sum_of_losses_is_refused_on_the_first_batch(compute: Any) -> None:
    net = model()
    with pytest.raises(BadInputError, match=r"cannot be weighed example by example.*sampler.weights\(ids\)"):
        loop(lambda x, y: compute(net(x), y))


def test_a_first_loss_that_is_no_number_is_said_to_be_none() -> None:
    net = model()
    with pytest.raises(BadInputError, match=r"loss of the first batch is nan.*look at its inputs"):
        loop(lambda x, y: F.cross_entropy(net(x * torch.nan), y))


@pytest.mark.parametrize("result", [None, (), {}, torch.ones(4), 3.0])
def test_a_result_without_a_loss_is_refused(result: Any) -> None:
    with pytest.raises(BadInputError, match="returned no loss"):
        loop(lambda x, y: result)


def test_a_selector_without_weights_leaves_the_loss_alone() -> None:
    net = model()
    _, found = loop(lambda x, y: F.cross_entropy(net(x), y), RandomCycles(keep=0.5))
    assert all(weights.tolist() == [1.0] * len(ids) for ids, weights, _ in found)


def test_a_sampler_is_forgotten_with_its_loop() -> None:
    from datadiet.dynamic import weighing

    gc.collect()
    before = len(weighing._SHARES)
    net = model()
    sampler, _ = loop(lambda x, y: F.cross_entropy(net(x), y), epochs=1)
    assert len(weighing._SHARES) == before + 1
    del sampler
    gc.collect()
    assert len(weighing._SHARES) == before


def test_weights_that_nobody_asks_for_are_said_once() -> None:
    def epochs(asked: bool) -> list[str]:
        sampler = DynamicSampler(12, Schedule(warmup=1), InfoBatch(), batch_size=4, seed=3)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(4):
                for ids in sampler:
                    if asked:
                        sampler.weights(ids)
                    sampler.update(ids, torch.tensor(ids, dtype=torch.float32))
                sampler.end_epoch()
        return [str(each.message) for each in caught]

    assert epochs(asked=True) == []
    (said,) = epochs(asked=False)
    assert "'infobatch' weighs the examples of epoch 1" in said
    assert "without them the gradient is biased" in said


def test_a_sampler_is_true_also_before_a_scoring_pass() -> None:
    sampler = DynamicSampler(12, Schedule(warmup=1), NluDataDiet(keep=0.5), batch_size=4)
    list(sampler)
    sampler.end_epoch()
    assert sampler.needs_scoring_pass
    assert sampler
