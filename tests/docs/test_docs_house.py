"""What the documentation says of the house is so: its drawing, its paths, its imports, its snippets."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import datadiet as dd

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
HOUSE = ROOT / "src" / "datadiet"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[str]:
    """The Python snippets of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def drawn_rooms() -> list[str]:
    """The rooms of the drawing in `docs/architecture.md`, from the top down."""
    drawing = re.findall(
        r"```\nsrc/datadiet/\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text("utf-8"), re.S
    )
    return re.findall(r"^  (\w+)/ ", drawing[0], re.MULTILINE)


def test_the_drawing_shows_every_room_and_no_other() -> None:
    rooms = {path.parent.name for path in HOUSE.glob("*/__init__.py")}
    assert sorted(drawn_rooms()) == sorted(rooms)


def test_the_contract_of_the_linter_is_the_drawing() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (layers,) = [contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers"]
    assert [room.strip() for layer in layers for room in layer.split("|")] == drawn_rooms()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:src|tests|benchmarks|examples|docs)/[\w./-]+)`", text))
    if page.name == "architecture.md":
        inside = set(re.findall(r"`((?:" + "|".join(drawn_rooms()) + r")/[\w./]+\.py)`", text))
        named |= {f"src/datadiet/{path}" for path in inside}
        assert inside
    missing = sorted(path for path in named if not (ROOT / path).exists())
    assert not missing


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_to_pages_and_headings_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_names_that_a_snippet_imports_are_there(page: Path) -> None:
    for block in blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("datadiet"):
                if node.module.startswith("datadiet.integrations"):
                    pytest.importorskip(node.module.rsplit(".", 1)[1])
                module = importlib.import_module(node.module)
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing, f"{node.module} has no {missing}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "dd":
                assert hasattr(dd, node.attr), f"there is no dd.{node.attr}"


def test_the_snippets_of_contributing_run_one_after_the_other(tmp_path: Path) -> None:
    program = "".join(blocks(ROOT / "CONTRIBUTING.md")) + "\nprint(table.names, len(table))\n"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("('brier',) 1438\n")


@pytest.mark.parametrize(
    ("file", "line", "named"),
    [
        (
            "data/load.py",
            "from datadiet.jobs.run import run as _run",
            "datadiet.data.load -> datadiet.jobs.run",
        ),
        ("pages/text.py", "from datadiet.pages.report.page import render_page as _page", ".text -> .report"),
    ],
    ids=["up", "in a circle"],
)
def test_an_import_that_goes_up_or_round_is_named(file: str, line: str, named: str, tmp_path: Path) -> None:
    shutil.copytree(HOUSE, tmp_path / "datadiet", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    program = (
        "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    )
    linter = [sys.executable, "-c", program, "--no-cache", "--no-logo"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    clean = subprocess.run(linter, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert clean.returncode == 0, clean.stdout
    with (tmp_path / "datadiet" / file).open("a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")
    broken = subprocess.run(
        linter, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert broken.returncode == 1 and named in broken.stdout, broken.stdout
