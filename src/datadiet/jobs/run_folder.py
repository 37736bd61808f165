"""What a run leaves in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.engine.setup import Setup
from datadiet.foundation.atomic import write_json
from datadiet.jobs.compare import Comparison
from datadiet.jobs.keep import Kept
from datadiet.jobs.left_out import write_groups
from datadiet.jobs.report import report_contents
from datadiet.jobs.score import Scoring
from datadiet.pages.report import safe_name, subset_key, write_report

RESULTS = ("results.parquet", "groups.parquet", "recipe.yaml", "verdict.json")
RUN = (*RESULTS, "scores.parquet", "report.html", "kept/*", "figures/*")


def write_results(folder: Path, setup: Setup, comparison: Comparison, data: Mapping[str, Any]) -> None:
    """`results.parquet`, `groups.parquet`, `recipe.yaml` and `verdict.json`, which every comparison comes to."""
    comparison.write(folder / "results.parquet")
    write_groups(data["groups"], folder / "groups.parquet")
    setup.recipe.to_yaml(folder / "recipe.yaml")
    write_json(folder / "verdict.json", data)


def write_run(
    folder: Path,
    setup: Setup,
    scoring: Scoring,
    comparison: Comparison,
    data: Mapping[str, Any],
    scores: Sequence[str],
) -> None:
    """Everything of a run: its results, `scores.parquet`, `kept/*.parquet` and `report.html`.

    Args:
        folder: where.
        setup: data and recipe.
        scoring: the table of scores.
        comparison: the trained arms.
        data: the verdict.
        scores: those that subsets were chosen by.
    """
    write_results(folder, setup, comparison, data)
    scoring.table.write(folder / "scores.parquet")
    kept: dict[str, np.ndarray] = {}
    for arm in comparison.arms[1:]:
        ids = arm.ids_for(0)
        assert ids is not None
        choice = {"score": arm.score, "rule": arm.rule, "keep": arm.keep}
        name = subset_key(choice)
        chosen = Kept.of_table(ids, scoring.table, folder / "scores.parquet", **choice)
        chosen.write(folder / "kept" / f"{safe_name(name)}.parquet")
        kept[name] = ids
    compared = [name for name in dict.fromkeys(scores) if name in scoring.table.names and name != "random"]
    write_report(report_contents(setup.examples, scoring.table, data, kept, compared), folder)
