"""Figures of studies: lines and groups of points with intervals, and captions, ready for a paper."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from datadiet.pages.report.canvas import LIGHT, dress, legend_above, new_figure, series_style
from datadiet.studies.toolbox.context import StudyContext

Point = tuple[float, float, float, float]  # x, estimate, low, high; bounds that are not known are not finite


def data_caption(context: StudyContext, more: str) -> str:
    """What is held fixed in a figure: data and model, and what more there is."""
    examples, recipe = context.setup.examples, context.setup.recipe
    return f"{examples.name}: {len(examples.train):,} training examples; {recipe.model}; {more}"


def caption(context: StudyContext, models: int, more: str = "", *, called: str = "models") -> str:
    """The same with the number of models.

    Args:
        context: what the study works with.
        models: how many trained models the figure comes from.
        more: what else is held fixed.
        called: what they are called there.
    """
    return data_caption(context, f"{models} {called}; {more}" if more else f"{models} {called}")


def retraining_caption(context: StudyContext, more: str) -> str:
    """The same for figures of retrained subsets: also test examples, seeds, budget."""
    recipe, examples, scale = context.setup.recipe, context.setup.examples, context.scale
    return (
        f"{examples.name}: {len(examples.train):,} training, {context.setup.n_test:,} test examples; {recipe.model}; "
        f"scores from {scale.score_seeds} models, {scale.retrain_seeds} retrainings; same {recipe.budget}; {more}"
    )


def panel(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of one pair of axes; sizes in inches."""
    figure = new_figure(LIGHT, width, height)
    return figure, figure.add_subplot()


def label(axes: Axes, x: str, y: str, title: str | None = None) -> None:
    """The names of both axes and, where there are several panels, what this one shows."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title is not None:
        axes.set_title(title, fontsize=9, color=LIGHT.ink, loc="left")
    dress(axes, LIGHT)


def write_below(figure: Figure, text: str) -> None:
    """A caption under the axes, in lines that fit the figure."""
    fitting = textwrap.fill(text, int(figure.get_figwidth() * 15))
    figure.supxlabel(fitting, x=0.01, ha="left", fontsize=8.5, color=LIGHT.muted)


def finish(figure: Figure, axes: Axes, text: str, columns: int | None = None) -> Figure:
    """The legend of some axes above, in as many columns as its longest name allows, and the caption below."""
    if columns is None:
        longest = max(map(len, axes.get_legend_handles_labels()[1]), default=1)
        columns = max(1, int((figure.get_figwidth() - 0.3) / (0.65 + 0.072 * longest)))
    legend_above(figure, axes, LIGHT, columns=columns)
    write_below(figure, text)
    return figure


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


def spread_of(values: Sequence[float]) -> tuple[float, float, float]:
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


def lines(
    series: Mapping[str, Sequence[Point]],
    *,
    x: str,
    y: str,
    title: str,
    levels: Mapping[str, float] | None = None,
    width: float = 6.4,
    height: float = 4.0,
) -> Figure:
    """One line a series with its interval as a bar.

    Args:
        series: name -> (x, estimate, low, high) in the order of x.
        x: name of the axis.
        y: name of the axis.
        title: what is held fixed: n, seeds, budget; written below.
        levels: name -> a height that is drawn across, such as the accuracy of full data.
        width: in inches.
        height: in inches.
    """
    figure, axes = panel(width, height)
    draw_lines(axes, series)
    for (name, level), style in zip((levels or {}).items(), itertools.cycle(("--", ":")), strict=False):
        draw_level(axes, name, level, style)
    label(axes, x, y)
    return finish(figure, axes, title)


def without_interval(x: float, value: float) -> Point:
    """A point of which nothing but its value is known: no bar is drawn."""
    return x, value, np.nan, np.nan


def bars(middle: Sequence[float], low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """How far bars reach down and up, (2, points); NaN, which is not drawn, where a bound is not known.

    Example:
        >>> bars([1.0, 2.0], [0.5, -np.inf], [2.0, np.nan]).tolist()
        [[0.5, nan], [1.0, nan]]
    """
    reach = np.array([np.subtract(middle, low), np.subtract(high, middle)])
    return np.where(np.isfinite(reach), np.maximum(0.0, reach), np.nan)


def draw_lines(axes: Axes, series: Mapping[str, Sequence[Point]]) -> None:
    """The lines alone, on given axes; a series without points is left out."""
    drawn = {name: points for name, points in series.items() if points}
    for position, (name, points) in enumerate(drawn.items()):
        colour, marker = series_style(position, LIGHT)
        places, middle, low, high = (list(column) for column in zip(*points, strict=True))
        axes.errorbar(
            places,
            middle,
            yerr=bars(middle, low, high),
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.6,
            elinewidth=0.9,
            capsize=2,
            label=name,
        )


def draw_groups(
    axes: Axes, series: Mapping[str, Sequence[Point]], names: Sequence[str], apart: float
) -> None:
    """Points with their intervals in groups that have names, the series side by side in each group.

    Args:
        axes: to draw on.
        series: name -> (number of the group, estimate, low, high); one without points keeps its place and colour.
        names: of the groups.
        apart: between two series of a group, where groups are 1 apart.
    """
    for position, (name, points) in enumerate(series.items()):
        if not points:
            continue
        colour, marker = series_style(position, LIGHT)
        places, middle, low, high = (list(column) for column in zip(*points, strict=True))
        axes.errorbar(
            np.add(places, apart * (position - (len(series) - 1) / 2)),
            middle,
            yerr=bars(middle, low, high),
            color=colour,
            marker=marker,
            linestyle="none",
            markersize=6,
            capsize=2,
            label=name,
        )
    axes.set_xticks(range(len(names)), labels=list(names))
    axes.set_xlim(-0.5, len(names) - 0.5)


def draw_level(axes: Axes, name: str, height: float, style: str = "--") -> None:
    """A line from side to side, such as the accuracy of full data."""
    axes.axhline(height, color=LIGHT.muted, linestyle=style, linewidth=1.2, label=name)
