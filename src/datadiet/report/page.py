"""A report's contents as one HTML page: everything inlined, everything from the data escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from datadiet.report import numbers
from datadiet.report.contents import ReportContents
from datadiet.report.pictures import Picture
from datadiet.report.safe_text import printable, without_controls
from datadiet.report.view import MINUS, page_view

_LONGEST_TITLE = 2000


def render_page(contents: ReportContents, pictures: Mapping[str, Picture]) -> str:
    """The whole page as text; it loads nothing from anywhere and runs no script.

    >>> "<bdi>&lt;b&gt;</bdi>" in render_page(ReportContents(title="<b>", verdict={}), {})
    True
    """
    style = files("datadiet.report").joinpath("page.css").read_text(encoding="utf-8")
    template = files("datadiet.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_harmless
    )
    environment.filters.update(
        percent=numbers.percent,
        percent_interval=numbers.percent_interval,
        share=numbers.share,
        points=lambda value: numbers.points(value, minus=MINUS),
        points_interval=lambda ends: numbers.points_interval(ends[0], ends[1], minus=MINUS),
        count=numbers.count,
        duration=numbers.duration,
        compact=lambda value, digits=4: numbers.compact(value, digits).replace("-", MINUS),
        short=_short,
    )
    return environment.from_string(template).render(
        **page_view(contents),
        pictures=pictures,
        style=Markup(style),
        style_hash=base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii"),
    )


def _harmless(value: Any) -> Any:
    """What every expression of the template passes through before it is escaped: no controls, no bidi."""
    if value is None or isinstance(value, Markup):
        return value
    return without_controls(str(value)) if isinstance(value, str) else value


def _short(text: Any, limit: int = 40) -> Markup:
    """Text cut to `limit`, with the whole of it as its title; its direction does not leak into the page."""
    whole = printable(str(text), limit=_LONGEST_TITLE)
    visible = printable(str(text), limit=limit)
    if not visible:
        return Markup('<bdi class="nameless">(no name)</bdi>')
    if visible == whole:
        return Markup("<bdi>{}</bdi>").format(visible)
    return Markup('<bdi title="{}">{}</bdi>').format(whole, visible)
