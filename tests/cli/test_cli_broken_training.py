"""A loss that becomes NaN stops that run alone: status 1, the step by name, what was finished kept."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import TINY, Datadiet, assert_refused

import datadiet as dd


def test_a_loss_that_becomes_nan_is_status_1_and_names_the_step(
    here: Path, points: Path, datadiet: Datadiet
) -> None:
    outcome = datadiet("run", points, *TINY, "--epochs=10", "--lr", "1e30", "--warmup", "0", "--out", "out")
    assert_refused(outcome, "NaN", "step", "lower learning rate", code=1)
    step = int(re.search(r"at step (\d+) of 30", outcome.stderr).group(1))  # type: ignore[union-attr]
    assert 0 <= step < 30
    assert not (here / "out").exists()


def test_runs_that_were_finished_before_a_broken_one_are_kept_and_not_trained_again(
    here: Path, points: Path, datadiet: Datadiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = dd.load(points).train.ids
    (here / "kept.txt").write_text("\n".join(str(id_) for id_ in ids[::2]))
    (here / "apples.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(here)
    model = ("--model", "apples:net", "--epochs", "2", "--batch-size", "16", "--precision", "float32")
    model += ("--memory-format", "contiguous", "--device", "cpu", "--seeds", "2")
    first = datadiet("compare", points, "--kept", "kept.txt", *model, "--out", "out")
    assert_refused(first, "NaN", code=1)
    assert not (here / "out").exists()
    finished = {path: path.stat().st_mtime_ns for path in here.glob("runs/trainings/*/result.json")}
    assert finished
    (here / "sound").touch()
    second = datadiet("compare", points, "--kept", "kept.txt", *model, "--out", "out")
    assert second.code == 0, second
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    results = list(here.glob("runs/trainings/*/result.json"))
    assert len(results) == 6 > len(finished)
    assert json.loads((here / "out" / "verdict.json").read_text())["full"]["seeds"] == 2


FACTORY = '''
from pathlib import Path

import torch


class Net(torch.nn.Module):
    """Breaks in its third run, until a file `sound` is there."""

    built = 0

    def __init__(self, context):
        super().__init__()
        self.head = torch.nn.Linear(context.input_shape[0], context.num_classes)
        Net.built += 1
        self.broken = Net.built >= 3 and not Path("sound").exists()

    def forward(self, inputs):
        logits = self.head(inputs)
        return logits * float("nan") if self.broken and self.training else logits


def net(context):
    return Net(context)
'''
