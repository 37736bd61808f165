"""A report as one HTML page, everything inlined and escaped, written with its figures whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from datadiet.foundation.atomic import atomic_file, remove
from datadiet.pages import numbers
from datadiet.pages.html import render_page_of
from datadiet.pages.report.canvas import Picture, render_picture
from datadiet.pages.report.contents import ReportContents
from datadiet.pages.report.view import MINUS, page_view, report_figures
from datadiet.pages.text import printable, without_controls

FIGURE_NAMES = ("accuracy_against_keep", "score_distributions", "class_balance")
_LONGEST_TITLE = 2000


def render_page(contents: ReportContents, pictures: Mapping[str, Picture]) -> str:
    """The whole page as text; it loads nothing from anywhere and runs no script.

    >>> "<bdi>&lt;b&gt;</bdi>" in render_page(ReportContents(title="<b>", verdict={}), {})
    True
    """
    filters = {
        **{
            name: getattr(numbers, name)
            for name in ("percent", "percent_interval", "share", "count", "duration", "tolerance_points")
        },
        "points": lambda value: numbers.points(value, minus=MINUS),
        "points_interval": lambda ends: numbers.points_interval(ends, minus=MINUS),
        "compact": lambda value, digits=4: numbers.compact(value, digits).replace("-", MINUS),
        "short": _short,
        "unbroken": _unbroken,
    }
    return render_page_of(
        "datadiet.pages.report", finalize=_harmless, filters=filters, pictures=pictures, **page_view(contents)
    )


def _harmless(value: Any) -> Any:
    """What every expression of the template passes through before it is escaped: no controls, no bidi."""
    return without_controls(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _unbroken(sentence: str) -> Markup:
    """The sentence, in which no line begins with a percent sign."""
    return escape(without_controls(sentence)).replace(" %", Markup("&nbsp;%"))


def _short(text: Any, limit: int = 40) -> Markup:
    """Text cut to `limit`, with the whole of it as its title; its direction does not leak into the page."""
    whole = printable(str(text), limit=_LONGEST_TITLE)
    visible = printable(str(text), limit=limit)
    if not visible:
        return Markup('<bdi class="nameless">(no name)</bdi>')
    if visible == whole:
        return Markup("<bdi>{}</bdi>").format(visible)
    return Markup('<bdi title="{}">{}</bdi>').format(whole, visible)


def write_report(contents: ReportContents, folder: Path) -> Path:
    """Write `report.html` and `figures/*.png` into `folder`, and return the path of the page.

    Everything is drawn before anything is written, and every file appears by one rename, the page last.
    Figures that an earlier report left and this one has no data for are removed.

    Raises:
        OSError: when the folder cannot be written.
        RunFailedError: when the disk is full.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(ReportContents(title="digits", verdict={"recommended": None}), Path(folder)).name
    'report.html'
    """
    pictures = {name: render_picture(draw) for name, draw in report_figures(contents).items()}
    page = render_page(contents, pictures).encode("utf-8")
    folder = Path(folder)
    for name in FIGURE_NAMES:
        path = folder / "figures" / f"{name}.png"
        if name in pictures:
            with atomic_file(path) as file:
                file.write(pictures[name].png)
        else:
            remove(path)
    report = folder / "report.html"
    with atomic_file(report) as file:
        file.write(page)
    return report
