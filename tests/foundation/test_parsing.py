"""What is read from outside: any text is a value of known types or one sentence, and types are held to annotations."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from typing_extensions import NotRequired, TypedDict

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import key_values, numbers
from datadiet.foundation.parsing import misfit, parse_json, parse_yaml, require, shown
from mutations import altered, check_each, damaged

DEEP = 100_000


class Facts(TypedDict):
    seeds: list[int]
    name: NotRequired[str | None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * DEEP + "]" * DEEP, "nested"),
        ('{"a":' * 200 + "1" + "}" * 200, "nested"),
        ('{"a": 1, "a": 2}', "'a' stands more than once"),
        ("[1e999]", "no number"),
        ("[NaN]", "no number"),
        ("[" + "1" * 5000 + "]", "too many digits"),
        ("", "Expecting value"),
        (b"\xff\xfe\x00", "decode"),
    ],
)
def test_json_that_is_refused(text, words):
    with pytest.raises(BadInputError, match=f"^It cannot be read as JSON: .*{words}"):
        parse_json(text, "It")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * DEEP, "nested"),
        ("a: " + "[" * 150 + "]" * 150, "nested"),
        ("a: &a [*a]", "nested"),
        ("a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "\n".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 10)}]" for n in range(8)
        ), "too many values"),
        ("a: 1\na: 2", "'a' stands more than once"),
        ("!!python/object/apply:os.system [true]", "not YAML at line 1"),
        ("a: [1", "not YAML at line"),
        ("a: 2020-13-45", "month"),
        ("? [1]\n: 2", "not YAML"),
        ("a: " + "1" * 5000, "digits"),
    ],
)  # fmt: skip
def test_yaml_that_is_refused(text, words):
    with pytest.raises(BadInputError, match=f"^It is not YAML.*{words}|^It is {words}"):
        parse_yaml(text, "It")


def test_yaml_may_name_a_part_again():
    assert parse_yaml("a: &a [1, 2]\nb: *a", "It") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3, int), (np.int32(3), int), (0.5, float), (3, float), (np.float32(0.5), float), (True, bool), (-0.0, float),
        ("a", str), (None, str | None), ([1, 2], list[int]), (np.arange(3), list[int]), ((1.0,), list[float]),
        ({"a": 1}, dict[str, int]), ({"seeds": [1], "more": object()}, Facts), (object(), object),
    ],
)  # fmt: skip
def test_values_that_fit(value, kind):
    assert misfit(value, kind, "x") is None and require(value, kind, "x") is value


@pytest.mark.parametrize(
    ("value", "kind", "sentence"),
    [
        (True, int, "x is True; it must be a whole number."),
        (2**70, int, "x is 1180591620717411303424; it must be a whole number."),
        (3.0, int, "x is 3; it must be a whole number."),
        (float("nan"), float, "x is nan; it must be a number."),
        (10**400, float, "it must be a number."),
        ("3", int | None, "x is '3'; it must be a whole number."),
        (3, list[int], "x is 3; it must be a list of whole numbers."),
        ([1, "2"], list[int], "x is '2' in place 1; it must be a whole number."),
        ({1: 2}, dict[str, int], "x has the key 1; a key must be text."),
        ({"a": None}, dict[str, int], "x.a is None; it must be a whole number."),
        ({"name": "a"}, Facts, "x has no 'seeds'."),
        ({"seeds": [], "name": 3}, Facts, "x.name is 3; it must be text."),
        ([], Facts, "x is []; it must be a mapping."),
    ],
)
def test_values_that_do_not_fit(value, kind, sentence):
    with pytest.raises(BadInputError) as refused:
        require(value, kind, "x")
    assert str(refused.value).endswith(sentence)


def test_a_value_that_cannot_be_written_is_shown_all_the_same():
    loop: list[object] = []
    loop.append(loop)
    assert all(len(shown(value)) < 100 for value in (10**5000, loop, "x" * 1000, np.zeros(9999)))


@pytest.mark.parametrize(
    "text", ["x=.inf", "x=2020-01-01", "x=!!binary aGk=", "x=[", "x=1" + "0" * 400, "x=[.nan]", "x"]
)
def test_options_in_pairs_are_plain_values(text):
    with pytest.raises(BadInputError, match="--rule-option"):
        key_values([text], "rule-option", example="x=1")


@pytest.mark.parametrize("text", ["nan", "1e999", "-inf", "9" * 400, "a", "1,,x"])
def test_lists_of_numbers_are_finite(text):
    with pytest.raises(BadInputError, match="--keep takes numbers"):
        numbers(text, "keep")


def read_any(form: bytes):
    text = form.decode("utf-8", "replace")
    return parse_yaml(text, "It")


def check_texts(count):
    value = {"seeds": [1, 2], "name": "a", "more": {"x": [1.5, None, True]}}
    check_each(damaged(json.dumps(value).encode(), count, seed=1), lambda form: parse_json(form, "It"))
    check_each(damaged(yaml.safe_dump(value).encode() * 2, count, seed=2), read_any)
    check_each(altered(value, count, seed=3), lambda form: require(form, Facts, "it"))


def test_damaged_texts():
    check_texts(40)


@pytest.mark.slow
def test_texts_damaged_in_two_thousand_ways():
    check_texts(2000)
