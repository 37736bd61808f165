"""What `docs/verdict.md` says of the verdict is what the code does, number by number."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from datadiet.data.duplicates import Repeats
from datadiet.foundation import spread
from datadiet.foundation.looks import level_of_look, spent_by
from datadiet.foundation.options import options_of
from datadiet.foundation.statistics import FEWEST_SEEDS, least_loss
from datadiet.jobs import quick
from datadiet.jobs.arms import Arm
from datadiet.jobs.compare import Comparison
from datadiet.jobs.options import CompareFlags, RunOptions, TuneOptions
from datadiet.jobs.outputs import question
from datadiet.jobs.plan import DISAGREEMENTS, RunPlan, needed_test_examples, plan_line
from datadiet.jobs.race import ERROR, MAX_SEEDS, Race, Seeds, chains_of
from datadiet.jobs.run import QUICK
from datadiet.jobs.verdict import decide
from datadiet.pages.report import verdict_sentence
from datadiet.pages.report.wording import outcome_title

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "verdict.md").read_text(encoding="utf-8")


def table(first: str) -> list[list[str]]:
    """The table whose first heading begins so: its rows, the headings first."""
    lines = TEXT.splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith(f"| {first}"))
    rows = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def numbers(cells: list[str]) -> list[float]:
    return [float(re.sub(r"[,%\s]", "", cell)) for cell in cells]


def named(first: str) -> set[str]:
    """The fields that the first column of a table names."""
    return {name for row in table(first)[1:] for name in re.findall(r"`(\w+)`", row[0])}


def section(title: str) -> str:
    return re.split(r"\n## ", TEXT.split(f"\n## {title}\n", 1)[1])[0].replace("\n", " ")


def subset(keep: float, n: int, **facts: Any) -> dict[str, Any]:
    return {"score": "el2n", "rule": "hardest", "keep": keep, "n": n, **facts}


def test_the_four_answers_read_as_the_page_says() -> None:
    about = {"source": "digits", "n_train": 1438, "tolerance": 0.5, "recommended": None}
    kept = subset(0.7, 1007, loses_at_most=0.0041)
    worse = [
        subset(0.7, 1007, minus_full=[-0.019, -0.03, -0.01]),
        subset(0.5, 719, minus_full=[-0.05, -0.06, -0.04]),
    ]
    curve = [subset(0.7, 1007, loses_at_most=0.008), subset(0.5, 719, loses_at_most=0.003)]
    open_ = [{**curve[0], "after": None}, {**curve[1], "after": 0.7}]
    few = [subset(0.7, 1007, minus_full=[-0.002, -0.01, 0.01], loses_at_most=None)]
    verdicts = [
        {**about, "recommended": kept, "answer": {"kind": "keep"}},
        {**about, "subsets": worse, "answer": {"kind": "keep_all"}},
        {**about, "subsets": open_, "answer": {"kind": "undecided", "curve": curve}},
        {**about, "seeds": 2, "subsets": few, "answer": {"kind": "not_for_deciding", "curve": few}},
    ]
    assert [row[2] for row in table("answer")[1:]] == [verdict_sentence(verdict) for verdict in verdicts]


def test_the_words_of_the_table_are_those_that_it_prints() -> None:
    printed = [
        outcome_title({"holds": True, "outcome": "holds"}),
        outcome_title({"holds": False, "outcome": "fails"}),
        outcome_title({"holds": False, "outcome": "undecided"}),
        outcome_title({"holds": False, "outcome": "undecided", "after": 0.7}),
        outcome_title({"holds": False, "outcome": "undecided", "after": 0.7, "closed_by": 0.7}),
        outcome_title({"holds": None}),
    ]
    assert [row[0] for row in table("in the table")[1:]] == printed


def test_the_flags_to_ask_with_are_there() -> None:
    asked = set(re.findall(r"`--([\w-]+)", " ".join(row[0] for row in table("flag")[1:])))
    names = {flag.replace("-", "_") for flag in asked} - {"plan"}  # which only prints
    assert names <= set(options_of(RunOptions))
    assert names - set(options_of(CompareFlags)) == names - set(options_of(TuneOptions)) == {"quick"}
    defaults = {name: option.default for name, option in options_of(RunOptions).items()}
    assert (defaults["seeds"], defaults["tolerance"], defaults["max_seeds"]) == ("auto", 0.5, None)
    assert (FEWEST_SEEDS, MAX_SEEDS, QUICK) == (3, 8, "5m")


def test_the_looks_spend_what_the_page_says() -> None:
    heads, spent, alone = table("seeds |")
    seeds = [int(cell) for cell in heads[1:]]
    assert seeds == list(range(FEWEST_SEEDS, MAX_SEEDS + 1))
    assert numbers(spent[1:]) == [round(100 * spent_by(number, ERROR, [MAX_SEEDS]), 2) for number in seeds]
    assert numbers(alone[1:]) == [
        round(100 * level_of_look(number, ERROR, [MAX_SEEDS]), 2) for number in seeds
    ]
    by_formula = [round(5 * 0.95 * (number / 8) ** 2, 2) for number in seeds]
    assert numbers(spent[1:]) == pytest.approx(by_formula, abs=0.011)
    # And the twentieth that is left goes to whoever plans sixteen afterwards.
    left = 0.05 - 0.0475
    assert spent_by(12, 0.05, [8, 16]) == pytest.approx(0.0475 + 0.95 * left * ((12 - 8) / (16 - 8)) ** 2)


def test_what_no_number_of_seeds_shows_is_what_the_page_says() -> None:
    heads, one_look, default = table("test examples | 100")
    sizes = [int(number) for number in numbers(heads[1:])]
    assert numbers(one_look[1:]) == [round(100 * least_loss(n), 2) for n in sizes]
    error = spent_by(MAX_SEEDS, ERROR / 2, [MAX_SEEDS])
    assert f"({100 * error:.4g} %)" in default[0]
    assert numbers(default[1:]) == [round(100 * least_loss(n, error=error), 2) for n in sizes]
    needed = [needed_test_examples(tolerance, 1 - error) for tolerance in (0.5, 1.0, 0.1)]
    assert "takes {:,} test examples for half a point, {:,} for a point, and {:,} for a tenth".format(
        *needed
    ) in section("What no number of seeds can show")


def planned(n_test: int) -> RunPlan:
    return RunPlan(
        model_steps=1, model_seconds=1.0, models_there=(), arms=(), seeds=FEWEST_SEEDS, max_seeds=MAX_SEEDS,
        n_test=n_test, tolerance=0.5, chains=2,
    )  # fmt: skip


def test_the_chances_are_those_of_a_plan() -> None:
    heads, *rows = table("test examples | 3 seeds")
    assert [head.rpartition(", ")[2] for head in heads[1::2]] == [
        f"{share:.0%}".replace("%", " %") for share in DISAGREEMENTS
    ]
    for row in rows:
        plan = planned(int(numbers(row[:1])[0]))
        few, most = plan.chances(FEWEST_SEEDS), plan.chances(MAX_SEEDS)
        said = [few[0], most[0], few[1], most[1]]
        assert numbers(row[1:]) == [min(99, round(100 * chance)) for chance in said]
        assert f"{row[1]} to {row[2]} if trainings differ on 1 %".replace(
            "99 % to 99 %", "99 %"
        ) in plan_line(plan)


def test_two_scores_are_two_chains_and_share_the_error() -> None:
    arms = [Arm("full", "all", 1.0, 10, lambda index: None)]
    arms += [Arm(score, rule, keep, round(10 * keep), lambda index: None)
             for keep in (0.5, 0.7) for score, rule in (("el2n", "hardest"), ("random", "random"))]  # fmt: skip
    assert [[arms[place].keep for place in chain] for chain in chains_of(arms)] == [[0.7, 0.5], [0.7, 0.5]]
    assert "with EL2N and random there are two, and each errs with 2.5 %" in section(
        "Which subset is asked, and when"
    )
    assert pytest.approx(0.025) == ERROR / 2


def test_what_a_sigma_may_be_is_what_the_page_says() -> None:
    said = section("Intervals and bounds")
    low, high = (f"{100 * sigma:g}" for sigma in spread.WILD_SIGMAS)
    assert f"{low} to {high} points" in said
    (first, a), (second, b), (third, c) = spread.WILD
    assert (
        f"{100 * a:g} % at {first} test examples, {100 * b:g} % at {second:,}, {100 * c:g} % at {third:,}"
        in said
    )


def test_the_mean_square_of_seeds_is_the_formula() -> None:
    right = np.random.default_rng(0).random((4, 50)) < 0.8
    means = [float(np.mean(row)) for row in right]
    middle = sum(means) / 4
    assert spread.Crossed.of(right).between == pytest.approx(
        50 / 3 * sum((mean - middle) ** 2 for mean in means)
    )


def test_a_sample_is_as_large_as_the_page_says() -> None:
    said = section("A first answer: --quick")
    for words in (
        f"at most {quick.MOST_ROWS:,}, at least {quick.FEWEST_ROWS}",
        f"at most {quick.MOST_TEST_ROWS:,} test",
    ):
        assert words in said


def made(score: str, keep: float, wrong: list[int]) -> Arm:
    """An arm whose i-th run is wrong on so many of 2,000 test examples."""
    runs = [
        SimpleNamespace(
            seed=0,
            result={"accuracy": 1 - number / 2000, "seconds": 10.0 * keep, "steps": 1, "epochs": 1.0},
            test_predictions=lambda number=number: {"correct": np.arange(2000) >= number},
        )
        for number in wrong
    ]
    return Arm(score, "hardest", keep, int(keep * 1000), lambda index: None, runs)


def verdict(*arms: Arm, tolerance: float = 0.5, **options: Any) -> dict[str, Any]:
    examples = SimpleNamespace(
        source="made up", train=range(1000), test=range(2000), task="classification", repeats=Repeats()
    )
    setup = SimpleNamespace(
        examples=examples, recipe=SimpleNamespace(budget="epochs"), n_test=2000, tested=None
    )
    race = Race(list(arms), Seeds(len(arms[0].runs), fixed=True), tolerance)
    race.look()
    return decide(Comparison(setup, list(arms), race), **options)


SOMETIMES = {"leaks", "task", "dynamic", "sparse", "suspects", "notes"}  # where there is something to say


def test_every_field_of_a_verdict_is_on_the_page_and_no_other() -> None:
    full, half, random = (
        made("full", 1.0, [100, 102, 104]),
        made("el2n", 0.5, [100, 103, 104]),
        made("random", 0.5, [150, 151, 152]),
    )
    data = verdict(full, half, random, price_per_hour=2.0, scoring_seconds=5.0)
    assert data["answer"]["kind"] == "keep"
    assert named("field") - SOMETIMES == set(data)
    assert named("of `answer`") == set(data["answer"])
    assert named("of each of `subsets`") - {"metrics"} == set(data["subsets"][0])
    assert named("of `cost`") == set(data["cost"])
    about = " ".join(row[1] for row in table("of `cost`")[1:])
    after, money = data["cost"]["after_one"], data["cost"]["money"]
    assert {*after, *money, *money["after_one"]} <= set(re.findall(r"`(\w+)`", about)) | {"scoring"}
    (row,) = [row for row in table("field")[1:] if row[0] == "`full`"]
    assert set(data["full"]) == set(re.findall(r"`(\w+)`", row[1])) - {"metrics"}


def test_every_field_of_what_would_decide_is_on_the_page() -> None:
    data = verdict(
        made("full", 1.0, [100, 108, 116]), made("el2n", 0.5, [104, 112, 120]), command="datadiet run x"
    )
    would = data["answer"]["would_decide"]
    assert data["answer"]["kind"] == "undecided" and would is not None
    (row,) = [row for row in table("of `answer`")[1:] if row[0] == "`would_decide`"]
    assert set(would) == set(re.findall(r"`(\w+)`", row[1]))
    (row,) = [row for row in table("of `answer`")[1:] if row[0] == "`curve`"]
    assert set(data["answer"]["curve"][0]) == set(re.findall(r"`(\w+)`", row[1]))


def test_the_kinds_of_answers_are_those_on_the_page() -> None:
    full = made("full", 1.0, [100, 102, 104])
    kinds = [
        verdict(full, made("el2n", 0.5, [100, 103, 104]))["answer"]["kind"],
        verdict(full, made("el2n", 0.5, [400, 401, 402]))["answer"]["kind"],
        verdict(full, made("el2n", 0.5, [110, 112, 114]))["answer"]["kind"],
        verdict(made("full", 1.0, [100, 102]), made("el2n", 0.5, [100, 103]))["answer"]["kind"],
    ]
    (row,) = [row for row in table("of `answer`")[1:] if row[0] == "`kind`"]
    assert re.findall(r'"(\w+)"', row[1]) == kinds


@pytest.mark.parametrize("name", ["time", "max_seeds", "price_per_hour"])
def test_more_time_or_seeds_or_another_price_is_the_same_question(name: str) -> None:
    assert (
        question("run", {"seeds": "auto", name: None}).as_dict()
        == question("run", {"seeds": "auto", name: 9}).as_dict()
    )


@pytest.mark.parametrize(
    ("name", "one", "other"), [("seeds", "auto", 5), ("tolerance", 0.5, 1.0), ("quick", False, True)]
)
def test_what_changes_the_answer_is_another_question(name: str, one: Any, other: Any) -> None:
    assert question("run", {name: one}).as_dict() != question("run", {name: other}).as_dict()


def test_the_saving_of_a_training_that_has_to_pay_for_the_scores_is_the_formula() -> None:
    data = verdict(made("full", 1.0, [5, 6, 7]), made("el2n", 0.5, [5, 6, 7]), scoring_seconds=2.0)
    entry = data["subsets"][0]
    assert entry["time_saved"][0] == pytest.approx(1 - (5.0 + 2.0) / 10.0)
    assert data["cost"]["pays_after_trainings"] == math.ceil(2.0 / (10.0 - 5.0))
