"""The one family of exceptions: every message says what was wrong, where, and what to do."""

from __future__ import annotations


class DataDietError(Exception):
    r"""Anything that datadiet refuses or fails to do; `exit_code` is the status of the command line.

    A message is one line: what of it cannot be seen, such as a line break in the name of a column, is escaped.

    >>> print(BadInputError("There is no column 'a\nb'."))
    There is no column 'a\nb'.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        seen = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        super().__init__(message if message.isprintable() else "".join(seen))


class BadInputError(DataDietError, ValueError):
    """What was given cannot be used: nothing has been written, and the message says what to change."""

    exit_code = 2


class RunFailedError(DataDietError, RuntimeError):
    """Something failed while running; what was finished before is kept."""

    exit_code = 1
