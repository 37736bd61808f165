"""Figures of studies: lines with intervals, ready for a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datadiet.report.canvas import LIGHT, dress, new_figure, series_style
from datadiet.studies.caption import finish

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
