"""What a comparison would train, how long that takes here, and how likely it is that it decides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from scipy.stats import norm

from datadiet.engine.estimates import Costs
from datadiet.engine.runs import describe
from datadiet.engine.setup import Setup
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.looks import spent_by
from datadiet.foundation.statistics import FEWEST_SEEDS, LEVEL, least_loss
from datadiet.jobs.arms import FRESH_SEEDS, Arm, random_arm
from datadiet.jobs.race import ERROR, chains_of
from datadiet.pages.numbers import count, duration, several, share, tolerance_points
from datadiet.selection import kept_size

# Shares of the test examples on which two trainings differ: where models agree, as on digits, and where they do not
# quite, as on CIFAR-10. Nothing else is known before anything is trained.
DISAGREEMENTS = (0.01, 0.05)
_MOST_TEST_EXAMPLES = 10**9


@dataclass(frozen=True)
class PlannedArm:
    """One way to choose what is trained on, and what its trainings need.

    Args:
        score: that chooses the subset; "random"; "full" for all data.
        rule: that turns scores into ids.
        keep: fraction that stays.
        n: how many examples that is.
        steps: of one training.
        seconds: of one training, with its test.
        there: for each seed, whether the workspace has the training already; false where that is not known before
            the scores are.
    """

    score: str
    rule: str
    keep: float
    n: int
    steps: int
    seconds: float
    there: tuple[bool, ...]


@dataclass(frozen=True)
class RunPlan:
    """What would be trained, before anything is.

    Args:
        model_steps: steps of a scoring model.
        model_seconds: of one of them, with its scoring pass.
        models_there: for each scoring model, whether the workspace has it already.
        arms: full data first, then the subsets, then the random ones.
        seeds: the fewest of each arm.
        max_seeds: the most.
        n_test: how many test examples accuracies are of.
        tolerance: percentage points of accuracy that may be lost.
        chains: scores whose subsets share the error of 5 %.
        fixed: whether all arms have `max_seeds` and are looked at once.
        time: seconds that there are; None for no limit.
        step_seconds: of a step of training, with a share of its test.
        least_loss: the smallest loss, as a fraction, that this test part can show a subset to have at most; None
            where that is within the tolerance.
        test_examples: how many would be needed otherwise; None where no number is enough, or this is.
    """

    model_steps: int
    model_seconds: float
    models_there: tuple[bool, ...]
    arms: tuple[PlannedArm, ...]
    seeds: int
    max_seeds: int
    n_test: int
    tolerance: float
    chains: int
    fixed: bool = False
    time: float | None = None
    step_seconds: float = 0.0
    least_loss: float | None = None
    test_examples: int | None = None

    def trainings(self, seeds: int, *, there: bool = False) -> int:
        """How many trainings so many seeds need, scoring models too; with `there` only those that are there already."""
        if not there:
            return len(self.models_there) + seeds * len(self.arms)
        return sum(self.models_there) + sum(sum(arm.there[:seeds]) for arm in self.arms)

    def seconds(self, seeds: int) -> float:
        """What those of them take that are not there already."""
        return self._scoring_seconds() + sum(_missing(arm, seeds) for arm in self.arms)

    def chances(self, seeds: int) -> tuple[float, ...]:
        """For each of `DISAGREEMENTS`, how likely a subset that loses nothing is shown to be within the tolerance."""
        if self.least_loss is not None or seeds < FEWEST_SEEDS:
            return tuple(0.0 for _ in DISAGREEMENTS)
        level = self.level(seeds)
        return tuple(
            chance_to_decide(self.n_test, seeds, self.tolerance, level, disagreement)
            for disagreement in DISAGREEMENTS
        )

    def level(self, seeds: int) -> float:
        """Of the bounds with so many seeds, corrected for scores and looks; 1 where they are too few to decide."""
        error = ERROR / self.chains
        if seeds < FEWEST_SEEDS:
            return 1.0
        return 1 - (error if self.fixed else spent_by(seeds, error, [self.max_seeds]))

    def fitting(self) -> tuple[int, int]:
        """How many arms the time is enough for, and with how many seeds each.

        Arms are taken in their order, each with the fewest seeds, and further seeds only where all have these.
        """
        if self.time is None:
            return len(self.arms), self.max_seeds
        fit = [seeds for seeds in range(self.seeds, self.max_seeds + 1) if self.seconds(seeds) <= self.time]
        if fit:
            return len(self.arms), fit[-1]
        left, number = self.time - self._scoring_seconds(), 0
        for arm in self.arms:
            left -= _missing(arm, self.seeds)
            if left < 0:
                break
            number += 1
        return number, self.seeds

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with what follows from it at the fewest and at the most seeds."""
        outcomes = [
            {
                "seeds": seeds,
                "trainings": self.trainings(seeds),
                "there": self.trainings(seeds, there=True),
                "seconds": self.seconds(seeds),
                "chances": list(self.chances(seeds)),
            }
            for seeds in dict.fromkeys([self.seeds, self.max_seeds])
        ]
        arms, seeds = self.fitting()
        assumed = {"disagreements": list(DISAGREEMENTS)}
        fits = None if self.time is None else {"arms": arms, "seeds": seeds}
        plain = asdict(self)
        plain |= {"models_there": list(self.models_there), "arms": [asdict(arm) for arm in self.arms]}
        for arm in plain["arms"]:
            arm["there"] = list(arm["there"])
        return {**plain, "at": outcomes, "fits": fits, "assumed": assumed}

    def _scoring_seconds(self) -> float:
        return self.model_seconds * self.models_there.count(False)


def _missing(arm: PlannedArm, seeds: int) -> float:
    return arm.seconds * arm.there[:seeds].count(False)


def chance_to_decide(n_test: int, seeds: int, tolerance: float, level: float, disagreement: float) -> float:
    """The probability that a subset that truly loses nothing is shown to lose at most the tolerance.

    By the normal formula. Of the share of test examples on which two trainings differ, four fifths are taken to be luck
    of the seed, a fifth to last; accuracies of seeds spread by a 25th of it beyond that: with 5 %, by 0.2 points.

    Args:
        n_test: test examples.
        seeds: of each arm.
        tolerance: in percentage points.
        level: of the one-sided bound.
        disagreement: share of the test examples on which two trainings differ.

    Example:
        >>> [round(chance_to_decide(10_000, seeds, 0.5, 0.95, 0.05), 2) for seeds in (3, 8)]
        [0.72, 0.94]
    """
    lasting, by_luck, spread = disagreement / 5, 0.4 * disagreement, disagreement / 25
    error = math.sqrt(lasting / n_test + (by_luck / n_test + spread**2) * 2 / seeds)
    return float(norm.cdf(tolerance / 100 / error - norm.ppf(level)))


def cannot_show(n_test: int, tolerance: float, level: float) -> float | None:
    """The loss, as a fraction, that so many test examples cannot rule out; None where it is within the tolerance.

    Even a subset that agrees with full data on every one of them is only shown to lose at most that
    (`datadiet.foundation.statistics.least_loss`).

    Args:
        n_test: test examples.
        tolerance: in percentage points.
        level: of the one-sided bound.

    Example:
        >>> round(cannot_show(100, 0.5, 0.95), 4), cannot_show(1000, 0.5, 0.95)
        (0.0167, None)
    """
    loss = least_loss(n_test, error=1 - level)
    return loss if loss > tolerance / 100 else None


def needed_test_examples(tolerance: float, level: float) -> int | None:
    """The fewest test examples that do not rule out a decision; None where no number is enough.

    Args:
        tolerance: in percentage points.
        level: of the one-sided bound.

    Example:
        >>> needed_test_examples(0.5, 0.95), needed_test_examples(0.0, 0.95)
        (331, None)
    """
    enough = 1
    while cannot_show(enough, tolerance, level) is not None:
        enough *= 2
        if enough > _MOST_TEST_EXAMPLES:
            return None
    few = enough // 2
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if cannot_show(middle, tolerance, level) is None else (middle, enough)
    return enough


def not_chosen_yet(index: int) -> None:
    """In place of an arm's ids: they are known once there are scores."""


def expected_arms(
    setup: Setup,
    scores: Sequence[str],
    rules: Mapping[float, str],
    *,
    seed: int = 0,
    forms: Mapping[str, Any] | None = None,
) -> list[Arm]:
    """The subsets that scores will choose, and a random arm of each size.

    Args:
        setup: data and recipe.
        scores: that choose.
        rules: fraction that stays -> its rule as tables call it, largest first; where it is "random", no score chooses.
        seed: base of all seeds.
        forms: quotas of the random arms, as `random_arm` takes them.
    """
    total = len(setup.examples.train)
    sizes = {fraction: kept_size(total, fraction) for fraction in rules}
    sizes = {fraction: n for fraction, n in sizes.items() if n < total}
    chosen = [
        Arm(score, rules[fraction], fraction, n, not_chosen_yet)
        for fraction, n in sizes.items()
        for score in dict.fromkeys(scores)
        if "random" not in (score, rules[fraction])
    ]
    return [*chosen, *(random_arm(setup, fraction, n, seed, forms) for fraction, n in sizes.items())]


def plan_run(
    setup: Setup,
    arms: Sequence[Arm],
    *,
    costs: Costs,
    models: int,
    model_steps: int,
    seeds: int = 3,
    max_seeds: int = 3,
    seed: int = 0,
    tolerance: float = 0.5,
    fixed: bool = False,
    time: float | None = None,
) -> RunPlan:
    """What scoring and retraining would train; nothing is trained.

    Args:
        setup: data, recipe, machine.
        arms: subsets and random ones; as `expected_arms` before there are scores, else with their ids.
        costs: of the parts of a training on this machine, see `datadiet.engine.estimates.measured_costs`.
        models: how many models scores are taken from.
        model_steps: to which step these are trained.
        seeds: the fewest of each arm.
        max_seeds: the most.
        seed: base of all seeds.
        tolerance: percentage points of accuracy that may be lost.
        fixed: whether all arms have `max_seeds`.
        time: seconds that there are; None for no limit.
    """
    total, n_test, most = len(setup.examples.train), setup.n_test, max(seeds, max_seeds)
    full = Arm("full", "all", 1.0, total, lambda index: None)
    steps = setup.recipe.total_steps(total)
    plan = RunPlan(
        model_steps=model_steps,
        model_seconds=costs.of_scoring(model_steps),
        models_there=tuple(_model_there(setup, seed + index, model_steps) for index in range(models)),
        arms=tuple(_planned(setup, arm, costs, seed, most) for arm in (full, *arms)),
        seeds=seeds,
        max_seeds=most,
        n_test=n_test,
        tolerance=tolerance,
        chains=max(1, len(chains_of([full, *arms]))),
        fixed=fixed,
        time=time,
        step_seconds=costs.of_training(steps) / steps,
    )
    level = plan.level(most) if most >= FEWEST_SEEDS else LEVEL
    least = cannot_show(n_test, tolerance, level)
    needed = None if least is None else needed_test_examples(tolerance, level)
    return replace(plan, least_loss=least, test_examples=needed)


def _planned(setup: Setup, arm: Arm, costs: Costs, seed: int, seeds: int) -> PlannedArm:
    steps = setup.recipe.total_steps(arm.n, len(setup.examples.train))
    known = arm.ids_for is not not_chosen_yet and not _is_new(setup)
    there = (
        known and _training_there(setup, arm, seed + FRESH_SEEDS + index, index) for index in range(seeds)
    )
    seconds = costs.of_training(steps)
    return PlannedArm(arm.score, arm.rule, arm.keep, arm.n, steps, seconds, tuple(there))


def _training_there(setup: Setup, arm: Arm, seed: int, index: int) -> bool:
    folder = setup.workspace.folder(describe(setup, seed, arm.ids_for(index), False))
    return folder.result() is not None


def _is_new(setup: Setup) -> bool:
    """Whether the workspace has no trainings, so that there is none to be looked for."""
    return next((setup.workspace.path / "trainings").glob("*"), None) is None


def _model_there(setup: Setup, seed: int, step: int) -> bool:
    folder = setup.workspace.folder(describe(setup, seed, None, True))
    return folder.holds(folder.weights_path(step))


def refuse_too_little_time(plan: RunPlan) -> None:
    """Refuse a time in which not even one subset can be trained beside full data.

    Raises:
        BadInputError: it is too short.
    """
    arms, _ = plan.fitting()
    if plan.time is None or arms > 1 or len(plan.arms) < 2:
        return
    needed = plan._scoring_seconds() + sum(_missing(arm, plan.seeds) for arm in plan.arms[:2])
    raise BadInputError(
        f"time is too short: there are {duration(plan.time)}, and scoring and {plan.seeds} trainings of full data and "
        f"of one subset take about {duration(needed)}; give more, or ask for a first answer with quick='...'."
    )


def plan_line(plan: RunPlan) -> str:
    """One line: what is trained, how long that takes, and how likely it is to decide."""
    few, most = plan.seeds, plan.max_seeds
    arms, seeds = plan.fitting()
    line = f"Plan: {several(len(plan.models_there), 'scoring model')}, " if plan.models_there else "Plan: "
    line += f"{several(len(plan.arms), 'arm')} of {_span(count(few), count(most))} seed{'' if most == 1 else 's'}: "
    line += f"{_span(count(plan.trainings(few)), count(plan.trainings(most)))} trainings"
    if there := plan.trainings(most, there=True):
        line += f" ({count(there)} of them there already)"
    line += f", {_times(plan.seconds(few), plan.seconds(most))} here"
    if plan.time is not None:
        line += f"; {_in_time(plan, arms, seeds)}"
    return f"{line}; {_chances(plan)}."


def plan_text(plan: RunPlan) -> str:
    """The plan line by line: every group of trainings, what is assumed, and what cannot be shown."""
    few, most = plan.seeds, plan.max_seeds
    lines = []
    if models := len(plan.models_there):
        lines.append(
            _row(
                count(models),
                "scoring models",
                plan.model_steps,
                plan._scoring_seconds(),
                sum(plan.models_there),
            )
        )
    span = _span(count(few), count(most))
    lines += [
        _row(span, f"trainings on {_name(arm)}", arm.steps, _missing(arm, most), sum(arm.there))
        for arm in plan.arms
    ]
    lines.append(
        f"{_span(count(plan.trainings(few)), count(plan.trainings(most)))} trainings in all, "
        f"{_times(plan.seconds(few), plan.seconds(most))} here"
    )
    if plan.time is not None:
        lines.append(_capital(_in_time(plan, *plan.fitting())))
    lines.append(_capital(_chances(plan)))
    return "\n".join([*lines, "nothing was started"])


def no_decision(plan: RunPlan) -> str | None:
    """The sentence on a test part with which no number of seeds decides; None where one may."""
    if plan.least_loss is None:
        return None
    loss = math.ceil(1000 * plan.least_loss) / 10
    needed = "" if plan.test_examples is None else f"about {count(plan.test_examples)} test examples, or "
    return (
        f"With {count(plan.n_test)} test examples a subset that is just as good as full data is shown to lose at most "
        f"{tolerance_points(loss)}, with any number of seeds: only one that does better is shown to be within the "
        f"tolerance of {tolerance_points(plan.tolerance)}; it takes {needed}tolerance={loss:g} or more."
    )


def _chances(plan: RunPlan) -> str:
    told = no_decision(plan)
    if told is not None:
        return told[0].lower() + told[1:].rstrip(".")
    if plan.max_seeds < FEWEST_SEEDS:
        return f"{several(plan.max_seeds, 'seed')} cannot decide, {FEWEST_SEEDS} are the fewest"
    within = tolerance_points(plan.tolerance)
    chances = [
        f"{_span(_chance(few), _chance(most))} if trainings differ on {share(disagreement)} of the test examples"
        for few, most, disagreement in zip(
            plan.chances(plan.seeds), plan.chances(plan.max_seeds), DISAGREEMENTS, strict=True
        )
    ]
    return f"chance to show that a subset that loses nothing is within {within}: {', '.join(chances)}"


def _chance(chance: float) -> str:
    """A chance in whole percent; certainty is not written."""
    return f"{min(99, max(1, round(100 * chance)))} %"


def _in_time(plan: RunPlan, arms: int, seeds: int) -> str:
    time = duration(plan.time)
    if arms == len(plan.arms):
        return f"in {time} there is time for {count(seeds)} seeds"
    if arms == 0:
        return f"{time} are not enough for {count(seeds)} seeds of full data"
    return f"in {time} there is time for {count(seeds)} seeds of {count(arms)} of the {count(len(plan.arms))} arms"


def _row(runs: str, what: str, steps: int, seconds: float, there: int) -> str:
    if there and not seconds:
        return f"{runs:>8} {what}, {count(steps)} steps each: there already"
    already = f", {count(there)} there already" if there else ""
    return f"{runs:>8} {what}, {count(steps)} steps each: about {duration(seconds)}{already}"


def _name(arm: PlannedArm) -> str:
    if arm.score == "full":
        return f"all {count(arm.n)} examples"
    chosen = "at random" if arm.score == "random" else f"by {arm.score} {arm.rule}"
    return f"{share(arm.keep)} {chosen} ({count(arm.n)} examples)"


def _times(few: float, most: float) -> str:
    return _span(duration(few), duration(most))


def _span(few: str, most: str) -> str:
    return few if few == most else f"{few} to {most}"


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
