"""Texts that a spreadsheet would run as a formula when it opens a CSV file, made harmless."""

from __future__ import annotations

_STARTS = frozenset("=+-@＝＋－＠")
_CONTROLS = frozenset("\t\r\n")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run a cell with this text: it starts like a formula and is no plain number.

    >>> is_formula("=1+1"), is_formula(" @SUM(A1)"), is_formula("-3.5"), is_formula("a-b")
    (True, True, False, False)
    """
    if not text:
        return False
    start = text.lstrip(" ")[:1]
    if text[0] in _CONTROLS:
        return True
    if start not in _STARTS or not start:
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def neutralised(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would run it.

    >>> neutralised('=HYPERLINK("http://x")'), neutralised("plain")
    ('\\'=HYPERLINK("http://x")', 'plain')
    """
    return f"'{text}" if is_formula(text) else text
