"""Study `time-accuracy`: accuracy against time and examples processed, for static subsets and dynamic selectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from datadiet.dynamic import selector_card
from datadiet.dynamic_arms import twin_of, with_dynamic
from datadiet.selection import kept_size, select
from datadiet.setup import Setup
from datadiet.studies.base import Conclusion, Planned, Row, Study, add_study
from datadiet.studies.bench import Workbench
from datadiet.studies.claims import Claim, Measured, accuracy_difference
from datadiet.studies.drawing import lines
from datadiet.studies.timed_arms import TimedArm, row_of, saved, scores_with_cost
from datadiet.training.dynamic_plan import dynamic_epochs
from datadiet.training.seeding import derive_seed

NLU = "Attendu and Corbeil 2023"
INFOBATCH = "Qin et al., ICLR 2024"
ARMS = "arms"
METHODS = ("nlu-data-diet", "infobatch", "uncertainty", "curriculum")
HARDEST, RANDOM = "el2n hardest", "random subset"
SHARES = {"smoke": (0.5, 0.2)}
ALL_SHARES = (0.7, 0.5, 0.3, 0.2)


def shares_of(bench: Workbench) -> tuple[float, ...]:
    """Kept shares; 0.5 and 0.2 are those that the papers name."""
    return SHARES.get(bench.scale.name, ALL_SHARES)


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


def plan(bench: Workbench) -> Sequence[Planned]:
    """Scoring runs, full data, static subsets, and each dynamic method with its twin."""
    seeds, shares = bench.scale.retrain_seeds, shares_of(bench)
    total = bench.total_steps
    pairs = dynamic_pairs(METHODS, shares)
    return [
        Planned("scoring runs", bench.scale.score_seeds, total),
        Planned("trainings on full data", seeds, total),
        *(
            Planned(f"retrainings on {share:g}, same epochs", 2 * seeds, max(1, round(share * total)))
            for share in shares
        ),
        Planned("dynamic trainings and their random twins", 2 * len(pairs) * seeds, total),
    ]


def measure(bench: Workbench, kept: dict[str, Any]) -> Iterator[Row]:
    """Full data, static subsets at the same epochs, then every dynamic method beside its random twin."""
    seeds, shares = bench.scale.retrain_seeds, shares_of(bench)
    arms: dict[tuple[str, float | None], TimedArm] = kept.setdefault(ARMS, {})
    step = bench.score_step
    runs = [bench.scoring_run(index) for index in range(bench.scale.score_seeds)]
    hardness, scoring = scores_with_cost(bench.setup, runs, step)

    def retrain(setup: Setup, index: int, ids: Any, label: str) -> Any:
        return bench.retrain(ids, index, f"{label}, seed {index + 1}", setup=setup)

    for arm in timed_arms(bench.setup, METHODS, shares, seeds, bench.seed, hardness, scoring, retrain):
        arms[arm.method, arm.keep] = arm
        yield row_of(arm, arms["full", None])


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
        size, drawn = kept_size(len(train), share), []
        for index in range(seeds):
            # The same draws as those of `datadiet run`, so that runs are shared with it where the lengths agree.
            chosen = derive_seed(seed, "random subset", size, index) % 2**32
            ids = select(train.ids, None, size, rule="random", labels=train.labels, seed=chosen)
            drawn.append(retrain(short, index, ids, f"{RANDOM} {share:g}"))
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


def conclude(bench: Workbench, rows: Sequence[Row], kept: Mapping[str, Any]) -> Conclusion:
    """Claims on accuracy and time; three figures."""
    arms: Mapping[tuple[str, float | None], TimedArm] = kept.get(ARMS, {})
    clock = "processor_seconds" if bench.setup.accelerator.device.type == "cpu" else "seconds"
    clock_name = "processor time" if clock == "processor_seconds" else "time"

    def accuracy(arm: tuple[str, float | None], other: tuple[str, float | None]) -> Measured | None:
        if arm not in arms or other not in arms:
            return None
        return accuracy_difference(arms[arm].correct(), arms[other].correct())

    def time_saved(arm: tuple[str, float | None]) -> Measured | None:
        if arm not in arms or ("full", None) not in arms:
            return None
        return saved(arms[arm], arms["full", None], clock)

    full = ("full", None)
    minus_full, share_saved = (
        "accuracy minus full data's",
        f"share of full data's {clock_name} saved, scoring counted",
    )
    claims: list[tuple[Claim, Measured | None]] = []

    def claim(sentence: str, source: str, quantity: str, threshold: float, found: Measured | None) -> None:
        claims.append((Claim(sentence, source, quantity, "above", threshold), found))

    half, fifth = ("nlu-data-diet", 0.5), ("nlu-data-diet", 0.2)
    claim(
        "Training on the half that nlu-data-diet chooses loses no more than half a point against full data.",
        f"{NLU}; the bound is ours", minus_full, -0.005, accuracy(half, full),
    )  # fmt: skip
    claim(
        "With half of the data nlu-data-diet takes 41 % less time.", NLU, share_saved, 0.41, time_saved(half)
    )
    claim(
        "With a fifth of the data nlu-data-diet loses no more than one point against full data.",
        NLU, minus_full, -0.01, accuracy(fifth, full),
    )  # fmt: skip
    claim(
        "With a fifth of the data nlu-data-diet takes 66 % less time.",
        NLU,
        share_saved,
        0.66,
        time_saved(fifth),
    )
    claim(
        "infobatch loses no more than half a point against full data.",
        f"{INFOBATCH}; the bound is ours", minus_full, -0.005, accuracy(("infobatch", None), full),
    )  # fmt: skip
    claim("infobatch takes a fifth less time.", INFOBATCH, share_saved, 0.2, time_saved(("infobatch", None)))
    for method in METHODS:
        keep = 0.5 if "keep" in selector_card(method).options else None
        at = "" if keep is None else f" at {keep:g}"
        claim(
            f"{method}{at} is more accurate than chance with epochs of the same sizes.",
            "implied by the papers, which do not test it", "accuracy minus its random twin's", 0.0,
            accuracy((method, keep), (f"random twin of {method}", keep)),
        )  # fmt: skip
    return Conclusion(claims, figures_of(bench.setup, rows))


def figures_of(setup: Setup, rows: Sequence[Row]) -> dict[str, Any]:
    """Accuracy against processor time, wall time and examples, each as a share of full data's."""
    full = next((row for row in rows if row["method"] == "full"), None)
    if full is None:
        return {}
    examples, recipe = setup.examples, setup.recipe
    title = (
        f"{examples.name}: {len(examples.train):,} training, {len(examples.test):,} test examples; {recipe.model}; "
        f"{full['seeds']} trainings of each, as many epochs as full data; scoring counted"
    )
    axes = {
        "processor-time": ("processor_seconds", "processor time"),
        "wall-time": ("seconds", "wall time"),
        "examples": ("examples", "examples sent forward and backward"),
    }
    figures = {}
    for name, (key, called) in axes.items():
        series: dict[str, list[tuple[float, float, float, float]]] = {}
        for row in rows:
            if row is not full:
                point = (row[key] / full[key], 100 * row["accuracy"], 100 * row["low"], 100 * row["high"])
                series.setdefault(row["method"], []).append(point)
        figures[f"accuracy-against-{name}"] = lines(
            {method: sorted(points) for method, points in series.items()},
            x=f"{called}, as a share of full data's",
            y="test accuracy, %",
            title=title,
            level_line=("full data", 100 * full["accuracy"]),
            width=8.0,
            height=5.0,
        )
    return figures


STUDY = add_study(
    Study(
        name="time-accuracy",
        title="Accuracy against time and examples: full data, static subsets, dynamic selectors, their random twins.",
        source="NLU on Data Diets, section 4; InfoBatch, section 3",
        plan=plan,
        measure=measure,
        conclude=conclude,
    )
)
