"""Run by torchrun or alone: trains one model on intents with slots and writes what it found."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import datadiet as dd
from datadiet.engine.runs import train_run
from datadiet.engine.setup import prepare
from datadiet.tracking import scores_from_trace


def train(workspace: Path, data: Path) -> dict[str, Any]:
    """The result of a run and the confidence of each example over it."""
    examples = dd.load(data / "intent_slots.train.parquet", test=data / "intent_slots.test.parquet")
    recipe = dd.Recipe(
        model="tiny-bert",
        model_options={"hidden": 8, "layers": 1, "dropout": 0.0},
        optimizer="adamw",
        lr=0.01,
        epochs=3,
        batch_size=8,
        precision="float32",
        memory_format="contiguous",
        bucket_by_length=True,
    )
    setup = prepare(examples, recipe, workspace=workspace, device="cpu")
    run = train_run(setup, 0, record=True)
    assert run.result is not None
    confidence = scores_from_trace(run.trace(), ["confidence"])["confidence"].tolist()
    found = {**run.result, "confidence": confidence}
    if setup.accelerator.is_main_process:
        (workspace / "found.json").write_text(json.dumps(found))
    return found


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]))
