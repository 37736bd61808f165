"""Test metrics: slot F1, semantic error rate, label sets and real numbers, by hand and by second ways."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from task_oracle import NOTHING

import datadiet as dd
from datadiet.tasks import (
    IntentSlots,
    MultiLabel,
    Regression,
    TokenClassification,
    entities,
    group_error,
    semantic_error_rate,
    slot_errors,
    slot_f1,
)

seqeval_metrics = pytest.importorskip("seqeval.metrics")

BIO = ("O", "B-city", "I-city", "B-day", "I-day")


def pairs_of(draw: st.DataObject, tags: tuple[str, ...]) -> tuple[list[list[str]], list[list[str]]]:
    lengths = draw.draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))
    return tuple(
        [draw.draw(st.lists(st.sampled_from(tags), min_size=n, max_size=n)) for n in lengths]
        for _ in range(2)
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*BIO, "E-city", "S-city", "S-day"]), max_size=10))
def test_entities_are_those_of_seqeval(tags) -> None:
    assert entities(tags) == seqeval_metrics.sequence_labeling.get_entities(tags)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_slot_f1_is_the_f1_of_sets_of_entities(data) -> None:
    found, true = pairs_of(data, BIO)
    made = {(i, *e) for i, tags in enumerate(found) for e in entities(tags)}
    there = {(i, *e) for i, tags in enumerate(true) for e in entities(tags)}
    wanted = 2 * len(made & there) / (len(made) + len(there)) if made or there else 1.0
    assert slot_f1(found, true, BIO) == pytest.approx(wanted)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_plain_tags_are_compared_word_by_word_without_o(data) -> None:
    found, true = pairs_of(data, ("O", "NOUN", "VERB"))
    flat = [[tag for tags in side for tag in tags] for side in (true, found)]
    wanted = sklearn.metrics.f1_score(*flat, labels=["NOUN", "VERB"], average="micro", zero_division=1.0)
    assert slot_f1(found, true, ("O", "NOUN", "VERB")) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("found", "true", "wanted"),
    [
        ([["O", "O"]], [["O", "O"]], 1.0),
        ([["O", "O"]], [["B-city", "O"]], 0.0),
        ([["B-city", "O"]], [["O", "O"]], 0.0),
        ([[]], [[]], 1.0),
        ([], [], 1.0),
        ([["B-city", "I-city"]], [["B-city", "O"]], 0.0),
        ([["B-city", "I-city"], []], [["B-city", "I-city"], []], 1.0),
    ],
)
def test_slot_f1_without_slots_on_a_side(found, true, wanted) -> None:
    assert slot_f1(found, true, BIO) == wanted


def test_slot_f1_without_seqeval_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "seqeval.metrics", None)
    with pytest.raises(dd.BadInputError, match=r"pip install 'datadiet\[transformers\]'"):
        slot_f1([["B-city"]], [["B-city"]], BIO)
    assert slot_f1([["NOUN"]], [["NOUN"]], ("O", "NOUN")) == 1.0


@pytest.mark.parametrize(
    ("found", "true", "counts"),
    [
        ([("city", 0, 1)], [("city", 0, 1)], (0, 0, 0)),
        ([], [("city", 0, 1), ("day", 3, 3)], (0, 2, 0)),
        ([("city", 0, 1), ("day", 3, 3)], [], (2, 0, 0)),
        ([("day", 0, 1)], [("city", 0, 1)], (0, 0, 1)),  # the same words under another type
        ([("city", 0, 0)], [("city", 0, 1)], (0, 0, 1)),  # other ends
        ([("city", 1, 3)], [("day", 0, 1)], (0, 0, 1)),  # both differ, one word in common
        ([("city", 2, 2)], [("city", 0, 1)], (1, 1, 0)),  # no word in common
        ([("city", 0, 0), ("city", 1, 1)], [("city", 0, 1)], (1, 0, 1)),  # one slot cut in two
        ([("city", 0, 3)], [("city", 0, 1), ("day", 2, 3)], (0, 1, 1)),  # two slots run together
        ([("a", 0, 1), ("b", 2, 5)], [("a", 0, 2), ("b", 4, 5)], (0, 0, 2)),
        ([("a", 0, 0), ("b", 2, 3), ("c", 6, 6)], [("a", 0, 0), ("d", 3, 3), ("e", 8, 8)], (1, 1, 1)),
    ],
)
def test_slot_errors_of_cases_worked_by_hand(found, true, counts) -> None:
    assert slot_errors(found, true) == counts


def most_pairs(found: list, true: list) -> int:
    """The most pairs of overlapping slots, by trying all ways."""
    if not true:
        return 0
    first, rest = true[0], true[1:]
    best = most_pairs(found, rest)
    for i, (_, start, end) in enumerate(found):
        if start <= first[2] and first[1] <= end:
            best = max(best, 1 + most_pairs(found[:i] + found[i + 1 :], rest))
    return best


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_slot_errors_pair_as_many_as_there_can_be(data) -> None:
    found, true = (entities(side[0]) for side in pairs_of(data, BIO))
    wrong, missed = ([e for e in a if e not in b] for a, b in ((found, true), (true, found)))
    pairs = most_pairs(wrong, missed)
    assert slot_errors(found, true) == (len(wrong) - pairs, len(missed) - pairs, pairs)


@pytest.mark.parametrize(
    ("found", "true", "intents_found", "intents_true", "wanted"),
    [
        ([["O"]], [["O"]], [0], [0], 0 / 1),
        ([["O"]], [["O"]], [1], [0], 1 / 1),
        ([["B-city", "O"]], [["B-city", "O"]], [0], [0], 0 / 2),
        ([["B-day", "O"]], [["B-city", "O"]], [1], [0], 2 / 2),
        ([["O", "O"]], [["B-city", "B-day"]], [0], [0], 2 / 3),
        # Two sentences: one insertion and a wrong intent over 1; one substitution over 2 slots and an intent.
        (
            [["B-day"], ["B-city", "O", "B-day"]],
            [["O"], ["B-city", "I-city", "B-day"]],
            [2, 1],
            [0, 1],
            3 / 4,
        ),
        ([["B-day", "B-city", "B-day"]], [["O", "O", "O"]], [0], [0], 3 / 1),  # may exceed 1
    ],
)
def test_the_semantic_error_rate_of_cases_worked_by_hand(
    found, true, intents_found, intents_true, wanted
) -> None:
    rate = semantic_error_rate(found, true, intents_found, intents_true, BIO)
    assert rate == pytest.approx(wanted)


def test_the_error_of_domains_passes_over_confusions_within_a_domain() -> None:
    domains = ["music", "music", "weather", "alarm"]
    assert group_error([0, 1, 2, 3], [1, 0, 2, 0], domains) == pytest.approx(1 / 4)
    assert np.isnan(group_error([], [], domains))
    with pytest.raises(dd.BadInputError, match="intent 4 occurs"):
        group_error([4], [0], domains)


def test_metrics_of_intents_and_slots_over_batches_of_different_lengths() -> None:
    task = IntentSlots(BIO)
    # Sentences: right; right intent and a lost slot; wrong intent; wrong intent of another domain, slot made up.
    first_true = {
        "intent": torch.tensor([0, 1]),
        "slots": torch.tensor([[NOTHING, 1, 2, 0], [NOTHING, 3, 0, 1]]),
    }
    first_found = {
        "intent": torch.tensor([0, 1]),
        "slots": torch.tensor([[NOTHING, 1, 2, 0], [NOTHING, 3, 0, 0]]),
    }
    last_true = {"intent": torch.tensor([0, 0]), "slots": torch.tensor([[0, NOTHING], [0, NOTHING]])}
    last_found = {"intent": torch.tensor([1, 2]), "slots": torch.tensor([[0, NOTHING], [3, NOTHING]])}
    found = task.metrics([first_found, last_found], [first_true, last_true], groups=["a", "a", "b"])
    assert found == pytest.approx(
        {
            "accuracy": 1 / 4,
            "full_sequence_accuracy": 1 / 4,
            "intent_accuracy": 2 / 4,
            "slot_f1": 2 * 2 / (3 + 3),
            "semantic_error_rate": (1 + 1 + 1 + 1) / (3 + 4),
            "domain_error": 1 / 4,
        }
    )
    assert "domain_error" not in task.metrics([first_found], [first_true])


def test_metrics_of_words_over_batches_of_different_lengths() -> None:
    task = TokenClassification(BIO)
    true = [torch.tensor([[NOTHING, 1, 2, 3], [NOTHING, 0, 0, NOTHING]]), torch.tensor([[1, NOTHING]])]
    found = [torch.tensor([[NOTHING, 1, 2, 0], [NOTHING, 0, 0, NOTHING]]), torch.tensor([[3, NOTHING]])]
    assert task.metrics([{"tags": tags} for tags in found], true) == pytest.approx(
        {"accuracy": 1 / 3, "token_accuracy": 4 / 6, "token_f1": 2 * 1 / (2 + 3)}
    )


def test_a_test_set_without_any_slot_has_metrics() -> None:
    task = IntentSlots(BIO)
    truth = {"intent": torch.tensor([0, 1]), "slots": torch.tensor([[NOTHING, 0], [NOTHING, NOTHING]])}
    found = task.metrics([{"intent": torch.tensor([0, 0]), "slots": truth["slots"]}], [truth])
    assert (found["slot_f1"], found["semantic_error_rate"], found["accuracy"]) == (1.0, 0.5, 0.5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.05, 0.5]))
def test_metrics_of_label_sets_are_those_of_scikit_learn(seed, density) -> None:
    generator = torch.Generator().manual_seed(seed)
    found, true = (torch.rand(12, 5, generator=generator) < density for _ in range(2))
    batches = [{"labels": found[:7]}, {"labels": found[7:]}]
    metrics = MultiLabel().metrics(batches, [true[:7].float(), true[7:].float()])
    options = {"zero_division": np.nan}
    assert metrics["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(true.numpy(), found.numpy()))
    for average in ("micro", "macro"):
        wanted = sklearn.metrics.f1_score(true.numpy(), found.numpy(), average=average, **options)
        assert metrics[f"{average}_f1"] == pytest.approx(1.0 if np.isnan(wanted) else wanted)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_metrics_of_numbers_are_those_of_scikit_learn_and_scipy(seed, ties) -> None:
    rng = np.random.default_rng(seed)
    true, found = (rng.normal(size=20).astype(np.float32) * 3 + 100 for _ in range(2))
    if ties:
        true, found = true.round(), found.round()
    batches = [{"value": torch.from_numpy(part)} for part in (found[:13], found[13:])]
    truths = [torch.from_numpy(part) for part in (true[:13], true[13:])]
    metrics = Regression(target_scale=3.0).metrics(batches, truths)
    assert metrics == pytest.approx(
        {
            "accuracy": np.mean(np.abs(found.astype(float) - true) <= 1.5),
            "rmse": np.sqrt(sklearn.metrics.mean_squared_error(true, found)),
            "mae": sklearn.metrics.mean_absolute_error(true, found),
            "r2": sklearn.metrics.r2_score(true.astype(float), found.astype(float)),
            "spearman": scipy.stats.spearmanr(found, true).statistic,
        },
        rel=1e-5,
    )


def test_equal_numbers_have_no_rank_correlation_and_no_r2() -> None:
    metrics = Regression().metrics([{"value": torch.zeros(3)}], [torch.ones(3)])
    assert np.isnan(metrics["spearman"]) and np.isnan(metrics["r2"]) and metrics["rmse"] == 1.0


def test_nothing_to_test_gives_nan_and_no_error() -> None:
    for task in (MultiLabel(), Regression(), TokenClassification(BIO), IntentSlots(BIO)):
        assert np.isnan(task.metrics([], [])["accuracy"])


def test_metrics_do_not_depend_on_how_the_test_part_was_batched() -> None:
    generator = torch.Generator().manual_seed(1)
    task = IntentSlots(BIO)
    found, true = (
        {
            "intent": torch.randint(0, 2, (12,), generator=generator),
            "slots": torch.randint(0, 5, (12, 6), generator=generator),
        }
        for _ in range(2)
    )
    whole = task.metrics([found], [true])
    for size in (1, 5):
        starts = range(0, 12, size)
        parts = [[{k: v[i : i + size] for k, v in side.items()} for i in starts] for side in (found, true)]
        assert task.metrics(*parts) == pytest.approx(whole)
    assert len(set(itertools.chain(whole.values()))) > 3
