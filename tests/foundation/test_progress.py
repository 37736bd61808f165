"""Sentences are told to everybody, progress is shown to a person who watches."""

from __future__ import annotations

import io

from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from datadiet.foundation.progress import ProgressDisplay


def test_where_nobody_watches_sentences_are_told_and_nothing_else(capfd) -> None:
    with ProgressDisplay() as display:
        display.plan(10)
        with display.step("work", 10) as advance:
            advance(10)
        display.mention("This is so just now.")
        display.say("A sentence.")
    assert capfd.readouterr() == ("", "A sentence.\n")


def test_a_silent_display_shows_nothing_and_knows_what_was_said(capfd) -> None:
    with ProgressDisplay(enabled=False) as display, display.step("work", 10):
        display.say("A sentence.")
        display.mention("This is so just now.")
    assert capfd.readouterr() == ("", "")
    assert display.said == ["A sentence."]


@given(st.lists(st.text(), max_size=6))
@example(["class ':cat:'", "[red]class[/red]"])
@settings(max_examples=50, deadline=None)
def test_every_sentence_is_said_once_on_one_line_that_no_terminal_obeys(sentences: list[str]) -> None:
    display = ProgressDisplay()
    display.console = Console(file=io.StringIO(), width=20)
    for sentence in [*sentences, *sentences]:
        display.say(sentence)
    assert display.said == list(dict.fromkeys(sentences))
    printed = display.console.file.getvalue()
    assert printed.count("\n") == len(display.said)
    assert all(character.isprintable() for character in printed.replace("\n", ""))
    for sentence, line in zip(display.said, printed.split("\n"), strict=False):
        if sentence.isprintable():
            assert line == sentence


def test_a_sentence_without_end_is_cut_where_it_is_shown_only() -> None:
    display = ProgressDisplay()
    display.console = Console(file=io.StringIO())
    display.say("column, " * 10_000)
    assert display.said == ["column, " * 10_000]
    assert len(display.console.file.getvalue()) < 2_000


def test_a_person_sees_what_is_done_and_how_much_is_left() -> None:
    display = ProgressDisplay(enabled=True)
    display.console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with display:
        display.plan(20, "retraining")
        with display.step("[el2n] hardest", 10, unit="examples/s") as advance:
            advance(4)
            assert display._bars is not None
            texts = {task.description: task.completed for task in display._bars.tasks}
            assert texts == {"retraining": 4, r"\[el2n] hardest": 4}
        display.skip(6)
        assert display._bars.tasks[0].completed == 10
        assert [task.description for task in display._bars.tasks] == ["retraining"]
    assert "left" in display.console.file.getvalue()
