"""Seeds until it is decided: which subset is shown to hold or to lose, look by look, and who is trained next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from datadiet.foundation.looks import level_of_look
from datadiet.foundation.progress import ProgressDisplay
from datadiet.foundation.statistics import FEWEST_SEEDS, LEVEL, Trained
from datadiet.jobs.arms import Arm

Outcome = Literal["holds", "fails", "undecided"]
Stopped = Literal["decided", "time", "seeds", "fixed"]

ERROR = 1 - LEVEL  # of all recommendations of a comparison together
MAX_SEEDS = 8


@dataclass(frozen=True)
class Seeds:
    """How many trainings an arm gets.

    Args:
        most: of an arm.
        fixed: whether every arm gets as many; else seeds are added until it is decided.
        until: moment of the monotonic clock at which nothing is begun any more that would not end by then.
        planned: how many an arm will have as far as can be seen, at most `most`: the looks up to there share nearly all
            of the error.
    """

    most: int = MAX_SEEDS
    fixed: bool = False
    until: float | None = None
    planned: int | None = None

    @property
    def fewest(self) -> int:
        """Trainings that every arm gets first."""
        return self.most if self.fixed else min(FEWEST_SEEDS, self.most)


@dataclass
class Standing:
    """What is shown of a subset so far.

    Args:
        outcome: whether it is shown to lose at most the tolerance ("holds"), to lose more ("fails"), or neither.
        seeds: of the look that says so.
        error: that this look may make by itself.
        loses_at_most: the bound of that look, as a fraction; None before three seeds.
    """

    outcome: Outcome = "undecided"
    seeds: int = 0
    error: float = ERROR
    loses_at_most: float | None = None


class Race:
    """The questions of a comparison: one chain of subsets a score, from the largest down.

    A subset is shown to hold only where every larger one of its chain is (a fixed sequence), so that a chain errs no
    more often than one test; chains share the error. That a subset loses more than the tolerance is told of each by
    itself, where the upper end of its interval is below.

    Args:
        arms: full data first.
        seeds: how many.
        tolerance: percentage points that may be lost.
        plans: most seeds of every plan of looks, this one last; none where the number of seeds is fixed.
    """

    def __init__(
        self, arms: Sequence[Arm], seeds: Seeds, tolerance: float, plans: tuple[int, ...] = ()
    ) -> None:
        self.arms, self.seeds, self.plans = arms, seeds, plans
        self.tolerance = tolerance / 100
        self.standings = [Standing() for _ in arms]
        self.stopped: Stopped = "fixed"
        self.chains = chains_of(arms)

    def error_of(self, seeds: int, of_all: float) -> float:
        """What a look with so many seeds may err by itself, out of the error of all looks together."""
        return of_all if self.seeds.fixed else level_of_look(seeds, of_all, self.plans)

    def look(self) -> None:
        """Look at every arm that is not settled and has more seeds than when it was looked at last."""
        full = self.arms[0]
        number = [min(len(arm.runs), len(full.runs)) for arm in self.arms]
        trained = [index for index, arm in enumerate(self.arms) if arm.runs]
        fresh = [
            index
            for index in trained[1:]
            if number[index] >= FEWEST_SEEDS
            and self.standings[index].outcome == "undecided"
            and number[index] > self.standings[index].seeds
        ]
        if not fresh:
            return
        evidence = self.evidence()
        for index in fresh:
            place, seeds = trained.index(index), number[index]
            error = self.error_of(seeds, ERROR / len(self.chains))
            bound = evidence.loses_at_most(place, 0, error=error)
            least = evidence.loses_at_least(place, 0, error=self.error_of(seeds, ERROR / 2))
            outcome: Outcome = "fails" if least > self.tolerance else "undecided"
            self.standings[index] = Standing(outcome, seeds, error, bound)
        for chain in self.chains:
            for index in chain:
                standing = self.standings[index]
                within = standing.loses_at_most is not None and standing.loses_at_most <= self.tolerance
                if standing.outcome == "undecided" and within:
                    standing.outcome = "holds"
                if standing.outcome != "holds":
                    break

    def evidence(self) -> Trained:
        """What all arms that were trained are right on."""
        trained = [arm for arm in self.arms if arm.runs]
        return Trained([arm.correct() for arm in trained], [arm.keep for arm in trained])

    def fronts(self) -> list[int]:
        """Of every chain, the largest subset that is not shown to hold, where it is not shown to lose."""
        found = []
        for chain in self.chains:
            front = next((index for index in chain if self.standings[index].outcome != "holds"), None)
            if front is not None and self.standings[front].outcome == "undecided":
                found.append(front)
        return found

    def closed_by(self, index: int) -> float | None:
        """The kept fraction of a larger subset of its chain that is shown to lose, so that it is not asked."""
        chain = next(chain for chain in self.chains if index in chain)
        lost = (one for one in chain[: chain.index(index)] if self.standings[one].outcome == "fails")
        return next((self.arms[one].keep for one in lost), None)

    def waits_for(self, index: int) -> float | None:
        """The kept fraction of the larger subset of its chain that is not shown to hold; None where there is none."""
        chain = next(chain for chain in self.chains if index in chain)
        before = chain[: chain.index(index)]
        return next((self.arms[one].keep for one in before if self.standings[one].outcome != "holds"), None)


def chains_of(arms: Sequence[Arm]) -> list[list[int]]:
    """Positions of the subsets, one list a score and rule, the largest first."""
    chains: dict[str, list[int]] = {}
    for index in sorted(range(1, len(arms)), key=lambda index: -arms[index].n):
        chains.setdefault(f"{arms[index].score} {arms[index].rule}", []).append(index)
    return list(chains.values())


class Trainer:
    """Trains the arms of a race in the order of its questions.

    Args:
        race: the questions.
        train: trains an arm with the seed of an index; says what it is doing by a label.
        length: steps of one training of an arm.
        display: where progress is shown.
        step_seconds: of a step, as far as that is known beforehand; what is trained says it better.
        agreed: of what this process found by its clock, what all processes go by.
        is_there: whether the training of an arm with the seed of an index is there already and takes no time.
    """

    def __init__(
        self,
        race: Race,
        train: Callable[[Arm, int, str], None],
        length: Callable[[Arm], int],
        display: ProgressDisplay,
        step_seconds: float = 0.0,
        agreed: Callable[[bool], bool] = lambda fits: fits,
        is_there: Callable[[Arm, int], bool] = lambda arm, index: False,
    ) -> None:
        self.race, self._train, self._length, self._display = race, train, length, display
        self._step_seconds, self._clock = step_seconds, [0.0, 0]
        self._agreed, self._is_there = agreed, is_there

    def run(self) -> None:
        """Train until every question is settled, the time is up, or all have the most seeds."""
        race, seeds = self.race, self.race.seeds
        every = range(len(race.arms))
        if seeds.until is None:
            self._rounds(every, seeds.fewest)
            race.look()
        else:
            self._by_question()
        if seeds.fixed:
            return
        race.stopped = self._until_decided()

    def _rounds(self, chosen: Sequence[int], seeds: int) -> None:
        """So many seeds of each, seed by seed."""
        jobs = [(self.race.arms[arm], index) for index in range(seeds) for arm in chosen]
        self._display.plan(sum(self._length(arm) for arm, _ in jobs), "retraining")
        for number, (arm, index) in enumerate(jobs, start=1):
            self._one(arm, index, f"{arm.name}, seed {index + 1} of {seeds} ({number}/{len(jobs)})")

    def _by_question(self) -> None:
        """Full data first, then subset by subset from the largest down, as far as there is time."""
        fewest = self.race.seeds.fewest
        order = [0, *sorted(range(1, len(self.race.arms)), key=lambda index: -self.race.arms[index].n)]
        for index in order:
            closed = index > 0 and self._is_closed(index)
            if not closed and (index == 0 or self._fits([(index, fewest)])):
                self._rounds([index], fewest)
                self.race.look()

    def _is_closed(self, index: int) -> bool:
        """Whether a larger subset of its chain is shown to lose or was not trained, so that this one is not asked."""
        chain = next(chain for chain in self.race.chains if index in chain)
        untrained = any(not self.race.arms[one].runs for one in chain[: chain.index(index)])
        return untrained or self.race.closed_by(index) is not None

    def _until_decided(self) -> Stopped:
        race = self.race
        while True:
            fronts = [index for index in race.fronts() if race.arms[index].runs]
            if not fronts:
                return "time" if race.fronts() else "decided"
            fronts = [index for index in fronts if len(race.arms[index].runs) < race.seeds.most]
            if not fronts:
                return "seeds"
            wanted = self._next(fronts)
            while wanted and not self._fits(wanted):
                fronts.pop()
                wanted = self._next(fronts)
            if not wanted:
                return "time"
            self._display.plan(
                sum(
                    self._length(race.arms[index]) * (to - len(race.arms[index].runs)) for index, to in wanted
                ),
                "one more seed",
            )
            for index, to in wanted:
                arm = race.arms[index]
                for seed in range(len(arm.runs), to):
                    self._one(arm, seed, f"{arm.name}, seed {seed + 1} (at most {race.seeds.most})")
            race.look()

    def _next(self, fronts: Sequence[int]) -> list[tuple[int, int]]:
        """One more seed of each front, and of full data as many as the most of them; with how many each then has."""
        if not fronts:
            return []
        arms = self.race.arms
        wanted = [(index, len(arms[index].runs) + 1) for index in fronts]
        most = max(to for _, to in wanted)
        return [*([(0, most)] if len(arms[0].runs) < most else []), *wanted]

    def _fits(self, wanted: Sequence[tuple[int, int]]) -> bool:
        """Whether there is time for so many seeds of some arms."""
        if self.race.seeds.until is None:
            return True
        steps = 0
        for index, to in wanted:
            arm = self.race.arms[index]
            missing = (seed for seed in range(len(arm.runs), to) if not self._is_there(arm, seed))
            steps += self._length(arm) * sum(1 for _ in missing)
        return self._agreed(time.monotonic() + steps * self._seconds_of_a_step() <= self.race.seeds.until)

    def _seconds_of_a_step(self) -> float:
        seconds, steps = self._clock
        return seconds / steps if steps else self._step_seconds

    def _one(self, arm: Arm, index: int, label: str) -> None:
        before = time.monotonic()
        self._train(arm, index, label)
        if arm.runs[-1].trained:
            self._clock = [self._clock[0] + time.monotonic() - before, self._clock[1] + self._length(arm)]
