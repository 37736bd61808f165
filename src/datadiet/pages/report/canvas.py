"""How figures look, by day and by night, and how they become files and data for a page."""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Theme:
    """The colours of a figure; `series` can be told apart with any colour vision (after Okabe and Ito)."""

    paper: str
    ink: str
    muted: str
    grid: str
    pale: str
    series: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1d2329",
    muted="#5b6570",
    grid="#e6e8ea",
    pale="#cdd3d9",
    series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#8a5a44"),
)
DARK = Theme(
    paper="#171b20",
    ink="#e8eaed",
    muted="#9aa4af",
    grid="#2a3138",
    pale="#47515b",
    series=("#56b4e9", "#e8833a", "#2fbf97", "#e39cc4", "#e5c453", "#9ccff0", "#c79a86"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# Matplotlib measures with its own, wider font; a browser draws the text of an SVG with the page's fonts.
_PAGE_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_SVG_FONTS = re.compile(r"""(style="[^"]*?font(?:-family)?: [^;"']*)'DejaVu Sans'[^;"]*""")
_SETTINGS = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "datadiet",
    "axes.unicode_minus": True,
    "text.usetex": False,
    "text.parse_math": False,
}


@contextmanager
def drawing_style() -> Iterator[None]:
    """Matplotlib's defaults plus ours, whatever the reader's own settings; all are put back at the end.

    Text is never read as mathematics nor given to TeX: a class may be called `$x^2$`.
    """
    with matplotlib.style.context(["default", _SETTINGS]), warnings.catch_warnings():
        # A name in a script that the font lacks: the SVG leaves it to the browser, the PNG shows boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def new_figure(theme: Theme, width: float, height: float) -> Figure:
    """An empty figure on the theme's paper; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=theme.paper)
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, theme: Theme, grid: str = "y") -> None:
    """Quiet axes: no box, hairline grid behind the data, muted ticks."""
    axes.set_facecolor(theme.paper)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.pale)
    axes.tick_params(colors=theme.muted, length=0, labelsize=9)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(theme.muted)
        label.set_fontsize(9.5)
    if grid in ("x", "y"):
        axes.grid(axis="x" if grid == "x" else "y", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)


def legend_above(figure: Figure, axes: Axes, theme: Theme, columns: int) -> None:
    """A frameless legend above the axes, out of the way of the data."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=max(1, min(columns, len(names))),
        frameon=False,
        fontsize=9,
        labelcolor=theme.ink,
        handletextpad=0.5,
        columnspacing=1.4,
    )


def as_png(figure: Figure, dots_per_inch: int = 160) -> bytes:
    """The figure as PNG."""
    with drawing_style():
        buffer = io.BytesIO()
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()


def as_svg(figure: Figure) -> bytes:
    """The figure as SVG with real text in the page's fonts; the same figure gives the same bytes."""
    with drawing_style():
        buffer = io.BytesIO()
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = _SVG_FONTS.sub(rf"\g<1>{_PAGE_FONTS}", buffer.getvalue().decode("utf-8"))
    return re.sub(r">\s+<", "><", svg[svg.index("<svg") :]).encode("utf-8")


def recoloured(svg: bytes, old: Theme, new: Theme) -> bytes:
    """An SVG drawn in one theme, in the colours of another; nothing but its style attributes changes.

    >>> recoloured(b'<path style="fill: #ffffff"/>', LIGHT, DARK)
    b'<path style="fill: #171b20"/>'
    """
    colours = dict(zip(_colours(old), _colours(new), strict=True))
    pattern = re.compile("|".join(re.escape(colour) for colour in colours))

    def repaint(style: re.Match[str]) -> str:
        return pattern.sub(lambda colour: colours[colour.group()], style.group())

    return re.sub(r'style="[^"]*"', repaint, svg.decode("utf-8")).encode("utf-8")


def _colours(theme: Theme) -> tuple[str, ...]:
    return (theme.paper, theme.ink, theme.muted, theme.grid, theme.pale, *theme.series)


def series_style(position: int, theme: Theme) -> tuple[str, str]:
    """Colour and marker of the series at a position; together they repeat only after 49."""
    colour = theme.series[position % len(theme.series)]
    return colour, MARKERS[(position + position // len(theme.series)) % len(MARKERS)]


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

    >>> from datadiet.pages.report.canvas import new_figure
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
