"""A study's context on tiny data, and how a study is carried out on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

import datadiet as dd
from datadiet.engine.setup import Setup, prepare
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.protocol import STUDIES, StudyResult, carry_out
from datadiet.studies.toolbox.scale import SCALES, Scale

TINY_SCALE = dataclasses.replace(
    SCALES["smoke"],
    decides=True,
    score_shares=(0.0, 0.25, 0.5, 1.0),
    score_share=0.5,
    fractions=(0.6, 0.3),
    offsets=(0.0, 0.3),
    noise=0.2,
    neighbours=8,
    group=20,
)


@pytest.fixture
def tiny_scale() -> Scale:
    return TINY_SCALE


@pytest.fixture
def context(tiny: Setup) -> StudyContext:
    """Overlapping classes of vectors, a small `mlp`, two seeds of everything."""
    return StudyContext(tiny, TINY_SCALE)


@pytest.fixture
def context_on(tiny_recipe: dd.Recipe, tmp_path: Path) -> Callable[[dd.Examples], StudyContext]:
    """The same on other data."""

    def made(examples: dd.Examples) -> StudyContext:
        return StudyContext(
            prepare(examples, tiny_recipe, workspace=tmp_path / "runs", device="cpu"), TINY_SCALE
        )

    return made


@pytest.fixture(scope="session")
def trained_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that tests share, so that none trains what another has: for tests that count no runs."""
    return tmp_path_factory.mktemp("shared") / "runs"


@pytest.fixture
def shared_context(vectors: dd.Examples, tiny_recipe: dd.Recipe, trained_before: Path) -> StudyContext:
    """As `context`, in the shared workspace."""
    return StudyContext(prepare(vectors, tiny_recipe, workspace=trained_before, device="cpu"), TINY_SCALE)


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StudyResult]:
    """Carry out a study by its name; figures are rendered only where a test looks at them."""

    def carried_out(name: str, on: StudyContext, *, render: bool = False) -> StudyResult:
        with monkeypatch.context() as patch:
            if not render:
                patch.setattr("datadiet.studies.toolbox.protocol.as_png", lambda figure: b"PNG")
                patch.setattr("datadiet.studies.toolbox.protocol.as_svg", lambda figure: b"<svg")
            return carry_out(STUDIES[name], on, tmp_path / "studies" / name)

    return carried_out
