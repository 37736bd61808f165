"""Each selector against a direct, slow way of choosing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.dynamic import (
    Curriculum,
    Cycle,
    DynamicSampler,
    InfoBatch,
    NluDataDiet,
    RandomCycles,
    Schedule,
    Selector,
    Uncertainty,
    selector_cards,
)


def cycle(n: int, epoch: int = 1, seed: int = 0, warmup: int = 1, always: Any = ()) -> Cycle:
    mask = np.zeros(n, bool)
    mask[list(always)] = True
    return Cycle(epoch, n, Schedule(warmup=warmup), mask, np.random.default_rng(seed))


def begun(selector: Selector, n: int) -> Selector:
    selector.begin(n)
    return selector


@pytest.mark.parametrize(("deviation", "offset"), [(0.0, 0.0), (0.0, 0.2), (1.5, 0.1)])
def test_nlu_data_diet_keeps_the_top_share_of_a_running_mean(deviation: float, offset: float) -> None:
    n, alpha = 30, 0.8
    selector = begun(NluDataDiet(keep=0.4, offset=offset, smoothing=alpha, deviation=deviation), n)
    generator = np.random.default_rng(1)
    mean: list[float | None] = [None] * n
    variance = [0.0] * n
    for _ in range(4):
        places = np.sort(generator.choice(n, 24, replace=False)) if mean[0] is not None else np.arange(n)
        scores = generator.random(len(places)).astype(np.float32)
        selector.observe(places, scores)
        for place, score in zip(places.tolist(), scores.tolist(), strict=True):
            old = mean[place]
            if old is None:
                mean[place] = score
            else:
                variance[place] = (1 - alpha) * (variance[place] + alpha * (score - old) ** 2)
                mean[place] = alpha * score + (1 - alpha) * old
        ranked = sorted(range(n), key=lambda i: -(mean[i] + deviation * variance[i] ** 0.5))
        expected = sorted(ranked[round(offset * n) : round(offset * n) + 12])
        assert selector.choose(cycle(n)).places.tolist() == expected


def test_nlu_data_diet_begins_with_a_random_cycle_when_there_is_no_warm_up() -> None:
    sampler = DynamicSampler(40, Schedule(warmup=0, every=2), NluDataDiet(keep=0.25), seed=5)
    assert not sampler.needs_scoring_pass
    first = set(sampler)
    assert len(first) == 10
    assert first != set(DynamicSampler(40, Schedule(warmup=0, every=2), NluDataDiet(keep=0.25), seed=6))
    sampler.end_epoch()
    assert not sampler.needs_scoring_pass
    assert set(sampler) == first
    sampler.end_epoch()
    assert sampler.needs_scoring_pass


def test_nlu_data_diet_with_keep_and_offset_that_fill_everything() -> None:
    selector = begun(NluDataDiet(keep=0.5, offset=0.5), 5)
    selector.observe(np.arange(5), np.arange(5, dtype=np.float32))
    assert selector.choose(cycle(5)).places.tolist() == [0, 1, 2]  # 0.5 of 5 is 3, so only 2 can be left out


@given(st.integers(2, 60), st.floats(0.05, 0.95), st.integers(0, 5))
@settings(deadline=None)
def test_infobatch_keeps_all_above_the_mean_and_a_share_below(n: int, drop: float, seed: int) -> None:
    losses = np.random.default_rng(seed).exponential(size=n).astype(np.float32)
    selector = begun(InfoBatch(drop=drop), n)
    selector.observe(np.arange(n), losses)
    choice = selector.choose(cycle(n, seed=seed))
    mean = sum(float(loss) for loss in losses) / n
    below = {i for i in range(n) if losses[i] < mean}
    kept = set(choice.places.tolist())
    assert set(range(n)) - below <= kept
    assert abs(len(kept & below) - (1 - drop) * len(below)) <= 0.5 + 1e-9 or len(kept & below) == 1
    if choice.weights is not None:
        weight = dict(zip(choice.places.tolist(), choice.weights.tolist(), strict=True))
        assert all(weight[i] == 1 for i in kept - below)
        assert all(weight[i] == pytest.approx(len(below) / len(kept & below)) for i in kept & below)


def test_infobatch_with_half_dropped_doubles_what_stays() -> None:
    selector = begun(InfoBatch(drop=0.5), 6)
    selector.observe(np.arange(6), np.array([1, 1, 1, 1, 9, 9], np.float32))
    choice = selector.choose(cycle(6))
    assert choice.weights is not None
    assert sorted(choice.weights.tolist()) == [1, 1, 2, 2]


def test_infobatch_expected_gradient_is_that_of_all_data() -> None:
    """Exact: every set that can be drawn, each as often as any other, averages to the full gradient."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    targets = torch.randn(9, generator=generator, dtype=torch.float64)
    parameter = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)

    def losses() -> torch.Tensor:
        return (inputs @ parameter - targets) ** 2

    full = torch.autograd.grad(losses().sum(), parameter)[0]
    selector = begun(InfoBatch(drop=0.4), 9)
    selector.observe(np.arange(9), losses().detach().float().numpy())
    gradients: dict[tuple[int, ...], torch.Tensor] = {}
    draws: dict[tuple[int, ...], int] = {}
    for seed in range(3000):
        choice = selector.choose(cycle(9, seed=seed))
        assert choice.weights is not None
        key = tuple(choice.places.tolist())
        draws[key] = draws.get(key, 0) + 1
        if key not in gradients:
            weighted = losses()[choice.places] * torch.from_numpy(choice.weights).double()
            gradients[key] = torch.autograd.grad(weighted.sum(), parameter)[0]
    values = losses().detach()
    below = [i for i in range(9) if values[i] < values.mean()]
    rest = [i for i in range(9) if i not in below]
    kept = len(below) - int(0.4 * len(below) + 0.5)
    possible = {tuple(sorted((*rest, *part))) for part in itertools.combinations(below, kept)}
    assert set(draws) == possible
    assert len(possible) > 3
    expected = 3000 / len(possible)
    chi_square = sum((count - expected) ** 2 / expected for count in draws.values())
    degrees = len(possible) - 1
    assert chi_square < degrees + 5 * (2 * degrees) ** 0.5
    average = torch.stack(list(gradients.values())).mean(0)
    torch.testing.assert_close(average, full, rtol=1e-6, atol=1e-8)
    biased = torch.stack(
        [torch.autograd.grad(losses()[list(key)].sum(), parameter)[0] for key in gradients]
    ).mean(0)
    assert (biased - full).norm() > 1e-2 * full.norm()  # without the weights it is not


def test_infobatch_with_losses_all_equal_drops_nothing() -> None:
    selector = begun(InfoBatch(), 4)
    selector.observe(np.arange(4), np.ones(4, np.float32))
    choice = selector.choose(cycle(4))
    assert choice.places.tolist() == [0, 1, 2, 3]
    assert choice.weights is None


def test_infobatch_never_drops_what_has_to_stay_nor_what_it_knows_nothing_of() -> None:
    selector = begun(InfoBatch(drop=0.9), 20)
    selector.observe(np.arange(15), np.r_[np.zeros(14), 10].astype(np.float32))
    for seed in range(20):
        choice = selector.choose(cycle(20, seed=seed, always=[2, 3]))
        assert {2, 3, 14, 15, 16, 17, 18, 19} <= set(choice.places.tolist())
        assert choice.weights is not None
        assert choice.weights[np.isin(choice.places, [2, 3])].tolist() == [1, 1]


def test_random_cycles_have_exact_sizes_and_every_example_as_often() -> None:
    selector = begun(RandomCycles(keep=0.3), 20)
    counts = np.zeros(20)
    for seed in range(1000):
        places = selector.choose(cycle(20, seed=seed)).places
        assert len(set(places.tolist())) == 6
        counts[places] += 1
    assert np.all(np.abs(counts - 300) < 5 * np.sqrt(1000 * 0.3 * 0.7))


def test_uncertainty_keeps_the_largest_deviation_over_its_window() -> None:
    n, window = 25, 4
    selector = begun(Uncertainty(keep=0.4, window=window), n)
    generator = np.random.default_rng(2)
    history: list[list[float]] = [[] for _ in range(n)]
    for epoch in range(9):
        places = np.sort(generator.choice(n, 18, replace=False)) if epoch else np.arange(n)
        values = (generator.random(len(places)) ** 3).astype(np.float32)
        selector.observe(places, values)
        for place, value in zip(places.tolist(), values.tolist(), strict=True):
            history[place].append(value)
        spread = np.array([np.std(past[-window:], ddof=1) if len(past) > 1 else np.nan for past in history])
        got = selector.deviations()  # type: ignore[attr-defined]
        assert np.array_equal(np.isnan(got), np.isnan(spread))
        # A probability is kept to half of 1/255, so a deviation is wrong by at most about that.
        np.testing.assert_allclose(got, spread, atol=1 / 255, equal_nan=True)
        chosen = selector.choose(cycle(n)).places
        unknown = np.flatnonzero(np.isnan(spread))
        if len(unknown) < 10:
            assert set(unknown.tolist()) <= set(chosen.tolist())
            ranked = np.argsort(-np.nan_to_num(got, nan=np.inf), kind="stable")[:10]
            assert sorted(chosen.tolist()) == sorted(ranked.tolist())


def test_curriculum_grows_from_the_easiest_share_to_everything() -> None:
    n = 20
    selector = begun(Curriculum(start=0.25, grow_epochs=3), n)
    losses = np.random.default_rng(0).permutation(n).astype(np.float32)
    selector.observe(np.arange(n), losses)
    sizes = []
    for epoch in range(1, 6):
        places = selector.choose(cycle(n, epoch=epoch)).places
        sizes.append(len(places))
        assert sorted(losses[places].tolist()) == list(range(len(places)))
    assert sizes == [5, 10, 15, 20, 20]


def test_curriculum_with_difficulties_of_its_own_needs_no_losses() -> None:
    sampler = DynamicSampler(
        8, Schedule(warmup=0), Curriculum(start=0.5, grow_epochs=2, difficulty=[7, 6, 5, 4, 3, 2, 1, 0])
    )
    seen = []
    for _ in range(3):
        seen.append(sorted(sampler))
        sampler.end_epoch()
    assert seen == [[4, 5, 6, 7], [2, 3, 4, 5, 6, 7], list(range(8))]


def test_curriculum_shows_what_it_knows_nothing_of_last() -> None:
    selector = begun(Curriculum(start=0.5, grow_epochs=1), 6)
    selector.observe(np.array([1, 3, 5]), np.array([9, 9, 9], np.float32))
    assert selector.choose(cycle(6)).places.tolist() == [1, 3, 5]


def test_selectors_say_whether_their_choices_may_carry_weights() -> None:
    weighing = {card.name for card in selector_cards() if DynamicSampler(40, selector=card.name).may_weigh}
    assert weighing == {"infobatch"}
    assert Selector.may_weigh
