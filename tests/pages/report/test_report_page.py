"""The page is one harmless file that says everything, also what is missing."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up_report import (
    HOSTILE,
    answered,
    hostile_report,
    image_report,
    made_up_verdict,
    one_seed_report,
    text_report,
    thousand_class_report,
    vector_report,
)
from PIL import Image

from datadiet.foundation.errors import RunFailedError
from datadiet.pages.report import (
    ReportContents,
    next_sentence,
    not_trained_sentence,
    verdict_sentence,
    write_report,
)
from datadiet.pages.report import page as room
from datadiet.pages.report.page import render_page
from datadiet.pages.report.view import MINUS


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text; every element must be closed in order."""

    EMPTY = frozenset(["meta", "link", "img", "source", "br", "line", "circle", "rect", "path"])

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.words, self.style = [], [], [], ""
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(contents):
    """The page without figures, which have tests of their own and take most of the time."""
    return Page(render_page(contents, {}))


@pytest.fixture(scope="module")
def written(report_folder):
    folder = report_folder("image")
    return folder, Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_report_is_one_page_and_three_figures(written):
    folder, _ = written
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == [
        "figures/accuracy_against_keep.png",
        "figures/class_balance.png",
        "figures/score_distributions.png",
        "report.html",
    ]
    for path in (folder / "figures").iterdir():
        assert Image.open(path).width >= 1500


def test_nothing_is_loaded_from_outside_the_page(written):
    for tag, attributes in written[1].elements:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form", "foreignobject")
        for name in ("src", "srcset", "href", "action", "data", "poster", "xlink:href"):
            if attributes.get(name) is not None:
                assert attributes[name].startswith(("data:image/", "data:,", "#")), (tag, name)
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
    assert "url(" not in written[1].style
    assert "@import" not in written[1].style


def test_the_policy_allows_images_in_the_page_and_its_own_style_only(written):
    policy = next(meta for meta in written[1].named("meta") if meta.get("http-equiv"))["content"]
    digest = base64.b64encode(hashlib.sha256(written[1].style.encode()).digest()).decode()
    assert {part.strip() for part in policy.split(";")} == {
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    }


def test_the_verdict_comes_first_and_every_part_is_there(written):
    text = written[1].text
    order = [
        "Keep 50 % of digits (718 of 1,437 examples, hardest by EL2N)",
        "Accuracy against what is kept",
        "Subsets",
        "Cost",
        "Distribution of scores",
        "Hardest and easiest examples",
        "Class balance, before and after",
        "How it was made",
    ]
    places = [text.rindex(part) for part in order]
    assert places == sorted(places)


def test_every_image_is_described_and_every_table_has_headers(written):
    page = written[1]
    assert all(image.get("alt") for image in page.named("img"))
    assert all(header.get("scope") in ("col", "row") for header in page.named("th"))
    groups = 2 * 8  # two groupings of each subset that was chosen by a score
    assert len(page.named("table")) == 4 + groups
    assert [name for name, _ in page.elements].count("h1") == 1


def test_labels_of_sections_and_links_lead_somewhere(written):
    ids = {attributes["id"] for _, attributes in written[1].elements if "id" in attributes}
    for _, attributes in written[1].elements:
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids


def test_the_table_of_subsets_has_the_numbers_of_the_verdict():
    contents = image_report()
    text = page_of(contents).text
    for subset in contents.verdict["subsets"]:
        for value in (subset["accuracy"], *subset["interval"]):
            assert f"{100 * value:.1f}" in text
    assert "same steps: every subset is trained for as many steps as full data" in text.lower()
    assert text.count("recommended") >= 1


def test_budgets_are_named():
    assert "same epochs" in page_of(text_report()).text.lower()


def test_one_seed_is_said_to_leave_out_the_spread_between_trainings():
    text = page_of(one_seed_report()).text
    assert "One training seed only: the intervals come from the test examples alone" in text
    assert "cannot be decided" in text
    assert "One training seed only" not in page_of(image_report()).text


def test_a_subset_no_better_than_random_is_said_to_be_so():
    contents = image_report()
    recommended = {**contents.verdict["recommended"], "minus_random": [0.001, -0.002, 0.004]}
    changed = replace(contents, verdict={**contents.verdict, "recommended": recommended})
    assert "A random subset of the same size may do as well" in page_of(changed).text
    assert "A random subset of the same size may do as well" not in page_of(contents).text


def test_missing_parts_are_said_and_not_left_blank():
    text = page_of(ReportContents("nothing yet", {})).text
    for sentence in (
        "No subset can be recommended: no reason was recorded.",
        "No accuracy was measured",
        "No subset was trained.",
        "No times were measured.",
        "No scores were given",
        "No examples were given",
        "the balance of classes cannot be shown",
        "Nothing is recorded of how these results were made.",
    ):
        assert sentence in text


@pytest.mark.parametrize(
    ("pays", "recommended", "phrase"),
    [
        (7, True, "won back after 7 trainings on the subset"),
        (1, True, "won back after 1 training on"),
        (None, True, "Scoring does not pay for itself in training time"),
        (None, False, "There is no recommended subset"),
    ],
)
def test_cost_says_when_scoring_has_paid_for_itself(pays, recommended, phrase):
    verdict = {**made_up_verdict(), "budget": "epochs"}
    verdict["cost"]["pays_after_trainings"] = pays
    if not recommended:
        verdict["recommended"] = None
    assert phrase in page_of(ReportContents("t", verdict)).text


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("keep", "Subset recommended"),
        ("keep_all", "Keep all data"),
        ("undecided", "Undecided"),
        ("not_for_deciding", "Not for deciding"),
    ],
)
def test_an_answer_is_the_same_on_the_page_as_in_the_terminal(kind, status):
    verdict = answered(kind)
    text = page_of(ReportContents("t", verdict)).text
    for sentence in (
        verdict_sentence(verdict, minus=MINUS),
        not_trained_sentence(verdict),
        next_sentence(verdict, with_command=False),
    ):
        assert sentence in text
    assert status in text and "Loses at most" in text
    assert ("datadiet run digits --max-seeds 9" in text) == (kind == "undecided")


def test_the_page_says_which_subset_has_to_be_decided_first():
    verdict = answered("undecided")
    waiting = [s for s in verdict["subsets"] if s["after"] and s["outcome"] == "undecided"]
    text = page_of(ReportContents("t", verdict)).text
    assert text.count("undecided (90 % first)") == len(waiting) > 0


def test_a_first_answer_is_not_called_a_recommendation():
    verdict = answered("keep") | {"quick": {"rows": 4000, "of": 50000}}
    text = page_of(ReportContents("t", verdict)).text
    assert "First answer" in text and "Subset recommended" not in text


def test_bounds_that_are_null_are_not_known_and_never_a_range():
    verdict = answered("keep")
    for entry in (verdict["full"], *verdict["subsets"]):
        entry["interval"] = [None, None]
    for subset in verdict["subsets"]:
        subset["minus_full"] = [-0.003, -0.004, -0.002]
    unknown = ([None, None], [-1.0, 1.0], [-0.004, -0.004])
    for subset, bounds in zip(verdict["subsets"], unknown, strict=False):
        subset["minus_full"] = [-0.004, *bounds]
    verdict["recommended"] = verdict["subsets"][0]
    page = page_of(ReportContents("t", verdict))
    assert page.text.count("−0.4 [not known]") == 3
    assert "100.0]" not in page.text and "nan" not in page.text.lower()
    ranges = [line for line in page.named("line") if line.get("class") == "range"]
    assert len(ranges) == len(verdict["subsets"]) - 3


def test_a_verdict_without_an_answer_is_shown_as_it_was():
    path = Path(__file__).with_name("verdict_without_answer.json")
    verdict = json.loads(path.read_text(encoding="utf-8"))
    page = page_of(ReportContents("digits", verdict))
    assert f"No subset can be recommended: {verdict['reason']}." in page.text
    assert "Loses at most" not in page.text and "One training on full data" in page.text
    assert page.text.count("undecided") >= len(verdict["subsets"])


def test_a_class_that_loses_all_its_examples_is_pointed_out():
    labels = np.array([0, 0, 1])
    kept = {"el2n hardest 0.5": np.array([True, True, False])}
    page = page_of(ReportContents("t", {}, labels=labels, class_names=("a", "b"), kept=kept))
    assert "el2n hardest 0.5 leaves no example of 1 class." in page.text


def test_provenance_is_listed_to_its_leaves():
    text = page_of(image_report()).text
    for part in ("datadiet run digits", "optimizer.momentum", "0.9", "sha256:5f0c", "float32", "torch"):
        assert part in text


def test_texts_and_vectors_are_shown_as_such():
    assert "How did serfdom develop in and then leave Russia ?" in page_of(text_report()).text
    assert len(page_of(vector_report()).named("rect")) == 2 * 2 * 3 * 13


def test_a_long_text_is_cut_with_the_whole_as_its_title():
    titles = [attributes.get("title", "") for attributes in page_of(text_report()).named("bdi")]
    assert any(title.endswith("of the last scene ?") for title in titles)


def test_a_thousand_classes_are_folded_and_limited():
    page = page_of(thousand_class_report())
    folded = page.named("details")
    assert len(folded) == 101
    assert sum("open" in attributes for attributes in folded) == 3
    assert "100 of 1,000 classes are shown" in page.text


def test_nothing_from_the_data_becomes_markup_or_acts():
    contents = hostile_report()
    html = render_page(contents, {})
    page = Page(html)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", html)
    assert not page.named("script")
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:image/").startswith("data:image/")
    for text in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[5], HOSTILE[6], HOSTILE[7], "olé 漢字"):
        assert text in page.text


def test_only_known_files_are_written_whatever_the_data_is_called(report_folder):
    folder = report_folder("hostile")
    names = sorted(path.name for path in (folder, *folder.rglob("*")))
    assert names == [
        "accuracy_against_keep.png",
        "class_balance.png",
        "figures",
        "hostile",
        "report.html",
        "score_distributions.png",
    ]


def test_the_same_contents_give_the_same_page():
    assert render_page(image_report(), {}) == render_page(image_report(), {})


def test_writing_again_replaces_the_page_and_removes_figures_of_before(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "class_balance.png").write_bytes(b"old")
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    (tmp_path / "report.html").write_text("old")
    path = write_report(ReportContents("new", {}), tmp_path)
    assert "new" in path.read_text(encoding="utf-8")
    assert [figure.name for figure in (tmp_path / "figures").iterdir()] == ["mine.png"]


def test_a_report_that_fails_leaves_the_old_one_whole(tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("old")

    def full_disk(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room.Path, "replace", full_disk)
    with pytest.raises(RunFailedError, match="No space"):
        write_report(ReportContents("new", {}), tmp_path)
    assert (tmp_path / "report.html").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html"]
