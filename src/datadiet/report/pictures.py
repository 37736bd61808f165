"""A figure as a file and as data for the page: wide and narrow, by day and by night."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from datadiet.report.canvas import DARK, LIGHT, Theme, as_png, as_svg, recoloured

Draw = Callable[[Theme, bool], Figure]

LARGEST_SVG = 200_000


@dataclass(frozen=True)
class Picture:
    """A figure's PNG file, data URIs for each width and colour scheme, and sizes in CSS pixels."""

    png: bytes
    wide_light: str
    wide_dark: str
    narrow_light: str
    narrow_dark: str
    wide_size: tuple[int, int]
    narrow_size: tuple[int, int]


def render_picture(draw: Draw) -> Picture:
    """Draw a figure for every reader: as SVG, or as PNG where the SVG is large and the PNG smaller.

    >>> from datadiet.report.canvas import new_figure
    >>> picture = render_picture(lambda theme, narrow: new_figure(theme, 4 if narrow else 8, 3))
    >>> picture.wide_size, picture.narrow_dark[:26]
    ((768, 288), 'data:image/svg+xml;base64,')
    """
    wide = draw(LIGHT, False)
    png = as_png(wide)
    # The layout is settled by the first drawing; finding it again takes as long as all the rest.
    wide.set_layout_engine("none")
    wide_sources = _light_and_dark(wide, lambda: draw(DARK, False))
    narrow = draw(LIGHT, True)
    narrow_sources = _light_and_dark(narrow, lambda: draw(DARK, True))
    return Picture(png, *wide_sources, *narrow_sources, _pixels(wide), _pixels(narrow))


def _light_and_dark(light: Figure, draw_dark: Callable[[], Figure]) -> tuple[str, str]:
    svg = as_svg(light)
    if len(svg) > LARGEST_SVG:
        png = as_png(light)
        if len(png) < len(svg):
            return _source("png", png), _source("png", as_png(draw_dark()))
    return _source("svg+xml", svg), _source("svg+xml", recoloured(svg, LIGHT, DARK))


def _source(kind: str, image: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"


def _pixels(figure: Figure) -> tuple[int, int]:
    width, height = figure.get_size_inches()
    return round(96 * width), round(96 * height)
