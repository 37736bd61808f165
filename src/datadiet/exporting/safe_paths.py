"""Names of classes and files made fit for any file system: inside their folder, never hidden, never the same."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

_FORBIDDEN = frozenset('<>:"/\\|?*')
_DEVICES = re.compile(
    r"(con|prn|aux|nul|clock\$|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE
)
_ORDINARY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_LONGEST_NAME = 120  # bytes of UTF-8, of the 255 that file systems allow: room for what copying tools add
_LONGEST_SUFFIX = 12


def safe_component(text: str, fallback: str = "unnamed") -> str:
    r"""One component of a path for any text; ordinary names, of any script, stay as they are.

    >>> safe_component("../../etc/passwd"), safe_component("NUL.png"), safe_component("grüne Äpfel")
    ('_._.._etc_passwd', '_NUL.png', 'grüne Äpfel')
    >>> safe_component(" . ")
    'unnamed'
    """
    if len(text) <= _LONGEST_NAME and _ORDINARY.fullmatch(text) and not _DEVICES.fullmatch(text):
        return text if text.strip("_") else fallback
    text = unicodedata.normalize("NFC", text)
    # Categories Cc, Cf, Cs, Co, Cn: control, invisible and turning characters, half surrogates, unassigned.
    kept = ("_" if c in _FORBIDDEN or unicodedata.category(c)[0] == "C" else c for c in text)
    name = "".join(" " if unicodedata.category(c).startswith("Z") else c for c in kept)
    name = _shortened(name.strip(" ").rstrip(". "))
    if not name.strip("._ "):
        return fallback
    if name.startswith("."):
        name = "_" + name[1:]
    return f"_{name}" if _DEVICES.fullmatch(name) else name


def _shortened(name: str) -> str:
    """At most `_LONGEST_NAME` bytes; what is cut is told by a digest, and a suffix stays."""
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    stem, dot, suffix = name.rpartition(".")
    tail = f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    if dot and stem and len(suffix.encode()) <= _LONGEST_SUFFIX:
        tail += dot + suffix
    else:
        stem = name
    room = _LONGEST_NAME - len(tail.encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ") + tail


class FolderNames:
    """Names that were given out in one folder: two never mean the same file, also where case is ignored.

    >>> names = FolderNames()
    >>> names.take("Cat.png"), names.take("cat.png"), names.take("a/b"), names.take("a_b")
    ('Cat.png', 'cat-2.png', 'a_b', 'a_b-2')
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, text: str, fallback: str = "unnamed") -> str:
        """A name that is safe and not taken yet."""
        name = safe_component(text, fallback)
        wanted = _same_file(name)
        if wanted in self._taken:
            stem, dot, suffix = name.rpartition(".")
            if not (dot and stem) or len(suffix) > _LONGEST_SUFFIX:
                stem, dot, suffix = name, "", ""
            number = self._next.get(wanted, 2)
            while _same_file(f"{stem}-{number}{dot}{suffix}") in self._taken:
                number += 1
            self._next[wanted] = number + 1
            name = f"{stem}-{number}{dot}{suffix}"
        self._taken.add(_same_file(name))
        return name


class SafeTree:
    """Relative paths that were given out below one folder.

    >>> tree = SafeTree()
    >>> tree.place(["a", "x.png"]), tree.place(["A", "x.png"]), tree.place(["a", "x.png"])
    ('a/x.png', 'A-2/x.png', 'a/x-2.png')
    """

    def __init__(self) -> None:
        self._names: dict[str, FolderNames] = {}
        self._folders: dict[tuple[str, str], str] = {}

    def folder(self, parent: str, text: str) -> str:
        """The folder below `parent` (a result of this method, or "") that stands for `text`."""
        if (parent, text) not in self._folders:
            name = self._names.setdefault(parent, FolderNames()).take(text)
            self._folders[parent, text] = f"{parent}/{name}" if parent else name
        return self._folders[parent, text]

    def place(self, parts: Sequence[str]) -> str:
        """A path for one file: folders of the same text are shared, the file's own name is new."""
        parent = ""
        for text in parts[:-1]:
            parent = self.folder(parent, text)
        name = self._names.setdefault(parent, FolderNames()).take(parts[-1])
        return f"{parent}/{name}" if parent else name


def _same_file(name: str) -> str:
    """What a file system that ignores case and composition compares."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
