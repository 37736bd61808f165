"""Decisions about suspected examples: the file, what it may hold, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import datadiet as dd
from datadiet.jobs.decisions import CHOICES, Decisions
from mutations import altered, check_each, damaged


def as_file(**changes: Any) -> dict[str, Any]:
    return {
        "format": "datadiet-decisions",
        "version": 1,
        "fingerprint": "f",
        "class_names": ["cat", "dog"],
        "decisions": {
            "7": {"decision": "keep"},
            "10": {"decision": "drop"},
            "2": {"decision": "relabel", "label": "dog"},
        },
    } | changes


def test_the_three_decisions_are_read(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(json.dumps(as_file()))
    decisions = Decisions.read(tmp_path / "d.json")
    assert (decisions.kept.tolist(), decisions.dropped.tolist(), decisions.relabelled.tolist()) == (
        [7],
        [10],
        [2],
    )
    assert decisions.new_classes(("dog", "cat")) == {2: 0}
    decisions.check_data("f")
    with pytest.raises(dd.BadInputError, match="other data"):
        decisions.check_data("g")


IDS_DECIDED = st.dictionaries(st.integers(0, 2**62), st.sampled_from(CHOICES))


def test_the_same_id_in_both_parts_is_two_examples() -> None:
    one, other = {"decision": "drop"}, {"decision": "relabel", "label": "cat"}
    decisions = Decisions.from_dict(as_file(decisions={"3": one, "test:3": other}))
    assert (decisions.dropped.tolist(), decisions.relabelled.tolist()) == ([3], [])
    test = decisions.of_test()
    assert (test.dropped.tolist(), test.new_classes(("cat", "dog"))) == ([], {3: 0})


@given(IDS_DECIDED, IDS_DECIDED)
def test_what_is_written_is_what_is_read(choices: dict[int, str], test_choices: dict[int, str]) -> None:
    labels, test_labels = (
        {id_: name for id_, choice in made.items() if choice == "relabel"}
        for name, made in (("dog", choices), ("cat", test_choices))
    )
    decisions = Decisions(choices, labels, ("cat", "dog"), "f", test_choices, test_labels)
    assert len(decisions) == len(choices) + len(test_choices) == len(decisions.as_dict()["decisions"])
    assert Decisions.from_dict(json.loads(json.dumps(decisions.as_dict()))) == decisions


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "x"}, "no file of decisions"),
        ({"version": 2}, "version is 2"),
        ({"class_names": "cat"}, "class_names"),
        ({"fingerprint": 3}, "fingerprint"),
        ({"decisions": []}, "'decisions' is no object"),
        ({"decisions": {"-1": {"decision": "keep"}}}, "'-1' is no id"),
        ({"decisions": {"01": {"decision": "keep"}}}, "'01' is no id"),
        ({"decisions": {"9" * 19: {"decision": "keep"}}}, "no id"),
        ({"decisions": {"test:01": {"decision": "keep"}}}, "'test:01' is no id"),
        ({"decisions": {"train:1": {"decision": "keep"}}}, "'train:1' is no id"),
        ({"decisions": {"test:1": {"decision": "burn"}}}, "Example test:1 has the decision 'burn'"),
        ({"decisions": {"1": "keep"}}, "example 1 has no 'decision'"),
        ({"decisions": {"1": {"decision": "burn"}}}, "Example 1 has the decision 'burn'"),
        ({"decisions": {"1": {"decision": "relabel"}}}, "without a label"),
        ({"decisions": {"1": {"decision": "relabel", "label": 3}}}, "without a label"),
        ({"decisions": {"1": {"decision": "relabel", "label": "newt"}}}, "'newt', which is no class"),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    (tmp_path / "d.json").write_text(json.dumps(as_file(**changes)))
    with pytest.raises(dd.BadInputError, match=words) as error:
        Decisions.read(tmp_path / "d.json")
    assert "d.json" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b'{"format": 1, "format": 2}'])
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.json").write_bytes(content)
    with pytest.raises(dd.BadInputError, match="cannot be used"):
        Decisions.read(tmp_path / "d.json")
    with pytest.raises(dd.BadInputError, match="no decisions file"):
        Decisions.read(tmp_path / "none.json")


def test_one_id_twice_is_refused(tmp_path: Path) -> None:
    text = json.dumps(as_file()).replace('"10":', '"7":')
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(dd.BadInputError, match="'7' stands more than once"):
        Decisions.read(tmp_path / "d.json")


def check_files(tmp_path, count):
    path = tmp_path / "decisions.json"
    Decisions({3: "drop", 8: "relabel", 9: "keep"}, {8: "cat"}, ("cat", "dog"), "f" * 32).write(path)
    content = path.read_bytes()

    def read(form):
        path.write_bytes(form if isinstance(form, bytes) else json.dumps(form).encode())
        return Decisions.read(path)

    check_each(damaged(content, count, seed=1), read)
    check_each(altered(json.loads(content), count, seed=2), read)
    check_each([b"[" * 100_000, b'{"a":' * 100_000], read)


def test_damaged_decisions(tmp_path):
    check_files(tmp_path, 40)


@pytest.mark.slow
def test_decisions_damaged_in_two_thousand_ways(tmp_path):
    check_files(tmp_path, 2000)
