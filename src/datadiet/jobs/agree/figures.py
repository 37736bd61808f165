"""The figure of an agreement: rank correlations, overlap against chance, class balance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from datadiet.pages.report.canvas import LIGHT, Theme, drawing_style, dress, new_figure, series_style
from datadiet.pages.text import printable

Rows = Sequence[Mapping[str, Any]]
MOST_CURVES = 6
MOST_NUMBERS = 12  # scores up to which every cell of the heat map has its number written


def draw_agreement(correlations: Rows, pairs: Rows, balance: Rows, theme: Theme = LIGHT) -> Figure:
    """Spearman's rho (or, of kept files alone, the overlap) of every pair, and beside it how much choices share.

    Above: overlap at each fraction, with what random choices share as a dashed line. Below: how far the classes
    of each choice are from the source's. Where there are many pairs the ones that agree least are named.

    Args:
        correlations: what `Agreement.correlations` gives.
        pairs: of an `Agreement`.
        balance: of an `Agreement`.
        theme: colours.
    """
    value, title = "spearman", "Spearman rank correlation"
    if not correlations:
        value, title = "overlap", "overlap (share of the smaller)"
    heat = {(row["first"], row["second"]): row[value] for row in correlations or pairs}
    names = list(dict.fromkeys(name for pair in heat for name in pair))
    curves = bool(correlations or balance)
    with drawing_style():
        side = max(3.6, min(8.0, 0.42 * len(names) + 1.6))
        figure = new_figure(theme, side + (6.2 if curves else 1.2), max(side, 6.4 if curves else 3.6))
        if not curves:
            _draw_heat(figure.add_subplot(), names, heat, title, theme)
            return figure
        grid = figure.add_gridspec(2, 2, width_ratios=(side, 6.2))
        _draw_heat(figure.add_subplot(grid[:, 0]), names, heat, title, theme)
        _draw_overlap(figure.add_subplot(grid[0, 1]), pairs, theme)
        _draw_balance(figure.add_subplot(grid[1, 1]), balance, theme)
    return figure


def _draw_heat(
    axes: Axes, names: Sequence[str], heat: Mapping[tuple[str, str], float | None], title: str, theme: Theme
) -> None:
    values = np.full((len(names), len(names)), np.nan)
    for (first, second), value in heat.items():
        a, b = names.index(first), names.index(second)
        values[a, b] = values[b, a] = np.nan if value is None else value
    # Orange for scores that order against each other, paper for none, blue for alike: any colour vision tells.
    colours = LinearSegmentedColormap.from_list(
        "agreement", [theme.series[1], theme.paper, theme.series[0]], N=255
    )
    axes.set_facecolor(theme.grid)  # seen where a pair has no number
    axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=-1, vmax=1)
    axes.set_title(title, loc="left", fontsize=10, color=theme.ink)
    shown = [printable(name, limit=28) for name in names]
    places = range(len(names))
    axes.set_xticks(places, labels=shown, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(places, labels=shown, parse_math=False)
    axes.tick_params(colors=theme.ink, length=0, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if len(names) > MOST_NUMBERS:
        return
    for row, column in np.ndindex(values.shape):
        number = float(values[row, column])
        if np.isfinite(number):
            colour = theme.paper if abs(number) > 0.6 else theme.ink
            axes.text(column, row, f"{number:.2f}", ha="center", va="center", fontsize=8.5, color=colour)


def _draw_overlap(axes: Axes, pairs: Rows, theme: Theme) -> None:
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in pairs:
        if row["keep"] is not None:
            curves.setdefault(f"{row['first']} – {row['second']}", []).append((row["keep"], row["overlap"]))
    named = sorted(curves, key=lambda title: float(np.mean([y for _, y in curves[title]])))[:MOST_CURVES]
    # Choices of equal sizes share their own fraction by chance, whatever their number.
    chance = [(0, 0), (1, 1)] if any(row["chance"] is not None for row in pairs) else []
    _draw_curves(axes, curves, named, chance, "pairs that agree least:", theme)
    axes.set_ylabel("overlap (%)")
    axes.set_ylim(0, 103)


def _draw_balance(axes: Axes, balance: Rows, theme: Theme) -> None:
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in balance:
        curves.setdefault(row["name"], []).append((row["keep"], row["total_variation"]))
    named = sorted(curves, key=lambda title: -max(y for _, y in curves[title]))[:MOST_CURVES]
    chance = sorted({(row["keep"], row["chance_total_variation"]) for row in balance})
    _draw_curves(axes, curves, named, chance, "furthest from the source:", theme)
    axes.set_xlabel("kept (% of the examples)")
    axes.set_ylabel("classes moved (total variation, %)")
    axes.set_ylim(bottom=0)


def _draw_curves(
    axes: Axes,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    named: Sequence[str],
    chance: Sequence[tuple[float, float]],
    title: str,
    theme: Theme,
) -> None:
    """Fractions against fractions, in percent; where not all curves are named, the legend has a title."""
    dress(axes, theme)
    for name, points in curves.items():
        x, y = (100 * np.array(part) for part in zip(*sorted(points), strict=True))
        if name not in named:
            axes.plot(x, y, color=theme.pale, linewidth=0.9, zorder=1)
            continue
        colour, marker = series_style(named.index(name), theme)
        label = printable(name, limit=52)
        axes.plot(x, y, color=colour, marker=marker, markersize=4.5, linewidth=1.3, label=label, zorder=3)
    if chance:
        x, y = (100 * np.array(part) for part in zip(*chance, strict=True))
        axes.plot(x, y, color=theme.muted, linewidth=1, linestyle=(0, (4, 3)), label="chance")
    axes.set_xlim(0, 100)
    # Beside the panel: names of pairs are too long to lie on the curves.
    legend = axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=8.5,
        labelcolor=theme.ink,
        title=title if len(curves) > len(named) else None,
        title_fontsize=8.5,
        alignment="left",
    )
    legend.get_title().set_color(theme.muted)
    for text in legend.get_texts():
        text.set_parse_math(False)
