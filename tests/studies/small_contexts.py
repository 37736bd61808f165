"""Contexts that take seconds, and looks at what a study in them came to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from matplotlib.image import imread

import datadiet as dd
from datadiet.engine.setup import prepare
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.protocol import StudyResult
from datadiet.studies.toolbox.scale import SCALES

TINY = dataclasses.replace(
    SCALES["smoke"], decides=True, score_seeds=2, retrain_seeds=2, neighbours=6, group=30
)


def small_context(examples: dd.Examples, recipe: dd.Recipe, folder: Path) -> StudyContext:
    return StudyContext(prepare(examples, recipe, workspace=folder / "runs", device="cpu"), TINY)


def outcomes(result: StudyResult) -> list[str]:
    return [finding.outcome for finding in result.findings]


def outcome_of(result: StudyResult, words: str) -> str:
    (finding,) = [found for found in result.findings if words in found.claim.sentence]
    return finding.outcome


def assert_drawn(result: StudyResult, names: list[str]) -> None:
    for name in names:
        pixels = imread(result.folder / f"{name}.png")[..., :3]
        assert pixels.std() > 0.02 and min(pixels.shape[:2]) > 300
        assert len(np.unique((pixels * 255).astype(int).reshape(-1, 3), axis=0)) > 20
        assert b"<text" in (result.folder / f"{name}.svg").read_bytes()
