"""Text that came with the data, with every invisible character made visible: a reviewer has to see it."""

from __future__ import annotations

import unicodedata

# Joiners are format characters too, but emoji, Persian and Indic scripts are written with them.
_JOINERS = frozenset("\u200c\u200d")
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


def visible(text: str, *, lines: bool = False) -> str:
    r"""The text with control, bidi and other invisible characters as signs that do nothing.

    Letters of every script stay. With `lines`, line breaks and tabs stay too.

    >>> visible("a\x1b[31mred\u202e")
    'a⟨U+001B⟩[31mred⟨U+202E⟩'
    >>> visible("two\r\nlines", lines=True)
    'two\nlines'
    """
    if text.isascii() and text.isprintable():
        return text
    if lines:
        text = text.replace("\r\n", "\n")
    return "".join(_visible_character(character, lines) for character in text)


def _visible_character(character: str, lines: bool) -> str:
    if unicodedata.category(character) not in _HIDDEN or character in _JOINERS:
        return character
    if lines and character in "\n\t":
        return character
    return f"⟨U+{ord(character):04X}⟩"
