"""Figures of studies: lines with intervals and captions, ready for a paper."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from datadiet.pages.report.canvas import LIGHT, dress, legend_above, new_figure, series_style
from datadiet.studies.toolbox.context import Workbench


def caption(bench: Workbench, models: int, more: str = "", *, called: str = "models") -> str:
    """What is held fixed in a figure: data, model, number of models.

    Args:
        bench: what the study works with.
        models: how many trained models the figure comes from.
        more: what else is held fixed.
        called: what they are called there.
    """
    examples = bench.setup.examples
    said = f"{examples.name}: {len(examples.train):,} training examples; {bench.setup.recipe.model}; {models} {called}"
    return f"{said}; {more}" if more else said


def write_below(figure: Figure, text: str) -> None:
    """A caption under the axes, in lines that fit the figure."""
    fitting = textwrap.fill(text, int(figure.get_figwidth() * 15))
    figure.supxlabel(fitting, x=0.01, ha="left", fontsize=8.5, color=LIGHT.muted)


def finish(figure: Figure, axes: Axes, text: str, columns: int = 4) -> None:
    """The legend of some axes above, the caption below."""
    legend_above(figure, axes, LIGHT, columns=columns)
    write_below(figure, text)


def plain_log(axes: Axes, which: str) -> None:
    """A logarithmic axis whose ticks are written as numbers: text of figures is never read as mathematics.

    Args:
        axes: whose axis.
        which: "x" or "y".
    """
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def spread_of(values: list[float]) -> tuple[float, float, float]:
    """Mean, least and largest of some models' values: what lines and their bars show.

    Example:
        >>> spread_of([1.0, 2.0, 6.0])
        (3.0, 1.0, 6.0)
    """
    return sum(values) / len(values), min(values), max(values)


def in_epochs(epoch: float) -> str:
    """A length in words.

    Example:
        >>> in_epochs(1.0), in_epochs(2.5)
        ('1 epoch', '2.5 epochs')
    """
    return "1 epoch" if epoch == 1 else f"{epoch:g} epochs"


Points = Sequence[tuple[float, float, float, float]]  # x, estimate, low, high


def lines(
    series: Mapping[str, Points],
    *,
    x: str,
    y: str,
    title: str,
    level_line: tuple[str, float] | None = None,
    width: float = 6.4,
    height: float = 4.0,
) -> Figure:
    """One line a series with its interval as a bar.

    Args:
        series: name -> (x, estimate, low, high) in the order of x; bounds may be equal to the estimate.
        x: name of the axis.
        y: name of the axis.
        title: what is held fixed: n, seeds, budget; written below.
        level_line: a name and a height that is drawn across, such as the accuracy of full data.
    """
    figure = new_figure(LIGHT, width, height)
    axes = figure.add_subplot()
    draw_lines(axes, series)
    if level_line is not None:
        axes.axhline(level_line[1], color=LIGHT.muted, linestyle="--", linewidth=1.2, label=level_line[0])
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    dress(axes, LIGHT)
    finish(figure, axes, title, columns=legend_columns(axes, width))
    return figure


def legend_columns(axes: Axes, width: float) -> int:
    """How many columns of a legend fit into a width in inches: as many as its longest name allows."""
    names = axes.get_legend_handles_labels()[1]
    return max(1, int((width - 0.3) / (0.65 + 0.072 * max(map(len, names), default=1))))


def draw_lines(axes: Axes, series: Mapping[str, Points]) -> None:
    """The lines alone, on given axes."""
    for position, (name, points) in enumerate(series.items()):
        colour, marker = series_style(position, LIGHT)
        places = [point[0] for point in points]
        middle = [point[1] for point in points]
        below = [max(0.0, point[1] - point[2]) for point in points]
        above = [max(0.0, point[3] - point[1]) for point in points]
        axes.errorbar(
            places,
            middle,
            yerr=[below, above],
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.6,
            elinewidth=0.9,
            capsize=2,
            label=name,
        )
