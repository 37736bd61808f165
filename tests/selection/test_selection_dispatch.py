"""What holds for every rule: exact sizes, invariance to row order, groups, and refusals."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datadiet.foundation.errors import BadInputError, RunFailedError
from datadiet.selection import (
    RULES,
    emptied_classes,
    kept_size,
    rule_card,
    rule_cards,
    select,
    selection_rule,
)
from datadiet.selection.sizes import equal_quotas, proportional_quotas

PLACED = {"embeddings": np.ones((3, 2)), "labels": [0, 0, 1]}
QUICK = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def some_data(n, classes, skew, seed=0):
    """Ids with gaps, scores with ties, skewed labels (each class at least once), embeddings, confidence."""
    generator = np.random.default_rng(seed)
    shares = skew ** np.arange(classes)
    labels = np.concatenate(
        [np.arange(classes), generator.choice(classes, n - classes, p=shares / shares.sum())]
    )
    return {
        "ids": np.sort(generator.choice(10 * n, n, replace=False)).astype(np.int64),
        "hardness": generator.integers(0, 12, n) / 12.0,
        "labels": generator.permutation(labels),
        "embeddings": generator.standard_normal((n, 4)),
        "extra": {"confidence": generator.random(n)},
    }


@pytest.mark.parametrize("rule", RULES)
@QUICK
@given(
    n=st.integers(6, 60),
    classes=st.integers(1, 6),
    skew=st.sampled_from([1.0, 0.5, 0.1]),
    keep=st.sampled_from([0.1, 0.3, 0.35, 0.5, 0.7, 0.99, 1.0, 1]),
    form=st.sampled_from(["plain", "per_class", "balance", "floor"]),
)
def test_every_rule_keeps_exactly_the_asked_number_in_every_form(rule, n, classes, skew, keep, form):
    data = some_data(n, classes, skew)
    forms = {
        "plain": {},
        "per_class": {"per_class": True, "allow_empty_class": True},
        "balance": {"balance": "class", "allow_empty_class": True},
        "floor": {"floor": 1},
    }
    size = kept_size(n, keep)
    if form == "floor" and size < classes:
        with pytest.raises(BadInputError, match="add up to"):
            select(**data, keep=keep, rule=rule, floor=1)
        return
    kept = select(**data, keep=keep, rule=rule, **forms[form])
    assert kept.dtype == np.int64
    assert len(kept) == size
    assert (np.diff(kept) > 0).all()
    assert np.isin(kept, data["ids"]).all()
    counts = np.bincount(data["labels"][np.isin(data["ids"], kept)], minlength=classes)
    sizes = np.bincount(data["labels"], minlength=classes)
    if form == "per_class":
        assert counts.tolist() == proportional_quotas(sizes, size).tolist()
    elif form == "balance":
        assert counts.tolist() == equal_quotas(sizes, size).tolist()
    elif form == "floor":
        assert (counts >= 1).all()


@pytest.mark.parametrize(
    "options",
    [
        {"rule": "d2", "form": "code"},
        {"rule": "d2", "form": "code", "beta": 0.1, "drop_by": "confidence", "strata": 3},
        {"rule": "moderate", "centre": "median", "window": "ranks"},
        {"rule": "prototypes", "restarts": 2},
        {"rule": "stratified", "beta": 0.1, "drop_by": "confidence"},
    ],
)
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("form", [{}, {"per_class": True}])
def test_options_keep_exactly_the_asked_number_in_every_form(options, keep, form):
    data = some_data(50, 3, 0.5)
    kept = select(**data, keep=keep, **options, **form)
    assert len(kept) == kept_size(50, keep) == len(np.unique(kept))
    shuffled = np.random.default_rng(1).permutation(50)
    turned = {name: values[shuffled] for name, values in data.items() if name != "extra"}
    turned["extra"] = {"confidence": data["extra"]["confidence"][shuffled]}
    assert select(**turned, keep=keep, **options, **form).tolist() == kept.tolist()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", [{}, {"per_class": True}, {"balance": "class"}, {"floor": 2}])
def test_the_order_of_the_rows_does_not_matter(rule, form):
    data = some_data(80, 3, 0.6)
    order = np.random.default_rng(5).permutation(80)
    shuffled = {name: column[order] for name, column in data.items() if name != "extra"}
    shuffled["extra"] = {name: column[order] for name, column in data["extra"].items()}
    straight = select(**data, keep=0.4, rule=rule, seed=3, **form)
    assert straight.tolist() == select(**shuffled, keep=0.4, rule=rule, seed=3, **form).tolist()


@pytest.mark.parametrize("rule", ["random", "stratified", "dual"])
def test_another_seed_draws_other_examples_and_the_same_seed_the_same(rule):
    data = some_data(200, 2, 1.0)
    one, again, other = (select(**data, keep=0.3, rule=rule, seed=seed) for seed in (1, 1, 2))
    assert one.tolist() == again.tolist()
    assert one.tolist() != other.tolist()


def test_two_rules_do_not_share_a_random_stream():
    # With all scores equal, stratified draws uniformly too, yet it must not repeat the baseline's examples.
    ids = np.arange(100)
    flat = select(ids, np.zeros(100), 0.6, rule="stratified", seed=0)
    assert flat.tolist() != select(ids, None, 0.6, rule="random", seed=0).tolist()


def test_the_global_random_state_is_left_alone():
    np.random.seed(7)  # noqa: NPY002 - the global state is what is under test
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for rule in RULES:
        select(**some_data(30, 2, 1.0), keep=0.5, rule=rule)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_balance_uses_every_classes_own_count_and_keeps_the_direction_of_the_score():
    labels = np.array([0] * 50 + [1] * 20 + [2] * 4)
    hardness = np.random.default_rng(0).random(74)
    kept = select(np.arange(74), hardness, 24, labels=labels, balance="class")
    for label, quota in enumerate((10, 10, 4)):
        rows = np.flatnonzero(labels == label)
        wanted = rows[np.argsort(-hardness[rows])[:quota]]
        assert set(kept[labels[kept] == label]) == set(wanted)


def test_keep_is_what_stays_and_not_what_goes():
    assert select(np.arange(10), np.arange(10.0), 0.2).tolist() == [8, 9]
    assert select(np.arange(10), np.arange(10.0), 0.2, rule="easiest").tolist() == [0, 1]


def test_large_ids_come_back_unrounded():
    ids = np.array([2**53 + 1, 2**53 + 3, 5], dtype=np.int64)
    assert select(ids, [0.3, 0.2, 0.1], 2).tolist() == [2**53 + 1, 2**53 + 3]


def test_a_floor_takes_only_what_it_needs_from_the_rest():
    # The hardest five are all of group a; b must keep two: its own two hardest; a keeps its three hardest.
    hardness = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.1, 0.3, 0.2])
    groups = np.array(list("aaaaabbb"))
    assert select(np.arange(8), hardness, 5, groups=groups, floor=2).tolist() == [0, 1, 2, 6, 7]


def test_a_group_above_its_floor_is_chosen_together_with_the_others():
    hardness = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.1, 0.0])
    groups = np.array(list("aabbaacc"))
    # Plain hardest five: 0-4; c gets its floor of one (id 6), the other four stay the hardest of a and b
    # together.
    assert select(np.arange(8), hardness, 5, groups=groups, floor=1).tolist() == [0, 1, 2, 3, 6]


def test_a_floor_as_a_fraction_is_rounded_up_for_each_group():
    labels = np.array([0] * 10 + [1] * 5)
    kept = select(np.arange(15), np.r_[np.ones(10), np.zeros(5)], 6, labels=labels, floor=0.3)
    assert np.bincount(labels[kept]).tolist() == [4, 2]


def test_quotas_with_a_floor_raise_the_small_classes():
    labels = np.array([0] * 90 + [1] * 8 + [2] * 2)
    kept = select(
        np.arange(100), np.random.default_rng(0).random(100), 0.2, labels=labels, per_class=True, floor=2
    )
    # 20 stay: 18, 1.6 -> 2 (rounded), 0.4 -> 0 -> raised to 2.
    assert np.bincount(labels[kept]).tolist() == [16, 2, 2]


def test_balance_by_group_gives_groups_equal_counts():
    groups = np.array(["x"] * 30 + ["y"] * 10)
    kept = select(np.arange(40), np.arange(40.0), 12, groups=groups, balance="group")
    assert kept.tolist() == [24, 25, 26, 27, 28, 29, 34, 35, 36, 37, 38, 39]


def test_a_class_left_empty_is_an_error_unless_allowed():
    labels = np.array([0] * 97 + [1] * 3)
    with pytest.raises(BadInputError, match=r"leaves 1 of 2 classes empty \(1\)"):
        select(np.arange(100), np.arange(100.0), 0.1, labels=labels, per_class=True)
    kept = select(
        np.arange(100), np.arange(100.0), 0.1, labels=labels, per_class=True, allow_empty_class=True
    )
    assert emptied_classes(np.arange(100), labels, kept) == [1]


def test_a_global_rule_that_empties_a_class_reports_it_on_request():
    kept = select([0, 1, 2], [0.9, 0.8, 0.1], 2, labels=["cat", "dog", "eel"])
    assert emptied_classes([0, 1, 2], ["cat", "dog", "eel"], kept) == ["eel"]
    assert emptied_classes([0, 1, 2], ["cat", "dog", "dog"], kept) == []


GOOD = {"ids": [3, 4, 5], "hardness": [0.1, 0.2, 0.3], "keep": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hardness": [0.1, np.nan, np.nan]}, r"NaN for 2 examples \(ids 4, 5\)"),
        ({"hardness": None}, "needs scores"),
        ({"hardness": [0.1, 0.2]}, "3 ids, but hardness has 2 rows"),
        ({"hardness": [[0.1], [0.2], [0.3]]}, r"shape \(3, 1\)"),
        ({"hardness": ["a", "b", "c"]}, "give real numbers"),
        ({"ids": [3, 4, 3]}, r"1 ids come more than once \(3\)"),
        ({"ids": [3.0, 4.0, 5.0]}, "give integers"),
        ({"ids": [[3, 4, 5]]}, "one id an example"),
        ({"ids": []}, "no examples"),
        ({"keep": 0.0}, "keep is 0.0"),
        ({"keep": 4}, "count from 1 to 3"),
        ({"rule": "hardst"}, "Did you mean 'hardest'"),
        ({"rule": "tdds"}, "is a score, not a rule"),
        ({"start": 0.1}, "no option 'start'"),
        ({"per_class": True}, "pass labels"),
        ({"per_class": True, "balance": "class", "labels": [0, 0, 1]}, "choose one"),
        ({"balance": "classes", "labels": [0, 0, 1]}, "balance is 'classes'"),
        ({"balance": "group"}, "pass groups"),
        ({"floor": 1}, "pass groups, or labels"),
        ({"floor": 2, "labels": [0, 0, 1]}, "class 1 has 1 examples"),
        ({"floor": 1, "labels": [0, 1, 2]}, "add up to 3, but only 2"),
        ({"floor": -1, "labels": [0, 0, 1]}, "floor is -1"),
        ({"floor": 1.5, "labels": [0, 0, 1]}, "floor is 1.5"),
        ({"floor": 1, "labels": [0, 0, 1], "groups": [0, 1, 1], "per_class": True}, "two ways at once"),
        ({"labels": [0, 1]}, "labels has 2 rows"),
        ({"labels": [0.0, np.nan, 1.0], "per_class": True}, "is NaN"),
        ({"labels": np.array([1, "a", None], dtype=object), "per_class": True}, "cannot be sorted"),
        ({"rule": "d2"}, "needs embeddings"),
        ({"rule": "d2", "embeddings": np.full((3, 2), np.inf)}, "NaN or infinite for 3 examples"),
        ({"rule": "kcenter", "embeddings": [1.0, 2.0, 3.0]}, r"give \(examples, dimensions\)"),
        ({"rule": "moderate", "embeddings": np.ones((3, 2))}, "needs labels"),
        ({"rule": "dual"}, "needs 'confidence' of every example"),
        ({"rule": "dual", "extra": {"confidence": [0.1, 1.2, 0.3]}}, "confidence is 1.2 for id 4"),
        ({"rule": "dual", "extra": {"confidence": [0.1, 0.2, 0.3]}, "c_d": 0}, "c_d is 0"),
        ({"rule": "stratified", "beta": 0.9}, "beta=0.9 drops 3 of 3"),
        ({"rule": "stratified", "beta": 1.0}, "beta is 1.0"),
        ({"rule": "stratified", "strata": 0}, "strata is 0"),
        ({"rule": "window", "start": 0.9}, "does not fit"),
        ({"rule": "window", "start": -0.1}, "start is -0.1"),
        ({"rule": "window", "end": 0.3}, "does not fit"),
        ({"rule": "window", "start": 0.0, "end": 0.1}, "set keep to 0.1"),
        ({"rule": "prototypes", "embeddings": np.ones((3, 2)), "end": "both"}, "end is 'both'"),
        ({"rule": "prototypes", "embeddings": np.ones((3, 2)), "clusters": 0}, "clusters is 0"),
        ({"rule": "kcenter", "embeddings": np.ones((3, 2)), "part": 1}, "part is 1"),
        ({"rule": "d2", "embeddings": np.ones((3, 2)), "neighbours": 0}, "at least one"),
        ({"rule": "d2", "embeddings": np.ones((3, 2)), "search": "magic"}, "search is 'magic'"),
        ({"rule": "d2", "embeddings": np.ones((3, 2)), "gamma_reverse": -1.0}, "gamma_reverse is -1.0"),
        ({"rule": "d2", "embeddings": np.ones((3, 2)), "form": "code", "beta": 0.9}, "beta=0.9 drops 3 of 3"),
        ({"rule": "d2", "embeddings": np.ones((3, 2)), "form": "released"}, "form is 'released'"),
        ({"rule": "stratified", "drop_by": "aum"}, "needs 'aum' of every example"),
        ({"rule": "stratified", "drop_by": "aum", "extra": {"aum": [0.1, np.nan, 0.2]}}, "aum is NaN"),
        ({"rule": "moderate", **PLACED, "window": "middle"}, "window is 'middle'"),
        ({"rule": "moderate", **PLACED, "centre": "mode"}, "centre is 'mode'"),
        ({"rule": "prototypes", "embeddings": np.ones((3, 2)), "restarts": 0}, "restarts is 0"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_that_says_where(change, message):
    with pytest.raises(BadInputError, match=message):
        select(**{**GOOD, **change})


def test_columns_that_a_rule_does_not_need_are_not_looked_at():
    assert (
        len(select(np.arange(4), [np.nan] * 4, 2, rule="random", embeddings="nothing", extra={"x": 1})) == 2
    )


def test_a_rule_of_ones_own_gets_every_form_and_is_held_to_the_size():
    @selection_rule("lowest_id", needs=(), when="-", fails="-", source="-", options={"less": "returns fewer"})
    def lowest_id(pool, size, generator, *, less=0):
        return np.arange(size - less)

    try:
        labels = [0, 0, 0, 1, 1, 1]
        assert select(np.arange(6), None, 2, rule="lowest_id", labels=labels, per_class=True).tolist() == [
            0,
            3,
        ]
        with pytest.raises(RunFailedError, match="returned 1 rows"):
            select(np.arange(6), None, 2, rule="lowest_id", less=1)
    finally:
        RULES.forget("lowest_id")
    with pytest.raises(BadInputError, match="There is no rule"):
        rule_card("lowest_id")


def test_a_rule_whose_card_and_options_differ_cannot_be_registered():
    with pytest.raises(BadInputError, match="make them the same"):

        @selection_rule("wrong", when="-", fails="-", source="-", options={"a": "-"})
        def wrong(pool, size, generator, *, b=1):
            return np.arange(size)

    with pytest.raises(BadInputError, match="which nobody knows"):
        selection_rule("wrong", needs=("money",), when="-", fails="-", source="-")


def test_every_card_says_when_to_use_the_rule_and_when_it_fails():
    assert set(RULES) >= {
        *("hardest", "easiest", "window", "random", "stratified", "dual"),
        *("moderate", "d2", "prototypes", "kcenter", "herding", "auto"),
    }
    for card in rule_cards():
        assert len(card.when) > 20 and len(card.fails) > 20 and card.source
        assert ("trace" in card.needs) == bool(card.extra)
