"""Costs as they are shown: what was spent, and savings only where there are some."""

import io

import pytest
from made_up_report import answered
from rich.console import Console

from datadiet.pages.report import ReportContents, cost_sentence, cost_table, times_table
from datadiet.pages.report.costs import SAME_STEPS, cost_rows
from datadiet.pages.report.page import render_page


def shown(table, width=160):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(table)
    return console.file.getvalue()


def with_money(verdict):
    verdict["cost"].update(
        price_per_hour=2.5,
        money={
            "today": 0.585,
            "scoring": 0.0079,
            "after_one": {"full": 0.0043, "kept": 0.011, "saved": -0.0067},
            "after_hundred": {"full": 0.431, "kept": 0.3135, "saved": 0.1178},
        },
    )
    return verdict


def test_one_and_a_hundred_trainings_are_told_with_what_they_save():
    assert cost_rows(answered("keep")) == (
        ["time", "saves"],
        [
            ("all of this run", ["14 min 3 s", ""]),
            ("scoring, once", ["11 s", ""]),
            ("one training on full data", ["6.2 s", ""]),
            ("one training on the subset, with scoring once", ["16 s", "nothing: takes 2.5 times as long"]),
            ("100 trainings on full data", ["10 min 21 s", ""]),
            ("100 trainings on the subset, with scoring once", ["7 min 31 s", "27.3 %, 2 min 50 s"]),
        ],
    )


def test_the_page_has_the_same_rows():
    page = render_page(ReportContents("t", answered("keep")), {})
    for name, cells in cost_rows(answered("keep"))[1]:
        row = f'<th scope="row">{name[0].upper()}{name[1:]}</th>' + "".join(
            f'<td class="n">{cell}</td>' for cell in cells
        )
        assert row in page


def test_money_stands_in_a_column_of_its_own():
    titles, rows = cost_rows(with_money(answered("keep")))
    assert titles == ["time", "at 2.5 an hour", "saves"]
    assert [cells[1] for _, cells in rows] == ["0.59", "0.01", "0.004", "0.01", "0.43", "0.31"]
    assert rows[-1][1][2] == "27.3 %, 2 min 50 s, 0.12"
    assert rows[3][1][2] == "nothing: takes 2.5 times as long"


def test_with_the_same_steps_nothing_is_shown_as_saved():
    verdict = answered("keep", budget="steps")
    titles, rows = cost_rows(verdict)
    assert titles == ["time"]
    assert not any("subset" in name for name, _ in rows)
    assert times_table(verdict) is None
    assert (
        cost_sentence(verdict)
        == SAME_STEPS
        == ("Same steps: a subset takes as long to train as all data; --budget epochs is what saves time.")
    )
    page = render_page(ReportContents("t", verdict), {})
    assert SAME_STEPS in page and "Time saved" not in page and "saves nothing" not in page


def test_where_nothing_is_kept_only_full_data_is_told():
    titles, rows = cost_rows(answered("undecided"))
    assert titles == ["time"]
    assert [name for name, _ in rows] == ["all of this run", "scoring, once", "one training on full data"]


def test_a_verdict_without_the_hundred_shows_what_it_has():
    verdict = answered("keep")
    for name in ("today_seconds", "after_one", "after_hundred", "price_per_hour", "money"):
        del verdict["cost"][name]
    assert cost_rows(verdict) == (
        ["time"],
        [
            ("scoring, once", ["11 s"]),
            ("one training on full data", ["6.2 s"]),
            ("one training on the subset", ["4.4 s"]),
        ],
    )
    assert cost_table({}) is None and cost_sentence({}) == ""


def test_times_that_save_nothing_are_words_and_not_negative_shares():
    verdict = answered("keep")
    verdict["subsets"][0]["time_saved"] = [-1.5, -3.02, -0.56]
    verdict["subsets"][1]["time_saved"] = [0.25, 0.2, 0.3]
    text = shown(times_table(verdict))
    assert "saves nothing: takes 2.5 times as long" in text
    assert "25.0 % [20.0, 30.0]" in text
    assert "-150" not in text and "302" not in text


@pytest.mark.parametrize(
    ("pays", "sentence"),
    [
        (7, "The time spent on scoring is won back after 7 trainings on the subset instead of on full data."),
        (1, "The time spent on scoring is won back after 1 training on the subset instead of on full data."),
        (0, "The subset needs no scores: a training on it is faster from the first one on."),
    ],
)
def test_when_scoring_has_paid_for_itself_is_said(pays, sentence):
    verdict = answered("keep")
    verdict["cost"]["pays_after_trainings"] = pays
    assert cost_sentence(verdict) == sentence
    assert sentence in render_page(ReportContents("t", verdict), {})


def test_a_selector_has_no_scoring_beforehand():
    verdict = answered("keep", budget="steps") | {"dynamic": {}}
    verdict["cost"]["scoring_seconds"] = 0.0
    names = [name for name, _ in cost_rows(verdict)[1]]
    assert "one training on the subset" in names and "scoring, once" not in names
    assert cost_sentence(verdict).startswith("What scores and chooses while training is part")


@pytest.mark.parametrize("width", [80, 120])
def test_costs_fit_the_terminal(width):
    for table in (cost_table(with_money(answered("keep"))), times_table(answered("keep"))):
        assert max(len(line) for line in shown(table, width).splitlines()) <= width
