"""Study `transfer`: scores of one model used to choose the examples that another is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from datadiet.data import Examples
from datadiet.engine.training.recipe import Recipe, fast_for
from datadiet.models import is_pretrained
from datadiet.pages.report.canvas import LIGHT, dress, new_figure, series_style
from datadiet.pages.text import printable
from datadiet.studies.toolbox.accuracy import (
    difference,
    fixed,
    measured_arm,
    rank_correlation,
    shared_hardest,
    title_of,
)
from datadiet.studies.toolbox.claims import Claim, Measured, mean_correlation
from datadiet.studies.toolbox.context import Workbench
from datadiet.studies.toolbox.figures import finish, legend_columns
from datadiet.studies.toolbox.study import Conclusion, Planned, Row, Study, add_study

PROXIES = (
    "Coleman et al. 2020, Selection via Proxy; Paul, Ganguli, Dziugaite 2021 score and train one architecture"
)
SCORE = "el2n"
TOLERANCE = 0.005  # half a point, the tolerance of verdicts
SMALL_SIDE = 16  # images below it are too small for a residual net to halve them three times

Changes = dict[str, Any]


def other_model(recipe: Recipe, examples: Examples) -> Changes:
    """What is changed in the recipe for the second model: another architecture of about the same cost or less.

    Images: a narrow ResNet-18 beside `smallcnn` (an `mlp` where images are below 16 pixels), and `smallcnn`
    beside everything else. Vectors: one hidden layer of 64 beside any other `mlp`, two of 256 beside that.
    Texts: embeddings of width 16 beside any other `ngrams`, of 64 beside those. Beside a pre-trained model a
    small one takes the optimiser of the "fast" recipe, for a fine-tuning rate would not move it. Lengths
    and batch size stay, so both are trained for the same steps.

    Example:
        >>> from datadiet.data import load
        >>> other_model(Recipe(model="smallcnn"), load("digits"))
        {'model': 'mlp', 'model_options': {}}
    """
    kind, now = examples.kind, (recipe.model, dict(recipe.model_options))
    changes: Changes
    if kind == "image":
        side = min((examples.image_shape or (0, SMALL_SIDE, SMALL_SIDE))[1:])
        if recipe.model != "smallcnn":
            changes = {"model": "smallcnn", "model_options": {}}
        elif side < SMALL_SIDE:
            changes = {"model": "mlp", "model_options": {}}
        else:
            changes = {"model": "resnet18", "model_options": {"width": 16}}
    elif kind == "vector":
        narrow = ("mlp", {"hidden": (64,)})
        hidden = (
            (256, 256) if (now[0], tuple(now[1].get("hidden", ()))) == ("mlp", (64,)) else narrow[1]["hidden"]
        )
        changes = {"model": "mlp", "model_options": {"hidden": hidden}}
    else:
        changes = {
            "model": "ngrams",
            "model_options": {"width": 64 if now == ("ngrams", {"width": 16}) else 16},
        }
    if is_pretrained(recipe.model):
        fast = fast_for(kind, len(examples.train), pretrained=False)
        for name in ("optimizer", "lr", "weight_decay", "schedule", "warmup"):
            changes[name] = getattr(fast, name)
    return changes


def names_of(bench: Workbench) -> tuple[str, str]:
    """What the two models are called: their registered names, with options where the names are the same.

    Example:
        >>> said({"model": "mlp", "model_options": {"hidden": (64,)}}, full=True)
        'mlp hidden=[64]'
    """
    recipe = bench.setup.recipe
    first = {"model": recipe.model, "model_options": dict(recipe.model_options)}
    second = other_model(recipe, bench.setup.examples)
    same = first["model"] == second["model"]
    return said(first, full=same), said(second, full=same)


def said(model: Mapping[str, Any], *, full: bool) -> str:
    """A model in words; `full` names its options too."""
    options = model["model_options"] if full else {}
    written = (f"{k}={list(v) if isinstance(v, tuple) else v}" for k, v in options.items())
    words = [printable(model["model"], limit=40), *written]
    return " ".join(words) if not full or options else f"{words[0]} by default"


def plan(bench: Workbench) -> Sequence[Planned]:
    """Scoring runs of both models; full data, random, own and the other's subset for both."""
    seeds, keep = bench.scale.retrain_seeds, bench.scale.keep
    return [
        Planned("scoring runs", 2 * bench.scale.score_seeds, bench.total_steps),
        Planned("trainings on full data", 2 * seeds, bench.planned_steps()),
        Planned(f"retrainings on {keep:g}", 2 * 3 * seeds, bench.planned_steps(keep)),
    ]


def measure(bench: Workbench, kept: dict[str, Any]) -> Iterator[Row]:
    """How far both models agree, then both models trained on full data, random, and either one's hardest."""
    names = names_of(bench)
    other = bench.with_recipe(**other_model(bench.setup.recipe, bench.setup.examples))
    step, fraction = bench.score_step, bench.scale.keep
    epoch = bench.epoch_of(step)
    scores = [here.per_seed(SCORE, step) for here in (bench, other)]
    kept["scores"] = scores
    yield {
        "what": "agreement",
        "source": names[0],
        "target": names[1],
        "spearman": rank_correlation(scores[0].mean(axis=0), scores[1].mean(axis=0)),
        "shared": shared_hardest(scores[0].mean(axis=0), scores[1].mean(axis=0), fraction),
    }
    for target, here in zip(names, (bench, other), strict=True):
        arms = kept.setdefault(target, {})
        for score, keep in (("full", 1.0), ("random", fraction)):
            row = measured_arm(here, arms, (score, epoch, keep), None)
            yield {"what": "accuracy", "source": score, "target": target, **row}
        for source, per_seed in zip(names, scores, strict=True):
            ids = bench.keep(per_seed.mean(axis=0), fraction)
            row = measured_arm(here, arms, (key(source), epoch, fraction), ids)
            yield {"what": "accuracy", "source": source, "target": target, **row, "score": SCORE}


def key(source: str) -> str:
    """Under which name the subset of a model is remembered."""
    return f"{SCORE} of {source}"


def conclude(bench: Workbench, rows: Sequence[Row], kept: Mapping[str, Any]) -> Conclusion:
    """Accuracy of each target by where its subset comes from; claims that subsets can be handed on."""
    names = names_of(bench)
    epoch, fraction = bench.epoch_of(bench.score_step), bench.scale.keep
    claims: list[tuple[Claim, Measured | None]] = [
        (
            Claim(
                f"{names[0]} and {names[1]} find the same examples hard: a rank correlation above 0.5.",
                f"{PROXIES}; the bound is ours",
                "Spearman's rho of EL2N of one model each",
                "above",
                0.5,
            ),
            _across(kept["scores"]),
        )
    ]
    for target, source in (names, names[::-1]):
        arms = kept.get(target, {})
        theirs, own = ((key(name), epoch, fraction) for name in (source, target))
        claims += [
            (
                Claim(
                    f"{target} on the hardest {fraction:g} of {source} loses no more than half a point against its "
                    "own hardest.",
                    PROXIES,
                    "accuracy minus that of its own subset",
                    "above",
                    -TOLERANCE,
                ),
                difference(arms, theirs, own),
            ),
            (
                Claim(
                    f"{target} on the hardest {fraction:g} of {source} is better than on random.",
                    PROXIES,
                    "accuracy minus random's",
                ),
                difference(arms, theirs, ("random", epoch, fraction)),
            ),
        ]
    accuracies = [row for row in rows if row["what"] == "accuracy"]
    figures = {"transfer": _figure(bench, accuracies, names)} if accuracies else {}
    return Conclusion(claims, figures)


def _across(scores: Sequence[np.ndarray]) -> Measured:
    """Rank correlation of a model of one kind with one of the other, over pairs that share no model."""
    found = [rank_correlation(first, second) for first, second in zip(*scores, strict=True)]
    return mean_correlation(found, "pairs of models")


def _figure(bench: Workbench, rows: Sequence[Row], names: Sequence[str]) -> Figure:
    """A group of points a target, a point with its interval a source."""
    figure = new_figure(LIGHT, 6.8, 4.2)
    axes = figure.add_subplot()
    sources = ["full", "random", *names]
    for position, source in enumerate(sources):
        colour, marker = series_style(position, LIGHT)
        found = [row for row in rows if row["source"] == source]
        middle = np.array([100 * row["accuracy"] for row in found])
        axes.errorbar(
            [names.index(row["target"]) + 0.12 * (position - 1.5) for row in found],
            middle,
            yerr=[
                middle - [100 * row["low"] for row in found],
                [100 * row["high"] for row in found] - middle,
            ],
            color=colour,
            marker=marker,
            linestyle="none",
            markersize=6,
            capsize=2,
            label=title_of(source) if source in ("full", "random") else f"hardest by {source}",
        )
    axes.set_xticks(range(len(names)), labels=list(names))
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xlabel("model that is trained")
    axes.set_ylabel("test accuracy, %")
    dress(axes, LIGHT)
    held_fixed = fixed(
        bench, f"keep {bench.scale.keep:g}, {title_of(SCORE)} at epoch {bench.epoch_of(bench.score_step):g}"
    )
    finish(figure, axes, held_fixed, columns=legend_columns(axes, 6.8))
    return figure


STUDY = add_study(
    Study(
        name="transfer",
        title="Scores of one model used to choose the examples that another architecture is trained on.",
        source="Selection via Proxy; Deep Learning on a Data Diet scores and trains one architecture",
        plan=plan,
        measure=measure,
        conclude=conclude,
    )
)
