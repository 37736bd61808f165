"""Every example runs as its own first lines say."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# What each needs beyond the package, the words that it has to print, and how it is started.
RUNS = {
    "plain_pytorch.py": (None, "infobatch    trained on", ["--epochs", "8"]),
    "transformers_trainer.py": (
        "transformers",
        "n = 1 seed: a difference in accuracy says little",
        ["--data", "words", "--model", "tiny", "--epochs", "6", "--lr", "3e-3"],
    ),
    "accelerate_loop.py": (None, "epoch 7: ", []),
    "ddp_torchrun.py": (None, "epoch 5: 719 examples in 23 steps on each of 2 ranks", []),
    "lightning_module.py": ("lightning", "6 epochs in", []),
}


def test_every_example_is_run_here() -> None:
    ours = {path.name for path in EXAMPLES.glob("*.py") if "datadiet.dynamic" in path.read_text("utf-8")}
    assert ours == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    needed, expected, arguments = RUNS[name]
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    start = [sys.executable]
    if "torchrun" in name:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*start, str(EXAMPLES / name), *arguments],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert expected in done.stdout
