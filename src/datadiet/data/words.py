"""Text columns as words: what stands between white space, or the items of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datadiet.data.columns import is_list


def words_of(array: Any) -> list[list[str]]:
    """The words of each row of an Arrow array of strings, or of lists of strings; a missing row has none.

    >>> import pyarrow as pa
    >>> words_of(pa.array(["to  new york", None])), words_of(pa.array([["to", "new york"]]))
    ([['to', 'new', 'york'], []], [['to', 'new york']])
    """
    rows = array.to_pylist()
    if is_list(array.type):
        return [["" if word is None else word for word in row or ()] for row in rows]
    return [[] if row is None else row.split() for row in rows]


def texts_of_words(values: Sequence[Any]) -> list[str]:
    """Texts as they are; lists of words with a space between any two."""
    return [value if isinstance(value, str) else " ".join(value) for value in values]
