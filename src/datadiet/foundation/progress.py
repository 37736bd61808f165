"""What long work tells on standard error: sentences that stay, and on a terminal how far it is and the time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int], None]  # moves the bar of a step by an amount
_LONGEST_LINE = 1_000  # a sentence that names a thousand columns is whole only in `said`


class ProgressDisplay:
    """Sentences, one bar for the whole of the work and one for the step at hand.

    Args:
        enabled: None for sentences, and bars when standard error is a terminal; True for both; False for neither.
        wording: from a sentence to what is printed of it; None for itself.

    Attributes:
        said: every sentence that was said, once, in order; also where none is shown.
        passing: those of `said` that are of this one time, and no part of what results say.

    Example:
        >>> with ProgressDisplay(enabled=False) as display, display.step("count", 3) as advance:
        ...     for _ in range(3):
        ...         advance(1)
        ...     display.say("There are three.")
        >>> display.said
        ['There are three.']
    """

    def __init__(self, enabled: bool | None = None, *, wording: Callable[[str], str] | None = None) -> None:
        self._wording = wording
        self.console = Console(stderr=True)
        self.said: list[str] = []
        self.passing: set[str] = set()
        self.silent = enabled is False
        self.enabled = sys.stderr.isatty() if enabled is None else enabled
        self._bars: Progress | None = None
        self._whole: TaskID | None = None

    def __enter__(self) -> ProgressDisplay:
        if self.enabled:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            self._bars = Progress(*columns, console=self.console, transient=True)
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = self._whole = None

    def plan(self, total: int, description: str = "all") -> None:
        """Announce the size of the whole work, in the unit that the steps advance by."""
        if self._bars is not None:
            if self._whole is not None:
                self._bars.remove_task(self._whole)
            self._whole = self._bars.add_task(escape(description), total=total, rate="")

    def skip(self, amount: int) -> None:
        """Count work that turned out to be done already."""
        if self._bars is not None and self._whole is not None:
            self._bars.advance(self._whole, amount)

    @contextmanager
    def step(self, description: str, total: int, *, done: int = 0, unit: str = "") -> Iterator[Advance]:
        """A bar for one step; inside, call `advance(amount)`, which moves the bar of the whole as well.

        `unit` adds a rate, as in "examples/s".
        """
        bars, whole = self._bars, self._whole
        task = (
            None if bars is None else bars.add_task(escape(description), total=total, completed=done, rate="")
        )

        def advance(amount: int) -> None:
            if bars is None or task is None:
                return
            bars.advance(task, amount)
            speed = bars.tasks[bars.task_ids.index(task)].speed
            if unit and speed:
                bars.update(task, rate=f"{speed:,.0f} {unit}")
            if whole is not None:
                bars.advance(whole, amount)

        try:
            yield advance
        finally:
            if bars is not None and task is not None:
                bars.remove_task(task)

    def say(self, sentence: str, *, passing: bool = False) -> None:
        """Say once what is true of the data or the result: a line on standard error that stays, and one of `said`.

        Args:
            sentence: for people.
            passing: whether it is of this one time, such as what a workspace lacked, and no part of results.
        """
        if sentence in self.said:
            return
        self.said.append(sentence)
        if passing:
            self.passing.add(sentence)
        if not self.silent:
            self._print(sentence)

    def mention(self, sentence: str) -> None:
        """Say what is so at the moment; only to a person who watches."""
        if self.enabled:
            self._print(sentence)

    def _print(self, sentence: str) -> None:
        # One line of visible characters, as part of it may come from the data: where it is wrapped, no program
        # finds it again, and a terminal would obey a control character.
        sentence = sentence if self._wording is None else self._wording(sentence)
        cut = f"{sentence[: _LONGEST_LINE - 1]}…" if len(sentence) > _LONGEST_LINE else sentence
        shown = "".join(c if c.isprintable() else f"⟨U+{ord(c):04X}⟩" for c in cut)
        self.console.print(shown, markup=False, emoji=False, highlight=False, soft_wrap=True)
