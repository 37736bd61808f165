"""The one family of exceptions: every message says what was wrong, where, and what to do."""

from __future__ import annotations


class DataDietError(Exception):
    """Anything that datadiet refuses or fails to do; `exit_code` is the status of the command line."""

    exit_code = 1


class BadInputError(DataDietError, ValueError):
    """What was given cannot be used: nothing has been written, and the message says what to change."""

    exit_code = 2


class RunFailedError(DataDietError, RuntimeError):
    """Something failed while running; what was finished before is kept."""

    exit_code = 1
