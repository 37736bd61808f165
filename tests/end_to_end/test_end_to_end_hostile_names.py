"""Class names and texts that try to do harm are shown, not obeyed: in the page, in file names, in the terminal."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest
from small_sources import MODEL, TINY
from typer.testing import CliRunner

import datadiet as dd
from datadiet.cli import app

NAMES = (
    "<script>alert(1)</script>",
    "../../x",
    "[red]x[/red]",
    "\x1b[31mred",
    "a' onmouseover='b",
    "{{ 7 * 7 }}",
)


class Elements(HTMLParser):
    """What a browser would see of a page: its elements, with their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.text += data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, datadiet: Callable[..., str]) -> Path:
    """A folder with a run on hostile data in `out`, and what it printed in `printed.txt`."""
    place = tmp_path_factory.mktemp("hostile") / "deep" / "deeper"
    place.mkdir(parents=True)
    labels = [NAMES[row % len(NAMES)] for row in range(72)]
    texts = [
        f"{label} <img src=x onerror=alert({row})> \x1b]0;title\x07 word{row % 7}"
        for row, label in enumerate(labels)
    ]
    pyarrow.csv.write_csv(pa.table({"text": texts, "label": labels}), place / "notes.csv")
    flags = (
        "--keep",
        "0.5",
        "--seeds",
        "2",
        "--per-class",
        "--workspace",
        place / "work",
        "--out",
        place / "out",
    )
    printed = datadiet("run", place / "notes.csv", *flags, *TINY, *MODEL["text"])
    (place / "printed.txt").write_text(printed, encoding="utf-8")
    return place


def test_the_names_arrive_as_they_are(place: Path) -> None:
    assert set(dd.ScoreTable.read(place / "out" / "scores.parquet").class_names) == set(NAMES)


def test_no_name_becomes_a_script_or_a_handler_in_the_page(place: Path) -> None:
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    seen = Elements()
    seen.feed(page)
    assert not [script for script in seen.scripts if "alert" in script]
    assert seen.handlers == []
    assert "onerror=alert" in seen.text  # the texts are there, as text
    for name in ("<script>alert(1)</script>", "../../x", "[red]x[/red]", "a' onmouseover='b", "{{ 7 * 7 }}"):
        assert name in seen.text
    assert "\x1b" not in page and "\x07" not in page


def test_no_name_leaves_the_folder(place: Path) -> None:
    top = place.parent.parent
    assert {path.name for path in top.iterdir()} == {"deep"}
    assert {path.name for path in place.parent.iterdir()} == {"deeper"}
    assert {path.name for path in place.iterdir()} == {"notes.csv", "out", "work", "printed.txt"}
    for path in (place / "out").rglob("*"):
        assert all(character.isalnum() or character in "._-" for character in path.name), path.name


def test_nothing_in_the_terminal_acts(place: Path) -> None:
    printed = (place / "printed.txt").read_text(encoding="utf-8")
    assert "\x1b" not in printed and "\x07" not in printed


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_an_error_is_harmless_and_still_one_line(name: str, tmp_path: Path) -> None:
    labels = ["plain", "simple"] * 6 + [name]
    pyarrow.csv.write_csv(pa.table({"x": [*range(13)], "label": labels}), tmp_path / "points.csv")
    result = CliRunner().invoke(
        app, ["score", str(tmp_path / "points.csv"), "--out", str(tmp_path / "s.parquet")]
    )
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "\x1b" not in result.stderr and "one example" in result.stderr


def test_a_kept_file_named_to_do_harm_is_only_a_name(place: Path, datadiet: Callable[..., str]) -> None:
    train = dd.load(place / "notes.csv").train
    ids = place.parent.parent / "ids.txt"
    ids.write_text("\n".join(str(id_) for id_ in train.ids[::2]))
    try:
        printed = datadiet(
            "compare",
            place / "notes.csv",
            "--kept",
            f"[red]../../y\x1b[31m={ids}",
            "--seeds",
            "1",
            "--workspace",
            place / "work",
            "--out",
            place / "out" / "compared",
            *TINY,
            *MODEL["text"],
        )
    finally:
        ids.unlink()
    assert "[red]../../y" in printed.replace("\n", "").replace(" ", "") or "[red]" in printed
    assert "\x1b" not in printed
    assert not (place.parent.parent / "y").exists()
    assert {path.name for path in (place / "out" / "compared").iterdir()} == {
        "verdict.json",
        "groups.parquet",
        "results.parquet",
        "recipe.yaml",
        "manifest.json",
        ".lock",
    }
