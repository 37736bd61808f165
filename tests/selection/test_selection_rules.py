"""Each rule against a slow, direct implementation or a case worked by hand."""

import itertools
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits

from datadiet.foundation.errors import BadInputError
from datadiet.selection import explain_auto, hardest_rows, mixture, rule_cards, select
from datadiet.selection.geometry import prototype_distance
from datadiet.selection.ordered import beta_parameters, default_beta, score_strata
from datadiet.selection.sizes import equal_quotas, rounded_share

TIED = st.lists(st.integers(0, 6), min_size=1, max_size=40)


def hardest_to_easiest(ids, hardness):
    return [i for _, i in sorted(zip([-h for h in hardness], ids, strict=True))]


@settings(deadline=None, max_examples=60)
@given(TIED, st.data())
def test_hardest_easiest_and_window_cut_one_order_in_which_ties_go_to_the_lower_id(values, data):
    ids = data.draw(st.permutations(range(100, 100 + len(values))))
    order = hardest_to_easiest(ids, values)
    size = data.draw(st.integers(1, len(values)))
    start = data.draw(st.integers(0, len(values) - size))
    assert select(ids, values, size).tolist() == sorted(order[:size])
    assert select(ids, values, size, rule="easiest").tolist() == sorted(order[len(order) - size :])
    kept = select(ids, values, size, rule="window", start=start / len(values))
    assert kept.tolist() == sorted(order[start : start + size])


def test_infinite_scores_of_examples_never_learnt_come_first():
    assert select([0, 1, 2, 3], [1.0, np.inf, 5.0, np.inf], 3).tolist() == [1, 2, 3]
    assert hardest_rows(np.array([-np.inf, -np.inf, 1.0]), 2).tolist() == [0, 2]


def test_a_window_is_given_by_its_start_its_end_or_both():
    ids, hardness = np.arange(10), np.arange(10.0)  # id 9 is the hardest
    assert select(ids, hardness, 0.4, rule="window").tolist() == [6, 7, 8, 9]
    assert select(ids, hardness, 0.4, rule="window", start=0.1).tolist() == [5, 6, 7, 8]
    assert select(ids, hardness, 0.4, rule="window", end=0.9).tolist() == [1, 2, 3, 4]
    assert select(ids, hardness, 0.7 - 0.3, rule="window", start=0.3, end=0.7).tolist() == [3, 4, 5, 6]


def test_a_window_that_rounding_pushes_one_over_the_easy_end_is_moved_back():
    # Half of five is three, and half of five is dropped first: three and three do not fit into five.
    assert select(np.arange(5), np.arange(5.0), 0.5, rule="window", start=0.5).tolist() == [0, 1, 2]


def test_hardest_and_easiest_share_out_a_data_set_of_equal_scores():
    hard = select(np.arange(9), np.zeros(9), 4)
    easy = select(np.arange(9), np.zeros(9), 5, rule="easiest")
    assert hard.tolist() == [0, 1, 2, 3]
    assert sorted([*hard, *easy]) == list(range(9))


def test_a_smaller_random_choice_lies_inside_a_larger_one_of_the_same_seed():
    small, large = (set(select(np.arange(50), None, keep, rule="random", seed=4)) for keep in (0.2, 0.6))
    assert small < large


def test_random_keeps_every_example_equally_often():
    counts = np.zeros(20)
    for seed in range(600):
        counts[select(np.arange(20), None, 5, rule="random", seed=seed)] += 1
    # 600 draws of 5 in 20: 150 each, standard deviation sqrt(600 * 0.25 * 0.75) = 10.6.
    assert abs(counts - 150).max() < 5 * 10.6


def strata_by_hand(scores, strata):
    low, high = min(scores), max(scores)
    if low == high:
        return [0] * len(scores)
    return [min(strata - 1, int((s - low) * strata / (high - low))) for s in scores]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60), st.integers(1, 8))
def test_strata_have_equal_widths(scores, strata):
    scaled = [s / 8 for s in scores]  # eighths and small counts: the division is exact enough to compare
    found = score_strata(np.array(scaled), strata).tolist()
    for score, place, wanted in zip(scaled, found, strata_by_hand(scaled, strata), strict=True):
        width = (max(scaled) - min(scaled)) / strata
        on_border = width and abs((score - min(scaled)) / width - round((score - min(scaled)) / width)) < 1e-9
        assert place == wanted or (on_border and abs(place - wanted) == 1)


def test_extreme_scores_do_not_overflow_the_strata():
    scores = np.array([-1.7e308, 0.0, 1.7e308, np.inf, -np.inf])
    assert score_strata(scores, 4).tolist() == [0, 2, 3, 3, 0]
    assert score_strata(np.array([np.inf, -np.inf]), 4).tolist() == [3, 0]
    assert score_strata(np.array([2.0, 2.0, np.inf]), 4).tolist() == [0, 0, 3]


def test_stratified_budgets_worked_by_hand():
    # 20 examples. beta = 0.1 drops the two hardest (9.0 and 8.9). Left: 0.0 ten times, 0.3 x 5, 0.6 x 2, 0.9
    # x 1. Three strata of width 0.3 from 0 to 0.9: [0, 0.3) ten, [0.3, 0.6) five, [0.6, 0.9] three. Nine
    # stay: 9 // 3 = 3 of the three, 6 // 2 = 3 of the five, 3 of the ten.
    hardness = np.array([9.0, 8.9] + [0.0] * 10 + [0.375] * 5 + [0.625] * 2 + [0.9])
    kept = select(np.arange(20), hardness, 9, rule="stratified", beta=0.1, strata=3)
    assert not {0, 1} & set(kept)
    values, counts = np.unique(hardness[kept], return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {0.0: 3, 0.375: 3, 0.625: 2, 0.9: 1}
    # Twelve: 4 > 3 -> 3; 9 // 2 = 4 of five; 5 of ten.
    kept = select(np.arange(20), hardness, 12, rule="stratified", beta=0.1, strata=3)
    assert np.histogram(hardness[kept], [-1, 0.3, 0.6, 1])[0].tolist() == [5, 4, 3]


@settings(deadline=None)
@given(
    st.integers(2, 80), st.integers(0, 20), st.sampled_from([0.0, 0.1, 0.25]), st.integers(1, 10), st.data()
)
def test_stratified_meets_the_budget_of_every_stratum(n, seed, beta, strata, data):
    hardness = np.random.default_rng(seed).exponential(size=n)
    order = np.argsort(-hardness)
    rest = order[rounded_share(n, beta) :]
    size = data.draw(st.integers(1, len(rest)))
    kept = select(np.arange(n), hardness, size, rule="stratified", beta=beta, strata=strata, seed=seed)
    places = np.array(strata_by_hand(hardness[rest].tolist(), strata))
    counts = np.bincount(places, minlength=strata)
    wanted = equal_quotas(counts, size)
    assert np.bincount(places[np.isin(rest, kept)], minlength=strata).tolist() == wanted.tolist()


def test_stratified_drops_by_another_score_than_it_stratifies_by():
    generator = np.random.default_rng(5)
    hardness, suspicion = generator.random(200), generator.random(200)
    data = {"ids": np.arange(200), "hardness": hardness, "keep": 60, "rule": "stratified", "strata": 4}
    kept = select(**data, beta=0.3, drop_by="aum", extra={"aum": suspicion})
    dropped = np.argsort(-suspicion)[:60]
    assert not np.isin(kept, dropped).any()
    left = np.setdiff1d(np.arange(200), dropped)
    low, high = hardness[left].min(), hardness[left].max()
    strata = np.minimum(4 * (hardness[kept] - low) / (high - low), 3).astype(int)
    assert np.bincount(strata).tolist() == [15, 15, 15, 15]
    # The same score by either way is the same choice.
    alike = select(**data, beta=0.3, drop_by="el2n", extra={"el2n": hardness})
    assert alike.tolist() == select(**data, beta=0.3).tolist()
    by_class = select(
        **data, beta=0.3, drop_by="aum", extra={"aum": suspicion}, labels=np.arange(200) % 2, per_class=True
    )
    halves = [np.arange(half, 200, 2) for half in (0, 1)]
    hardest = np.concatenate([half[np.argsort(-suspicion[half])[:30]] for half in halves])
    assert not np.isin(by_class, hardest).any()


def test_the_default_beta_always_leaves_enough():
    for keep in np.linspace(0.001, 1, 500):
        assert 0 <= default_beta(keep) <= 1 - keep + 1e-12
    kept = select(np.arange(1000), np.arange(1000.0), 0.1, rule="stratified")
    assert kept.max() < 700  # at 0.1 the hardest 30 % are out


def test_dual_draws_in_proportion_to_score_times_beta_density():
    score = np.array([0.1, 0.2, 0.3, 0.25])
    confidence = np.array([0.3, 0.5, 0.7, 0.9])
    anchor, keep = confidence.mean(), 0.25  # fewer than ten examples: all of them are the anchor
    b = 15 * (1 - anchor) * (1 - (1 - keep) ** 4)
    weights = score * stats.beta.pdf(confidence, 16 - b, b)
    counts = np.zeros(4)
    for seed in range(2000):
        counts[select(np.arange(4), score, 1, rule="dual", extra={"confidence": confidence}, seed=seed)] += 1
    expected = 2000 * weights / weights.sum()
    assert (abs(counts - expected) < 5 * np.sqrt(expected + 1)).all()


def test_dual_turns_from_the_uncertain_to_the_easy_as_less_is_kept():
    for anchor in (0.2, 0.5):
        means = [beta_parameters(keep, anchor, 4.0)[0] / 16 for keep in (1.0, 0.5, 0.2, 0.05)]
        assert means == sorted(means)
    assert beta_parameters(1.0, 0.5, 4.0) == (8.5, 7.5)


def test_dual_takes_examples_of_weight_zero_last():
    score = np.array([0.0, 0.2, 0.0, 0.2])
    kept = select(np.arange(4), score, 2, rule="dual", extra={"confidence": [0.5, 1.0, 0.5, 0.0]})
    assert len(kept) == 2
    for seed in range(20):
        kept = select(np.arange(4), score, 3, rule="dual", extra={"confidence": [0.5] * 4}, seed=seed)
        assert {1, 3} <= set(kept)


def test_moderate_keeps_the_distances_around_their_median():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 60)
    vectors = generator.standard_normal((60, 5))
    distances = []
    for row in range(60):
        centre = np.mean([vectors[other] for other in range(60) if labels[other] == labels[row]], axis=0)
        distances.append(float(np.sqrt(((vectors[row] - centre) ** 2).sum())))
    median = float(np.median(distances))
    wanted = sorted(range(60), key=lambda row: (abs(distances[row] - median), row))[:20]
    kept = select(np.arange(60), None, 20, rule="moderate", labels=labels, embeddings=vectors)
    assert kept.tolist() == sorted(wanted)


@pytest.mark.parametrize("size", [1, 20, 21, 59, 60])
def test_moderate_as_released_keeps_the_middle_of_the_order_around_class_medians(size):
    generator = np.random.default_rng(size)
    labels = generator.integers(0, 3, 60)
    vectors = generator.standard_normal((60, 5)) ** 3
    distances = []
    for row in range(60):
        own = [vectors[other] for other in range(60) if labels[other] == labels[row]]
        centre = [float(np.median([vector[d] for vector in own])) for d in range(5)]
        distances.append(float(np.sqrt(((vectors[row] - centre) ** 2).sum())))
    order = sorted(range(60), key=lambda row: distances[row])
    first = int(60 * (0.5 - size / 60 / 2) + 1e-9)
    kept = select(
        np.arange(60),
        None,
        size,
        rule="moderate",
        labels=labels,
        embeddings=vectors,
        centre="median",
        window="ranks",
    )
    assert kept.tolist() == sorted(order[first : first + size])


def test_prototypes_keep_the_far_or_the_near_end_of_each_cluster():
    # Two directions with ten examples each, turned away from them by a growing angle.
    angles = np.r_[np.linspace(0, 0.3, 10), np.pi / 2 + np.linspace(0, 0.3, 10)]
    vectors = np.c_[np.cos(angles), np.sin(angles)] * np.linspace(1, 9, 20)[:, None]
    cosine = np.empty(20)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for part in (slice(0, 10), slice(10, 20)):
        centre = unit[part].mean(axis=0)
        cosine[part] = 1 - unit[part] @ (centre / np.linalg.norm(centre))
    ids = np.arange(20)
    far = select(ids, None, 4, rule="prototypes", embeddings=vectors, clusters=2)
    near = select(ids, None, 4, rule="prototypes", embeddings=vectors, clusters=2, end="easy")
    assert set(far) == {0, 9, 10, 19}
    assert cosine[near].max() < np.median(cosine)


def test_prototypes_of_several_starts_keep_by_the_mean_of_their_distances():
    vectors = np.random.default_rng(0).standard_normal((120, 6))
    generator = np.random.default_rng([3, 0, zlib.crc32(b"prototypes")])
    distances = [prototype_distance(vectors, 5, generator) for _ in range(4)]
    wanted = np.argsort(-np.mean(distances, axis=0), kind="stable")[:30]
    data = {"ids": np.arange(120), "hardness": None, "keep": 30, "rule": "prototypes", "embeddings": vectors}
    kept = select(**data, clusters=5, restarts=4, seed=3)
    assert kept.tolist() == sorted(wanted)
    assert kept.tolist() != select(**data, clusters=5, seed=3).tolist()


def test_more_starts_of_prototypes_agree_more_from_seed_to_seed():
    pixels = load_digits().data

    def overlap(restarts):
        kept = [
            select(
                np.arange(len(pixels)),
                None,
                0.3,
                rule="prototypes",
                embeddings=pixels,
                clusters=10,
                restarts=restarts,
                seed=seed,
            )
            for seed in range(3)
        ]
        pairs = itertools.combinations(kept, 2)
        return np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in pairs])

    assert overlap(5) > overlap(1) + 0.05


def kcenter_by_hand(vectors, size):
    mean = vectors.mean(axis=0)
    chosen = [int(np.argmin([((v - mean) ** 2).sum() for v in vectors]))]
    while len(chosen) < size:
        gaps = [
            -1.0 if row in chosen else min(((v - vectors[c]) ** 2).sum() for c in chosen)
            for row, v in enumerate(vectors)
        ]
        chosen.append(int(np.argmax(gaps)))
    return sorted(chosen)


def herding_by_hand(vectors, size):
    mean, chosen = vectors.mean(axis=0), []
    for step in range(1, size + 1):
        total = vectors[chosen].sum(axis=0)
        costs = [
            np.inf if row in chosen else ((step * mean - total - v) ** 2).sum()
            for row, v in enumerate(vectors)
        ]
        chosen.append(int(np.argmin(costs)))
    return sorted(chosen)


@pytest.mark.parametrize(("rule", "by_hand"), [("kcenter", kcenter_by_hand), ("herding", herding_by_hand)])
@pytest.mark.parametrize("size", [1, 7, 30, 40])
def test_greedy_covers_agree_with_the_direct_loop(rule, by_hand, size):
    vectors = np.random.default_rng(size).standard_normal((40, 6))
    kept = select(np.arange(40), None, size, rule=rule, embeddings=vectors)
    assert kept.tolist() == by_hand(vectors, size)


def test_kcenter_in_leaves_covers_nearly_as_well_as_all_together_and_better_than_random():
    vectors = np.random.default_rng(0).standard_normal((600, 3))

    def radius(kept):
        return np.sqrt(((vectors[:, None] - vectors[kept][None]) ** 2).sum(axis=2)).min(axis=1).max()

    whole, leaves = (
        select(np.arange(600), None, 80, rule="kcenter", embeddings=vectors, part=p) for p in (600, 60)
    )
    random = select(np.arange(600), None, 80, rule="random")
    assert whole.tolist() != leaves.tolist()
    assert radius(leaves) < 1.5 * radius(whole)
    assert radius(leaves) < radius(random)


def test_herding_in_leaves_keeps_the_mean_and_the_size():
    vectors = np.random.default_rng(1).standard_normal((500, 3))
    kept = select(np.arange(500), None, 60, rule="herding", embeddings=vectors, part=64)
    random = select(np.arange(500), None, 60, rule="random")
    assert len(kept) == 60
    mean = vectors.mean(axis=0)
    assert np.linalg.norm(vectors[kept].mean(axis=0) - mean) < np.linalg.norm(
        vectors[random].mean(axis=0) - mean
    )


@pytest.mark.parametrize("rule", ["kcenter", "herding", "d2", "prototypes", "moderate"])
def test_identical_embeddings_are_no_obstacle(rule):
    vectors = np.ones((12, 3), dtype=np.float32)
    data = {
        "ids": np.arange(12),
        "hardness": np.arange(12.0),
        "labels": np.arange(12) % 2,
        "embeddings": vectors,
    }
    for keep in (0.5, 1.0):
        assert len(select(**data, keep=keep, rule=rule)) == 12 * keep


def d2_by_hand(vectors, hardness, size, neighbours, forward, reverse):
    n = len(vectors)
    x = (hardness - hardness.min()) / (hardness.max() - hardness.min())
    gaps = np.sqrt(((vectors[:, None] - vectors[None]) ** 2).sum(axis=2))
    near = [sorted((gaps[i, j], j) for j in range(n) if j != i)[:neighbours] for i in range(n)]
    scale = np.median([gap for row in near for gap, _ in row])
    near = [
        [(gaps[i, j], j) for j in range(n) if j in [b for _, b in near[i]] or i in [b for _, b in near[j]]]
        for i in range(n)
    ]
    score = [x[i] + sum(np.exp(-forward * (gap / scale) ** 2) * x[j] for gap, j in near[i]) for i in range(n)]
    chosen = []
    for _ in range(size):
        pick = max((i for i in range(n) if i not in chosen), key=lambda i: (score[i], -i))
        chosen.append(pick)
        if score[pick] > 0:
            for gap, j in near[pick]:
                score[j] -= np.exp(-reverse * (gap / scale) ** 2) * score[pick]
    return sorted(chosen)


@pytest.mark.parametrize("size", [1, 10, 25, 50])
@pytest.mark.parametrize(("forward", "reverse"), [(1.0, 1.0), (0.5, 0.0)])
def test_d2_agrees_with_message_passing_over_all_pairs(size, forward, reverse):
    generator = np.random.default_rng(size)
    vectors, hardness = generator.standard_normal((50, 4)), generator.random(50)
    kept = select(
        *(np.arange(50), hardness, size),
        rule="d2",
        embeddings=vectors,
        neighbours=5,
        gamma_forward=forward,
        gamma_reverse=reverse,
    )
    assert kept.tolist() == d2_by_hand(vectors, hardness, size, 5, forward, reverse)


def d2_as_released(vectors, hardness, size, neighbours, gamma, strata, dropped):
    """The released code on dense matrices, for strata larger than the number of neighbours."""
    left = [row for row in range(len(hardness)) if row not in dropped]
    score = hardness[left]
    step = (score.max() * 1.0001 - score.min()) / strata
    pools = [
        [row for row in left if score.min() + k * step <= hardness[row] < score.min() + (k + 1) * step]
        for k in range(strata)
    ]
    budgets, rest = {}, size
    for served, k in enumerate(sorted(range(strata), key=lambda k: len(pools[k]))):
        budgets[k] = min(len(pools[k]), rest // (strata - served))
        rest -= budgets[k]
    chosen = []
    for k, pool in enumerate(pools):
        x = hardness[pool]
        gaps = np.sqrt(((vectors[pool][:, None] - vectors[pool][None]) ** 2).sum(axis=2))
        connect = np.zeros_like(gaps)
        for i in range(len(pool)):
            for j in sorted((j for j in range(len(pool)) if j != i), key=lambda j: gaps[i, j])[:neighbours]:
                connect[i, j] = np.exp(-gaps[i, j]) * max(x[j], 1e-7)
                connect[j, i] = np.exp(-gaps[i, j]) * max(x[i], 1e-7)
        density = connect.sum(axis=1) + x
        batch = []
        while len(batch) < budgets[k]:
            pick = int(np.argmax(density))
            near = connect[pick] > 0
            density[near] -= np.exp(-gamma * gaps[pick, near]) * density[pick]
            batch.append(pick)
            density[batch] = density.min() - 1
        chosen += [pool[row] for row in batch]
    return sorted(chosen)


@pytest.mark.parametrize("size", [3, 30, 90, 128])
@pytest.mark.parametrize(("gamma", "scale"), [(0.1, 1.0), (1.0, 1.0), (0.1, 0.1)])
def test_d2_as_released_agrees_with_the_released_procedure(size, gamma, scale):
    generator = np.random.default_rng(size)
    vectors, suspicion = generator.standard_normal((160, 4)) * scale, generator.random(160)
    hardness = generator.random(160)
    hardness[np.argmin(suspicion)] = 0.0  # so that scaling to [0, 1] shifts nothing
    wanted = d2_as_released(vectors, hardness, size, 5, gamma, 3, set(np.argsort(-suspicion)[:32].tolist()))
    kept = select(
        *(np.arange(160), hardness, size),
        rule="d2",
        embeddings=vectors,
        form="code",
        gamma_reverse=gamma,
        strata=3,
        beta=0.2,
        drop_by="aum",
        extra={"aum": suspicion},
    )
    assert kept.tolist() == wanted


def test_d2_as_released_draws_from_strata_too_small_for_a_graph():
    vectors, hardness = np.random.default_rng(0).standard_normal((30, 2)), np.linspace(0, 1, 30)
    kept = [
        select(
            np.arange(30),
            hardness,
            10,
            rule="d2",
            embeddings=vectors,
            form="code",
            strata=10,
            beta=0.0,
            seed=s,
        )
        for s in range(20)
    ]
    assert {tuple(np.bincount(one // 3)) for one in kept} == {(1,) * 10}
    assert len({tuple(one) for one in kept}) > 10


def test_d2_spreads_over_twins_where_hardest_takes_them_all():
    # Ten hard examples at one spot, ten slightly easier ones far apart.
    vectors = np.concatenate([np.zeros((10, 2)), np.c_[np.arange(1, 11) * 10.0, np.zeros(10)]])
    hardness = np.r_[np.full(10, 1.0), np.full(10, 0.9), 0.0]
    vectors = np.concatenate([vectors, [[500.0, 0.0]]])
    data = {"ids": np.arange(21), "hardness": hardness, "embeddings": vectors}
    assert (select(**data, keep=8) < 10).all()
    assert (select(**data, keep=8, rule="d2", neighbours=3) >= 10).sum() >= 4


@settings(deadline=None, max_examples=60)
@given(TIED, st.floats(-2, 2), st.floats(0.1, 2))
def test_a_mixture_is_the_weighted_mean_of_ranks(values, weight_one, weight_two):
    other = [value * value - 3 * value for value in values]
    mixed = mixture({"a": values, "b": other}, {"a": weight_one, "b": weight_two})
    n, total = len(values), abs(weight_one) + weight_two
    wanted = np.zeros(n)
    for column, weight in ((values, weight_one), (other, weight_two)):
        rank = (stats.rankdata(column) - 1) / max(1, n - 1)
        wanted += abs(weight) / total * (rank if weight >= 0 else 1 - rank)
    np.testing.assert_allclose(mixed, wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("scores", "weights", "message"),
    [
        ({}, None, "no scores"),
        ({"a": [1.0]}, {"b": 1.0}, "in one only"),
        ({"a": [1.0]}, {"a": 0.0}, "not all zero"),
        ({"a": [1.0], "b": [1.0, 2.0]}, None, "the same length"),
        ({"a": [1.0, np.nan]}, None, "NaN in 1 rows, first row 1"),
    ],
)
def test_mixtures_that_cannot_be_are_refused(scores, weights, message):
    with pytest.raises(BadInputError, match=message):
        mixture(scores, weights)


@pytest.mark.parametrize(
    ("n", "keep", "classes", "kind", "rule"),
    [
        (50_000, 0.7, 10, "image", "stratified"),
        (50_000, 0.5, 10, None, "stratified"),
        (50_000, 0.3, 10, "image", "stratified"),
        (50_000, 0.1, 10, "image", "stratified"),
        (1_000, 0.9, 10, "vector", "stratified"),
        (1_000, 0.1, 10, "image", "random"),
        (50_000, 0.7, 2, "text", "random"),
        (100, 1.0, 10, None, "stratified"),
    ],
)
def test_auto_follows_what_was_measured_and_says_why(n, keep, classes, kind, rule):
    choice = explain_auto(n, keep, classes, kind)
    assert choice.rule == rule
    assert choice.reason


def test_auto_does_what_it_explains_in_every_form():
    generator = np.random.default_rng(0)
    data = {"ids": np.arange(2000), "hardness": generator.random(2000), "labels": np.arange(2000) % 2}
    for keep in (0.8, 0.2):
        rule = explain_auto(2000, keep, 2).rule
        for form in ({}, {"per_class": True}):
            found = select(**data, keep=keep, rule="auto", seed=2, **form)
            assert found.tolist() == select(**data, keep=keep, rule=rule, seed=2, **form).tolist()


def test_rules_are_listed_from_the_plain_ones_to_the_one_that_chooses_among_them() -> None:
    listed = [card.name for card in rule_cards()]
    assert listed[:4] == ["hardest", "easiest", "window", "random"] and listed[-1] == "auto"
