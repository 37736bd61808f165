"""The scoring pass: what it sees, what it leaves as it was, and whom it is billed to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from datadiet.dynamic import Curriculum, DynamicSampler, NluDataDiet, Schedule, score_everything, with_ids
from datadiet.foundation.errors import BadInputError
from datadiet.tasks import Classification

N = 30


@pytest.fixture
def rows() -> list[tuple[torch.Tensor, int]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(4, generator=generator), i % 3) for i in range(N)]


@pytest.fixture
def model() -> nn.Module:
    layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    layers[1].eval()  # frozen on purpose: it has to be found so afterwards
    return layers


def waiting_sampler(**options: Any) -> DynamicSampler:
    sampler = DynamicSampler(N, Schedule(warmup=1, every=2), NluDataDiet(keep=0.5, **options), batch_size=5)
    list(sampler)
    sampler.end_epoch()
    return sampler


def loader_of(rows: Any, sampler: DynamicSampler, batch_size: int = 8) -> DataLoader[Any]:
    return DataLoader(with_ids(rows), batch_sampler=sampler.scoring_batches(batch_size))


def direct_el2n(model: nn.Module, rows: Any) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        outputs = model(torch.stack([row[0] for row in rows]))
    return np.array(
        [
            float((outputs[i].double().softmax(0) - F.one_hot(torch.tensor(rows[i][1]), 3)).norm())
            for i in range(len(rows))
        ]
    )


def test_the_choice_is_by_scores_in_evaluation_mode(rows: Any, model: nn.Module) -> None:
    sampler = waiting_sampler()
    assert sampler.needs_scoring_pass
    modes = [module.training for module in model.modules()]
    statistics = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.random.get_rng_state()
    seconds = score_everything(model, loader_of(rows, sampler), sampler)
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, statistics[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not sampler.needs_scoring_pass
    assert sampler.scoring_seconds == seconds > 0
    assert sampler.scoring_passes == 1
    hardest = np.sort(np.argsort(-direct_el2n(model, rows))[:15])
    assert sampler.chosen_ids.tolist() == hardest.tolist()


def test_scores_do_not_depend_on_the_size_of_batches(rows: Any, model: nn.Module) -> None:
    found = []
    for size in (1, 7, 30):
        sampler = waiting_sampler()
        score_everything(model, loader_of(rows, sampler, size), sampler)
        found.append(sampler.selector.arrays["mean"])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)


def test_a_task_and_a_forward_of_ones_own_are_used(rows: Any, model: nn.Module) -> None:
    by_logits, by_task, by_forward = (waiting_sampler() for _ in range(3))
    score_everything(model, loader_of(rows, by_logits), by_logits)
    score_everything(model, loader_of(rows, by_task), by_task, task=Classification())
    whole = {"who": torch.arange(N), "what": torch.stack([row[0] for row in rows])}
    targets = torch.tensor([row[1] for row in rows])
    score_everything(
        model, [whole], by_forward, forward=lambda net, batch: (batch["who"], net(batch["what"]), targets)
    )
    for other in (by_task, by_forward):
        np.testing.assert_allclose(
            by_logits.selector.arrays["mean"], other.selector.arrays["mean"], atol=1e-6
        )


def test_a_loss_of_ones_own_serves_selectors_by_loss(rows: Any, model: nn.Module) -> None:
    sampler = DynamicSampler(N, Schedule(warmup=0), Curriculum(start=0.5), seed=0)
    score_everything(
        model,
        loader_of(rows, sampler),
        sampler,
        loss=lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none"),
    )
    model.eval()
    with torch.no_grad():
        losses = F.cross_entropy(
            model(torch.stack([row[0] for row in rows])),
            torch.tensor([row[1] for row in rows]),
            reduction="none",
        )
    assert sampler.chosen_ids.tolist() == sorted(losses.argsort()[:15].tolist())


def test_the_next_epoch_waits_for_its_scoring_pass() -> None:
    sampler = waiting_sampler()
    for ask in (lambda: len(sampler), lambda: next(iter(sampler)), lambda: sampler.chosen_ids):
        with pytest.raises(BadInputError, match=r"epoch 1 needs a scoring pass first: call score_everything"):
            ask()


def test_a_state_between_scoring_and_training_goes_on_from_there(rows: Any, model: nn.Module) -> None:
    sampler = waiting_sampler()
    score_everything(model, loader_of(rows, sampler), sampler)
    second = DynamicSampler(N, Schedule(warmup=1, every=2), NluDataDiet(keep=0.5), batch_size=5)
    second.load_state_dict(sampler.state_dict())
    assert not second.needs_scoring_pass
    assert second.scoring_seconds == sampler.scoring_seconds
    assert list(second) == list(sampler)


def test_a_pass_that_leaves_ids_out_is_refused_and_can_be_repeated(rows: Any, model: nn.Module) -> None:
    sampler = waiting_sampler()
    loader = DataLoader(with_ids(rows), batch_size=8, drop_last=True)
    with pytest.raises(BadInputError, match=r"left out 6 of 30 ids \(first 24\)"):
        score_everything(model, loader, sampler)
    score_everything(model, loader_of(rows, sampler), sampler)
    assert len(sampler.chosen_ids) == 15


def test_batches_without_ids_are_told_how_to_get_them(rows: Any, model: nn.Module) -> None:
    sampler = waiting_sampler()
    with pytest.raises(BadInputError, match=r"datadiet.dynamic.with_ids, so that each row brings its id"):
        score_everything(model, DataLoader(rows, batch_size=8), sampler)
    assert sampler.needs_scoring_pass
    score_everything(model, loader_of(rows, sampler), sampler)


def test_a_scoring_pass_in_the_middle_of_an_epoch_is_refused(rows: Any, model: nn.Module) -> None:
    sampler = waiting_sampler()
    score_everything(model, loader_of(rows, sampler), sampler)
    next(iter(sampler))
    with pytest.raises(BadInputError, match="epoch 1 has begun already"):
        score_everything(model, loader_of(rows, sampler), sampler)


def test_examples_that_score_nan_stay(rows: Any, model: nn.Module) -> None:
    sampler = waiting_sampler()
    rows[11] = (torch.full((4,), float("nan")), 0)
    with pytest.warns(UserWarning, match=r"1 examples had a el2n that is not finite .*first id 11"):
        score_everything(model, loader_of(rows, sampler), sampler)
    assert 11 in sampler.chosen_ids


def test_a_huggingface_data_set_gets_a_column() -> None:
    datasets = pytest.importorskip("datasets")
    made = with_ids(datasets.Dataset.from_dict({"text": ["a", "b"]}), "row")
    assert made["row"] == [0, 1] or list(made["row"]) == [0, 1]
    assert with_ids(made, "row") is made
