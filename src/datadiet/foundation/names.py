"""Names of files and folders that every library and every result can hold."""

from __future__ import annotations

from pathlib import Path

from datadiet.foundation.errors import BadInputError


def require_utf8(path: str | Path, what: str) -> None:
    """Refuse a path whose bytes are no UTF-8: Arrow, tokenizers and JSON cannot hold it.

    Args:
        path: as it was given.
        what: it is, for the message.

    Raises:
        BadInputError: its name is none.

    Example:
        >>> require_utf8("grün", "model folder")
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise BadInputError(
            f"The name of the {what} {str(path)!a} is not UTF-8, so no text; rename it, or give a link to it that "
            "has another name."
        ) from error
