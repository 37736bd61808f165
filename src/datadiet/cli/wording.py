"""Messages in the words of who reads them: keywords of Python become the flags that can be typed."""

from __future__ import annotations

import re
from collections.abc import Mapping


def as_flags(message: str, flags: Mapping[str, str]) -> str:
    """A message in which every option is called as its flag is.

    `name=value` becomes `--name value`; a name becomes its flag where it has an underscore, which no other word of a
    sentence has, or is what the message begins with. What stands in quotes is a name of the user's and stays.

    Args:
        message: as functions of Python say it.
        flags: name of the option -> its flag.

    >>> flags = {"test_fraction": "--test-fraction", "label": "--label", "seeds": "--seeds"}
    >>> as_flags("test_fraction=2 must lie between 0 and 1.", flags)
    '--test-fraction 2 must lie between 0 and 1.'
    >>> as_flags("Column 'test_fraction' is no label; name one with label='...'.", flags)
    "Column 'test_fraction' is no label; name one with --label."
    >>> as_flags("seeds is 0; it must be 1 or more.", flags)
    '--seeds is 0; it must be 1 or more.'
    """
    words = "|".join(map(re.escape, sorted(flags, key=len, reverse=True)))
    if not words:
        return message
    # Of these, the first that fits: an option with its value, what stands in quotes, an option by itself.
    pattern = re.compile(
        rf"(?<![\w'.-])({words})=('[^']*'|[\w.+-]*[\w+-])|'[^']*'|(?<![\w.-])({words})(?![\w=-])"
    )

    def flag(found: re.Match[str]) -> str:
        if found[1]:
            value = found[2].strip("'")
            if value == "...":  # any: the flag says it all
                return flags[found[1]]
            plain = re.fullmatch(r"[\w.,:/+-]+", value) is not None
            return f"{flags[found[1]]} {value if plain else found[2]}"
        name = found[3]
        told = name and ("_" in name or (found.start() == 0 and message[found.end() :].startswith(" is ")))
        return flags[name] if told else found[0]

    return re.sub(r"(--[\w-]+(?: [^\s()]+)?) \(\1\)", r"\1", pattern.sub(flag, message))
