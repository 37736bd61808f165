"""What duplicates come to: labels that contradict each other, test rows that were trained on, and the sentences."""

from __future__ import annotations

import dataclasses

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datadiet as dd
from datadiet.data.leaks import conflicts, leak_warning, repeat_notes, rows_tested
from datadiet.foundation.errors import BadInputError

TEXTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=12)


def loaded(train: list[tuple[int, int]], test: list[tuple[int, int]]) -> dd.Examples:
    """Texts by number with the classes c0 to c2; rows of contents of their own make all classes known."""
    own = [(100 + index, index % 3) for index in range(6)]
    parts = [
        ([f"text {content}" for content, _ in rows], [f"c{label}" for _, label in rows])
        for rows in ([*train, *own], test)
    ]
    return dd.load(parts[0], test=parts[1])


@settings(max_examples=30, deadline=None)
@given(train=TEXTS, test=TEXTS)
def test_rows_of_one_content_and_several_labels_contradict_each_other(train, test) -> None:
    examples = loaded(train, test)
    labels: dict[int, set[int]] = {}
    for content, label in train:
        labels.setdefault(content, set()).add(label)
    firsts = {content: place for place, (content, _) in reversed(list(enumerate(train)))}
    expected = [(i, firsts[content]) for i, (content, _) in enumerate(train) if len(labels[content]) > 1]
    ids, first = conflicts(examples.train, examples.repeats)
    assert list(zip(ids.tolist(), first.tolist(), strict=True)) == expected
    # Rows that are left, and labels that were changed since.
    half = examples.train.take(np.arange(0, len(examples.train), 2))
    kept = [(i, label) for i, label in enumerate(train) if i % 2 == 0]
    several = {c for c in firsts if len({label for _, (content, label) in kept if content == c}) > 1}
    assert conflicts(half, examples.repeats)[0].tolist() == [i for i, (c, _) in kept if c in several]
    same = dataclasses.replace(examples.train, labels=np.zeros(len(examples.train), np.int64))
    assert not len(conflicts(same, examples.repeats)[0])


@settings(max_examples=30, deadline=None)
@given(train=TEXTS, test=TEXTS)
def test_a_verdict_is_of_the_test_rows_that_are_not_in_the_train_part(train, test) -> None:
    examples = loaded(train, test)
    trained = {content for content, _ in train}
    fresh = [content not in trained for content, _ in test]
    assert rows_tested(examples, "keep") is None
    if all(fresh):
        assert rows_tested(examples, "drop") is None is rows_tested(examples, "error")
        assert leak_warning(examples, None) is None
        return
    with pytest.raises(BadInputError, match=r"cop(y|ies) of a? ?training row"):
        rows_tested(examples, "error")
    if sum(fresh) < 2:
        with pytest.raises(BadInputError, match="say nothing of new data"):
            rows_tested(examples, "drop")
        return
    found = rows_tested(examples, "drop")
    assert found.tolist() == fresh
    said = leak_warning(examples, found)
    assert (
        f"{len(fresh) - sum(fresh)} of {len(test)} test rows" in said and f"other {sum(fresh)} rows" in said
    )
    gone = {label for _, label in test} - {label for (_, label), new in zip(test, fresh, strict=True) if new}
    assert [f"'c{label}'" in said for label in range(3)] == [label in gone for label in range(3)]


def test_what_is_repeated_is_said_with_counts_rows_and_class_names() -> None:
    texts = ["good", "bad", "good", "fine", "good", "mean"]
    examples = dd.load(
        (texts, ["up", "down", "up", "up", "down", "down"]),
        test=(["fine", "new", "mean", "new", "odd"], ["down", "up", "down", "up", "up"]),
    )
    said = [
        "2 training rows repeat an earlier row exactly (the first: row 2 repeats row 0).",
        "3 training rows repeat each other but have different labels (the first: row 0 'up' and row 4 'down').",
        "2 of 5 test rows are exact copies of training rows (1 with another label) "
        "(the first: test row 0 is training row 3).",
        "1 test row repeats an earlier one exactly.",
    ]
    assert list(examples.notes[-4:]) == said == repeat_notes(examples)
    assert repeat_notes(dd.load((["a", "b", "c", "d"], [0, 1, 0, 1]), test=(["e"], [0]))) == []


@pytest.mark.parametrize(
    ("task", "columns", "said"),
    [
        ("regression", {"x": [1.0, 1.0, 2.0, 2.0, 3.0, 4.0], "y": [0.0, -0.0, 1.0, 1.5, 2.0, 3.0]}, "numbers"),
        ("multilabel", {"x": [1.0, 1.0, 2.0, 2.0, 3.0, 3.0], "y": [["a"], ["a"], ["a"], ["a", "b"], [], []]}, "labels"),
        (
            "token_classification",
            {"x": ["a b", "a b", "c d", "c d", "e", "f"], "y": ["O X", "O X", "O X", "X O", "O", "X"]},
            "tags",
        ),
        (
            "intent_slots",
            {
                "x": ["a b", "a b", "c d", "c d", "e", "f"],
                "y": ["O X", "O X", "O X", "X O", "O", "X"],
                "intent": ["i", "i", "i", "i", "j", "j"],
            },
            "intents or tags",
        ),
    ],
)  # fmt: skip
def test_other_tasks_contradict_in_their_targets(task, columns, said) -> None:
    roles = {
        "regression": {"label": "y"},
        "multilabel": {"label": "y"},
        "token_classification": {"tags": "y"},
    }
    options = roles.get(task, {"tags": "y", "label": "intent"})
    rows = datasets.Dataset.from_dict(columns)
    tests = datasets.Dataset.from_dict({name: values[4:] for name, values in columns.items()})
    examples = dd.load(rows, input="x", task=task, test=tests, **options)
    ids, first = conflicts(examples.train, examples.repeats)
    assert ids.tolist() == [2, 3] and first.tolist() == [2, 2]
    assert f"2 training rows repeat each other but have different {said} (the first: row 2" in " ".join(
        examples.notes
    )


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadInputError, match="on_leak is 'delete'"):
        rows_tested(loaded([(0, 0)], [(0, 0), (1, 1), (2, 2)]), "delete")


def test_rows_held_out_by_us_that_all_repeat_are_refused_with_what_can_be_done() -> None:
    examples = dd.load((["a", "b"] * 20, [0, 1] * 20))
    with pytest.raises(BadInputError, match="remove the repeated rows, or give a test part with --test"):
        rows_tested(examples, "drop")
