"""Study `ticket-connectivity`: whether connected examples in the dense network tell how good its ticket will be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datadiet.engine.points import load_weights
from datadiet.pages.report.canvas import LIGHT, dress, new_figure, series_style
from datadiet.sparse.rewinding import train_from
from datadiet.studies.mode_connectivity import line_between
from datadiet.studies.toolbox.accuracy import rank_correlation
from datadiet.studies.toolbox.claims import Claim, Measured, mean_within
from datadiet.studies.toolbox.context import Workbench
from datadiet.studies.toolbox.figures import caption, finish, legend_columns
from datadiet.studies.toolbox.study import Conclusion, Planned, Row, Study, add_study
from datadiet.studies.toolbox.tickets import (
    Pretraining,
    Sizes,
    levels_of,
    planned_levels,
    point_of,
    pretrainings,
    sized_study,
)

TICKETS = "Paul, Larsen et al. 2022, section 5"
CONNECTED = 0.1  # nats, our choice: a loss barrier of at most this counts as none
LEAST = 3  # kinds of pre-training, for a correlation


def ticket_connectivity_study(sizes: Sizes | None = None) -> Study:
    """The study, with sizes of its own or those of the scale.

    Args:
        sizes: rewinding points, subsets, level and children; None for the scale's.
    """
    title = "Share of examples linearly connected in the dense network against the accuracy of its ticket."
    return sized_study("ticket-connectivity", title, sizes, plan, measure, conclude)


def plan(bench: Workbench, sizes: Sizes) -> Sequence[Planned]:
    """The levels up to the one that is looked at, and the dense children of every rewinding point."""
    kinds = pretrainings(bench, sizes)
    count = sizes.children * bench.scale.retrain_seeds
    return [
        *planned_levels(bench, kinds, sizes, sizes.connected_level),
        *(Planned(f"dense children of {how.title}", count, bench.total_steps - how.step) for how in kinds),
    ]


def measure(bench: Workbench, kept: dict[str, Any], sizes: Sizes) -> Iterator[Row]:
    """A row a kind of pre-training: connected examples and accuracy of the ticket, seed by seed."""
    ids = bench.setup.examples.train.ids
    generator = np.random.default_rng([bench.seed, 0xC0])
    sample = np.sort(generator.choice(ids, min(len(ids), bench.scale.group), replace=False))
    for how in pretrainings(bench, sizes):
        connected, accuracies, weights = [], [], 0
        for index in range(bench.scale.retrain_seeds):
            connected.append(connected_share(bench, how, index, sample, sizes))
            *_, ticket = levels_of(bench, how, index, sizes, through=sizes.connected_level)
            accuracies.append(ticket.accuracy)
            weights = ticket.mask.kept
        yield {
            "pretraining": how.title,
            "kind": how.kind,
            "labels": how.labels,
            "rewind_step": how.step,
            "examples": how.size,
            "level": sizes.connected_level,
            "weights": weights,
            "evaluated": len(sample),
            "seeds": len(connected),
            "connected": float(np.mean(connected)),
            "accuracy": float(np.mean(accuracies)),
            "connected_by_seed": connected,
            "accuracies": accuracies,
        }


def connected_share(
    bench: Workbench, how: Pretraining, index: int, sample: np.ndarray, sizes: Sizes
) -> float:
    """Share of the examples with a loss barrier of at most `CONNECTED`, mean over all pairs of dense children."""
    point = point_of(bench, how, index)
    ends = []
    for noise in range(sizes.children):
        label = f"child {noise + 1} of {how.title}, seed {index + 1}"
        child = bench.count(train_from(bench.setup, point, noise=noise, label=label), begins=point.step)
        ends.append(load_weights(bench.setup, child, child.total_steps)[0])
    lines = [line_between(bench, pair, sample) for pair in itertools.combinations(ends, 2)]
    return float(np.mean([float(line.connected(CONNECTED).double().mean()) for line in lines]))


def conclude(bench: Workbench, rows: Sequence[Row], kept: Mapping[str, Any], sizes: Sizes) -> Conclusion:
    """A point a kind of pre-training; the correlation over kinds, with an interval over seeds."""
    found = correlations(rows)
    left = f"{100 * (1 - sizes.rate) ** sizes.connected_level:.3g} % of the weights left"
    claim = Claim(
        f"The more examples are linearly mode connected in the dense network after a pre-training, the better its "
        f"ticket with {left}.",
        TICKETS,
        f"rank correlation over {len(rows)} kinds of pre-training, mean over seeds",
    )
    # Not on Fisher's scale: over a handful of kinds rank correlations of exactly 1 are common, and infinite there.
    measured: Measured | None = mean_within(found, "seeds", -1, 1) if found else None
    return Conclusion([(claim, measured)], {"ticket-connectivity": _figure(bench, rows, left)})


def correlations(rows: Sequence[Row]) -> list[float]:
    """Spearman's correlation over the kinds, a value a seed; seeds in which one side is constant have none."""
    if len(rows) < LEAST:
        return []
    pairs = zip(
        zip(*(row["connected_by_seed"] for row in rows), strict=True),
        zip(*(row["accuracies"] for row in rows), strict=True),
        strict=True,
    )
    return [
        rank_correlation(np.asarray(shares), np.asarray(accuracies))
        for shares, accuracies in pairs
        if len(set(shares)) > 1 and len(set(accuracies)) > 1
    ]


def _figure(bench: Workbench, rows: Sequence[Row], left: str) -> Any:
    figure = new_figure(LIGHT, 6.8, 4.6)
    axes = figure.add_subplot()
    for position, row in enumerate(rows):
        colour, marker = series_style(position, LIGHT)
        shares = [100 * share for share in row["connected_by_seed"]]
        accuracies = [100 * accuracy for accuracy in row["accuracies"]]
        axes.plot(
            shares,
            accuracies,
            linestyle="",
            marker=marker,
            color=colour,
            markersize=6,
            label=row["pretraining"],
        )
    axes.set_xlabel("linearly mode connected examples, %")
    axes.set_ylabel(f"test accuracy with {left}, %")
    dress(axes, LIGHT)
    more = f"loss barriers of {rows[0]['evaluated']:,} examples; a mark a seed"
    finish(
        figure,
        axes,
        caption(bench, bench.scale.retrain_seeds, more, called="seeds"),
        columns=legend_columns(axes, 6.8),
    )
    return figure


STUDY = add_study(ticket_connectivity_study())
