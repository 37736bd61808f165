"""Study `time-accuracy`: accuracy against time and examples processed, for static subsets and dynamic selectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datadiet.dynamic import selector_card
from datadiet.engine.points import measure_points
from datadiet.engine.runs import Run
from datadiet.engine.setup import Setup
from datadiet.engine.training.dynamic import dynamic_epochs
from datadiet.engine.training.ledger import method_cost
from datadiet.jobs.arms import random_arm
from datadiet.jobs.dynamic_run import twin_of, with_dynamic
from datadiet.selection import kept_size, select
from datadiet.studies.toolbox.accuracy import accuracy_columns, difference, in_percent
from datadiet.studies.toolbox.claims import LEVEL, TOLERANCE, Claim, Measurement, finite_or_none, share_saved
from datadiet.studies.toolbox.context import StudyContext, correct_of
from datadiet.studies.toolbox.figures import Point, lines
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, study

NLU = "Attendu and Corbeil 2023"
INFOBATCH = "Qin et al., ICLR 2024"
METHODS = ("nlu-data-diet", "infobatch", "uncertainty", "curriculum")
HARDEST, RANDOM = "el2n hardest", "random subset"
STATIC = ("full", HARDEST, RANDOM)
ArmName = tuple[str, float | None]  # method, kept share
Clock = str  # "seconds" on the wall or "processor_seconds"


@dataclass
class TimedArm:
    """Finished runs of one way to train, one a seed, and what its scores cost before the first of them.

    Args:
        method: "full", "el2n hardest", "random subset", a selector, or "random twin of ..." one.
        keep: the share that was asked for; None where the method has its own.
        runs: one a seed.
        scoring: ledgers of what came before: trainings and passes that scores were taken from. Each of the arm's
            trainings is charged all of them, as if it were the only one.
    """

    method: str
    keep: float | None
    runs: Sequence[Run]
    scoring: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.method if self.keep is None else f"{self.method} {self.keep:g}"

    @property
    def ledgers(self) -> list[dict[str, Any]]:
        """One a run."""
        return [run.result["ledger"] for run in self.runs if run.result is not None]

    def mean(self, key: str) -> float:
        """A count of the ledgers, mean over the seeds."""
        return float(np.mean([ledger[key] for ledger in self.ledgers]))

    def correct(self) -> np.ndarray:
        """Which test examples are right: bool (seeds, test examples)."""
        return np.stack([correct_of(run) for run in self.runs])

    def costs(self, clock: Clock = "seconds", *, with_scoring: bool = True) -> np.ndarray:
        """Seconds of each seed's training, with what came before it."""
        before = sum(method_cost(ledger, clock) for ledger in self.scoring) if with_scoring else 0.0
        return np.array([method_cost(ledger, clock) + before for ledger in self.ledgers])

    def examples(self) -> np.ndarray:
        """Examples that each seed processed: those sent forward and those sent backward, added up."""
        before = sum(_processed(ledger) for ledger in self.scoring)
        return np.array([_processed(ledger) + before for ledger in self.ledgers], dtype=np.float64)


def _processed(ledger: Mapping[str, Any]) -> int:
    return int(ledger["forwarded"] + ledger["backwarded"])


def el2n_with_cost(
    setup: Setup, runs: Sequence[Run], step: int
) -> tuple[np.ndarray, list[Mapping[str, Any]]]:
    """EL2N, the mean over runs, and the ledgers of these runs up to that step and of the scoring passes.

    Args:
        setup: of the runs.
        runs: each keeps its weights at `step`.
        step: of the weights.
    """
    columns, ledgers = [], []
    for run in runs:
        points = measure_points(setup, run, step, ["el2n"])
        columns.append(points.columns["el2n"].astype(np.float64))
        ledgers += [run.weights(step)[1]["ledger"], points.ledger]
    return np.mean(columns, axis=0), ledgers


def saved(
    arm: TimedArm, full: TimedArm, clock: Clock = "seconds", *, with_scoring: bool = True
) -> Measurement:
    """Share of full data's time that an arm saves, seed against the same seed."""
    return share_saved(list(arm.costs(clock, with_scoring=with_scoring) / full.costs(clock)), "seeds")


def fewer_examples(arm: TimedArm, full: TimedArm) -> Measurement:
    """Share of full data's processed examples that an arm saves; scoring counted.

    Static subsets process the same number whatever the seed: their share is exact.
    """
    one_example = 1 / float(full.examples().mean())
    ratios = list(arm.examples() / full.examples())
    return share_saved(ratios, "seeds", resolution=one_example, exact=arm.method in STATIC)


def row_of(arm: TimedArm, full: TimedArm) -> Row:
    """An arm as a row of a table: accuracy, cost, and savings against full data with 95 % intervals.

    `seconds` and `processor_seconds` are means over seeds and count scoring; `trained` is the share of full data's
    examples that were trained on.
    """
    row: Row = {
        "method": arm.method,
        "keep": arm.keep,
        **accuracy_columns(arm.correct()),
        "trained": arm.mean("backwarded") / full.mean("backwarded"),
    }
    for name in ("forwarded", "backwarded"):
        row[name] = arm.mean(name) + sum(int(ledger[name]) for ledger in arm.scoring)
    for clock in ("seconds", "processor_seconds"):
        alone = arm.costs(clock, with_scoring=False)
        inside = np.array([ledger[clock]["scoring"] for ledger in arm.ledgers])
        row[clock] = float(arm.costs(clock).mean())
        row[f"scoring_{clock}"] = float((arm.costs(clock) - alone + inside).mean())
        for name, with_scoring in (("saved", True), ("saved_without_scoring", False)):
            row |= _interval_columns(f"{clock}_{name}", saved(arm, full, clock, with_scoring=with_scoring))
    row |= _interval_columns("examples_saved", fewer_examples(arm, full))
    row["examples"] = float(arm.examples().mean())
    return row


def _interval_columns(name: str, found: Measurement) -> Row:
    low, high = (None, None) if found.exact else map(finite_or_none, found.interval(LEVEL))
    return {name: found.estimate, f"{name}_low": low, f"{name}_high": high}


def shares_of(context: StudyContext) -> tuple[float, ...]:
    """Kept shares; 0.5 and 0.2 are those that the papers name."""
    return (0.5, 0.2) if context.scale.name == "smoke" else (0.7, 0.5, 0.3, 0.2)


def same_epochs(setup: Setup) -> Setup:
    """The setup with subsets trained for as many epochs as all data, which is what saves time."""
    return dataclasses.replace(setup, recipe=setup.recipe.replace(budget="epochs"))


def dynamic_options(setup: Setup, method: str, keep: float | None) -> dict[str, Any]:
    """Options of a method in this study: its share, and for methods that score everything a choice every so often.

    A pass over everything costs about a third of training on it, so `nlu-data-diet` chooses four times in a run; how
    often is our choice.
    """
    options: dict[str, Any] = {} if keep is None else {"keep": keep}
    if method == "nlu-data-diet":
        options["every"] = max(1, round(dynamic_epochs(setup.recipe, len(setup.examples.train)) / 4))
    return options


def dynamic_pairs(methods: Sequence[str], shares: Sequence[float]) -> list[tuple[str, float | None]]:
    """Each method with each share, or with None where it has no share."""
    return [
        (method, share)
        for method in methods
        for share in (shares if "keep" in selector_card(method).options else (None,))
    ]


def plan(context: StudyContext) -> Sequence[Planned]:
    """Scoring runs, full data, static subsets, and each dynamic method with its twin."""
    seeds, shares, total = context.scale.retrain_seeds, shares_of(context), context.total_steps
    pairs = dynamic_pairs(METHODS, shares)
    return [
        Planned("scoring runs", context.scale.score_seeds, total),
        Planned("trainings on full data", seeds, total),
        *(
            Planned(f"retrainings on {share:g}, same epochs", 2 * seeds, max(1, round(share * total)))
            for share in shares
        ),
        Planned("dynamic trainings and their random twins", 2 * len(pairs) * seeds, total),
    ]


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """Full data, static subsets at the same epochs, then every dynamic method beside its random twin."""
    seeds, shares = context.scale.retrain_seeds, shares_of(context)
    runs = [context.scoring_run(index) for index in range(context.scale.score_seeds)]
    hardness, scoring = el2n_with_cost(context.setup, runs, context.score_step)

    def retrain(setup: Setup, index: int, ids: Any, label: str) -> Any:
        return context.retrain(ids, index, f"{label}, seed {index + 1}", setup=setup)

    for arm in timed_arms(context.setup, METHODS, shares, seeds, context.seed, hardness, scoring, retrain):
        kept[arm.method, arm.keep] = arm
        yield row_of(arm, kept["full", None])


def timed_arms(
    setup: Setup,
    methods: Sequence[str],
    shares: Sequence[float],
    seeds: int,
    seed: int,
    hardness: Any,
    scoring: Sequence[Mapping[str, Any]],
    retrain: Callable[[Setup, int, Any, str], Any],
    static_shares: Sequence[float] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[TimedArm]:
    """Every arm of the comparison, trained; full data first.

    Args:
        setup: data and recipe, not dynamic.
        methods: dynamic selectors.
        shares: kept shares of dynamic selectors that have one.
        seeds: trainings of each arm.
        seed: base of the random subsets.
        hardness: of every training example, (n,), for the static subsets; None to leave the hardest out.
        scoring: ledgers of what the hardness cost.
        retrain: trains `(setup, index of the seed, ids or None, label)` and returns the run.
        static_shares: kept shares of static subsets; None for `shares`.
        options: of dynamic selectors and their schedules, by selector, in place of this study's.
    """
    train, short = setup.examples.train, same_epochs(setup)
    yield TimedArm("full", None, [retrain(setup, index, None, "full") for index in range(seeds)])
    for share in shares if static_shares is None else static_shares:
        if hardness is not None:
            ids = select(train.ids, hardness, share, rule="hardest", labels=train.labels, seed=seed)
            hardest = [retrain(short, index, ids, f"{HARDEST} {share:g}") for index in range(seeds)]
            yield TimedArm(HARDEST, share, hardest, scoring)
        random = random_arm(setup, share, kept_size(len(train), share), seed)
        drawn = [
            retrain(short, index, random.ids_for(index), f"{RANDOM} {share:g}") for index in range(seeds)
        ]
        yield TimedArm(RANDOM, share, drawn)
    for method, keep in dynamic_pairs(methods, shares):
        wanted = dynamic_options(setup, method, keep) | dict((options or {}).get(method, {}))
        dynamic = with_dynamic(setup, method, wanted)
        label = method if keep is None else f"{method} {keep:g}"
        own, twins = [], []
        for index in range(seeds):  # side by side, so that a machine that changes changes both
            own.append(retrain(dynamic, index, None, label))
            twins.append(retrain(twin_of(dynamic, own[-1]), index, None, f"random twin of {label}"))
        yield TimedArm(method, keep, own)
        yield TimedArm(f"random twin of {method}", keep, twins)


@study(
    "time-accuracy",
    "Accuracy against time and examples: full data, static subsets, dynamic selectors, their random twins.",
    "NLU on Data Diets, section 4; InfoBatch, section 3",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Claims on accuracy and time; three figures."""
    clock = "processor_seconds" if context.setup.accelerator.device.type == "cpu" else "seconds"
    clock_name = "processor time" if clock == "processor_seconds" else "time"
    full = ("full", None)
    correct = {name: arm.correct() for name, arm in kept.items()}

    def loses_little(sentence: str, source: str, arm: ArmName, bound: float = TOLERANCE) -> Claim:
        return Claim(
            sentence, source, "accuracy minus full data's", difference(correct, arm, full), above=-bound
        )

    def takes_less(sentence: str, source: str, arm: ArmName, share: float) -> Claim:
        quantity = f"share of full data's {clock_name} saved, scoring counted"
        found = saved(kept[arm], kept[full], clock) if arm in kept and full in kept else None
        return Claim(sentence, source, quantity, found, above=share)

    half, fifth, infobatch = ("nlu-data-diet", 0.5), ("nlu-data-diet", 0.2), ("infobatch", None)
    claims = [
        loses_little(
            "Training on the half that nlu-data-diet chooses loses no more than half a point against full data.",
            f"{NLU}; the bound is ours",
            half,
        ),
        takes_less("With half of the data nlu-data-diet takes 41 % less time.", NLU, half, 0.41),
        loses_little(
            "With a fifth of the data nlu-data-diet loses no more than one point against full data.",
            NLU,
            fifth,
            0.01,
        ),
        takes_less("With a fifth of the data nlu-data-diet takes 66 % less time.", NLU, fifth, 0.66),
        loses_little(
            "infobatch loses no more than half a point against full data.",
            f"{INFOBATCH}; the bound is ours",
            infobatch,
        ),
        takes_less("infobatch takes a fifth less time.", INFOBATCH, infobatch, 0.2),
    ]
    for method in METHODS:
        keep = 0.5 if "keep" in selector_card(method).options else None
        at = "" if keep is None else f" at {keep:g}"
        claims.append(
            Claim(
                f"{method}{at} is more accurate than chance with epochs of the same sizes.",
                "implied by the papers, which do not test it",
                "accuracy minus its random twin's",
                difference(correct, (method, keep), (f"random twin of {method}", keep)),
            )
        )
    return Conclusion(claims, figures_of(context.setup, rows))


def figures_of(setup: Setup, rows: Sequence[Row]) -> dict[str, Any]:
    """Accuracy against processor time, wall time and examples, each as a share of full data's."""
    full = next((row for row in rows if row["method"] == "full"), None)
    if full is None:
        return {}
    examples, recipe = setup.examples, setup.recipe
    title = (
        f"{examples.name}: {len(examples.train):,} training, {setup.n_test:,} test examples; {recipe.model}; "
        f"{full['seeds']} trainings of each, as many epochs as full data; scoring counted"
    )
    axes = {
        "processor-time": ("processor_seconds", "processor time"),
        "wall-time": ("seconds", "wall time"),
        "examples": ("examples", "examples sent forward and backward"),
    }
    figures = {}
    for name, (key, called) in axes.items():
        series: dict[str, list[Point]] = {}
        for row in rows:
            if row is not full:
                series.setdefault(row["method"], []).append(in_percent(row[key] / full[key], row))
        figures[f"accuracy-against-{name}"] = lines(
            {method: sorted(points) for method, points in series.items()},
            x=f"{called}, as a share of full data's",
            y="test accuracy, %",
            title=title,
            levels={"full data": 100 * full["accuracy"]},
            width=8.0,
            height=5.0,
        )
    return figures
