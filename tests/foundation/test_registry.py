"""Things by name: in order, once or the latest, and an unknown name is answered with the nearest."""

from __future__ import annotations

import pytest

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.registry import Registry


@pytest.fixture
def fruit() -> Registry[str]:
    made: Registry[str] = Registry("fruit")
    for name in ("cherry", "apple", "banana"):
        made.add(name, name.upper())
    return made


def test_names_and_cards_come_in_the_order_in_which_they_were_added(fruit: Registry[str]) -> None:
    assert list(fruit) == ["cherry", "apple", "banana"] and len(fruit) == 3
    assert fruit.cards() == ("CHERRY", "APPLE", "BANANA")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("aple", "There is no fruit 'aple'. Did you mean 'apple'?"),
        ("Banana", "There is no fruit 'Banana'. Did you mean 'banana'?"),
        ("xyz", "There is no fruit 'xyz'. Choose from cherry, apple, banana."),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_or_with_all(
    fruit: Registry[str], name: str, words: str
) -> None:
    with pytest.raises(BadInputError) as raised:
        fruit[name]
    assert str(raised.value) == words


def test_a_name_is_looked_for_as_it_is(fruit: Registry[str]) -> None:
    assert "apple" in fruit and "APPLE" not in fruit and 3 not in fruit
    with pytest.raises(BadInputError, match="There is no fruit 3"):
        fruit[3]  # type: ignore[index]


def test_the_latest_card_of_a_name_wins_in_the_place_of_the_first(fruit: Registry[str]) -> None:
    fruit.add("apple", "another")
    assert fruit.cards() == ("CHERRY", "another", "BANANA")


def test_a_name_that_is_to_be_unique_is_refused_a_second_time() -> None:
    once: Registry[int] = Registry("score", unique=True)
    once.add("el2n", 1)
    with pytest.raises(BadInputError, match="A score named 'el2n' exists already; choose another name"):
        once.add("el2n", 2)
    assert once["el2n"] == 1


def test_a_card_can_be_forgotten_and_added_again(fruit: Registry[str]) -> None:
    fruit.forget("apple")
    assert list(fruit) == ["cherry", "banana"]
    with pytest.raises(BadInputError, match="There is no fruit 'apple'"):
        fruit.forget("apple")
    fruit.add("apple", "new")
    assert list(fruit) == ["cherry", "banana", "apple"]
