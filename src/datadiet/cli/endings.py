"""How a command ends: what nobody turned into a sentence becomes one, and standard output may take no more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from datadiet.foundation.atomic import disk_error
from datadiet.foundation.errors import BadInputError, DataDietError, RunFailedError


def as_sentence(error: BaseException) -> DataDietError | None:
    """The sentence for an error of the machine or of the package; None for any other, which is a mistake in the code.

    Args:
        error: that ended a command.

    Example:
        >>> print(as_sentence(PermissionError(13, "Permission denied", "a.csv")))
        'a.csv' cannot be used: Permission denied. Give another place, or see to it that it can be read and written.
        >>> as_sentence(KeyError("a")) is None
        True
    """
    if isinstance(error, DataDietError):
        return error
    if isinstance(error, MemoryError) or _is_of_torch(error):
        return RunFailedError(
            "There is not enough memory. Close other programs, or take smaller batches (--batch-size) or a smaller "
            "model (--model); then the same command goes on where this one stopped."
        )
    if isinstance(error, RecursionError):
        return RunFailedError(
            "Something that was read is nested too deeply; flatten the data and its recipe."
        )
    if isinstance(error, OSError) and error.errno is not None:
        place = error.filename if error.filename is not None else "a file"
        shown = os.fsdecode(place) if isinstance(place, str | bytes) else str(place)
        return disk_error(shown, error) or RunFailedError(
            f"'{shown}' cannot be used: {error.strerror}. Give another place, or see to it that it can be read and "
            "written."
        )
    return None


def _is_of_torch(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(error, RuntimeError):
        return False
    words = ("not enough memory", "can't allocate memory")
    return isinstance(error, getattr(torch, "OutOfMemoryError", ())) or any(
        said in str(error) for said in words
    )


class Output:
    """A standard stream that writes any text, and says in one sentence when it takes no more.

    Args:
        stream: that is written to; None for one that was closed before the command began.
        silent: whether what is lost is lost without a word, as on standard error, where the word would go.
    """

    def __init__(self, stream: Any, *, silent: bool = False) -> None:
        self._stream, self._silent = stream, silent
        self._gone = "" if stream is not None else "it is closed"
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        if self.__dict__["_stream"] is None:
            self._stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (to the end)
        return getattr(self._stream, name)

    @property
    def buffer(self) -> Output:
        """The bytes below the text."""
        return Output(self.__getattr__("buffer"), silent=self._silent)

    def write(self, text: Any) -> int:
        """Write, as any stream.

        Raises:
            RunFailedError: nothing can be written any more.
        """
        return int(self._try("write", text))

    def flush(self) -> None:
        """Write what waits.

        Raises:
            RunFailedError: nothing can be written any more.
        """
        self._try("flush")

    def _try(self, name: str, *arguments: Any) -> Any:
        if self._gone:
            self._lose(self._gone if name == "write" else "")
            return len(arguments[0]) if arguments else None
        try:
            return getattr(self._stream, name)(*arguments)
        except (OSError, ValueError) as error:
            self._gone = getattr(error, "strerror", None) or str(error)
            with suppress(OSError, ValueError):  # so that what waits in it is no error once more at the end
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            self._lose(self._gone)
            return len(arguments[0]) if arguments else None

    def _lose(self, why: str) -> None:
        if why and not self._silent:
            raise RunFailedError(f"Standard output takes no more ({why}); what was not printed is lost.")


def prepare() -> None:
    """Make ready for a command: streams that write any text, and a current folder.

    Raises:
        BadInputError: the current folder is gone.
    """
    sys.stdout, sys.stderr = Output(sys.stdout), Output(sys.stderr, silent=True)
    try:
        here = str(Path.cwd())
    except OSError as error:
        raise BadInputError(
            "The current folder is gone; go to another one and give the same command again."
        ) from error
    sys.path.append(here)  # at the end, so that no file there hides an installed package
