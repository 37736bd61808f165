"""The figures of a report, one function each; they draw what they are given and compute nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from datadiet.foundation.errors import BadInputError
from datadiet.pages.numbers import compact, count, is_known, is_number, share
from datadiet.pages.report.canvas import (
    LIGHT,
    Theme,
    drawing_style,
    dress,
    legend_above,
    new_figure,
    series_style,
)
from datadiet.pages.report.wording import accuracy_title, is_same_subset, score_title, subset_title
from datadiet.pages.text import printable

Array = np.ndarray[Any, Any]

MOST_PANELS = 12
MOST_SUBSETS_IN_BALANCE = 3
MOST_CLASSES_IN_ROWS = 30


def accuracy_against_keep(verdict: Mapping[str, Any], theme: Theme = LIGHT, narrow: bool = False) -> Figure:
    """Test accuracy of every subset against the fraction kept, with intervals, and full data as a band.

    Faint dots are single trainings; the dashed line is full data's accuracy less the tolerance; a ring marks
    the recommended subset.

    Raises:
        BadInputError: when the verdict holds no accuracy at all.

    >>> subset = {"score": "el2n", "rule": "hardest", "keep": 0.5, "n": 5, "accuracy": 0.9,
    ...           "interval": [0.88, 0.92], "accuracies": [0.89, 0.91]}
    >>> accuracy_against_keep({"subsets": [subset]}).axes[0].get_xlabel()
    'kept for training (% of the examples)'
    """
    series: dict[str, list[Mapping[str, Any]]] = {}
    for subset in verdict.get("subsets", ()):
        if is_number(subset.get("accuracy")):
            series.setdefault(subset_title(subset), []).append(subset)
    full = verdict.get("full")
    if not series and full is None:
        raise BadInputError("the verdict holds no accuracy to draw: give `full` or `subsets`")
    with drawing_style():
        figure = _figure(theme, narrow, 4.2 if narrow else 4.6)
        axes = figure.add_subplot()
        dress(axes, theme)
        if full is not None:
            _draw_full(axes, full, verdict.get("tolerance"), theme)
        keeps = sorted({float(subset["keep"]) * 100 for subsets in series.values() for subset in subsets})
        span = (keeps[-1] - keeps[0] if len(keeps) > 1 else 0.0) or 20.0
        scored = [name for name in series if name != "random"]
        for place, (name, subsets) in enumerate(series.items()):
            # Moved aside a little, so that intervals at the same fraction do not cover each other.
            shift = (place - (len(series) - 1) / 2) * span * (0.018 if narrow else 0.012)
            # Random is the baseline and stays grey.
            position = None if name == "random" else scored.index(name)
            _draw_series(axes, name, subsets, position, shift, verdict.get("recommended"), theme)
        axes.set_xlabel("kept for training (% of the examples)")
        axes.set_ylabel(f"test {accuracy_title(verdict)} (%)")
        if keeps:
            axes.set_xlim(keeps[0] - 0.12 * span, keeps[-1] + 0.12 * span)
            if len(keeps) <= (6 if narrow else 12):
                axes.xaxis.set_major_locator(FixedLocator(keeps))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: share(value / 100).removesuffix(" %")))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        legend_above(figure, axes, theme, columns=2 if narrow else 5)
    return figure


def _figure(theme: Theme, narrow: bool, height: float) -> Figure:
    return new_figure(theme, 4.4 if narrow else 10.0, height)


def _draw_full(axes: Axes, full: Mapping[str, Any], tolerance: float | None, theme: Theme) -> None:
    if not is_number(full.get("accuracy")):
        return
    accuracy = 100 * float(full["accuracy"])
    interval = full.get("interval")
    axes.axhline(accuracy, color=theme.ink, linewidth=1.2, label="full data")
    if is_known(interval):
        axes.axhspan(100 * interval[0], 100 * interval[1], color=theme.pale, alpha=0.4, linewidth=0)
    if tolerance is not None:
        dashed: dict[str, Any] = {"color": theme.muted, "linewidth": 1, "linestyle": (0, (4, 3))}
        axes.axhline(accuracy - tolerance, label="full less tolerance", **dashed)


def _draw_series(
    axes: Axes,
    name: str,
    subsets: Sequence[Mapping[str, Any]],
    position: int | None,
    shift: float,
    recommended: Mapping[str, Any] | None,
    theme: Theme,
) -> None:
    colour, marker = (theme.muted, "o") if position is None else series_style(position, theme)
    ordered = sorted(subsets, key=lambda subset: float(subset["keep"]))
    x = np.array([100 * float(subset["keep"]) + shift for subset in ordered])
    y = np.array([100 * float(subset["accuracy"]) for subset in ordered])
    below, above = np.zeros(len(x)), np.zeros(len(x))
    for row, subset in enumerate(ordered):
        interval = subset.get("interval")
        if is_known(interval):
            below[row], above[row] = max(y[row] - 100 * interval[0], 0), max(100 * interval[1] - y[row], 0)
        single = [100 * float(value) for value in subset.get("accuracies") or () if is_number(value)]
        if len(single) > 1:
            axes.plot([x[row]] * len(single), single, ".", color=colour, alpha=0.45, markersize=4, zorder=2)
        if recommended is not None and is_same_subset(subset, recommended):
            axes.plot(x[row], y[row], "o", markersize=15, mfc="none", mec=colour, mew=1.4, zorder=4)
    line = (0, (1.5, 2)) if position is None else "-"
    style: dict[str, Any] = {"markersize": 5.5, "linewidth": 1.4, "elinewidth": 1.4, "capsize": 0}
    bounds = np.stack([below, above])
    axes.errorbar(x, y, bounds, color=colour, marker=marker, linestyle=line, label=name, zorder=3, **style)


def score_distributions(
    scores: Mapping[str, Array],
    kept: Mapping[str, Array] | None = None,
    theme: Theme = LIGHT,
    narrow: bool = False,
) -> Figure:
    """A histogram of every score; where `kept` has a mask under the score's name, what stays is drawn darker.

    Infinite and missing values cannot be placed on the axis; their number is written above the panel. At most
    `MOST_PANELS` scores are drawn, the first ones.

    Raises:
        BadInputError: when there are no scores.

    >>> score_distributions({"el2n": np.array([0.1, 0.2, 0.9])}).axes[0].get_ylabel()
    'examples'
    """
    if not scores:
        raise BadInputError("there are no scores to draw: give at least one")
    shown = list(scores)[:MOST_PANELS]
    columns = 1 if narrow else min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    with drawing_style():
        height = (2.3 if columns > 1 else 2.6) * rows + 0.2
        figure = _figure(theme, narrow, height)
        for place, name in enumerate(shown):
            axes = figure.add_subplot(rows, columns, place + 1)
            dress(axes, theme)
            mask, values = (kept or {}).get(name), np.asarray(scores[name], dtype=np.float64)
            _draw_histogram(axes, values, mask, theme)
            _draw_title(axes, name, values, mask, theme)
            axes.set_xlabel("score")
            axes.set_ylabel("examples" if place % columns == 0 else "")
    return figure


def _draw_histogram(axes: Axes, values: Array, mask: Array | None, theme: Theme) -> None:
    finite = np.isfinite(values)
    if not finite.any():
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", color=theme.muted)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    edges = _bin_edges(values[finite])
    colour = theme.series[0]
    counts, _ = np.histogram(values[finite], bins=edges)
    axes.stairs(counts, edges, fill=True, color=colour if mask is None else theme.pale)
    if mask is not None:
        stay, _ = np.histogram(values[finite & np.asarray(mask, dtype=bool)], bins=edges)
        axes.stairs(stay, edges, fill=True, color=colour)
    axes.set_ylim(0, 1.05 * max(int(counts.max()), 1))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _bin_edges(values: Array) -> Array:
    """Forty bins, or one a whole number where the values are few whole numbers, such as forgetting counts."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 60 and bool((values == np.round(values)).all()):
        return np.arange(low - 0.5, high + 1.0)
    width = high - low
    if not math.isfinite(width) or width <= 1e-12 * max(abs(low), abs(high)):
        # All the same, or too far apart for floating point: one bar says as much.
        middle = low / 2 + high / 2
        half = max(abs(middle), 1.0) * 0.5 if not math.isfinite(width) else max(abs(middle) * 1e-3, 1e-3)
        return np.array([middle - half, middle + half])
    return np.linspace(low, high, 41)


def _draw_title(axes: Axes, name: str, values: Array, mask: Array | None, theme: Theme) -> None:
    title = score_title(name)
    axes.set_title(title, loc="left", fontsize=10.5, color=theme.ink, fontweight="bold", parse_math=False)
    missing = int((~np.isfinite(values)).sum())
    asides = [f"{share(float(np.mean(mask)))} stay"] if mask is not None else []
    asides += [f"{count(missing)} not finite"] if missing else []
    axes.set_title(", ".join(asides), loc="right", fontsize=9, color=theme.muted)


def class_balance(
    labels: Array,
    class_names: Sequence[str],
    kept: Mapping[str, Array],
    theme: Theme = LIGHT,
    narrow: bool = False,
) -> Figure:
    """The share of each class before and after: a row a class, or a point a class where there are many.

    With up to `MOST_CLASSES_IN_ROWS` classes, a tick is the class's share of all examples and a marker its
    share of what stays; with more, shares after are drawn against shares before. `kept` maps a subset's
    name to its bool mask, shape (n,); the first `MOST_SUBSETS_IN_BALANCE` are drawn.

    Raises:
        BadInputError: when there are no examples or no subset.

    >>> figure = class_balance(np.array([0, 0, 1]), ["cat", "dog"], {"half": np.array([True, False, True])})
    >>> figure.axes[0].get_xlabel()
    'share of the examples (%)'
    """
    if not len(labels) or not kept:
        raise BadInputError("the class balance needs at least one example and one subset")
    classes = len(class_names)
    before = 100 * np.bincount(labels, minlength=classes) / len(labels)
    after = {
        printable(name, limit=40): 100
        * np.bincount(labels[mask], minlength=classes)
        / max(int(mask.sum()), 1)
        for name, mask in list(kept.items())[:MOST_SUBSETS_IN_BALANCE]
    }
    with drawing_style():
        few = classes <= MOST_CLASSES_IN_ROWS
        figure = _figure(theme, narrow, 1.3 + 0.29 * max(classes, 3) if few else 4.6)
        axes = figure.add_subplot()
        dress(axes, theme, grid="x" if few else "y")
        if few:
            _draw_rows(axes, class_names, before, after, theme, narrow)
        else:
            _draw_points(axes, class_names, before, after, theme)
        legend_above(figure, axes, theme, columns=1 if narrow else 3)
        for text in figure.legends[0].get_texts():
            text.set_parse_math(False)
    return figure


def _draw_rows(
    axes: Axes,
    class_names: Sequence[str],
    before: Array,
    after: Mapping[str, Array],
    theme: Theme,
    narrow: bool,
) -> None:
    rows = np.arange(len(class_names))
    values = np.stack([before, *after.values()])
    axes.hlines(rows, values.min(axis=0), values.max(axis=0), color=theme.pale, linewidth=1.5, zorder=1)
    ticks: dict[str, Any] = {"color": theme.ink, "markersize": 11, "markeredgewidth": 2}
    axes.plot(before, rows, "|", label="all examples", zorder=2, **ticks)
    for position, (name, shares) in enumerate(after.items()):
        colour, marker = series_style(position, theme)
        axes.plot(shares, rows, marker, color=colour, markersize=5.5, label=printable(name, 40), zorder=3)
    names = [printable(name, limit=16 if narrow else 30) for name in class_names]
    axes.set_yticks(list(rows), labels=names, parse_math=False, color=theme.ink)  # as they are written
    axes.set_ylim(len(class_names) - 0.4, -0.6)
    margin = max(float(np.ptp(values)) * 0.12, 0.5)
    axes.set_xlim(max(float(values.min()) - margin, -0.4), float(values.max()) + margin)
    axes.set_xlabel("share of the examples (%)")
    axes.set_ylabel("class")


def _draw_points(
    axes: Axes, class_names: Sequence[str], before: Array, after: Mapping[str, Array], theme: Theme
) -> None:
    top = max(float(before.max()), *(float(shares.max()) for shares in after.values())) * 1.06
    axes.plot([0, top], [0, top], color=theme.muted, linewidth=1, linestyle=(0, (4, 3)), label="unchanged")
    for position, (name, shares) in enumerate(after.items()):
        colour, marker = series_style(position, theme)
        style: dict[str, Any] = {"markersize": 4, "alpha": 0.6, "linestyle": "none"}
        axes.plot(before, shares, marker, color=colour, label=printable(name, 40), **style)
    first = next(iter(after.values()))
    for row in np.argsort(-np.abs(first - before), kind="stable")[:5]:
        axes.annotate(
            printable(class_names[row], limit=20),
            (before[row], first[row]),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=8.5,
            color=theme.ink,
            parse_math=False,
        )
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_xlabel("share of each class in all examples (%)")
    axes.set_ylabel("share in what stays (%)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
