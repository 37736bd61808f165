"""No class vanishes: floors of classes under every form of quota, against a slow count."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.foundation.errors import BadInputError
from datadiet.selection import choose, kept_size, select
from datadiet.selection.sizes import FEW_OF_A_CLASS

RULES = ("hardest", "easiest", "random", "stratified", "auto")


def unequal(seed: int = 0, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, classes of very different sizes whose rare ones are the easiest, and groups across them."""
    generator = np.random.default_rng(seed)
    labels = np.minimum(generator.geometric(0.25, n) - 1, 12)
    labels[:13] = np.arange(13)
    return generator.random(n) - 0.2 * labels, labels, generator.integers(0, 3, n)


def least(labels: np.ndarray, size: int) -> dict[int, int]:
    counts = {int(name): int((labels == name).sum()) for name in np.unique(labels)}
    few = {name: min(FEW_OF_A_CLASS, -(-size * count // len(labels))) for name, count in counts.items()}
    return few if sum(few.values()) <= size else dict.fromkeys(few, 1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("keep", [0.9, 0.5, 0.1, 0.04])
@pytest.mark.parametrize("form", [{}, {"per_class": True}, {"balance": "class"}, {"balance": "group"}])
def test_every_class_keeps_a_few_or_its_share(rule: str, keep: float, form: dict) -> None:
    scores, labels, groups = unequal()
    told = {"rule": rule, "labels": labels, "groups": groups if "group" in form.values() else None, **form}
    ids = select(np.arange(400), scores, keep, keep_classes=True, **told)
    assert len(ids) == kept_size(400, keep) and len(np.unique(ids)) == len(ids)
    stay = np.bincount(labels[ids], minlength=13)
    assert all(stay[name] >= few for name, few in least(labels, len(ids)).items())
    if form == {"balance": "group"}:
        plain = select(np.arange(400), scores, keep, **told)
        assert np.bincount(groups[ids]).tolist() == np.bincount(groups[plain]).tolist()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", [{}, {"per_class": True}])
def test_nothing_changes_where_no_class_is_short(rule: str, form: dict) -> None:
    generator = np.random.default_rng(1)
    scores, labels = generator.random(300), np.arange(300) % 3
    told = {"rule": rule, "labels": labels, **form}
    chosen = choose(np.arange(300), scores, 0.4, keep_classes=True, **told)
    np.testing.assert_array_equal(chosen.ids, select(np.arange(300), scores, 0.4, **told))
    assert not chosen.by_floor and str(chosen) == ""


def test_what_stays_for_its_class_is_counted_and_is_the_rule_s_choice() -> None:
    labels = np.repeat(["big", "rare"], [90, 10])
    scores = np.arange(100.0)[::-1]  # the rare class is the easiest
    chosen = choose(np.arange(100), scores, 0.5, labels=labels, rule="hardest", keep_classes=True)
    assert dict(chosen.by_floor) == {"rare": 5}
    assert chosen.ids.tolist() == [*range(45), *range(90, 95)]
    assert str(chosen) == "5 examples of 1 class (rare) stay because no class is to be lost."


def test_only_what_the_rule_would_not_have_kept_is_counted() -> None:
    labels = np.repeat(["big", "rare"], [90, 10])
    scores = np.arange(100.0)[::-1]
    scores[90:92] = 200  # two of the rare class are the hardest of all
    chosen = choose(np.arange(100), scores, 0.5, labels=labels, rule="hardest", keep_classes=True)
    assert dict(chosen.by_floor) == {"rare": 3}
    assert chosen.ids.tolist() == [*range(45), *range(90, 95)]


def test_floors_of_groups_and_few_of_each_class_hold_together() -> None:
    scores, labels, groups = unequal(3)
    ids = select(
        np.arange(400), scores, 60, labels=labels, groups=groups, floor=15, rule="hardest", keep_classes=True
    )
    assert len(ids) == 60 and np.bincount(groups[ids]).min() >= 15
    stay = np.bincount(labels[ids], minlength=13)
    assert all(stay[name] >= few for name, few in least(labels, 60).items())


def test_a_floor_that_is_asked_for_is_the_floor_and_at_least_one() -> None:
    scores, labels, _ = unequal(2)
    for floor in (0, 1, 0.0):
        ids = select(
            np.arange(400), scores, 40, labels=labels, floor=floor, rule="hardest", keep_classes=True
        )
        assert np.bincount(labels[ids], minlength=13).min() == 1


def test_fewer_examples_than_classes_are_refused() -> None:
    scores, labels, _ = unequal()
    with pytest.raises(BadInputError, match="leaves some of the 13 classes empty: keep more"):
        select(np.arange(400), scores, 12, labels=labels, keep_classes=True)
    with pytest.raises(BadInputError, match="keep_classes needs the class"):
        select(np.arange(400), scores, 12, keep_classes=True)


def test_a_group_that_cannot_give_keeps_what_it_has() -> None:
    """Two groups with a class of their own and one kept example each: neither class can have more."""
    labels, groups = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
    told = {"labels": labels, "groups": groups, "balance": "group", "rule": "hardest"}
    assert select(range(4), [4, 3, 2, 1], 2, keep_classes=True, **told).tolist() == [0, 2]
