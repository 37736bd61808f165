"""Study `transfer`: scores of one model used to choose the examples that another is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from datadiet.data import Examples
from datadiet.engine.training.recipe import Recipe, fast_for
from datadiet.models import is_pretrained
from datadiet.pages.text import printable
from datadiet.studies.toolbox.accuracy import (
    accuracy_row,
    difference,
    in_percent,
    rank_correlation,
    shared_hardest,
    title_of,
)
from datadiet.studies.toolbox.claims import TOLERANCE, Claim, Measurement, mean_correlation
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import draw_groups, finish, label, panel, retraining_caption
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, retraining_plan, study

PROXIES = (
    "Coleman et al. 2020, Selection via Proxy; Paul, Ganguli, Dziugaite 2021 score and train one architecture"
)
SCORE = "el2n"
SMALL_SIDE = 16  # images below it are too small for a residual net to halve them three times


def other_model(recipe: Recipe, examples: Examples) -> dict[str, Any]:
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
    kind, options = examples.kind, dict(recipe.model_options)
    changes: dict[str, Any] = {"model": "mlp", "model_options": {}}
    if kind == "image":
        side = min((examples.image_shape or (0, SMALL_SIDE, SMALL_SIDE))[1:])
        if recipe.model != "smallcnn":
            changes = {"model": "smallcnn", "model_options": {}}
        elif side >= SMALL_SIDE:
            changes = {"model": "resnet18", "model_options": {"width": 16}}
    elif kind == "vector":
        narrow = recipe.model == "mlp" and tuple(options.get("hidden", ())) == (64,)
        changes["model_options"] = {"hidden": (256, 256) if narrow else (64,)}
    else:
        narrow = recipe.model == "ngrams" and options == {"width": 16}
        changes = {"model": "ngrams", "model_options": {"width": 64 if narrow else 16}}
    if is_pretrained(recipe.model):
        fast = fast_for(kind, len(examples.train), pretrained=False)
        for name in ("optimizer", "lr", "weight_decay", "schedule", "warmup"):
            changes[name] = getattr(fast, name)
    return changes


def names_of(context: StudyContext) -> tuple[str, str]:
    """What the two models are called: their registered names, with options where the names are the same."""
    recipe = context.setup.recipe
    first = {"model": recipe.model, "model_options": dict(recipe.model_options)}
    second = other_model(recipe, context.setup.examples)
    same = first["model"] == second["model"]
    return model_title(first, full=same), model_title(second, full=same)


def model_title(model: Mapping[str, Any], *, full: bool) -> str:
    """A model in words; `full` names its options too.

    Example:
        >>> model_title({"model": "mlp", "model_options": {"hidden": (64,)}}, full=True)
        'mlp hidden=[64]'
    """
    options = model["model_options"] if full else {}
    named = (f"{k}={list(v) if isinstance(v, tuple) else v}" for k, v in options.items())
    words = [printable(model["model"], limit=40), *named]
    return " ".join(words) if not full or options else f"{words[0]} by default"


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs of both models; full data, random, own and the other's subset for both."""
    return retraining_plan(context, {context.scale.keep: 3}, times=2)


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """How far both models agree, then both models trained on full data, random, and either one's hardest."""
    names = names_of(context)
    other = context.with_recipe(**other_model(context.setup.recipe, context.setup.examples))
    step, fraction = context.score_step, context.scale.keep
    epoch = context.epoch_of(step)
    scores = [here.per_seed(SCORE, step) for here in (context, other)]
    kept["scores"] = scores
    yield {
        "what": "agreement",
        "source": names[0],
        "target": names[1],
        "spearman": rank_correlation(scores[0].mean(axis=0), scores[1].mean(axis=0)),
        "shared": shared_hardest(scores[0].mean(axis=0), scores[1].mean(axis=0), fraction),
    }
    for target, here in zip(names, (context, other), strict=True):
        arms = kept.setdefault(target, {})
        for score, keep in (("full", 1.0), ("random", fraction)):
            row = accuracy_row(here, arms, (score, epoch, keep), None)
            yield {"what": "accuracy", "source": score, "target": target, **row}
        for source, per_seed in zip(names, scores, strict=True):
            ids = context.keep(per_seed.mean(axis=0), fraction)
            row = accuracy_row(here, arms, (subset_key(source), epoch, fraction), ids)
            yield {"what": "accuracy", "source": source, "target": target, **row, "score": SCORE}


def subset_key(source: str) -> str:
    """Under which name the subset of a model is remembered."""
    return f"{SCORE} of {source}"


@study(
    "transfer",
    "Scores of one model used to choose the examples that another architecture is trained on.",
    "Selection via Proxy; Deep Learning on a Data Diet scores and trains one architecture",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Accuracy of each target by where its subset comes from; claims that subsets can be handed on."""
    names = names_of(context)
    epoch, fraction = context.score_epoch, context.scale.keep
    claims: list[Claim] = [
        Claim(
            f"{names[0]} and {names[1]} find the same examples hard: a rank correlation above 0.5.",
            f"{PROXIES}; the bound is ours",
            "Spearman's rho of EL2N of one model each",
            _across(kept["scores"]),
            above=0.5,
        )
    ]
    for target, source in (names, names[::-1]):
        arms = kept.get(target, {})
        theirs, own = ((subset_key(name), epoch, fraction) for name in (source, target))
        claims += [
            Claim(
                f"{target} on the hardest {fraction:g} of {source} loses no more than half a point against its "
                "own hardest.",
                PROXIES,
                "accuracy minus that of its own subset",
                difference(arms, theirs, own),
                above=-TOLERANCE,
            ),
            Claim(
                f"{target} on the hardest {fraction:g} of {source} is better than on random.",
                PROXIES,
                "accuracy minus random's",
                difference(arms, theirs, ("random", epoch, fraction)),
            ),
        ]
    accuracies = [row for row in rows if row["what"] == "accuracy"]
    figures = {"transfer": _figure(context, accuracies, names)} if accuracies else {}
    return Conclusion(claims, figures)


def _across(scores: Sequence[np.ndarray]) -> Measurement:
    """Rank correlation of a model of one kind with one of the other, over pairs that share no model."""
    found = [rank_correlation(first, second) for first, second in zip(*scores, strict=True)]
    return mean_correlation(found, "pairs of models")


def _figure(context: StudyContext, rows: Sequence[Row], names: Sequence[str]) -> Figure:
    """A group of points a target, a point with its interval a source."""
    figure, axes = panel(6.8, 4.2)
    series = {}
    for source in ("full", "random", *names):
        name = title_of(source) if source in ("full", "random") else f"hardest by {source}"
        own = [row for row in rows if row["source"] == source]
        series[name] = [in_percent(names.index(row["target"]), row) for row in own]
    draw_groups(axes, series, names, apart=0.12)
    label(axes, "model that is trained", "test accuracy, %")
    epoch = context.score_epoch
    more = f"keep {context.scale.keep:g}, {title_of(SCORE)} at epoch {epoch:g}"
    return finish(figure, axes, retraining_caption(context, more))
