"""The race of arms: who is trained next, when it ends, and what is shown of whom; nothing is trained here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_up_arms import Clock, MadeUpTrainer, Right, arm_of, wrong_on

import datadiet.jobs.race
from datadiet.foundation.looks import level_of_look
from datadiet.foundation.statistics import Trained
from datadiet.jobs.arms import subset_arm
from datadiet.jobs.compare import compare_arms, tried_before
from datadiet.jobs.race import Race, Seeds, chains_of

N_TEST = 4_000
MOST = 8


def alike(accuracy: float = 0.95) -> Right:
    """Trainings that agree on nearly everything, so that three seeds decide."""
    wrong = round((1 - accuracy) * N_TEST)
    return wrong_on([wrong + more % 3 for more in range(MOST)], N_TEST)


def noisy(accuracy: float, seed: int) -> Right:
    """Trainings that are right on examples of their own, so that it takes more seeds."""
    return np.random.default_rng(seed).random((MOST, N_TEST)) < accuracy


def race_of(
    named: list[tuple[str, float]], seeds: Seeds | None = None, tolerance: float = 0.5, plans: Any = (MOST,)
) -> Race:
    """A race in which nothing has been trained; full data is put first."""
    arms = [arm_of("full", 1.0), *(arm_of(score, keep) for score, keep in named)]
    return Race(arms, seeds or Seeds(MOST), tolerance, plans)


def trained(race: Race, rights: list[Right], **how: Any) -> MadeUpTrainer:
    trainer = MadeUpTrainer(race, rights, **how)
    trainer.run()
    return trainer


def outcomes(race: Race) -> list[str]:
    return [standing.outcome for standing in race.standings[1:]]


def runs_of(race: Race) -> list[int]:
    return [len(arm.runs) for arm in race.arms]


def test_every_score_and_rule_is_a_chain_from_the_largest_down() -> None:
    arms = [
        arm_of("full", 1.0),
        arm_of("el2n", 0.3, rule="hardest"),
        arm_of("el2n", 0.7, rule="hardest"),
        arm_of("random", 0.5),
        arm_of("aum", 0.5),
        arm_of("el2n", 0.5, rule="hardest"),
        arm_of("random", 0.7),
        arm_of("el2n", 0.5, rule="easiest"),
    ]
    assert sorted(chains_of(arms)) == [[2, 5, 1], [4], [6, 3], [7]]


def test_a_fixed_number_is_trained_seed_by_seed_full_data_first_and_looked_at_once() -> None:
    race = race_of([("el2n", 0.7), ("random", 0.7)], Seeds(4, fixed=True), plans=())
    looks: list[list[int]] = []
    look = race.look
    race.look = lambda: (looks.append(runs_of(race)), look())[1]  # type: ignore[method-assign]
    trainer = trained(race, [alike(), noisy(0.95, 1), alike(0.8)])
    assert trainer.order == [(arm, seed) for seed in range(4) for arm in range(3)]
    assert looks == [[4, 4, 4]]
    assert race.stopped == "fixed"
    assert [standing.error for standing in race.standings[1:]] == pytest.approx([0.025] * 2), "of two chains"


@pytest.mark.parametrize("fixed", [True, False])
def test_the_bound_of_a_look_has_the_error_of_its_chain_and_look(fixed: bool) -> None:
    rights = [noisy(0.95, 0), noisy(0.94, 1), noisy(0.93, 2), noisy(0.95, 3)]
    race = race_of([("el2n", 0.7), ("el2n", 0.5), ("random", 0.7)], Seeds(MOST, fixed=fixed))
    race.arms = [arm_of(arm.score, arm.keep, right[:5]) for arm, right in zip(race.arms, rights, strict=True)]
    race.look()
    error = 0.05 / 2 if fixed else level_of_look(5, 0.05 / 2, [MOST])
    evidence = Trained([right[:5] for right in rights], [1.0, 0.7, 0.5, 0.7])
    for place, standing in enumerate(race.standings[1:], start=1):
        assert standing.seeds == 5
        assert standing.error == pytest.approx(error)
        assert standing.loses_at_most == pytest.approx(evidence.loses_at_most(place, 0, error=error))


def test_a_loss_is_shown_by_the_lower_bound_and_not_by_the_mean() -> None:
    rights = [noisy(0.95, 0), noisy(0.944, 1), noisy(0.88, 2)]
    arms = [
        arm_of(score, keep, right[:3])
        for (score, keep), right in zip([("full", 1.0), ("el2n", 0.7), ("el2n", 0.5)], rights, strict=True)
    ]
    race = Race(arms, Seeds(3, fixed=True), 0.5)
    race.look()
    lost = [float(rights[0][:3].mean() - right[:3].mean()) for right in rights[1:]]
    least = [race.evidence().loses_at_least(place, 0, error=0.025) for place in (1, 2)]
    assert lost[0] > 0.005 > least[0]
    assert least[1] > 0.005
    assert outcomes(race) == ["undecided", "fails"]


def test_arms_that_are_decided_get_no_more_seeds_and_fronts_do() -> None:
    named = [("el2n", 0.7), ("el2n", 0.5), ("random", 0.7), ("random", 0.5)]
    race = race_of(named)
    # el2n at 0.7 holds at once, so that 0.5 is the front; random at 0.7 loses, so that its chain is closed.
    trainer = trained(race, [alike(), alike(), noisy(0.95, 2), alike(0.9), alike()])
    assert trainer.order[:15] == [(arm, seed) for seed in range(3) for arm in range(5)]
    rest = trainer.order[15:]
    assert rest == [(arm, seed) for seed in range(3, 3 + len(rest) // 2) for arm in (0, 2)]
    assert rest
    assert outcomes(race)[0] == "holds"
    assert outcomes(race)[2:] == ["fails", "undecided"], "what is smaller than a loss is not asked"
    assert race.waits_for(4) == 0.7
    assert race.standings[4].loses_at_most < 0.005
    assert race.standings[1].seeds == 3


def test_a_chain_stops_at_the_first_that_is_not_shown_and_other_chains_go_on() -> None:
    race = race_of([("el2n", 0.7), ("el2n", 0.5), ("el2n", 0.3), ("random", 0.5)], Seeds(3, fixed=True))
    trained(race, [alike(), alike(0.9), alike(), alike(), alike()])
    assert outcomes(race) == ["fails", "undecided", "undecided", "holds"]
    assert [race.waits_for(place) for place in (1, 2, 3, 4)] == [None, 0.7, 0.7, None]
    assert race.fronts() == []


def test_a_smaller_subset_holds_by_its_own_look_once_the_larger_one_does() -> None:
    race = race_of([("el2n", 0.7), ("el2n", 0.5)])
    rights = [alike(), noisy(0.953, 1), alike()]
    for arm, right in zip(race.arms, rights, strict=True):
        arm.runs.extend(arm_of("", 1.0, right[:3]).runs)
    race.look()
    assert outcomes(race) == ["undecided", "undecided"]
    assert race.fronts() == [1]
    assert race.waits_for(2) == 0.7
    early = race.standings[2]
    for seeds in range(4, MOST + 1):
        for place in (0, 1):
            race.arms[place].runs.append(arm_of("", 1.0, rights[place][seeds - 1 : seeds]).runs[0])
        race.look()
        if race.standings[1].outcome == "holds":
            break
    assert outcomes(race) == ["holds", "holds"]
    assert (race.standings[1].seeds, race.standings[2].seeds) == (seeds, 3)
    assert race.standings[2].loses_at_most == early.loses_at_most
    assert race.waits_for(2) is None
    assert race.fronts() == []


def test_seeds_are_added_one_by_one_until_it_is_decided() -> None:
    race = race_of([("el2n", 0.7)])
    trained(race, [alike(), noisy(0.953, 1)])
    assert race.stopped == "decided"
    assert outcomes(race) == ["holds"]
    full, subset = runs_of(race)
    assert full == subset == race.standings[1].seeds > 3
    evidence = Trained([alike()[: subset - 1], noisy(0.953, 1)[: subset - 1]], [1.0, 0.7])
    error = level_of_look(subset - 1, 0.05, [MOST])
    assert evidence.loses_at_most(1, 0, error=error) > 0.005, "one seed less did not decide"


def test_what_is_not_decided_with_the_most_seeds_stays_open() -> None:
    race = race_of([("el2n", 0.7), ("random", 0.7)])
    apart = np.roll(alike(0.95), 2_000, axis=1)  # as good, on other examples
    trained(race, [alike(0.95), apart, alike(0.95)])
    assert race.stopped == "seeds"
    assert outcomes(race) == ["undecided", "holds"]
    assert runs_of(race) == [MOST, MOST, 3]


@pytest.mark.parametrize("most", [1, 2])
def test_fewer_than_three_seeds_are_not_looked_at(most: int) -> None:
    race = race_of([("el2n", 0.7)], Seeds(most, fixed=True))
    trained(race, [alike(), alike(0.5)])
    assert runs_of(race) == [most, most]
    assert outcomes(race) == ["undecided"]
    assert race.standings[1].loses_at_most is None


def test_an_arm_is_looked_at_with_as_many_seeds_as_the_fewer_of_it_and_full_data() -> None:
    arms = [arm_of("full", 1.0, alike()[:2]), arm_of("el2n", 0.7, alike()[:5])]
    race = Race(arms, Seeds(5, fixed=True), 0.5)
    race.look()
    assert outcomes(race) == ["undecided"]
    race.arms[0].runs.extend(arm_of("full", 1.0, alike()[2:4]).runs)
    race.look()
    assert race.standings[1].seeds == 4


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the race, which goes on by what trainings are said to take."""
    clock = Clock()
    monkeypatch.setattr(datadiet.jobs.race, "time", SimpleNamespace(monotonic=clock))
    return clock


NAMED = [("el2n", 0.5), ("el2n", 0.7), ("random", 0.5), ("random", 0.7)]
SECONDS = [10.0, 5.0, 7.0, 5.0, 7.0]  # by size, at a hundredth of a second a step
FIRST = 3 * sum(SECONDS)


def in_time(clock: Clock, until: float, rights: list[Right], **how: Any) -> tuple[Race, MadeUpTrainer]:
    race = race_of(NAMED, Seeds(MOST, until=until))
    how = {"seconds": SECONDS, "step_seconds": 0.01, **how}
    return race, trained(race, rights, clock=clock, **how)


def test_where_there_is_no_time_to_keep_arms_are_trained_seed_by_seed() -> None:
    race = race_of(NAMED, Seeds(MOST))
    trainer = trained(race, [alike()] * 5)
    assert trainer.order == [(arm, seed) for seed in range(3) for arm in range(5)]
    assert race.stopped == "decided"


def test_where_three_seeds_of_all_fit_the_time_it_is_question_by_question(clock: Clock) -> None:
    race, trainer = in_time(clock, FIRST, [alike()] * 5)
    assert trainer.order == [(arm, seed) for arm in (0, 2, 4, 1, 3) for seed in range(3)]
    assert race.stopped == "decided"
    assert clock.now == FIRST


def test_where_they_do_not_fit_it_is_question_by_question_from_the_largest_down(clock: Clock) -> None:
    race, trainer = in_time(clock, FIRST - 1, [alike()] * 5)
    assert trainer.order == [(arm, seed) for arm in (0, 2, 4, 1) for seed in range(3)]
    assert runs_of(race) == [3, 3, 3, 0, 3]
    assert outcomes(race) == ["holds", "holds", "undecided", "holds"]
    assert race.stopped == "time", "random at 0.5 is still open"


def test_a_closed_chain_leaves_its_time_to_others(clock: Clock) -> None:
    race, trainer = in_time(clock, FIRST - 1, [alike(), alike(), alike(0.8), alike(), alike()])
    assert trainer.order == [(arm, seed) for arm in (0, 2, 4, 3) for seed in range(3)]
    assert outcomes(race) == ["undecided", "fails", "holds", "holds"]
    assert race.stopped == "decided"


def test_full_data_is_trained_even_where_there_is_no_time(clock: Clock) -> None:
    race, _ = in_time(clock, 1.0, [alike()] * 5)
    assert runs_of(race) == [3, 0, 0, 0, 0]
    assert race.stopped == "time"


@pytest.mark.parametrize("until", range(31, 330, 13))
def test_nothing_is_begun_that_would_not_end_in_time(clock: Clock, until: int) -> None:
    open_ = [noisy(0.95, seed) for seed in range(5)]
    race, _ = in_time(clock, until, open_)
    assert clock.now <= until
    number = runs_of(race)
    if min(number) == 3 and race.stopped == "time":
        front = race.fronts()[0]
        more = SECONDS[front] + (SECONDS[0] if number[0] == number[front] else 0.0)
        assert clock.now + more > until, "there was time for one more seed"


def test_where_there_is_time_for_one_front_the_first_gets_it(clock: Clock) -> None:
    apart = np.roll(alike(), 2_000, axis=1)
    rights = [alike(), alike(), apart, alike(), np.roll(alike(), 1_000, axis=1)]
    race, trainer = in_time(clock, FIRST + SECONDS[0] + SECONDS[2] + 1, rights)
    assert race.fronts() == [2, 4]
    assert trainer.order[15:] == [(0, 3), (2, 3)]
    assert race.stopped == "time"


def test_what_trainings_took_says_better_how_long_they_take(clock: Clock) -> None:
    slow = [3 * seconds for seconds in SECONDS]
    race, _ = in_time(clock, FIRST + 1, [noisy(0.95, seed) for seed in range(5)], seconds=slow)
    assert race.stopped == "time"
    assert runs_of(race) == [3, 0, 0, 0, 0], "then it is known that there is no time"
    clock.now = 0.0
    race, trainer = in_time(clock, 3 * FIRST - 1, [alike()] * 5, seconds=slow, step_seconds=0.03)
    assert 0 in runs_of(race)
    assert trainer.order[:3] == [(0, 0), (0, 1), (0, 2)]


def test_trainings_that_were_there_say_nothing_of_the_time(clock: Clock) -> None:
    rights = [np.roll(alike(), 700 * place, axis=1) for place in range(5)]  # open for good: on other examples
    slow = [3 * seconds for seconds in SECONDS]
    race, trainer = in_time(clock, 1.4 * FIRST, rights, there=3, seconds=slow)
    # One round of both fronts, one of the first alone; another would not end in time.
    assert trainer.order[15:] == [(0, 3), (2, 3), (4, 3), (0, 4), (2, 4)]
    assert clock.now == 2 * slow[0] + 2 * slow[2] + slow[4] <= 1.4 * FIRST
    assert race.stopped == "time"


def test_a_resumed_race_decides_the_same() -> None:
    rights = [noisy(0.95, 0), noisy(0.953, 1), noisy(0.95, 2), alike(0.9), alike()]
    races = []
    for there in (0, 2, [8, 4, 3, 3, 1], 8):
        race = race_of(NAMED)
        trainer = trained(race, rights, there=there)
        races.append((race.standings, race.stopped, trainer.order))
    assert races[1:] == races[:1] * 3


def test_plans_are_remembered_in_the_workspace(tiny) -> None:
    arms = [arm_of("full", 1.0), subset_arm("el2n", "hardest", 0.5, tiny.examples.train.ids[::2])]
    others = [arms[0], subset_arm("el2n", "hardest", 0.5, tiny.examples.train.ids[1::2])]

    def plans(most: int, arms: list = arms, seed: int = 0, fixed: bool = False) -> tuple[int, ...]:
        return tried_before(tiny, arms, Seeds(most, fixed=fixed), seed)

    assert plans(5, fixed=True) == ()
    assert plans(8) == plans(8) == (8,)
    assert plans(6) == (8,), "looks of a smaller plan were paid for by the larger one"
    assert plans(14) == plans(14) == (8, 14)
    assert plans(10) == (8, 14)
    assert plans(8) == (8,)
    assert plans(14, others) == plans(14, seed=1) == (14,), "other questions"


def test_more_seeds_afterwards_are_paid_for_and_nothing_is_trained_twice(tiny) -> None:
    ids = tiny.examples.train.ids
    subsets = [subset_arm("el2n", "hardest", 0.5, ids[::2])]
    first = compare_arms(tiny, subsets, seeds=Seeds(3), tolerance=0.5)
    assert first.race.plans == (3,)
    assert [len(arm.runs) for arm in first.arms] == [3, 3, 3]
    second = compare_arms(tiny, [subset_arm("el2n", "hardest", 0.5, ids[::2])], seeds=Seeds(4))
    assert second.race.plans == (3, 4)
    assert [run.trained for run in second.full.runs] == [False, False, False, True]
    again = compare_arms(tiny, [subset_arm("el2n", "hardest", 0.5, ids[::2])], seeds=Seeds(4))
    assert again.race.standings == second.race.standings
    assert not any(run.trained for arm in again.arms for run in arm.runs)
