"""A report as one HTML page, everything inlined and escaped, written with its figures whole or not at all."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from datadiet.foundation.atomic import atomic_file
from datadiet.pages import text
from datadiet.pages.report.canvas import Picture
from datadiet.pages.report.contents import ReportContents
from datadiet.pages.report.view import MINUS, page_view
from datadiet.pages.text import printable, without_controls

_LONGEST_TITLE = 2000


def render_page(contents: ReportContents, pictures: Mapping[str, Picture]) -> str:
    """The whole page as text; it loads nothing from anywhere and runs no script.

    >>> "<bdi>&lt;b&gt;</bdi>" in render_page(ReportContents(title="<b>", verdict={}), {})
    True
    """
    style = files("datadiet.pages.report").joinpath("page.css").read_text(encoding="utf-8")
    template = files("datadiet.pages.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_harmless
    )
    environment.filters.update(
        percent=text.percent,
        percent_interval=text.percent_interval,
        share=text.share,
        points=lambda value: text.points(value, minus=MINUS),
        points_interval=lambda ends: text.points_interval(ends[0], ends[1], minus=MINUS),
        count=text.count,
        duration=text.duration,
        compact=lambda value, digits=4: text.compact(value, digits).replace("-", MINUS),
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


FIGURE_NAMES = ("accuracy_against_keep", "score_distributions", "class_balance")


def write_report(contents: ReportContents, folder: Path) -> Path:
    """Write `report.html` and `figures/*.png` into `folder`, and return the path of the page.

    Everything is drawn before anything is written, and every file appears by one rename, the page last.
    Figures that an earlier report left and this one has no data for are removed.

    Raises:
        OSError: when the folder cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(ReportContents(title="digits", verdict={"recommended": None}), Path(folder)).name
    'report.html'
    """
    # Matplotlib takes a third of a second to import: whoever only prints a verdict should not wait for it.
    from datadiet.pages.report.canvas import render_picture
    from datadiet.pages.report.view import report_figures

    pictures = {name: render_picture(draw) for name, draw in report_figures(contents).items()}
    page = render_page(contents, pictures).encode("utf-8")
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name in FIGURE_NAMES:
        path = folder / "figures" / f"{name}.png"
        if name in pictures:
            _write(path, pictures[name].png)
        else:
            path.unlink(missing_ok=True)
    report = folder / "report.html"
    _write(report, page)
    return report


def _write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)
