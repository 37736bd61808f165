"""Study `init-correlation`: what GraNd at initialisation measures, against input norms and later scores."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from matplotlib.figure import Figure
from scipy import stats

from datadiet.engine.points import compute_grand
from datadiet.pages.report.canvas import LIGHT, dress, new_figure
from datadiet.studies.toolbox.claims import LEVEL, Claim, Measurement, finite_or_none, mean_correlation
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import caption, in_epochs, label, panel, write_below
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, study

REPRODUCTION = "Kirsch 2023, the figure and table of correlations"
MODELS = 4  # at least: with fewer, no interval is short enough to decide anything
INITIALISATIONS = 5  # at least, trained or not: they cost one pass each
POINTS = 3_000  # of a scatter plot

NAMES = ("grand_init", "input_norm", "grand", "el2n", "forgetting")
# Spearman on CIFAR-10 with ten runs, scores at epoch 20.
PUBLISHED = {
    ("grand_init", "input_norm"): 0.963,
    ("grand_init", "grand"): -0.024,
    ("grand", "el2n"): 0.985,
    ("grand", "forgetting"): 0.868,
    ("el2n", "forgetting"): 0.894,
}
SCATTERED = (("input_norm", "grand_init"), ("grand_init", "grand"), ("el2n", "grand"), ("el2n", "forgetting"))


def plan(context: StudyContext) -> Sequence[Planned]:
    """The scoring runs; more initialisations take no training."""
    return [Planned("scoring runs", models(context), context.total_steps)]


def models(context: StudyContext) -> int:
    """How many scoring runs."""
    return max(MODELS, context.scale.score_seeds)


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """The scores of all models, then a row a pair of scores."""
    step = context.score_step
    scores = {
        "grand_init": at_initialisation(context),
        "input_norm": context.per_seed("input_norm", step, 1),
        "grand": context.per_seed("grand", step, models(context)),
        "el2n": context.per_seed("el2n", step, models(context)),
        "forgetting": context.per_seed("forgetting", context.total_steps, models(context)),
    }
    kept["scores"] = scores
    for first, second in itertools.combinations(NAMES, 2):
        yield correlation_row(first, second, scores)


def at_initialisation(context: StudyContext) -> np.ndarray:
    """GraNd of untrained models: those of the scoring runs, and more until there are enough; (models, n)."""
    of_runs = context.per_seed("grand", 0, models(context))
    more = []
    for index in range(len(of_runs), INITIALISATIONS):
        model = context.setup.build(context.seed + index).to(context.setup.accelerator.device).eval()
        if context.setup.recipe.memory_format == "channels_last":
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        more.append(compute_grand(context.setup, model)["grand"].double().numpy())
    return np.stack([*of_runs, *more])


def correlation_row(first: str, second: str, scores: Mapping[str, np.ndarray]) -> Row:
    """Spearman correlation of two scores: of each model's own, and of their means over the models.

    A score that is the same for all models goes with each of them. Where a score is constant there is no
    correlation, and the cells are empty.
    """
    one, other = scores[first], scores[second]
    count = max(len(one), len(other)) if 1 in (len(one), len(other)) else min(len(one), len(other))
    own = [spearman(one[index % len(one)], other[index % len(other)]) for index in range(count)]
    found = [value for value in own if value is not None]
    mean = mean_correlation(found, "models") if found else None
    low, high = (None, None) if mean is None else map(finite_or_none, mean.interval(LEVEL))
    return {
        "first": first,
        "second": second,
        "spearman_of_means": spearman(one.mean(axis=0), other.mean(axis=0)),
        "spearman": None if mean is None else mean.estimate,
        "low": low,
        "high": high,
        "models": len(found),
        "per_model": found,
        "published": PUBLISHED.get((first, second)),
    }


def spearman(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's rank correlation; infinite scores rank last, and a constant has none.

    Example:
        >>> spearman(np.array([1.0, 2.0, np.inf]), np.array([0.1, 0.2, 0.3])), spearman(np.ones(3), np.arange(3))
        (1.0, None)
    """
    first, second = stats.rankdata(one), stats.rankdata(other)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return round(float(np.corrcoef(first, second)[0, 1]), 12)


@study(
    "init-correlation",
    "Rank correlations of GraNd at initialisation, input norm, later GraNd and EL2N, and forgetting.",
    'Kirsch 2023, "Does Deep Learning on a Data Diet reproduce?"',
    plan=plan,
    measure=measure,
    kinds=("image", "vector"),
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """The matrix, scatter plots of its main pairs, and four claims of the reproduction."""
    epoch = context.score_epoch
    pairs = {(row["first"], row["second"]): row for row in rows}

    def of(first: str, second: str) -> Measurement | None:
        values = pairs[first, second]["per_model"]
        return mean_correlation(values, "models") if values else None

    quantity = "Spearman correlation of one model's scores, mean over models"
    claims = [
        Claim(
            "GraNd at initialisation mostly measures the norm of the input (published: 0.963).",
            REPRODUCTION,
            quantity,
            of("grand_init", "input_norm"),
            above=0.5,
        ),
        Claim(
            f"GraNd at initialisation says little about GraNd after {in_epochs(epoch)} (published: -0.024).",
            REPRODUCTION,
            quantity,
            of("grand_init", "grand"),
            below=0.5,
        ),
        Claim(
            f"After {in_epochs(epoch)} GraNd and EL2N order examples alike (published: 0.985).",
            REPRODUCTION,
            quantity,
            of("grand", "el2n"),
            above=0.8,
        ),
        Claim(
            f"EL2N after {in_epochs(epoch)} goes with forgetting over the whole run (published: 0.894).",
            REPRODUCTION,
            quantity,
            of("el2n", "forgetting"),
            above=0.5,
        ),
    ]
    scores = kept["scores"]
    said = {
        "grand_init": "GraNd, initialisation",
        "input_norm": "input norm",
        "grand": f"GraNd, epoch {epoch:g}",
        "el2n": f"EL2N, epoch {epoch:g}",
        "forgetting": "forgetting, whole run",
    }
    count = len(scores["grand_init"])
    title = caption(context, models(context), f"means of their scores; GraNd at initialisation of {count}")
    means = {name: values.mean(axis=0) for name, values in scores.items()}
    table = pa.table({"id": context.setup.examples.train.ids, **means}).to_pylist()
    return Conclusion(
        claims,
        {
            "init-correlation": matrix(pairs, said, title),
            "init-correlation-scatter": scatter(pairs, means, said, title, context.seed),
        },
        {"scores": table},
    )


def matrix(pairs: Mapping[tuple[str, str], Row], said: Mapping[str, str], title: str) -> Figure:
    """Correlations of the mean scores, all pairs, with their numbers."""
    values = np.eye(len(NAMES))
    for (first, second), row in pairs.items():
        found = row["spearman_of_means"]
        place = NAMES.index(first), NAMES.index(second)
        values[place] = values[place[::-1]] = np.nan if found is None else found
    figure, axes = panel(6.4, 5.2)
    shown = axes.imshow(values, vmin=-1, vmax=1, cmap="PuOr")
    labels = [said[name].replace(", ", ",\n") for name in NAMES]
    axes.set_xticks(range(len(NAMES)), labels=labels, fontsize=8)
    axes.set_yticks(range(len(NAMES)), labels=labels, fontsize=8)
    axes.set_xlabel("score")
    axes.set_ylabel("score")
    for row_number, column in itertools.product(range(len(NAMES)), repeat=2):
        value = values[row_number, column]
        text = "none" if np.isnan(value) else f"{value:.3f}"
        colour = "white" if abs(value) > 0.7 else LIGHT.ink
        axes.text(column, row_number, text, ha="center", va="center", fontsize=9, color=colour)
    dress(axes, LIGHT, grid="")
    figure.colorbar(shown, label="Spearman correlation", shrink=0.8)
    write_below(figure, title)
    return figure


def scatter(
    pairs: Mapping[tuple[str, str], Row],
    means: Mapping[str, np.ndarray],
    said: Mapping[str, str],
    title: str,
    seed: int,
) -> Figure:
    """One dot an example for the main pairs; a random sample of large data."""
    count = len(means["el2n"])
    chosen = np.arange(count)
    if count > POINTS:
        chosen = np.sort(np.random.default_rng([seed, 0x5C]).choice(count, POINTS, replace=False))
        title += f"; {POINTS:,} random examples are drawn"
    figure = new_figure(LIGHT, 7.2, 6.0)
    for position, (x, y) in enumerate(SCATTERED):
        axes = figure.add_subplot(2, 2, position + 1)
        axes.scatter(
            means[x][chosen],
            means[y][chosen],
            s=6,
            alpha=0.4,
            color=LIGHT.series[0],
            linewidths=0,
            rasterized=True,
        )
        row = pairs.get((x, y)) or pairs[y, x]
        found = row["spearman_of_means"]
        told = "no correlation: one is constant" if found is None else f"Spearman {found:.3f}"
        label(axes, said[x], said[y], told)
    write_below(figure, title)
    return figure
