"""Study `pool-selection`: what to add from a pool whose labels are the confident hypotheses of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from datadiet.engine.runs import Run
from datadiet.engine.training.seeding import derive_seed
from datadiet.foundation.statistics import accuracy_interval
from datadiet.jobs.pool.hypotheses import POOL_TASKS, PoolReading, with_labels
from datadiet.pages.report.canvas import LIGHT, dress, new_figure, series_style
from datadiet.selection import hardest_rows
from datadiet.studies.toolbox.accuracy import title_of
from datadiet.studies.toolbox.claims import Claim, Measured, mean_of
from datadiet.studies.toolbox.context import Workbench
from datadiet.studies.toolbox.figures import caption, finish, legend_columns
from datadiet.studies.toolbox.pools import (
    Trained,
    domains_of,
    metrics_of,
    picked,
    reading_of,
    sizes,
    split_of,
    summary,
)
from datadiet.studies.toolbox.study import Conclusion, Planned, Row, Study, add_study

SOURCE = "entropy and margin based scoring metrics in industrial NLU, 2023"
SCORES = ("entropy", "el2n", "margin", "logit_margin")
TITLES = {"margin": "probability margin"}
CONFIDENT = 0.5  # share of the pool, the most confident of it, whose hypotheses are believed
WINDOW = 0.25  # where the window in the middle of the order begins; it has as many picks as each end
ENDS = ("hardest", "window", "easiest")
RANDOM, BASE = ("random", "random", "hypotheses"), ("base", "", "true")
Choice = tuple[str, str, str]  # score, place in the order, whose labels


def choices(scores: Sequence[str] = SCORES) -> list[Choice]:
    """Every way to pick, with hypotheses as labels; then two with the true ones, to see what wrong ones cost."""
    by_score = [(score, end, "hypotheses") for score in scores for end in ENDS]
    return [RANDOM, *by_score, ("random", "random", "true"), (scores[0], "hardest", "true")]


def plan(bench: Workbench) -> Sequence[Planned]:
    """The base, whose models also label the pool, then a training a way to pick and a seed."""
    base, picks = sizes(bench)
    n, seeds = len(bench.setup.examples.train), bench.scale.retrain_seeds
    return [
        Planned("trainings on the base", seeds, bench.planned_steps(base / n)),
        Planned(
            f"trainings on {base + picks:,} examples",
            len(choices()) * seeds,
            bench.planned_steps((base + picks) / n),
        ),
    ]


@dataclass(frozen=True)
class Believed:
    """A pool as one model labels it.

    Args:
        reading: what the model says of the whole pool.
        ids: the examples whose hypotheses are confident enough, sorted.
        right: whether each of these hypotheses is the true label, bool.
    """

    reading: PoolReading
    ids: np.ndarray
    right: np.ndarray

    def hardness(self, score: str) -> np.ndarray:
        """How unsure the model is of each believed example."""
        return np.asarray(self.reading.hardness[score][self.reading.rows_of(self.ids)])


def believed(bench: Workbench, reading: PoolReading) -> Believed:
    """The more confident part of a pool; a tie goes to the lower id."""
    size = round(CONFIDENT * len(reading.ids))
    rows = hardest_rows(reading.confidence, size)
    ids = reading.ids[rows]
    train = bench.setup.examples.train
    places = train.positions_of(ids)
    right = np.ones(len(ids), dtype=bool)
    if bench.setup.examples.task in ("classification", "intent_slots"):
        right = reading.labels[rows] == train.labels[places]
    if reading.targets is not None and train.targets is not None:
        found, true = reading.targets.take(rows).rows(), train.targets.take(places).rows()
        right &= np.array([bool(np.array_equal(f, t)) for f, t in zip(found, true, strict=True)])
    return Believed(reading, ids, right)


def labelled_pool(bench: Workbench, pool: Believed, index: int) -> Workbench:
    """A bench whose believed pool examples have the model's hypotheses as labels."""
    rows = pool.reading.rows_of(pool.ids)
    targets = None if pool.reading.targets is None else pool.reading.targets.take(rows)
    said = f"hypotheses of base model {index + 1}"
    return bench.on(
        with_labels(bench.setup.examples, pool.ids, pool.reading.labels[rows], targets, said=said)
    )


def measure(
    bench: Workbench, kept: dict[str, Any], *, domains: Mapping[str, str] | None = None
) -> Iterator[Row]:
    """Seed by seed: a base model labels and scores the pool, then every way to pick is trained."""
    examples, split = bench.setup.examples, split_of(bench)
    picks = sizes(bench)[1]
    has_intents = examples.task in ("classification", "intent_slots")
    numbers = domains_of(examples.class_names, domains) if has_intents else None
    for index in range(bench.scale.retrain_seeds):
        first = bench.retrain(split.base, index, f"base, seed {index + 1}", weights=True)
        yield _row(bench, kept, BASE, index, first, numbers, len(split.base), None)
        pool = believed(bench, reading_of(bench, first, split.pool))
        if len(pool.ids) < 2 * picks:
            picks = max(1, len(pool.ids) // 2)
            bench.notes.append(
                f"Only {picks} are picked: the confident part of the pool has {len(pool.ids)}."
            )
        scores = [score for score in SCORES if score in pool.reading.hardness]
        drawn = derive_seed(bench.seed, "picked at random", index) % 2**32
        beside = labelled_pool(bench, pool, index)
        for choice in choices(scores):
            score, end, labels = choice
            hardness = None if score == "random" else pool.hardness(score)
            options = {"start": WINDOW} if end == "window" else {}
            chosen = picked(pool.ids, hardness, picks, end=end, seed=drawn, **options)
            here = beside if labels == "hypotheses" else bench
            said = f"{score} {end}, {labels} labels, seed {index + 1}"
            run = here.retrain(np.union1d(split.base, chosen), index, said)
            right = float(pool.right[np.searchsorted(pool.ids, chosen)].mean())
            yield _row(bench, kept, choice, index, run, numbers, len(split.base) + len(chosen), right)
        bench.leave(beside)


def _row(
    bench: Workbench,
    kept: dict[str, Any],
    choice: Choice,
    index: int,
    run: Run,
    domains: np.ndarray | None,
    n: int,
    believable: float | None,
) -> Row:
    examples, found = bench.setup.examples, run.test_predictions()
    measured = metrics_of(run)
    if examples.task in ("classification", "intent_slots"):
        right = float((found["prediction"] == examples.test.labels).mean())
        measured["intent_accuracy"] = right
        # Without slots an utterance has one thing to be wrong: its intent.
        measured.setdefault("semantic_error_rate", 1 - right)
    if domains is not None:
        wrong = domains[found["prediction"].astype(np.int64)] != domains[examples.test.labels]
        measured["domain_error"] = float(wrong.mean())
        kept.setdefault("domains", Trained()).add(choice, wrong, measured)
    Trained.of(kept).add(choice, found["correct"].astype(bool), measured)
    score, end, labels = choice
    return {
        "score": score,
        "end": end,
        "labels": labels,
        "seed": index,
        "n": n,
        "hypotheses_right": believable,
        **measured,
    }


def conclude(bench: Workbench, rows: Sequence[Row], kept: Mapping[str, Any]) -> Conclusion:
    """Every way to pick beside random picks, as a table and a figure; claims that scores pick better."""
    trained: Trained = kept["trained"]
    domains: Trained = kept.get("domains", Trained())
    entropy: Choice = ("entropy", "hardest", "hypotheses")
    claims: list[tuple[Claim, Measured | None]] = [
        (
            Claim(
                "Hypotheses are worth adding at all: the base with random picks is better than the base alone.",
                SOURCE,
                "accuracy minus that of the base",
            ),
            trained.difference(RANDOM, BASE),
        )
    ]
    for score in SCORES:
        choice = (score, "hardest", "hypotheses")
        if choice in trained.correct:
            said = TITLES.get(score, title_of(score))
            claims.append(
                (
                    Claim(
                        f"Of the confident part of the pool the least sure by {said} are better picks than random "
                        "ones.",
                        f"{SOURCE}; which end it takes is not public",
                        "accuracy minus random's",
                    ),
                    trained.difference(choice, RANDOM),
                )
            )
    if domains.correct:
        claims.append(
            (
                Claim(
                    "Picks by entropy put fewer utterances into a wrong domain than random picks.",
                    SOURCE,
                    "domain error minus random's",
                    "below",
                ),
                domains.difference(entropy, RANDOM),
            )
        )
    if bench.setup.examples.task == "intent_slots":
        claims.append(
            (
                Claim(
                    "Picks by entropy have a lower semantic error rate than random picks.",
                    SOURCE,
                    "semantic error rate minus random's",
                    "below",
                ),
                _change(trained, entropy, RANDOM, "semantic_error_rate"),
            )
        )
    claims.append(
        (
            Claim(
                "Wrong hypotheses cost something: random picks with their true labels are better.",
                "a check of the room that there is",
                "accuracy minus that with hypotheses",
            ),
            trained.difference(("random", "random", "true"), RANDOM),
        )
    )
    return Conclusion(claims, {"pool-selection": _figure(bench, trained)}, {"choices": _table(trained, rows)})


def _change(trained: Trained, choice: Choice, reference: Choice, name: str) -> Measured | None:
    """A metric of one choice minus another's, seed by seed: both have the same base model and pool."""
    values, others = trained.values(choice, name), trained.values(reference, name)
    if values is None or others is None:
        return None
    return mean_of((values - others).tolist(), "seeds")


def _table(trained: Trained, rows: Sequence[Row]) -> list[Row]:
    """A way to pick a row: means over seeds, the interval of accuracy, and each metric relative to random picks."""
    by = ("score", "end", "labels")
    names = [
        name for name in dict.fromkeys(name for row in rows for name in row) if name not in (*by, "seed")
    ]
    table = summary(rows, by, names)
    reference = next((row for row in table if tuple(row[name] for name in by) == RANDOM), {})
    for row in table:
        choice = (row["score"], row["end"], row["labels"])
        found = accuracy_interval(np.stack(trained.correct[choice]))
        row |= {"low": found.low, "high": found.high}
        for name in ("domain_error", "semantic_error_rate"):
            if row.get(name) is not None and reference.get(name):
                row[f"{name}_against_random"] = row[name] / reference[name] - 1
    return table


def _figure(bench: Workbench, trained: Trained) -> Figure:
    """Accuracy of every way to pick: a place on the axis a score, a colour a place in the order."""
    figure = new_figure(LIGHT, 7.2, 4.2)
    axes = figure.add_subplot()
    scores = [score for score in SCORES if (score, "hardest", "hypotheses") in trained.correct]
    for position, end in enumerate(ENDS):
        colour, marker = series_style(position, LIGHT)
        points = [
            trained.point(choice, place + 0.16 * (position - 1))
            for place, score in enumerate(scores)
            if (choice := (score, end, "hypotheses")) in trained.correct
        ]
        if points:
            x, middle, low, high = (np.asarray(column) for column in zip(*points, strict=True))
            axes.errorbar(
                x,
                middle,
                yerr=[middle - low, high - middle],
                color=colour,
                marker=marker,
                linestyle="none",
                markersize=6,
                capsize=2,
                label=end if end != "window" else f"window from {WINDOW:g}",
            )
    for name, choice, style in (("random picks", RANDOM, "--"), ("base alone", BASE, ":")):
        if choice in trained.correct:
            height = trained.point(choice, 0.0)[1]
            axes.axhline(height, color=LIGHT.muted, linestyle=style, linewidth=1.2, label=name)
    axes.set_xticks(range(len(scores)), labels=[TITLES.get(score, title_of(score)) for score in scores])
    axes.set_xlim(-0.5, len(scores) - 0.5)
    axes.set_xlabel("score that picks")
    axes.set_ylabel("test accuracy, %")
    dress(axes, LIGHT)
    base, picks = sizes(bench)
    more = (
        f"a base of {base:,} and {picks:,} picks with hypotheses as labels; same {bench.setup.recipe.budget}"
    )
    said = caption(bench, bench.scale.retrain_seeds, more, called="seeds")
    finish(figure, axes, said, columns=legend_columns(axes, 7.2))
    return figure


def study(domains: Mapping[str, str] | None = None) -> Study:
    """The study with a map of intents to domains; without one they are told from the intents' names.

    Args:
        domains: intent -> domain.

    Example:
        >>> study({"play": "music"}).name
        'pool-selection'
    """
    return Study(
        name="pool-selection",
        title="What to add to a small labelled set from a pool that a model has labelled: scores, ends and windows.",
        source="Entropy and margin based scoring in industrial NLU",
        plan=plan,
        measure=partial(measure, domains=domains),
        conclude=conclude,
        tasks=POOL_TASKS,
    )


STUDY = add_study(study())
