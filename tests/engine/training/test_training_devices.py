"""Choosing a precision: what is given is kept, what is slow is not taken, nothing is left behind."""

from __future__ import annotations

import torch
from torch import nn

from datadiet.data import Batch
from datadiet.engine.training import devices
from datadiet.engine.training.recipe import Recipe
from datadiet.tasks import Classification


def batch_of(*shape: int) -> Batch:
    return Batch(torch.arange(shape[0]), torch.randn(*shape), torch.zeros(shape[0], dtype=torch.int64))


def choose(recipe: Recipe, monkeypatch, times: dict[tuple[str, str], float], shape=(4, 3, 8, 8)):
    """Run the choice with made-up timings, and say which combinations were tried how often."""
    tried: list[tuple[str, str]] = []

    def timed(fixed, model, batch, task, device):
        def step() -> float:
            tried.append((fixed.precision, fixed.memory_format))
            return times[fixed.precision, fixed.memory_format]

        return step

    monkeypatch.setattr(devices, "_timed_step", timed)
    monkeypatch.setattr(devices, "_has_bfloat16", lambda device: True)
    device = torch.device("cpu")
    found = devices.fastest_precision(
        recipe, lambda: nn.Flatten(), batch_of(*shape), Classification(), device
    )
    return found, tried


TIMES = {
    ("float32", "contiguous"): 1.0,
    ("float32", "channels_last"): 0.6,
    ("bfloat16", "contiguous"): 0.5,
    ("bfloat16", "channels_last"): 0.3,
}


def test_the_fastest_is_taken(monkeypatch) -> None:
    assert choose(Recipe(), monkeypatch, TIMES)[0] == ("bfloat16", "channels_last")


def test_a_small_advantage_is_noise_and_plain_float32_stays(monkeypatch) -> None:
    times = {**dict.fromkeys(TIMES, 0.9), ("float32", "contiguous"): 1.0}
    assert choose(Recipe(), monkeypatch, times)[0] == ("float32", "contiguous")


def test_what_is_hopelessly_slow_is_not_measured_again(monkeypatch) -> None:
    times = {**TIMES, ("bfloat16", "contiguous"): 10.0, ("bfloat16", "channels_last"): 9.0}
    found, tried = choose(Recipe(), monkeypatch, times)
    assert found == ("float32", "channels_last")
    assert tried.count(("bfloat16", "contiguous")) <= 2 < tried.count(("float32", "contiguous"))


def test_what_the_user_gave_is_kept(monkeypatch) -> None:
    assert choose(Recipe(precision="float32"), monkeypatch, TIMES)[0] == ("float32", "channels_last")
    assert choose(Recipe(memory_format="contiguous"), monkeypatch, TIMES)[0] == ("bfloat16", "contiguous")


def test_vectors_have_no_layout_to_choose(monkeypatch) -> None:
    found, tried = choose(Recipe(), monkeypatch, TIMES, shape=(4, 5))
    assert found == ("bfloat16", "contiguous") and {layout for _, layout in tried} == {"contiguous"}


def test_the_real_measurement_leaves_the_random_state_alone() -> None:
    batch = batch_of(4, 3, 8, 8)
    before = torch.get_rng_state()
    model = lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(), nn.Flatten(), nn.Linear(144, 3))  # noqa: E731
    found = devices.fastest_precision(Recipe(), model, batch, Classification(), torch.device("cpu"), rounds=1)
    assert found[0] in ("float32", "bfloat16") and torch.equal(torch.get_rng_state(), before)
