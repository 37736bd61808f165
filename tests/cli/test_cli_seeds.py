"""`--seeds auto`, `--time`, `--quick` and `--plan`: what is refused, what is said beforehand, what is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from command_line import TINY, Datadiet, Outcome, assert_refused, write_vectors

import datadiet as dd
from datadiet.engine.estimates import Costs
from datadiet.jobs import compare, race
from datadiet.jobs import run as run_module

RUN = ("--keep=0.5", "--score-seeds=1", "--out=out", *TINY)


def trainings(folder: Path) -> int:
    return len(list(folder.glob("runs/trainings/*/result.json")))


def verdict_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "verdict.json").read_text())  # type: ignore[no-any-return]


def numbers_of_seeds(folder: Path) -> dict[str, int]:
    rows = pq.read_table(folder / "results.parquet", columns=["score"]).column("score").to_pylist()
    return {score: rows.count(score) for score in dict.fromkeys(rows)}


def test_a_plan_is_told_and_nothing_is_trained(here: Path, points: Path, datadiet: Datadiet) -> None:
    outcome = datadiet("run", points, "--plan", *RUN)
    assert outcome.code == 0, outcome
    lines = outcome.stdout.splitlines()
    assert lines[-1] == "nothing was started"
    assert "3 to 8 trainings on all 48 examples" in outcome.stdout
    assert "10 to 25 trainings in all" in outcome.stdout
    assert "it takes about 399 test examples, or --tolerance 1" in outcome.stdout
    assert not (here / "out").exists()
    assert not list(here.glob("runs/trainings/*"))


def test_a_plan_as_data(here: Path, points: Path, datadiet: Datadiet) -> None:
    outcome = datadiet("run", points, "--plan", "--json", "--seeds=4", *RUN)
    plan = json.loads(outcome.stdout)
    assert [(arm["score"], arm["n"]) for arm in plan["arms"]] == [
        ("full", 48),
        ("mean_el2n", 24),
        ("random", 24),
    ]
    assert (plan["seeds"], plan["max_seeds"], plan["fixed"], plan["n_test"]) == (4, 4, True, 12)
    assert [at["trainings"] for at in plan["at"]] == [1 + 3 * 4]
    assert not list(here.glob("runs/trainings/*"))
    assert datadiet("run", points, "--seeds=4", *RUN).code == 0
    again = json.loads(datadiet("run", points, "--plan", "--json", "--seeds=4", *RUN).stdout)
    assert again["models_there"] == [True]
    assert {arm["score"]: sum(arm["there"]) for arm in again["arms"]} == {
        "full": 4,
        "mean_el2n": 0,
        "random": 4,
    }


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--time", "1h30"), ("1h30", "30m")),
        (("--time", "-5m"), ("-5m", "30m")),
        (("--seeds", "two"), ("--seeds", "two", "auto")),
        (("--seeds", "2.5"), ("--seeds", "2.5", "auto")),
        (("--seeds", "3", "--max-seeds", "5"), ("--seeds 3 fixes", "--max-seeds would do nothing")),
        (("--seeds", "3", "--time", "5m"), ("--seeds 3 fixes", "--time would do nothing")),
        (("--max-seeds", "2"), ("--max-seeds is 2", "3 or more")),
        (("--price-per-hour", "-1"), ("--price-per-hour", "0 or more")),
    ],
)
@pytest.mark.parametrize("command", ["run", "compare"])
def test_seeds_and_time_that_cannot_be_are_refused(
    command: str, flags: tuple[str, ...], words: tuple[str, ...], here: Path, points: Path, datadiet: Datadiet
) -> None:
    (here / "kept.txt").write_text("0\n1\n2\n")
    given = ("--kept=kept.txt", *TINY) if command == "compare" else RUN
    assert_refused(datadiet(command, points, *given, *flags), *words)
    assert not list(here.glob("runs/trainings/*"))


def test_quick_takes_no_number_of_seeds(here: Path, points: Path, datadiet: Datadiet) -> None:
    assert_refused(
        datadiet("run", points, *RUN, "--quick", "--seeds", "3"), "--seeds is 3", "auto with --quick,"
    )
    assert not list(here.glob("runs/trainings/*"))


def told(outcome: Outcome, start: str) -> str:
    [line] = [line for line in outcome.stderr.splitlines() if line.startswith(start)]
    return line


def test_the_plan_is_said_before_anything_is_trained(
    here: Path, points: Path, datadiet: Datadiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "score_with", stop)
    outcome = datadiet("run", points, *RUN, "--seeds=3")
    assert outcome.code != 0
    plan = told(outcome, "Plan: ")
    assert plan.startswith("Plan: 1 scoring model, 3 arms of 3 seeds: 10 trainings, ")
    # With twelve test examples no number of seeds would do, which is better known before.
    assert "with 12 test examples a subset that is just as good as full data is shown to lose at most" in plan
    assert "with any number of seeds" in plan
    assert "it takes about 3" in plan
    assert "test examples, or --tolerance 1" in plan
    assert not list(here.glob("runs/trainings/*"))


def test_seeds_are_added_until_it_is_decided_or_the_most_are_there(
    here: Path, points: Path, datadiet: Datadiet, no_page: None
) -> None:
    assert datadiet("run", points, *RUN, "--max-seeds=4").code == 0
    verdict = verdict_in(here / "out")
    assert verdict["seeds_by"] == "auto"
    assert verdict["answer"]["stopped"] == "seeds"
    assert verdict["answer"]["kind"] == "undecided"
    assert max(numbers_of_seeds(here / "out").values()) == 4
    before = trainings(here)
    more = datadiet("run", points, *RUN, "--tolerance=90", "--overwrite")
    assert more.code == 0
    wide = verdict_in(here / "out")
    assert wide["answer"]["stopped"] == "decided"
    assert (wide["answer"]["kind"], wide["recommended"]["keep"]) == ("keep", 0.5)
    assert set(numbers_of_seeds(here / "out").values()) == {3}
    assert trainings(here) == before
    assert more.stdout.count("loses at most") or more.stdout.count("it loses nothing")


def test_what_there_is_no_time_for_is_told(
    here: Path, points: Path, datadiet: Datadiet, monkeypatch: pytest.MonkeyPatch, no_page: None
) -> None:
    monkeypatch.setattr(run_module, "measured_costs", lambda setup, **_: Costs(60.0, 1.0, 1.0))
    outcome = datadiet("run", points, *RUN, "--time=1m")
    assert outcome.code == 2, outcome
    assert "1 min are not enough for 3 seeds of full data" in told(outcome, "Plan: ")
    assert (
        "--time is too short: there are 1 min, and scoring and 3 trainings of full data and of one subset take"
        in (outcome.stderr)
    )
    assert not list(here.glob("runs/trainings/*")), "said before anything is trained"
    monkeypatch.setattr(run_module, "measured_costs", lambda setup, **_: Costs(0.001, 0.001, 0.001))
    monkeypatch.setattr(race.Trainer, "_seconds_of_a_step", lambda trainer: 60.0)
    outcome = datadiet("run", points, *RUN, "--time=1m", "--overwrite")
    assert outcome.code == 0, outcome
    verdict = verdict_in(here / "out")
    assert numbers_of_seeds(here / "out") == {"full": 3}
    assert [(subset["score"], subset["keep"]) for subset in verdict["not_trained"]] == [
        ("mean_el2n", 0.5), ("random", 0.5),
    ]  # fmt: skip
    assert verdict["answer"]["kind"] != "keep_all"
    assert (
        "The time was up before these were trained: mean EL2N, stratified, 50 %; random, 50 %."
        in outcome.stdout
    )


def test_compare_takes_time_and_most_seeds(
    here: Path, points: Path, datadiet: Datadiet, monkeypatch: pytest.MonkeyPatch, no_page: None
) -> None:
    asked = []
    compare_arms = compare.compare_arms

    def spy(*arguments: Any, **options: Any) -> Any:
        asked.append(options["seeds"])
        return compare_arms(*arguments, **options)

    monkeypatch.setattr(run_module, "compare_arms", spy)
    monkeypatch.setattr(run_module.time, "monotonic", lambda: 100.0)
    (here / "kept.txt").write_text("".join(f"{id_}\n" for id_ in dd.load(points).train.ids[::2]))
    given = ("--kept=kept.txt", "--out=out", *TINY)
    outcome = datadiet("compare", points, *given, "--time=1h", "--max-seeds=3")
    assert outcome.code == 0, outcome
    assert (asked[0].most, asked[0].fixed, asked[0].until) == (3, False, 3700.0)
    verdict = verdict_in(here / "out")
    assert (verdict["seeds_by"], verdict["seeds"]) == ("auto", 3)


@pytest.mark.parametrize("quick_time", [(), ("--time=2m",)])
def test_a_first_answer_is_of_a_sample_where_all_would_take_longer(
    quick_time: tuple[str, ...],
    here: Path,
    datadiet: Datadiet,
    monkeypatch: pytest.MonkeyPatch,
    no_page: None,
) -> None:
    points = write_vectors(here / "points.parquet", rows=400)
    slow = Costs(step=60.0, evaluation=1.0, scoring_pass=1.0)
    monkeypatch.setattr(run_module, "measured_costs", lambda setup, **_: slow)
    outcome = datadiet("run", points, *RUN, "--quick", *quick_time, "--max-seeds=3")
    assert outcome.code == 0, outcome
    assert told(outcome, "Quick: ").startswith("Quick: 200 of 320 training rows")
    assert ("2 min" if quick_time else "5 min") in told(outcome, "Quick: ")
    verdict = verdict_in(here / "out")
    assert verdict["quick"] == {"rows": 200, "of": 320}
    assert verdict["n_train"] == 200
    [headline] = [line for line in outcome.stdout.splitlines() if "first answer" in line]
    assert headline.startswith(
        "A first answer, on 200 of 320 training examples, and no verdict on all of them: "
    )


def test_a_first_answer_of_all_rows_is_a_verdict(
    here: Path, points: Path, datadiet: Datadiet, no_page: None
) -> None:
    outcome = datadiet("run", points, *RUN, "--quick", "--max-seeds=3")
    assert outcome.code == 0, outcome
    assert verdict_in(here / "out")["quick"] is None
    assert "first answer" not in outcome.stdout


@pytest.mark.parametrize(("flags", "most"), [(("--max-seeds=4",), 4), ((), 8)])
def test_a_dynamic_run_adds_seeds_until_it_is_decided(
    flags: tuple[str, ...], most: int, here: Path, points: Path, datadiet: Datadiet, no_page: None
) -> None:
    outcome = datadiet("run", points, "--dynamic=infobatch", "--out=out", *TINY, *flags)
    assert outcome.code == 0, outcome
    verdict = verdict_in(here / "out")
    assert verdict["seeds_by"] == "auto"
    assert verdict["answer"]["stopped"] == "seeds", "twelve test examples do not decide"
    assert set(numbers_of_seeds(here / "out").values()) == {most}
    assert all(subset["seeds"] == most for subset in verdict["subsets"])


NEW = ("answer", "not_trained", "seeds_by", "quick")
NEW_OF_A_SUBSET = ("loses_at_most", "after")


def test_a_verdict_of_an_earlier_version_is_still_shown(here: Path, points: Path, datadiet: Datadiet) -> None:
    assert datadiet("run", points, *RUN, "--seeds=3").code == 0
    path = here / "out" / "verdict.json"
    verdict = json.loads(path.read_text())
    for name in NEW:
        del verdict[name]
    for subset in verdict["subsets"]:
        for name in NEW_OF_A_SUBSET:
            del subset[name]
    cost = ("scoring_seconds", "full_training_seconds", "kept_training_seconds", "pays_after_trainings")
    verdict["cost"] = {name: verdict["cost"][name] for name in cost}
    path.write_text(json.dumps(verdict))
    for name in ("report.html", "manifest.json"):  # which says what verdict.json was
        (here / "out" / name).unlink()
    for flags in ((), ("--json",)):
        outcome = datadiet("report", "out", "--overwrite", *flags)
        assert outcome.code == 0, outcome
        page = (here / "out" / "report.html").read_text()
        assert verdict["reason"].split(";")[0] in page
        assert "undefined" not in page and ">None<" not in page and "nan" not in page.lower().split()


@pytest.mark.parametrize(
    ("flags", "models"),
    [
        ((), 1),
        (("--seeds=5",), 1),
        (("--scores=forgetting,aum",), 1),
        (("--scores=el2n",), 3),
        (("--scores=mean_el2n,grand",), 3),
        (("--scores=el2n", "--seeds=2"), 2),
        (("--scores=el2n", "--seeds=5"), 5),
        (("--score-seeds=4",), 4),
    ],
)
def test_scores_are_of_one_model_of_the_training_pass_else_of_as_many_as_retrainings_or_three(
    flags: tuple[str, ...], models: int, here: Path, points: Path, datadiet: Datadiet
) -> None:
    outcome = datadiet("run", points, "--plan", "--json", "--keep=0.5", *TINY, *flags)
    assert len(json.loads(outcome.stdout)["models_there"]) == models


def test_the_command_that_was_given_is_what_its_verdict_builds_on(
    here: Path, points: Path, datadiet: Datadiet, monkeypatch: pytest.MonkeyPatch, no_page: None
) -> None:
    asked = []
    decide = run_module.decide

    def spy(*arguments: Any, **options: Any) -> Any:
        asked.append(options["command"])
        return decide(*arguments, **options)

    monkeypatch.setattr(run_module, "decide", spy)
    monkeypatch.setattr("sys.argv", ["datadiet", "run", "my points.parquet", "--seeds", "1"])
    assert datadiet("run", points, *RUN, "--seeds=1").code == 0
    assert asked == ["datadiet run 'my points.parquet' --seeds 1"]
