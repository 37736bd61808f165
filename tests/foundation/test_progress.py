"""Progress: shown to a person, silent otherwise."""

from __future__ import annotations

import io

from rich.console import Console

from datadiet.foundation.progress import ProgressDisplay


def test_nothing_is_printed_where_nobody_watches(capfd) -> None:
    with ProgressDisplay() as display:
        display.plan(10)
        with display.step("work", 10) as advance:
            advance(10)
        display.say("a sentence")
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


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
