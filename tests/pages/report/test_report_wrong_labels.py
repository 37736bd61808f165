"""Labels that look wrong, on the page and on the terminal."""

from __future__ import annotations

import io

import numpy as np
from made_up_report import made_up_verdict
from PIL import Image

from datadiet.pages.report import ExampleView, ReportContents, wrong_labels_sentence
from datadiet.pages.report.page import render_page

HOSTILE = "<script>x</script>"


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def found(about: int | None = 7) -> dict[str, object]:
    said = {"say": "dog", "probability": 0.83, "probability_of_label": 0.1}
    unsaid = dict.fromkeys(said)
    return {
        "about": about,
        "sentence": "About 7 of 90 training labels look wrong." if about else "It cannot be told.",
        "worst": [
            {"id": 4, "label": "cat", **said},
            {"id": 9, "label": HOSTILE, **said},
            {"id": 5, "label": "dog", **unsaid},
            {"id": 77, "label": "gone", **unsaid},
        ],
        "commands": ["datadiet suspects 'a b/scores.parquet'", "datadiet review suspects.parquet"],
    }


def section_of(suspects: dict[str, object], views: list[ExampleView]) -> str:
    verdict = {**made_up_verdict(), "suspects": suspects}
    page = render_page(ReportContents(title="wrong", verdict=verdict, worst=views), {})
    assert 'href="#wrong"' in page
    return page[page.index('<section id="wrong"') :].partition("</section>")[0]


def test_each_has_its_picture_its_label_and_what_the_models_say() -> None:
    views = [
        ExampleView(4, "cat", 0.0, image=png()),
        ExampleView(9, HOSTILE, 0.0, text=HOSTILE),
        ExampleView(5, "dog", 0.0, vector=[1.0, 2.0]),
    ]
    section = section_of(found(), views)
    assert "About 7 of 90 training labels look wrong." in section and "these look wrong most" in section
    items = section.split("<li>")[1:]
    assert len(items) == 3  # what is in no view is left out
    assert "data:image/png" in items[0] and "<b><bdi>cat</bdi></b>" in items[0] and "#4" in items[0]
    assert "<b><bdi>dog</bdi></b> 83 %; the label 10 %" in items[0]
    assert "<script>x" not in section and "&lt;script&gt;x" in items[1]
    assert "models:" not in items[2] and "<svg" in items[2]
    assert "datadiet suspects &#39;a b/scores.parquet&#39;\ndatadiet review suspects.parquet" in section


def test_without_a_count_the_worst_are_shown_and_not_called_wrong() -> None:
    section = section_of(found(None), [ExampleView(4, "cat", 0.0, text="a")])
    assert "It cannot be told." in section and "these are the worst" in section
    assert "look wrong most" not in section


def test_without_commands_none_are_spoken_of() -> None:
    section = section_of({**found(), "commands": []}, [])
    assert "<pre" not in section and "commands" not in section


def test_the_terminal_has_one_line_and_a_page_of_an_earlier_verdict_has_no_section() -> None:
    line = wrong_labels_sentence({"suspects": found()})
    assert line is not None and "\n" not in line
    assert line.endswith("to go on: datadiet suspects 'a b/scores.parquet'")
    assert wrong_labels_sentence({"suspects": {**found(), "commands": []}}) == found()["sentence"]
    assert wrong_labels_sentence(made_up_verdict()) is None
    page = render_page(ReportContents(title="earlier", verdict=made_up_verdict()), {})
    assert 'id="wrong"' not in page and 'href="#wrong"' not in page
