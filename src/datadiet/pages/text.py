"""Text and numbers as a reader should see them: harmless wherever they are shown, and rounded half up."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

# Escape sequences are removed whole, so that no "[31m" stays behind: OSC/DCS/APC/PM/SOS strings up to their
# terminator (or the end of the text), then CSI sequences, then the two-character ones.
_ESCAPE_SEQUENCES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
_WHITE_SPACE = re.compile(r"\s+")
# Joiners are format characters too, but emoji, Persian and Indic scripts are written with them.
_KEPT_FORMAT_CHARACTERS = frozenset("\u200c\u200d")
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
        elif category != "Cf" or character in _KEPT_FORMAT_CHARACTERS:
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


NOT_MEASURED = "not measured"
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def rounded(value: float, decimals: int) -> Decimal:
    """The value rounded half away from zero as its shortest decimal form reads, and never minus zero.

    >>> rounded(28.5, 0), rounded(2.675, 2), rounded(-0.04, 1)
    (Decimal('29'), Decimal('2.68'), Decimal('0.0'))
    """
    result = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
    return abs(result) if result == 0 else result


def is_number(value: object) -> bool:
    """Whether the value is a finite number.

    >>> is_number(0.5), is_number(None), is_number(float("nan")), is_number(True)
    (True, False, False, False)
    """
    return hasattr(value, "__float__") and not isinstance(value, bool) and math.isfinite(float(value))


def _times_hundred(value: float) -> float:
    # In decimal: 0.285 * 100 is 28.499999999999996 in binary, and would round the wrong way.
    return float(Decimal(repr(float(value))) * 100)


def percent(value: float | None, decimals: int = 1, sign: bool = True) -> str:
    """A fraction in percent; all or nothing is written only where it is exactly so.

    >>> percent(0.97154), percent(1.0), percent(0.99996), percent(None)
    ('97.2 %', '100.0 %', '99.996 %', 'not measured')
    """
    if value is None or not is_number(value):
        return NOT_MEASURED
    hundredfold = _times_hundred(value)
    while decimals < 6 and hundredfold not in (0.0, 100.0) and rounded(hundredfold, decimals) in (0, 100):
        decimals += 1
    return f"{rounded(hundredfold, decimals):f}" + (" %" if sign else "")


def share(value: float) -> str:
    """A kept fraction in percent, without needless zeros.

    >>> share(0.7), share(0.125), share(1 / 3), share(0.0005)
    ('70 %', '12.5 %', '33.3 %', '0.05 %')
    """
    text = percent(value, decimals=1 if abs(value) >= 0.01 else 3, sign=False)
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


def points(value: float | None, decimals: int = 1, minus: str = "-") -> str:
    """A difference of two fractions in percentage points, with its sign.

    >>> points(-0.0012), points(0.004), points(0.0), points(-0.006, minus="−")
    ('-0.1', '+0.4', '0.0', '−0.6')
    """
    if value is None or not is_number(value):
        return NOT_MEASURED
    number = rounded(_times_hundred(value), decimals)
    sign = minus if number < 0 else "+" if number > 0 else ""
    return f"{sign}{abs(number):f}"


def points_interval(low: float, high: float, decimals: int = 1, minus: str = "-") -> str:
    """The two ends of a difference's interval, in percentage points.

    >>> points_interval(-0.006, 0.004)
    '[-0.6, +0.4]'
    """
    return f"[{points(low, decimals, minus)}, {points(high, decimals, minus)}]"


def percent_interval(interval: Sequence[float] | None) -> str:
    """The two ends of an accuracy's interval, in percent; nothing where there is none.

    >>> percent_interval([0.965, 0.9789]), percent_interval(None)
    ('[96.5, 97.9]', '')
    """
    if interval is None or not all(is_number(end) for end in interval):
        return ""
    low, high = interval
    return f"[{percent(low, sign=False)}, {percent(high, sign=False)}]"


def tolerance_points(tolerance: float) -> str:
    """A tolerance, given in percentage points, in words.

    >>> tolerance_points(0.5), tolerance_points(1)
    ('0.5 points', '1 point')
    """
    number = f"{rounded(tolerance, 3):f}".rstrip("0").rstrip(".")
    return f"{number} point" if number == "1" else f"{number} points"


def count(value: int) -> str:
    """A whole number with commas between the thousands.

    >>> count(1006), count(50000)
    ('1,006', '50,000')
    """
    return f"{int(value):,}"


def duration(seconds: float | None) -> str:
    """A time in the two units that matter.

    >>> duration(0.042), duration(7.26), duration(59.7), duration(200), duration(7500), duration(200000)
    ('0.04 s', '7.3 s', '1 min', '3 min 20 s', '2 h 5 min', '2 d 7 h')
    """
    if seconds is None or not is_number(seconds):
        return NOT_MEASURED
    if seconds < 1:
        return f"{rounded(seconds, 2):f} s"
    if seconds < 9.95:
        return f"{rounded(seconds, 1):f} s"
    whole = int(rounded(seconds, 0))
    for large, small, name, small_name in (
        (86400, 3600, "d", "h"),
        (3600, 60, "h", "min"),
        (60, 1, "min", "s"),
    ):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def compact(value: float, digits: int = 4) -> str:
    """A score's value in at most so many significant digits.

    >>> compact(1.23456), compact(12), compact(0.00001234), compact(float("inf"))
    ('1.235', '12', '1.234e-05', 'inf')
    """
    return f"{float(value):.{digits}g}"
