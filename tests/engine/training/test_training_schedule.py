"""The learning rate at every step."""

import itertools
import math

import pytest
import torch

from datadiet.engine.training.loop import learning_rate
from datadiet.engine.training.recipe import Recipe, named_recipe


def test_the_paper_divides_the_learning_rate_by_five_at_epochs_60_120_160() -> None:
    recipe, per_epoch = named_recipe("paper"), 390
    at = {e: learning_rate(recipe, e * per_epoch, 78_000) for e in (0, 59, 60, 119, 120, 159, 160, 199)}
    expected = {0: 0.1, 59: 0.1, 60: 0.02, 119: 0.02, 120: 0.004, 159: 0.004, 160: 0.0008, 199: 0.0008}
    assert at == pytest.approx(expected)
    assert learning_rate(recipe, 60 * per_epoch - 1, 78_000) == 0.1


def test_the_triangle_peaks_after_the_warm_up_and_ends_near_zero() -> None:
    recipe = Recipe(lr=1.0, schedule="triangular", warmup=0.2)
    rates = [learning_rate(recipe, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[19] == rates[20] == 1.0
    assert all(a < b for a, b in itertools.pairwise(rates[:20]))
    assert all(a > b for a, b in itertools.pairwise(rates[20:]))
    assert rates[-1] == pytest.approx(1 / 80)


def test_cosine_without_warm_up_is_that_of_torch() -> None:
    recipe, total = Recipe(lr=0.3, schedule="cosine", warmup=0.0), 37
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    for step in range(total):
        assert learning_rate(recipe, step, total) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("schedule", ["triangular", "cosine", "linear", "constant", "multistep"])
@pytest.mark.parametrize("total", [1, 2, 3, 10])
def test_every_rate_is_positive_and_at_most_the_peak(schedule, total) -> None:
    recipe = Recipe(lr=0.5, schedule=schedule, milestones=(0.5,) if schedule == "multistep" else ())
    rates = [learning_rate(recipe, step, total) for step in range(total)]
    assert all(0 < rate <= 0.5 and math.isfinite(rate) for rate in rates)
