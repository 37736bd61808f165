"""A review's contents as one HTML page: data, style and script inlined, nothing from the data ever as markup."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from datadiet.review.contents import ReviewContents, ReviewItem
from datadiet.review.thumbnails import Sheets, sheets_of
from datadiet.review.visible_text import visible

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
    room = files("datadiet.review")
    style = room.joinpath("page.css").read_text(encoding="utf-8")
    parts = [room.joinpath("scripts", f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    script = '"use strict";\n(() => {\n' + "\n".join(parts) + "\n})();\n"
    template = room.joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    items = sorted(contents.items, key=lambda item: (-item.suspicion, item.id))
    sheets = sheets_of([item.picture for item in items])
    data = page_data(contents, items, sheets)
    return environment.from_string(template).render(
        title=_name(contents.title),
        kind=data["kind"],
        proposes=data["proposes"],
        pixelated=data["pixelated"],
        sheets=[] if sheets is None else sheets.sources,
        data=Markup(as_data_block(data)),
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
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
        "ids": [int(item.id) for item in items],
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
    rows = sorted(
        (item.id, item.given, -1 if item.proposed is None else item.proposed) for item in contents.items
    )
    asked = json.dumps([contents.fingerprint, [str(name) for name in contents.class_names], rows])
    return hashlib.sha256(asked.encode("ascii")).hexdigest()[:16]


def as_data_block(data: Any) -> str:
    r"""JSON that can stand in a `<script>` element whatever it says: ASCII only, without `<`, `>` and `&`.

    >>> as_data_block(["</script>"])
    '["\\u003c/script\\u003e"]'
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


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
