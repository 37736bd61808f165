"""Study `label-noise`: where scores put examples whose labels were made wrong."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_auc_score

from datadiet.jobs.report import gallery
from datadiet.pages.report.canvas import LIGHT, new_figure
from datadiet.pages.report.contents import Gallery
from datadiet.pages.text import printable
from datadiet.scores import ScoreTable
from datadiet.studies.toolbox.accuracy import points_by_epoch, seed_values, title_of
from datadiet.studies.toolbox.claims import Claim, Measurement, mean_difference, mean_within
from datadiet.studies.toolbox.context import StudyContext, with_wrong_labels
from datadiet.studies.toolbox.figures import Point, caption, finish, label, lines, write_below
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section 4.3"
OURS = "the paper shows histograms; the bound is ours"
SCORES = ("el2n", "grand", "forgetting", "aum")
FROM_TRACE = ("forgetting", "aum")
CLEARLY = 0.8  # area under the curve from which classes of labels are said to be told apart
BEFORE, AFTER = "before", "after"
UNIT = "scoring seeds"
CLASSES = 10  # that the picture of extremes has room for
SHOWN = 5  # examples at each end of a class


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs on labels as they are and on wrong ones; nothing is retrained."""
    return [Planned("scoring runs", 2 * context.scale.score_seeds, context.total_steps)]


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """How well each score tells wrong labels, before they are wrong (one moment) and after (all moments)."""
    noisy, corrupted = with_wrong_labels(context)
    at = context.score_step
    kept["mask"] = corrupted.mask
    for when, here, steps in ((BEFORE, context, [at]), (AFTER, noisy, list(context.score_steps.values()))):
        for score in SCORES:
            for step in steps:
                if step == 0 and score in FROM_TRACE:
                    continue  # nothing has been presented yet
                per_seed = here.per_seed(score, step)
                if score == "el2n" and step == at:
                    kept[when] = per_seed.mean(axis=0)
                for seed, hardness in enumerate(per_seed):
                    yield {
                        "labels": when,
                        "score": score,
                        "epoch": context.epoch_of(step),
                        "seed": seed,
                        **auc_and_precision(corrupted.mask, hardness),
                    }


def auc_and_precision(wrong: np.ndarray, hardness: np.ndarray) -> dict[str, float | None]:
    """How well a score tells wrong labels: area under the ROC curve, and precision among as many hardest.

    Example:
        >>> auc_and_precision(np.array([True, False, False, True]), np.array([0.9, 0.1, 0.5, 0.4]))
        {'auc': 0.75, 'precision': 0.5}
    """
    known = np.isfinite(hardness)
    wrong, hardness = wrong[known], hardness[known]
    count = int(wrong.sum())
    if not 0 < count < len(wrong):
        return {"auc": None, "precision": None}
    hardest = np.argsort(-hardness, kind="stable")[:count]
    return {"auc": float(roc_auc_score(wrong, hardness)), "precision": float(wrong[hardest].mean())}


@study(
    "label-noise",
    "Where scores put examples with wrong labels: histograms, AUC, and the extremes of each class.",
    "Deep Learning on a Data Diet, study 4",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Histograms before and after, AUC by epoch, the extremes of each class; claims on where wrong labels go."""
    at, noise = context.score_epoch, context.scale.noise
    step = 1 / float(kept["mask"].sum() * (~kept["mask"]).sum())  # of an area: one pair the other way round

    def areas(labels: str, score: str, epoch: float) -> np.ndarray | None:
        return seed_values(rows, "auc", context.scale.score_seeds, labels=labels, score=score, epoch=epoch)

    def mean(values: np.ndarray | None) -> Measurement | None:
        return None if values is None else mean_within(values.tolist(), UNIT, 0.0, 1.0, resolution=step)

    def minus(values: np.ndarray | None, others: np.ndarray | None) -> Measurement | None:
        return mean_difference(values, others, UNIT, -1.0, 1.0, resolution=step)

    def line(score: str) -> list[Point]:
        return points_by_epoch(rows, lambda epoch: mean(areas(AFTER, score, epoch)))

    area = "area under the ROC curve of wrong against right labels"
    after, before = areas(AFTER, "el2n", at), areas(BEFORE, "el2n", at)
    claims = [
        Claim(
            f"Wrong labels move to the top of EL2N: at epoch {at:g} it ranks them above right ones with an "
            f"area of more than {CLEARLY:g}.",
            f"{DATA_DIET}; {OURS}",
            area,
            mean(after),
            above=CLEARLY,
        ),
        Claim(
            "It is the label that moves them: the same examples ranked lower before their labels were changed.",
            DATA_DIET,
            f"{area}, after minus before",
            minus(after, before),
        ),
        Claim(
            "Before, these examples were no harder than others: an area below 0.6.",
            f"a check of the drawing; {OURS}",
            area,
            mean(before),
            below=0.6,
        ),
        Claim(
            f"EL2N tells wrong labels better at epoch {at:g} than at initialisation.",
            DATA_DIET,
            f"{area}, minus that at initialisation",
            minus(after, areas(AFTER, "el2n", 0.0)),
        ),
        Claim(
            f"GraNd at epoch {at:g} ranks wrong labels above right ones with an area of more than {CLEARLY:g}.",
            f"{DATA_DIET}; {OURS}",
            area,
            mean(areas(AFTER, "grand", at)),
            above=CLEARLY,
        ),
    ]
    by_epoch = lines(
        {title_of(score): line(score) for score in SCORES},
        x="epoch of the score",
        y="area under the ROC curve",
        title=caption(context, context.scale.score_seeds, f"{noise:g} wrong labels, told from right ones"),
        levels={"chance": 0.5},
    )
    shown = _gallery(context, kept[BEFORE])
    figures = {"histograms": _histograms(context, kept), "auc": by_epoch}
    if context.setup.examples.kind == "image":
        figures["extremes"] = _pictures(context, shown)
    return Conclusion(claims, figures, {"extremes": _extremes(shown)})


def _histograms(context: StudyContext, kept: Mapping[Any, Any]) -> Figure:
    """EL2N of examples whose labels are made wrong and of all others, each a density; before and after."""
    figure = new_figure(LIGHT, 8.0, 3.6)
    mask = kept["mask"]
    edges = np.linspace(0, max(float(kept[BEFORE].max()), float(kept[AFTER].max())) or 1.0, 41)
    panels = figure.subplots(1, 2, sharex=True)
    titles = ("before: labels as they are", f"after: {context.scale.noise:g} of the labels made wrong")
    for axes, when, title in zip(panels, (BEFORE, AFTER), titles, strict=True):
        for chosen, name, colour in (
            (~mask, "labels never changed", LIGHT.series[0]),
            (mask, "labels made wrong", LIGHT.series[1]),
        ):
            values = kept[when][chosen]
            share = np.full(len(values), 100 / len(values))
            axes.hist(values, edges, weights=share, histtype="stepfilled", color=colour, alpha=0.25)
            axes.hist(values, edges, weights=share, histtype="step", color=colour, label=name, linewidth=1.4)
        axes.set_title(title, fontsize=10, color=LIGHT.ink)
        x = f"{title_of('el2n')} at epoch {context.score_epoch:g}, mean of models"
        label(axes, x, "share of the group, %")
    return finish(figure, panels[0], caption(context, context.scale.score_seeds))


def _gallery(context: StudyContext, hardness: np.ndarray) -> Gallery:
    examples = context.setup.examples
    columns = {"el2n": hardness.astype(np.float64)}
    table = ScoreTable(examples.train.ids, examples.train.labels, examples.class_names, columns)
    return gallery(examples, table, "el2n")


def _extremes(shown: Gallery) -> list[Row]:
    """The least and the most difficult examples of each class, one a row."""
    rows: list[Row] = []
    for name, sides in shown.by_class.items():
        for end, views in zip(("easiest", "hardest"), sides, strict=True):
            for place, view in enumerate(views[:SHOWN], start=1):
                row: Row = {"class": name, "end": end, "place": place, "id": view.id, "el2n": view.score}
                if view.text is not None:
                    row["text"] = printable(view.text, limit=300)
                if view.vector is not None:
                    row["values"] = np.asarray(view.vector, dtype=np.float64)[:64].tolist()
                rows.append(row)
    return rows


def _pictures(context: StudyContext, shown: Gallery) -> Figure:
    """A row a class: its least difficult images on the left, its most difficult on the right."""
    classes = list(shown.by_class.items())[:CLASSES]
    left_out = context.setup.examples.num_classes - len(classes)
    if left_out > 0:
        context.note(
            f"The picture of extremes shows the first {len(classes)} classes; {left_out} are left out."
        )
    figure = new_figure(LIGHT, 8.0, 0.72 * len(classes) + 1.0)
    axes = figure.subplots(len(classes), 2 * SHOWN, squeeze=False)
    for row, (name, (easiest, hardest)) in zip(axes, classes, strict=True):
        row[0].set_ylabel(
            printable(name, limit=14), rotation=0, ha="right", va="center", fontsize=9, color=LIGHT.ink
        )
        for place in range(SHOWN):
            for panel, side in ((row[place], easiest), (row[2 * SHOWN - 1 - place], hardest)):
                panel.set_xticks([])
                panel.set_yticks([])
                panel.set_frame_on(False)
                shown_here = side[place].image if place < len(side) else None
                if shown_here is not None:
                    panel.imshow(
                        np.asarray(Image.open(io.BytesIO(shown_here), formats=("PNG",)).convert("RGB"))
                    )
    at = f"EL2N at epoch {context.score_epoch:g}"
    axes[-1][0].set_xlabel("least difficult", color=LIGHT.muted, fontsize=9)
    axes[-1][-1].set_xlabel("most difficult", color=LIGHT.muted, fontsize=9)
    title = (
        f"{context.setup.examples.name}, labels as they are; least to most difficult of each class by {at}"
    )
    write_below(figure, title)
    return figure
