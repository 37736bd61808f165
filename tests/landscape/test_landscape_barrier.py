"""Error barriers against cases worked by hand and a slow loop in NumPy."""

from __future__ import annotations

import copy
import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from datadiet.foundation.errors import BadInputError
from datadiet.landscape import error_barrier, interpolate
from tiny_models import bert_config


class Product(nn.Module):
    """Two parameters: logits (0, u·v·x). Swapping u and v, or both signs, leaves the function alone."""

    def __init__(self, u: float, v: float) -> None:
        super().__init__()
        self.u, self.v = nn.Parameter(torch.tensor(u)), nn.Parameter(torch.tensor(v))

    def forward(self, inputs):
        return torch.cat([torch.zeros_like(inputs), self.u * self.v * inputs], dim=1)


class Net(nn.Module):
    """Two hidden layers with BatchNorm and dropout."""

    def __init__(self, seed: int, width: int = 12) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(4, width), nn.BatchNorm1d(width)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(width, 3)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draw))
            self.norm.running_mean.copy_(torch.randn(width, generator=draw))
            self.norm.running_var.copy_(torch.rand(width, generator=draw) + 0.5)

    def forward(self, inputs):
        return self.last(self.drop(torch.relu(self.norm(self.first(inputs)))))


def permuted(net: Net, seed: int) -> Net:
    """The same function with its hidden units in another order."""
    order = torch.randperm(net.first.out_features, generator=torch.Generator().manual_seed(seed))
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.first.weight.copy_(net.first.weight[order])
        other.first.bias.copy_(net.first.bias[order])
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(other.norm, name).copy_(getattr(net.norm, name)[order])
        other.last.weight.copy_(net.last.weight[:, order])
    return other


def data(learnable: bool = False, size: int = 60, batch: int = 16):
    draw = torch.Generator().manual_seed(5)
    inputs = torch.randn(size, 4, generator=draw)
    targets = torch.randint(0, 3, (size,), generator=draw)
    if learnable:
        targets = (inputs @ torch.randn(4, 3, generator=draw)).argmax(1)
    ids = torch.randperm(1_000, generator=draw)[:size]
    return [
        (ids[k : k + batch], inputs[k : k + batch], targets[k : k + batch]) for k in range(0, size, batch)
    ]


@functools.cache
def trained(seed: int) -> Net:
    """A network that has learnt the learnable batches; kept between tests, which only read it."""
    batches = data(learnable=True)
    net = Net(seed)
    net.drop.p = 0.0
    optimiser = torch.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(100):
        for _, inputs, targets in batches:
            optimiser.zero_grad()
            F.cross_entropy(net(inputs), targets).backward()
            optimiser.step()
    return net


def by_loop(a, b, batches, alphas):
    """Losses and errors (alphas, n) in order of ids, one example at a time, in NumPy."""
    ids = np.concatenate([np.asarray(batch[0]) for batch in batches])
    losses, errors = np.zeros((len(alphas), len(ids))), np.zeros((len(alphas), len(ids)))
    for k, alpha in enumerate(alphas):
        model = copy.deepcopy(a).eval()
        with torch.no_grad():
            for mixed, first, second in zip(
                model.state_dict().values(), a.state_dict().values(), b.state_dict().values(), strict=True
            ):
                if mixed.is_floating_point():
                    mixed.copy_((1 - alpha) * first + alpha * second)
            rows = []
            for _, inputs, targets in batches:
                for x, y in zip(inputs, targets, strict=True):
                    logits = model(x[None])[0].double().numpy()
                    loss = np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[int(y)]
                    rows.append((loss, float(logits.argmax() != int(y))))
        order = np.argsort(ids)
        losses[k], errors[k] = np.array(rows)[order].T
    return np.sort(ids), losses, errors


def above_line(values, alphas):
    line = (1 - alphas)[:, None] * values[0] + alphas[:, None] * values[-1]
    return (values - line).max(0)


def test_two_parameters_worked_by_hand():
    # u·v is 1 at both ends and, in the middle of (1, 1) and (−1, −1), 0: (1 − 2α)² in general.
    batches = [(torch.tensor([[1.0], [-1.0], [2.0], [1.0]]), torch.tensor([1, 0, 1, 0]))]
    line = error_barrier(Product(1.0, 1.0), Product(-1.0, -1.0), batches, alphas=[0.25, 0.5])
    assert line.alphas.tolist() == [0.0, 0.25, 0.5, 1.0]
    # At α = ½ the logits are (0, 0) and class 0 wins: the first and third example turn wrong, the last right.
    assert line.error.tolist() == [0.25, 0.25, 0.5, 0.25]
    assert line.barrier == 0.25
    right = np.log1p(np.exp(-1.0))
    expected = [np.log(2) - right, np.log(2) - right, np.log(2) - np.log1p(np.exp(-2.0)), 0.0]
    np.testing.assert_allclose(line.example_barriers.numpy(), expected, atol=1e-6)
    assert line.loss_barrier == pytest.approx(
        np.mean([*expected[:3], np.log(2) - np.log1p(np.exp(1.0))]), abs=1e-6
    )
    assert line.connected(0.1).tolist() == [False, False, False, True]
    assert line.connected(0.4).tolist() == [True, True, False, True]
    assert line.batchnorm == "none" and line.ids.tolist() == [0, 1, 2, 3]


def test_losses_errors_and_barriers_are_those_of_a_slow_loop():
    a, b = Net(0), Net(1)
    batches, alphas = data(), np.linspace(0, 1, 6)
    ids, losses, errors = by_loop(a, b, batches, alphas)
    line = error_barrier(a, b, batches, alphas=6)
    np.testing.assert_allclose(line.alphas.numpy(), alphas, atol=1e-15)
    assert line.ids.tolist() == ids.tolist()
    np.testing.assert_allclose(line.losses.numpy(), losses, atol=2e-4, rtol=2e-4)
    assert line.errors.numpy().tolist() == errors.tolist()
    np.testing.assert_allclose(line.example_barriers.numpy(), above_line(losses, alphas), atol=1e-3)
    assert line.barrier == pytest.approx(float(above_line(errors.mean(1)[:, None], alphas)[0]))
    assert line.loss_barrier == pytest.approx(float(above_line(losses.mean(1)[:, None], alphas)[0]), abs=1e-3)
    assert line.batchnorm == "interpolated"


@pytest.mark.parametrize("batchnorm", ["interpolated", "reestimated"])
def test_a_network_has_no_barrier_with_itself(batchnorm):
    line = error_barrier(Net(0), Net(0), data(), batchnorm=batchnorm)
    assert line.error[0] > 0
    assert line.barrier == 0.0 and line.loss_barrier == 0.0
    assert line.example_barriers.tolist() == [0.0] * 60
    assert line.connected(0.0).all()


@pytest.mark.parametrize("batchnorm", ["interpolated", "reestimated"])
def test_a_network_has_a_barrier_with_its_own_permutation(batchnorm):
    batches = data(learnable=True)
    net = trained(0)
    line = error_barrier(net, permuted(net, 3), batches, batchnorm=batchnorm)
    assert line.batchnorm == batchnorm
    torch.testing.assert_close(line.losses[0], line.losses[-1], atol=1e-4, rtol=1e-4)
    assert line.error[0] == line.error[-1] < 0.1
    assert line.barrier > 0.1 and line.loss_barrier > 0.1
    assert not line.connected().all()


def test_independently_trained_networks_have_a_barrier():
    batches = data(learnable=True)
    line = error_barrier(trained(0), trained(1), batches)
    assert max(line.error[0], line.error[-1]) < 0.1
    assert line.barrier > 0.1


def test_reestimated_statistics_are_the_plain_mean_over_batches():
    a, b, batches = Net(0), Net(1), data(size=64)
    line = error_barrier(a, b, batches, alphas=3, batchnorm="reestimated")
    for k, alpha in enumerate((0.0, 0.5, 1.0)):
        model = interpolate(a, b, alpha).eval()
        with torch.no_grad():
            hidden = [model.first(inputs).double().numpy() for _, inputs, _ in batches]
            model.norm.running_mean.copy_(torch.from_numpy(np.mean([h.mean(0) for h in hidden], axis=0)))
            model.norm.running_var.copy_(
                torch.from_numpy(np.mean([h.var(0, ddof=1) for h in hidden], axis=0))
            )
            order = np.argsort(np.concatenate([ids.numpy() for ids, _, _ in batches]))
            expected = np.concatenate(
                [F.cross_entropy(model(x), y, reduction="none").numpy() for _, x, y in batches]
            )
        np.testing.assert_allclose(line.losses[k].numpy(), expected[order], atol=1e-4, rtol=1e-4)


def test_statistics_are_estimated_on_the_batches_given_for_it():
    a, b, batches = Net(0), Net(1), data()
    other = [3 * torch.randn(20, 4, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    bare = error_barrier(a, b, batches, alphas=3, batchnorm="reestimated", estimate_on=other)
    labelled = error_barrier(
        a, b, batches, alphas=3, batchnorm="reestimated", estimate_on=lambda: ((x, None) for x in other)
    )
    assert torch.equal(bare.losses, labelled.losses)
    own = error_barrier(a, b, batches, alphas=3, batchnorm="reestimated")
    assert not torch.allclose(bare.losses, own.losses)


@pytest.mark.parametrize("batchnorm", ["interpolated", "reestimated"])
def test_the_networks_and_the_random_generator_are_left_as_they_were(batchnorm):
    a, b = Net(0).train(), Net(1).eval()
    a.first.weight.grad = torch.ones_like(a.first.weight)
    states = [copy.deepcopy(net.state_dict()) for net in (a, b)]
    rng = torch.get_rng_state()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.arange(60), *(torch.cat(c) for c in list(zip(*data()))[1:])),  # noqa: B905
        batch_size=7,
        shuffle=True,
        drop_last=False,
    )
    shuffled = error_barrier(a, b, loader, alphas=3, batchnorm=batchnorm)
    assert torch.equal(torch.get_rng_state(), rng)
    with pytest.raises(KeyError):
        error_barrier(a, b, data(), batchnorm=batchnorm, loss=lambda *_: {}["fails"])
    for net, state in zip((a, b), states, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(a.first.weight.grad, torch.ones_like(a.first.weight))
    assert a.training and a.norm.training and not b.training
    assert shuffled.losses.shape == (3, 60) and not shuffled.losses.is_inference()


def test_shuffled_batches_are_matched_by_id():
    a, b, batches = Net(0), Net(1), data()
    expected = error_barrier(a, b, batches, alphas=4)
    turn = iter(range(100))
    found = error_barrier(a, b, lambda: batches[:: (-1) ** next(turn)], alphas=4)
    assert torch.equal(found.ids, expected.ids)
    torch.testing.assert_close(found.losses, expected.losses)


def test_batches_may_be_pairs_triples_or_objects():
    a, b, batches = Net(0), Net(1), data()
    triples = error_barrier(a, b, batches, alphas=3)
    objects = error_barrier(
        a, b, [SimpleNamespace(ids=i.numpy(), inputs=x, targets=y) for i, x, y in batches], alphas=3
    )
    assert torch.equal(objects.ids, triples.ids) and torch.equal(objects.losses, triples.losses)
    pairs = error_barrier(a, b, [(x, y) for _, x, y in batches], alphas=3)
    order = torch.cat([i for i, _, _ in batches]).argsort()
    assert pairs.ids.tolist() == list(range(60))
    assert torch.equal(pairs.losses[:, order], triples.losses)


def test_a_barrier_on_some_examples_is_that_of_these_alone():
    a, b, batches = Net(0), Net(1), data()
    line = error_barrier(a, b, batches)
    chosen = line.ids[[40, 3, 17]]
    part = line.of(chosen.tolist())
    assert part.ids.tolist() == sorted(chosen.tolist())
    alone = error_barrier(
        a, b, [(i[keep], x[keep], y[keep]) for i, x, y in batches if (keep := torch.isin(i, chosen)).any()]
    )
    torch.testing.assert_close(part.losses, alone.losses, atol=1e-5, rtol=1e-5)
    assert part.barrier == alone.barrier
    with pytest.raises(BadInputError, match="id 5000 was not evaluated"):
        line.of([5000])
    with pytest.raises(BadInputError, match="no id was given"):
        line.of([])


def test_a_task_or_a_loss_says_what_is_measured():
    a, b = Net(0), Net(1)
    batches = [(i, x, F.one_hot(y, 3).float()) for i, x, y in data()]

    class MultiLabel:
        def loss(self, outputs, targets):
            return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(1)

        def correct(self, outputs, targets):
            return ((outputs > 0) == (targets > 0.5)).all(1)

    line = error_barrier(a, b, batches, alphas=3, task=MultiLabel())
    order = torch.cat([i for i, _, _ in batches]).argsort()
    with torch.no_grad():
        logits = torch.cat([copy.deepcopy(b).eval()(x) for _, x, _ in batches])[order].double()
    targets = torch.cat([y for _, _, y in batches])[order].double()
    expected = (F.softplus(logits) - targets * logits).sum(1)
    torch.testing.assert_close(line.losses[-1], expected, atol=1e-4, rtol=1e-4)
    assert line.errors[-1].tolist() == [float(e) for e in ((logits > 0) != (targets > 0)).any(1)]
    halved = error_barrier(
        a, b, data(), alphas=3, loss=lambda o, t: F.cross_entropy(o, t, reduction="none") / 2
    )
    torch.testing.assert_close(2 * halved.losses, error_barrier(a, b, data(), alphas=3).losses)


def test_transformers_models_are_called_by_keyword():
    transformers = pytest.importorskip("transformers")
    config = bert_config(
        vocab_size=20, hidden_size=8, intermediate_size=12, max_position_embeddings=10, num_labels=3
    )
    a, b = (transformers.BertForSequenceClassification(config) for _ in range(2))
    tokens = torch.randint(1, 20, (5, 6), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    line = error_barrier(a, b, [(inputs, torch.tensor([0, 1, 2, 0, 1]))], alphas=3)
    with torch.no_grad():
        logits = copy.deepcopy(b).eval()(**inputs).logits
    expected = F.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1]), reduction="none")
    torch.testing.assert_close(line.losses[-1].float(), expected, atol=1e-5, rtol=1e-5)


def test_progress_counts_the_points():
    seen = []
    error_barrier(Net(0), Net(1), data(), alphas=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def flaky(first, second):
    """A callable that gives one list of batches, then another."""
    turns = iter([first])
    return lambda: next(turns, second)


def test_batches_that_cannot_be_gone_through_again_are_refused():
    a, b, batches = Net(0), Net(1), data()
    with pytest.raises(BadInputError, match="batches is an iterator"):
        error_barrier(a, b, iter(batches))
    with pytest.raises(BadInputError, match="estimate_on is an iterator"):
        error_barrier(a, b, batches, batchnorm="reestimated", estimate_on=(x for _, x, _ in batches))
    with pytest.raises(BadInputError, match="iterable of batches or a callable"):
        error_barrier(a, b, 3)
    with pytest.raises(BadInputError, match="other ids the second time"):
        error_barrier(a, b, flaky(batches, batches[:2]))
    pairs = [(x, y) for _, x, y in batches]
    with pytest.raises(BadInputError, match="another order the second time"):
        error_barrier(a, b, flaky(pairs, pairs[::-1]))


@pytest.mark.parametrize(
    ("batches", "told"),
    [
        ([], "no batch"),
        ([torch.zeros(2, 4)], "not Tensor"),
        ([([0, 0], torch.zeros(2, 4), torch.tensor([0, 1]))], "id 0 comes more than once"),
        ([([0], torch.zeros(2, 4), torch.tensor([0, 1]))], "1 ids for 2 examples"),
        ([(torch.zeros(2, 4), torch.tensor([[0.0, 1.0, 0.0]] * 2))], "no classification"),
        (
            [([0], torch.zeros(1, 4), torch.tensor([0])), (torch.zeros(1, 4), torch.tensor([0]))],
            "Some batches have ids",
        ),
    ],
)
def test_bad_batches_are_refused(batches, told):
    with pytest.raises(BadInputError, match=told):
        error_barrier(Net(0), Net(1), batches)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"alphas": 2}, "3 or more"),
        ({"alphas": [0.5, 1.5]}, "between 0 and 1"),
        ({"alphas": [float("nan")]}, "between 0 and 1"),
        ({"batchnorm": "frozen"}, "'interpolated', 'reestimated'"),
        ({"estimate_on": []}, "only used with"),
        ({"estimate_on": [], "batchnorm": "reestimated"}, "no batch to re-estimate"),
        (
            {"estimate_on": [torch.zeros(4, 4), torch.zeros(1, 4)], "batchnorm": "reestimated"},
            "Batch 1 for re-estimating",
        ),
        ({"loss": lambda o, t: F.cross_entropy(o, t)}, "one value an example"),
    ],
)
def test_bad_options_are_refused(options, told):
    with pytest.raises(BadInputError, match=told):
        error_barrier(Net(0), Net(1), data(), **options)


def test_another_architecture_is_refused():
    with pytest.raises(BadInputError, match=r"`first\.weight` has shape"):
        error_barrier(Net(0), Net(0, width=5), data())
