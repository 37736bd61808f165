"""What the studies without retrainings share: how many models, what a figure says below it, log axes in words."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from datadiet.report.canvas import LIGHT, legend_above
from datadiet.studies.bench import Workbench


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
