"""A review as one HTML page: data, style and script inlined, nothing from the data ever as markup."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from datadiet.foundation.errors import BadInputError
from datadiet.foundation.example_keys import PartName, key_of
from datadiet.foundation.outputs import new_file
from datadiet.pages.html import render_page_of
from datadiet.pages.review.sheets import Sheets, sheets_of
from datadiet.pages.text import visible


@dataclass(frozen=True)
class ReviewItem:
    """One suspect: its labels, how suspicious it is, and what a reader sees of it.

    Args:
        id: the example id.
        given: class index of the label that the data gives.
        proposed: class index of the label proposed instead; None where there is none.
        suspicion: what the page is ordered by; higher is more suspicious.
        probability_wrong: of the given label; None where it is unknown.
        signals: name -> value, for the reader.
        picture: uint8 (height, width, 1 or 3), as `thumbnail` makes it.
        text: for text data.
        vector: for data of numbers.
        missing: why there is nothing to see, where there is not.
        part: that it is of; ids of the two may be the same numbers.

    >>> ReviewItem(id=17, given=0, proposed=1, text="a text").proposed
    1
    """

    id: int
    given: int
    proposed: int | None = None
    suspicion: float = 0.0
    probability_wrong: float | None = None
    signals: Mapping[str, float] = field(default_factory=dict)
    picture: npt.NDArray[np.uint8] | None = None
    text: str | None = None
    vector: Sequence[float] | npt.NDArray[np.floating] | None = None
    missing: str | None = None
    part: PartName = "train"

    @property
    def key(self) -> str:
        """What decisions call it.

        >>> ReviewItem(id=17, given=0, part="test").key
        'test:17'
        """
        return key_of(self.part, self.id)


@dataclass(frozen=True)
class ReviewContents:
    """Everything that a review page shows.

    Args:
        title: the name of the data.
        fingerprint: of the data; decisions are bound to it.
        class_names: names by class index.
        items: the suspects; the page has the most suspicious first, and those of one suspicion as they come.
        ranking: what the suspicion is, in a word: "suspicion", or the name of a score.
        in_all: how many suspects there were before any were left out; the number of items if None.
        pixelated: whether the pictures are small ones, whose pixels are to be seen.

    Raises:
        BadInputError: nothing to review, an id twice, a label without a class name, a suspicion that is not
            finite, class names that are not all different.

    >>> ReviewContents("digits", "5f0c", ["zero"], [ReviewItem(3, given=1)])
    Traceback (most recent call last):
        ...
    datadiet.foundation.errors.BadInputError: example 3 has the label 1, but there are 1 class names.
    """

    title: str
    fingerprint: str
    class_names: Sequence[str]
    items: Sequence[ReviewItem]
    ranking: str = "suspicion"
    in_all: int | None = None
    pixelated: bool = False

    def __post_init__(self) -> None:
        if not self.items:
            raise BadInputError("there is nothing to review: the list of suspects is empty.")
        names = [str(name) for name in self.class_names]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise BadInputError(f"two classes are named {twice!r}; decisions could not tell them apart.")
        seen: set[str] = set()
        for item in self.items:
            if item.key in seen:
                raise BadInputError(f"example {item.key} stands more than once among the suspects.")
            seen.add(item.key)
            for label in (item.given, item.proposed):
                if label is not None and not 0 <= label < len(names):
                    raise BadInputError(
                        f"example {item.key} has the label {label}, but there are {len(names)} class names."
                    )
            if not math.isfinite(item.suspicion):
                raise BadInputError(f"the suspicion of example {item.key} is not a finite number.")


SHOWN_NUMBERS = 32
_MOST_CHARACTERS = 24_000_000
_TEXT_LIMITS = (500, 20_000)
_LONGEST_NAME = 200
# In the order they are joined in: each may use what stands in those before it.
_SCRIPTS = ("model", "store", "sheets", "view", "list", "detail", "picker", "exchange", "keys", "start")


def render_review(contents: ReviewContents) -> str:
    """The whole page as text; it loads nothing from anywhere, and only its own script runs.

    >>> contents = ReviewContents("notes", "5f0c", ["</script>"], [ReviewItem(3, 0, text="<b>")])
    >>> render_review(contents).count("</script>")
    2
    """
    scripts = files("datadiet.pages.review").joinpath("scripts")
    parts = [scripts.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    items = sorted(contents.items, key=lambda item: -item.suspicion)
    sheets = sheets_of([item.picture for item in items])
    data = page_data(contents, items, sheets)
    return render_page_of(
        "datadiet.pages.review",
        script='"use strict";\n(() => {\n' + "\n".join(parts) + "\n})();\n",
        title=_name(contents.title),
        kind=data["kind"],
        proposes=data["proposes"],
        both_parts=len({item.part for item in items}) > 1,
        pixelated=data["pixelated"],
        sheets=[] if sheets is None else sheets.sources,
        data=Markup(as_data_block(data)),
    )


def page_data(contents: ReviewContents, items: list[ReviewItem], sheets: Sheets | None) -> dict[str, Any]:
    """What the script reads: one list a column, the most suspicious first.

    >>> contents = ReviewContents("notes", "5f0c", ["a", "b"], [ReviewItem(3, 0, 1, 0.5, text="x")])
    >>> page_data(contents, list(contents.items), None)["proposed"]
    [1]
    """
    names = [str(name) for name in contents.class_names]
    shortest, longest = _TEXT_LIMITS
    limit = max(shortest, min(longest, _MOST_CHARACTERS // len(items)))
    has_text = any(item.text is not None for item in items)
    has_vector = any(item.vector is not None for item in items)
    kind = "image" if sheets is not None else "text" if has_text else "vector" if has_vector else "nothing"
    signals = list(dict.fromkeys(name for item in items for name in item.signals))
    return {
        "title": contents.title,
        "fingerprint": contents.fingerprint,
        "page": page_id(contents),
        "kind": kind,
        "pixelated": contents.pixelated,
        "ranking": _name(contents.ranking),
        "in_all": len(items) if contents.in_all is None else contents.in_all,
        "class_names": names,
        "shown_names": [_name(name) or "(no name)" for name in names],
        "proposes": any(item.proposed is not None for item in items),
        "keys": [item.key for item in items],
        "given": [int(item.given) for item in items],
        "proposed": [-1 if item.proposed is None else int(item.proposed) for item in items],
        "suspicion": [_number(item.suspicion) for item in items],
        "probability_wrong": [_number(item.probability_wrong) for item in items],
        "signals": [
            {"name": _name(name), "values": [_number(item.signals.get(name)) for item in items]}
            for name in signals
        ],
        "texts": [_text(item.text, limit) for item in items] if has_text else None,
        "lengths": [len(item.text or "") for item in items] if has_text else None,
        "vectors": [_vector(item.vector) for item in items] if has_vector else None,
        "missing": {row: visible(item.missing) for row, item in enumerate(items) if item.missing},
        "sheets": None
        if sheets is None
        else {
            "kind": sheets.kind,
            "count": len(sheets.sources),
            "per_sheet": sheets.per_sheet,
            "columns": sheets.columns,
            "cell": sheets.cell,
            "sizes": sheets.sizes,
        },
    }


def page_id(contents: ReviewContents) -> str:
    """Sixteen digits that are the same for the same question: these suspects, labels and classes.

    >>> items = [ReviewItem(3, 0), ReviewItem(5, 0)]
    >>> page_id(ReviewContents("a", "5f", ["x"], items)) == page_id(ReviewContents("b", "5f", ["x"], items[::-1]))
    True
    """
    rows = [
        (
            item.id if item.part == "train" else item.key,
            item.given,
            -1 if item.proposed is None else item.proposed,
        )
        for item in sorted(contents.items, key=lambda item: (item.part != "train", item.id))
    ]
    asked = json.dumps([contents.fingerprint, [str(name) for name in contents.class_names], rows])
    return hashlib.sha256(asked.encode("ascii")).hexdigest()[:16]


def as_data_block(data: Any) -> str:
    r"""JSON that can stand in a `<script>` element whatever it says: ASCII only, without `<`, `>` and `&`.

    >>> as_data_block(["</script>"])
    '["\\u003c/script\\u003e"]'
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _name(text: str) -> str:
    shown = visible(text[: _LONGEST_NAME + 1]).strip()
    return shown if len(text) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…"


def _text(text: str | None, limit: int) -> str | None:
    return None if text is None else visible(text[:limit], lines=True)


def _number(value: Any) -> float | None:
    """Six digits are enough to read, and a third of the bytes; what is not finite is not there."""
    return None if value is None or not math.isfinite(value) else float(f"{float(value):.6g}")


def _vector(values: Any) -> list[Any] | None:
    """How many numbers there are, and the first of them."""
    if values is None:
        return None
    flat = np.asarray(values, dtype=np.float64).ravel()
    return [len(flat), *(_number(value) for value in flat[:SHOWN_NUMBERS])]


def write_review(contents: ReviewContents, path: str | Path, *, overwrite: bool = True) -> Path:
    """Write the page and return its path.

    Args:
        contents: of the page.
        path: of the file.
        overwrite: whether a file of another content is replaced.

    Raises:
        BadInputError: the file cannot be written, or another is there.

    >>> import tempfile
    >>> from datadiet.pages.review import ReviewItem
    >>> contents = ReviewContents("notes", "5f0c", ["a", "b"], [ReviewItem(3, 0, 1, text="x")])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_review(contents, Path(folder) / "review.html").name
    'review.html'
    """
    page = render_review(contents).encode("utf-8")
    path = Path(path)
    with new_file(path, "review page", overwrite=overwrite) as temporary:
        temporary.write_bytes(page)
    return path
