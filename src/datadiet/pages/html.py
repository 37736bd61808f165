"""One self-contained HTML page: its template, style and script inlined, everything from the data escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

PIXEL_ART_SIDE = 72  # pictures up to this many pixels a side are shown with their pixels


def render_page_of(
    folder: str,
    *,
    script: str = "",
    finalize: Callable[[Any], Any] | None = None,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    **names: Any,
) -> str:
    """Fill the template of a page; the hashes of its style and script go into its content security policy.

    Args:
        folder: the package with its `page.html.j2` and `page.css`; `base.css` goes before that.
        script: what it runs.
        finalize: what every expression of the template passes through before it is escaped.
        filters: further filters of the template.
        names: what the template reads.
    """
    room = files(folder)
    style = files("datadiet.pages").joinpath("base.css").read_text(encoding="utf-8")
    style += room.joinpath("page.css").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=finalize
    )
    environment.filters.update(filters or {})
    template = environment.from_string(room.joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        **names,
        style=Markup(style),
        style_hash=_policy_hash(style),
        script=Markup(script),
        script_hash=_policy_hash(script),
    )


def _policy_hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
