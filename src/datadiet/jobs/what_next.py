"""What would decide an open question: how many more seeds, or how many more test examples, and the command for it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from datadiet.foundation.looks import level_of_look, spent_by
from datadiet.foundation.statistics import FEWEST_SEEDS, Trained, example_variance
from datadiet.jobs.arms import Arm, named, place_of
from datadiet.jobs.compare import Comparison
from datadiet.jobs.race import ERROR, Race, Standing

MOST_SEEDS = 50  # that are thought of as what would decide
MOST_EXAMPLES = 10**7


def would_decide(
    comparison: Comparison, evidence: Trained, trained: Sequence[Arm], command: str | None
) -> dict[str, Any] | None:
    """The least that would decide the largest open subset of some score, if accuracies stay as they are.

    Args:
        comparison: trained.
        evidence: what its trained arms are right on.
        trained: those arms.
        command: the command line that asked for the comparison.

    Returns:
        `score`, `rule`, `keep`, `n` of the subset; `seeds` of each arm in all, with the `trainings` and `seconds` that
        this takes and the `command`; else the `test_examples` and `with_seeds` that would do. None where nothing is
        found.
    """
    race = comparison.race
    found = []
    for index in race.fronts():
        arm = comparison.arms[index]
        if len(arm.runs) < FEWEST_SEEDS:
            continue
        seeds = _seeds_needed(race, evidence, place_of(trained, arm), race.standings[index])
        if seeds is None:
            continue
        full = comparison.full
        more = [(full, seeds - len(full.runs)), (arm, seeds - len(arm.runs))]
        found.append({
            **named(arm),
            "seeds": seeds,
            "trainings": sum(max(0, number) for _, number in more),
            "seconds": sum(max(0, number) * one.seconds for one, number in more),
            "test_examples": None,
            "with_seeds": None,
            "command": _with_seeds(command, seeds),
        })  # fmt: skip
    if found:
        return min(found, key=lambda entry: entry["seconds"])
    needed = [
        (*wanted, index)
        for index in race.fronts()
        if race.arms[index].runs
        and (wanted := _examples_needed(race, evidence, place_of(trained, comparison.arms[index])))
        is not None
    ]
    if not needed:
        return None
    examples, seeds, index = min(needed)
    return {
        **named(comparison.arms[index]),
        "seeds": None,
        "trainings": 0,
        "seconds": 0.0,
        "test_examples": examples,
        "with_seeds": seeds,
        "command": None,
    }


def _parts(evidence: Trained, place: int) -> tuple[float, float, float]:
    """Loss; variance of it that no seed changes; and that which seeds share, times their number."""
    arms = [evidence.arms[place], evidence.arms[0]]
    differences = arms[0].per_example - arms[1].per_example
    n = len(differences)
    by_luck = sum(arm.residual / n for arm in arms)
    now = float(differences.var(ddof=1)) / n
    lasting = max(0.0, now - sum(arm.residual / n / arm.seeds for arm in arms))
    seeds = sum(evidence.spread.typical(one) ** 2 for one in (place, 0))
    return -float(differences.mean()), lasting, by_luck + seeds


def _seeds_needed(race: Race, evidence: Trained, place: int, standing: Standing) -> int | None:
    loss, lasting, shared = _parts(evidence, place)
    unseen = example_variance(np.zeros(len(evidence.arms[0].per_example)))

    def decides(seeds: int, error_of: Callable[[Race, int, float], float]) -> bool:
        error = math.sqrt(max(lasting + shared / seeds, unseen))
        own, other = (error_of(race, seeds, of_all) for of_all in (ERROR / len(race.chains), ERROR / 2))
        holds = loss + stats.norm.isf(own) * error <= race.tolerance
        return bool(holds or loss - stats.norm.isf(other) * error > race.tolerance)

    begin = max(standing.seeds, FEWEST_SEEDS) + 1
    enough = (
        seeds
        for seeds in range(begin, MOST_SEEDS + 1)
        # The level of a look takes a moment to be worked out: first without those between, which is less than needed.
        if decides(seeds, _error_at_most) and decides(seeds, _error_of)
    )
    return next(enough, None)


def _error_at_most(race: Race, seeds: int, of_all: float) -> float:
    """What all further looks with up to so many seeds may err, were they planned for after all that was planned."""
    if race.seeds.fixed:
        return of_all
    planned = race.plans[-1]
    if seeds <= planned:
        return spent_by(seeds, of_all, race.plans)
    return spent_by(seeds, of_all, (*race.plans, seeds)) - spent_by(planned, of_all, race.plans)


def _error_of(race: Race, seeds: int, of_all: float) -> float:
    """What a look with so many seeds may err by itself, were they planned for after all that was planned."""
    if race.seeds.fixed:
        return of_all
    plans = race.plans if seeds <= race.plans[-1] else (*race.plans, seeds)
    return level_of_look(seeds, of_all, plans)


def _examples_needed(race: Race, evidence: Trained, place: int) -> tuple[int, int] | None:
    """How many test examples would decide it, and with how many seeds; None where no number is found."""
    loss, lasting, _ = _parts(evidence, place)
    room = abs(race.tolerance - loss)
    arms = (place, 0)
    n, quantile = len(evidence.arms[0].per_example), float(stats.norm.isf(ERROR / len(race.chains) / 2))
    spread = sum(evidence.spread.typical(one) ** 2 for one in arms)
    luck = sum(evidence.arms[one].residual for one in arms)
    found = []
    for seeds in range(max(FEWEST_SEEDS, len(race.arms[0].runs)), MOST_SEEDS + 1):
        allowed = (room / quantile) ** 2 - spread / seeds
        if allowed > 0:
            unseen = math.ceil(1 / math.sqrt(allowed)) + 1
            examples = max(n + 1, unseen, math.ceil((lasting * n + luck / seeds) / allowed))
            if examples <= MOST_EXAMPLES:
                found.append((examples, seeds))
    # Test examples and trainings both cost: the pair with the smallest product.
    return min(found, key=lambda pair: pair[0] * pair[1], default=None)


def _with_seeds(command: str | None, seeds: int) -> str | None:
    """The command line with so many seeds at most."""
    if command is None:
        return None
    kept: list[str] = []
    words = iter(shlex.split(command))
    for word in words:
        flag = word.partition("=")[0]
        if flag in ("--seeds", "--max-seeds", "--time"):
            if "=" not in word:
                next(words, None)
        elif flag not in ("--quick", "--plan"):
            kept.append(word)
    return shlex.join([*kept, "--max-seeds", str(seeds)])
