"""Who is left out: the page's own section, the terminal's table, and what is said when nothing is known."""

import io
import re

from made_up_report import HOSTILE, hostile_report, image_report, made_up_groups, made_up_verdict, text_report
from rich.console import Console

from datadiet.pages.report import first_warnings, groups_table
from datadiet.pages.report.page import render_page
from datadiet.pages.report.tables import MOST_ROWS, left_out_view, shown_subset


def section(contents):
    """The words of the section."""
    html = render_page(contents, {})
    part = html[html.index('<section id="left-out"') : html.index('<section id="cost"')]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", part)), part


def printed(table):
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_the_section_shows_the_recommended_subset_with_the_worst_group_first():
    contents = image_report()
    words, html = section(contents)
    assert contents.verdict["recommended"]["keep"] == 0.5
    assert "recommended subset, EL2N, hardest, 50 %" in words
    assert words.index("By writer") < words.index("By class")
    by_class = words[words.index("By class") :]
    places = [by_class.index(f" {name} ") for name in ("eight", "seven", "six", "zero", "nine")]
    assert places == sorted(places)  # nine was never tested
    assert "loses more" in by_class and "not judged" in by_class and "not tested" in by_class
    assert "a note about writer" in words
    assert html.count('class="subsets groups"') == 2 * (1 + 7)  # the other chosen subsets are folded
    assert html.count("<details") == 7 and "random, " not in words


def test_the_bar_is_as_long_as_the_share_that_stays():
    _, html = section(image_report())
    marks = re.findall(r'<line x1="([\d.]+)"', html)
    widths = [float(width) for width in re.findall(r'<rect width="([\d.]+)"', html)]
    assert marks[:14] == ["50.0"] * 14
    assert widths[0] == 50 * (1 - 0.5 * 2 / 4)  # of the writers, the third is worst


def test_warnings_stand_before_everything_else():
    html = render_page(image_report(), {})
    assert html.index("loses more than the whole") < html.index('<section id="accuracy"')


def test_a_verdict_without_groups_is_said_to_know_nothing_of_them():
    words, _ = section(text_report())
    assert "Nothing is recorded of how single classes or groups fare" in words
    assert groups_table(text_report().verdict) is None and first_warnings({}) == []


def test_hostile_names_do_no_harm():
    words, html = section(hostile_report())
    assert (
        "<script" not in html
        and "<img" not in html
        and "onerror=" not in re.sub(r"&[^;]*;", "", html).replace("onerror=document", "")
    )
    assert "&lt;script&gt;" in html and "\x1b" not in words and "\u202e" not in words
    text = printed(groups_table(hostile_report().verdict))
    assert "[bold red]rich" in text.replace("\n", "") and "\x1b" not in text and "\u202e" not in text
    assert all(warning.isprintable() for warning in first_warnings({"warnings": list(HOSTILE)}))


def test_of_very_many_groups_the_worst_are_listed_and_the_rest_counted():
    verdict = made_up_groups(made_up_verdict(), {"class": tuple(f"class {row}" for row in range(120))})
    view = left_out_view(verdict, "-")
    (table,) = view["shown"]["tables"]
    assert len(table["rows"]) == MOST_ROWS and table["left_out"] == 120 - MOST_ROWS


def test_without_a_recommendation_the_subset_that_loses_least_is_shown():
    verdict = {**made_up_verdict(), "recommended": None}
    chosen = [subset for subset in verdict["subsets"] if subset["score"] != "random"]
    assert shown_subset(verdict) == max(chosen, key=lambda subset: subset["minus_full"][0])
    assert shown_subset({"subsets": []}) is None


def test_the_terminal_shows_groups_only_where_a_column_was_asked_for():
    text = printed(groups_table(image_report().verdict))
    assert "EL2N, hardest, 50 %" in text and "▼ right-handed" in text and "by class, 2 more" in text
    assert groups_table(made_up_groups(made_up_verdict(), {"class": ("a", "b", "c")})) is None
