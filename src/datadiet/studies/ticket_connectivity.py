"""Study `ticket-connectivity`: whether connected examples in the dense network tell how good its ticket will be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datadiet.engine.points import load_weights
from datadiet.pages.report.canvas import LIGHT, series_style
from datadiet.sparse.rewinding import train_from
from datadiet.studies.mode_connectivity import line_between
from datadiet.studies.toolbox.accuracy import rank_correlation, rank_resolution
from datadiet.studies.toolbox.claims import Claim, mean_within
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import caption, finish, label, panel
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, study
from datadiet.studies.toolbox.tickets import Pretraining, levels_of, planned_levels, point_of, pretrainings

TICKETS = "Paul, Larsen et al. 2022, section 5"
CONNECTED = 0.1  # nats, our choice: a loss barrier of at most this counts as none
LEAST = 3  # kinds of pre-training, for a correlation


def plan(context: StudyContext) -> Sequence[Planned]:
    """The levels up to the one that is looked at, and the dense children of every rewinding point."""
    kinds, sizes = pretrainings(context), context.scale.tickets
    count = sizes.children * context.scale.retrain_seeds
    return [
        *planned_levels(context, kinds, sizes.connected_level),
        *(Planned(f"dense children of {how.title}", count, context.total_steps - how.step) for how in kinds),
    ]


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """A row a kind of pre-training: connected examples and accuracy of the ticket, seed by seed."""
    ids, through = context.setup.examples.train.ids, context.scale.tickets.connected_level
    generator = np.random.default_rng([context.seed, 0xC0])
    sample = np.sort(generator.choice(ids, min(len(ids), context.scale.group), replace=False))
    for how in pretrainings(context):
        connected, accuracies, weights = [], [], 0
        for index in range(context.scale.retrain_seeds):
            connected.append(connected_share(context, how, index, sample))
            *_, ticket = levels_of(context, how, index, through)
            accuracies.append(ticket.accuracy)
            weights = ticket.mask.kept
        yield {
            "pretraining": how.title,
            "kind": how.kind,
            "labels": how.labels,
            "rewind_step": how.step,
            "examples": how.size,
            "level": through,
            "weights": weights,
            "evaluated": len(sample),
            "seeds": len(connected),
            "connected": float(np.mean(connected)),
            "accuracy": float(np.mean(accuracies)),
            "connected_by_seed": connected,
            "accuracies": accuracies,
        }


def connected_share(context: StudyContext, how: Pretraining, index: int, sample: np.ndarray) -> float:
    """Share of the examples with a loss barrier of at most `CONNECTED`, mean over all pairs of dense children."""
    point = point_of(context, how, index)
    ends = []
    for noise in range(context.scale.tickets.children):
        label = f"child {noise + 1} of {how.title}, seed {index + 1}"
        child = context.count(train_from(context.setup, point, noise=noise, label=label), begins=point.step)
        ends.append(load_weights(context.setup, child, child.total_steps)[0])
    lines = [line_between(context, pair, sample) for pair in itertools.combinations(ends, 2)]
    return float(np.mean([float(line.connected(CONNECTED).double().mean()) for line in lines]))


@study(
    "ticket-connectivity",
    "Share of examples linearly connected in the dense network against the accuracy of its ticket.",
    "Lottery Tickets on a Data Diet",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """A point a kind of pre-training; the correlation over kinds, with an interval over seeds."""
    found, sizes = correlations(rows), context.scale.tickets
    left = f"{100 * (1 - sizes.rate) ** sizes.connected_level:.3g} % of the weights left"
    claim = Claim(
        f"The more examples are linearly mode connected in the dense network after a pre-training, the better its "
        f"ticket with {left}.",
        TICKETS,
        f"rank correlation over {len(rows)} kinds of pre-training, mean over seeds",
        # Not on Fisher's scale: over a handful of kinds correlations of exactly 1 are common, and infinite there.
        mean_within(found, "seeds", -1, 1, resolution=rank_resolution(len(rows))) if found else None,
    )
    return Conclusion([claim], {"ticket-connectivity": _figure(context, rows, left)})


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


def _figure(context: StudyContext, rows: Sequence[Row], left: str) -> Any:
    figure, axes = panel(6.8, 4.6)
    for position, row in enumerate(rows):
        colour, marker = series_style(position, LIGHT)
        shares = [100 * share for share in row["connected_by_seed"]]
        accuracies = [100 * accuracy for accuracy in row["accuracies"]]
        (marks,) = axes.plot(shares, accuracies, color=colour, marker=marker, markersize=6, linestyle="")
        marks.set_label(row["pretraining"])
    label(axes, "linearly mode connected examples, %", f"test accuracy with {left}, %")
    more = f"loss barriers of {rows[0]['evaluated']:,} examples; a mark a seed"
    return finish(figure, axes, caption(context, context.scale.retrain_seeds, more, called="seeds"))
