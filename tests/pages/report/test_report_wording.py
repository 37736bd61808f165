"""The verdict in words: one sentence and one table that say neither more nor less than was measured."""

import io
import re

import pytest
from made_up_report import HOSTILE, answered, made_up_verdict
from rich.console import Console

from datadiet.pages.numbers import percent_interval, points_interval
from datadiet.pages.report import printable, verdict_sentence, verdict_table


def recommended(**changes):
    subset = {
        "score": "el2n",
        "rule": "hardest",
        "keep": 0.7,
        "n": 1006,
        "minus_full": [-0.001, -0.004, 0.003],
    }
    return {
        "source": "digits",
        "n_train": 1437,
        "tolerance": 0.5,
        "recommended": {**subset, **changes},
    }


def shown(table, width=160):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(table)
    return console.file.getvalue()


def test_a_recommendation_names_size_score_difference_and_tolerance():
    assert verdict_sentence(recommended()) == (
        "Keep 70 % of digits (1,006 of 1,437 examples, hardest by EL2N): 0.1 points below full data "
        "[-0.4, +0.3], within the tolerance of 0.5 points."
    )


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"minus_full": [0.002, -0.001, 0.005]}, "0.2 points above full data [-0.1, +0.5]"),
        ({"minus_full": [0.0, -0.001, 0.001]}, "equal to full data [-0.1, +0.1]"),
        ({"minus_full": [-0.0001, -0.001, 0.001]}, "equal to full data [-0.1, +0.1]"),
        ({"minus_full": None}, "the difference to full data was not measured"),
        ({"score": "random", "rule": "random"}, "chosen at random"),
        ({"rule": "window"}, "a window of EL2N"),
        ({"rule": "easiest", "score": "my_score"}, "easiest by my_score"),
    ],
)
def test_the_sentence_fits_the_subset(changes, phrase):
    assert phrase in verdict_sentence(recommended(**changes))


def test_a_bound_near_the_tolerance_is_written_so_that_it_can_be_told_from_it():
    sentence = verdict_sentence(recommended(minus_full=[-0.002, -0.00496, 0.001]))
    assert "0.200 points below full data [-0.496, +0.100], within the tolerance of 0.5 points" in sentence


@pytest.mark.parametrize(
    ("reason", "ending"), [("too few seeds", "too few seeds."), ("Too few.", "Too few."), (None, "recorded.")]
)
def test_without_a_recommendation_the_reason_is_given(reason, ending):
    sentence = verdict_sentence({"recommended": None, "reason": reason})
    assert sentence.startswith("No subset can be recommended: ")
    assert sentence.endswith(ending)


def test_the_sentence_is_harmless_whatever_the_data_is_called():
    for text in HOSTILE:
        sentence = verdict_sentence({**recommended(score=text, rule=text), "source": text})
        assert printable(sentence, 1000) == sentence


def test_the_table_has_a_row_for_full_data_and_every_subset():
    verdict = made_up_verdict()
    table = verdict_table(verdict)
    assert table.row_count == 1 + len(verdict["subsets"])
    text = shown(table)
    assert "97.1 [96.3, 97.9]" in text
    assert text.count("← take") == 1
    assert "loses more" in text
    assert "same steps" in text


def test_a_verdict_that_is_older_than_outcomes_keeps_what_it_said():
    verdict = made_up_verdict()
    for subset in verdict["subsets"]:
        del subset["outcome"]
    text = shown(verdict_table(verdict))
    assert text.count("holds") == sum(subset["holds"] for subset in verdict["subsets"]) > 0
    assert "loses more" not in text


def test_the_table_says_when_nothing_can_be_decided_with_one_seed():
    text = shown(verdict_table(made_up_verdict(seeds=1)))
    assert "not for deciding" in text and "undecided" not in text
    assert "one seed" in text
    assert "recommended" not in text


def test_names_are_neither_markup_nor_escape_sequences_in_the_table():
    verdict = made_up_verdict(3, ("[bold red]x[/]", "\x1b[31mred", "[/nothing]"))
    text = shown(verdict_table(verdict), width=200)
    assert "[bold red]x[/], hardest" in text
    assert "[/nothing], hardest" in text
    assert "\x1b[31m" not in text


@pytest.mark.parametrize("width", [40, 80, 300])
@pytest.mark.parametrize("verdict", [made_up_verdict(), answered("undecided")], ids=["old", "new"])
def test_the_table_fits_the_terminal(width, verdict):
    for narrow in (False, True):
        lines = shown(verdict_table(verdict, narrow=narrow), width).splitlines()
        assert max(map(len, lines)) <= width


@pytest.mark.parametrize("kind", ["keep", "undecided"])
def test_a_narrow_table_breaks_no_interval_and_no_word_at_80_columns(kind):
    verdict = answered(kind)
    text = shown(verdict_table(verdict, narrow=True), 80)
    assert "…" not in text
    for subset in verdict["subsets"]:
        assert points_interval(subset["minus_full"][1:]) in text
        assert percent_interval(subset["interval"]) in text
    for word in ("at most", "undecided", "(90 % first)", "forgetting,"):
        assert word in text


def test_the_table_says_what_a_subset_loses_at_most():
    verdict = answered("keep")
    verdict["subsets"][0]["loses_at_most"] = -0.002
    verdict["subsets"][1]["loses_at_most"] = None
    text = shown(verdict_table(verdict), 200)
    assert "loses at most" in text and "gains 0.2" in text and text.count("not known") == 1
    assert "loses at most" not in shown(verdict_table(made_up_verdict()), 200)


def test_the_table_begins_with_the_largest_subsets_as_the_page_does():
    lines = shown(verdict_table(answered("keep")), 200).splitlines()
    keeps = [int(found[1]) for line in lines if (found := re.search(r"(\d+) % \(", line))]
    assert keeps == sorted(keeps, reverse=True) and len(set(keeps)) == 5


def test_a_verdict_with_nothing_in_it_is_an_empty_table():
    assert verdict_table({}).row_count == 0
