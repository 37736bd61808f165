"""The figure of a tuning: validation accuracy against where the window starts, or against an option of a rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from datadiet.pages.report.canvas import LIGHT, Theme, drawing_style, dress, legend_above, new_figure


def draw_tuning(tuning: Mapping[str, Any], theme: Theme = LIGHT) -> Figure:
    """Every trial: its validation accuracy against its start, those stopped early as crosses, the chosen one ringed.

    A trial that was stopped early stands at the accuracy it had then, which is not yet that of its end.

    Args:
        tuning: the content of `tuning.json`.
        theme: colours.
    """
    trials, window, score = tuning["trials"], tuning["window"], tuning["score"]
    # A window is drawn over its start, another rule over the first of its options.
    option, chosen = next(iter(tuning["options"].items()))
    if tuning["rule"] == "window":
        unit, told = 100, f"{100 * window['start']:g} to {100 * window['end']:g} %"
        title = f"start of the window (% of the hardest by {score} that are dropped)"
    else:
        unit, told, title = 1, f"{chosen:g}", f"{option} of {tuning['rule']} by {score}"
    ended = sorted((t for t in trials if not t["pruned"]), key=lambda t: (t[option], t["keep"]))
    pruned = [t for t in trials if t["pruned"]]
    points, crosses = (
        ([unit * t[option] for t in some], [100 * t["accuracy"] for t in some]) for some in (ended, pruned)
    )
    with drawing_style():
        figure = new_figure(theme, 8.0, 4.4)
        axes = figure.add_subplot()
        dress(axes, theme)
        colour = theme.series[0]
        label = "trained to the end (darker: keeps more)" if tuning["tune_end"] else "trained to the end"
        if tuning["tune_end"] or len(tuning["options"]) > 1:
            # Windows of many widths are no curve: how dark a point is says how much it keeps.
            shades = [to_rgba(colour, 0.25 + 0.75 * t["keep"]) for t in ended]
            axes.scatter(*points, color=shades, s=36, label=label)
        else:
            axes.plot(*points, "o-", color=colour, markersize=5.5, linewidth=1.2, label=label)
        if pruned:
            axes.plot(*crosses, "x", color=theme.muted, markersize=6, label="stopped early")
        ring: dict[str, Any] = {"markersize": 15, "mfc": "none", "mec": theme.series[1], "mew": 1.6}
        best = 100 * tuning["validation"]["accuracy"]
        axes.plot(unit * chosen, best, "o", **ring, label=f"chosen: {told}")
        axes.set_xlabel(title)
        axes.set_ylabel("validation accuracy (%)")
        axes.margins(x=0.05, y=0.12)
        legend_above(figure, axes, theme, columns=3)
    return figure
