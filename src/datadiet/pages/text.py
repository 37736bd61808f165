"""Text from the data as it may be shown: harmless in a terminal, on a page, as the name of a file."""

from __future__ import annotations

import hashlib
import re
import unicodedata

# Escape sequences are removed whole, so that no "[31m" stays behind: OSC/DCS/APC/PM/SOS strings up to their
# terminator (or the end of the text), then CSI sequences, then the two-character ones.
_ESCAPE_SEQUENCES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
_WHITE_SPACE = re.compile(r"\s+")
# Joiners are format characters too, but emoji, Persian and Indic scripts are written with them.
_JOINERS = frozenset("\u200c\u200d")
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_LONGEST_RUN_OF_MARKS = 4
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")
_LONGEST_FILE_NAME = 80


def without_controls(text: str) -> str:
    r"""The text on one line, without escape sequences, control, bidi and other invisible characters.

    Letters of every script stay as they are. Piles of combining marks, which would cover the lines above,
    are cut to four; a lone surrogate becomes the replacement character.

    >>> without_controls("a\x1b[31mred\x1b[0m\n\u202ecat")
    'ared cat'
    """
    text = _WHITE_SPACE.sub(" ", _ESCAPE_SEQUENCES.sub("", text))
    if text.isascii() and text.isprintable():
        return text.strip()
    kept: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if category == "Cs":
            kept.append("\ufffd")
        elif category in ("Cc", "Co", "Cn") or marks > _LONGEST_RUN_OF_MARKS:
            continue
        elif category != "Cf" or character in _JOINERS:
            kept.append(character)
    return _WHITE_SPACE.sub(" ", "".join(kept)).strip()


def printable(text: str, limit: int = 80) -> str:
    r"""The text as it may go to a terminal: on one line, nothing that acts, at most `limit` characters.

    Rich markup is not touched: give the result to `rich.text.Text`, or escape it, before rich prints it.

    >>> printable("\x1b]0;title\x07label\x1b[2J")
    'label'
    >>> printable("a very long class name", limit=10)
    'a very lo…'
    """
    clean = without_controls(text)
    if len(clean) <= limit:
        return clean
    return clean[: max(limit - 1, 0)].rstrip() + "…" if limit > 0 else ""


def safe_name(text: str) -> str:
    """A file name without folder or suffix for any text: ASCII, no separators, never hidden, never reserved.

    Words in lower case joined by spaces stay readable. From every other text what is unsafe is replaced, and
    eight digits of the text's SHA-256 are added, so that two texts share no name, also where case is ignored.

    >>> safe_name("el2n hardest 0.7")
    'el2n-hardest-0.7'
    >>> safe_name("../../x")
    'x-9cdf6a50'
    """
    plain = text.replace(" ", "-")
    readable = re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._")
    reserved = _WINDOWS_DEVICES.match(readable) is not None
    unchanged = readable == plain and "-" not in text
    if readable and unchanged and not reserved and len(readable) <= _LONGEST_FILE_NAME:
        return readable
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    readable = readable[: _LONGEST_FILE_NAME - 13].strip("-._")
    if reserved or not readable:
        readable = f"data-{readable}".strip("-")
    return f"{readable}-{digest}"


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
