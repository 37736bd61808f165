"""Verdicts on simulated trainings whose truth is known: they cover, find and err as often as they say, and no less."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "verdicts.py"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulated_verdicts", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_simulated_arms_have_the_truth_that_was_asked_for(simulation) -> None:
    generator = np.random.default_rng(0)
    full, worse = simulation.trainings(generator, 4_000, 400, [0.0, 0.01], [0.002, 0.01])
    assert full.mean() == pytest.approx(0.93, abs=0.012)  # 4,000 test examples
    assert full.mean() - worse.mean() == pytest.approx(0.01, abs=0.004)
    spread = worse.mean(axis=1).var(ddof=1) - simulation.Trained([worse]).arms[0].residual / 4_000
    assert np.sqrt(spread) == pytest.approx(0.01, rel=0.15)


@pytest.mark.parametrize("spread", ["0.2", "growing"])
def test_the_corner_of_the_grid_covers_and_does_not_err(simulation, spread) -> None:
    same = simulation.cell(2_000, 3, spread, 0.0, 120, simulation.NINE)
    worse = simulation.cell(2_000, 3, spread, 0.01, 120, simulation.NINE)
    for found in (same, worse):
        assert 0.92 <= found["typical"] <= 0.985
        assert found["worst"] >= 0.87
    assert worse["found"] <= 0.05
    assert same["found"] >= 0.15


def test_seeds_that_have_their_luck_in_common_are_seen_by_this_check(simulation) -> None:
    honest = simulation.cell(2_000, 5, "1", 0.0, 60, simulation.NINE)
    leaking = simulation.cell(2_000, 5, "1", 0.0, 60, simulation.NINE, leak=0.9)
    assert honest["typical"] >= 0.9
    assert leaking["typical"] <= 0.75


def test_looking_until_it_is_decided_finds_more_and_errs_no_more(simulation) -> None:
    good = simulation.auto(40, 10_000, "0.2", 0.0)
    bad = simulation.auto(40, 10_000, "0.2", 0.01)
    assert good["found"] >= 0.85
    assert bad["found"] <= 0.025
    assert bad["fails"] >= 0.9
    assert 21 <= bad["trainings"] < good["trainings"] < 50


def test_groups_raise_few_false_alarms_and_cover(simulation) -> None:
    found = simulation.groups(60)
    assert found["false_alarms"] <= 0.1
    assert 0.92 <= found["coverage"] <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 1_000, 10_000])
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("spread", ["0", "0.2", "1", "growing", "wild"])
def test_the_grid(simulation, n, seeds, spread) -> None:
    runs = 300
    noise = 2 * np.sqrt(0.05 * 0.95 / runs)
    for loss in (0.0, 0.005, 0.01):
        found = simulation.cell(n, seeds, spread, loss, runs, simulation.NINE)
        assert 0.94 - noise <= found["typical"] <= 0.98 + noise / 2
        assert found["worst"] >= 0.91 - 1.5 * noise
        if loss > 0.005:
            assert found["found"] <= 0.05 + noise
    if (n, seeds, spread) == (10_000, 3, "0.2"):
        assert simulation.cell(n, seeds, spread, 0.0, 600, simulation.NINE)["found"] >= 0.72


@pytest.mark.slow
@pytest.mark.parametrize("spread", ["0", "0.2", "growing", "wild"])
def test_seeds_until_decided(simulation, spread) -> None:
    for loss in (0.006, 0.01):
        assert simulation.auto(200, 10_000, spread, loss)["found"] <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)
    if spread in ("0", "0.2"):
        assert simulation.auto(300, 10_000, spread, 0.0)["found"] >= 0.93
