"""What all tests share: few threads, and one tiny data set with its recipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

import datadiet as dd
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.loop import Observer, ShowProgress, TrainingLoop
from tiny_models import small_recipe

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # no doctests in these; their names would clash
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# The same examples each time, so that what passes once passes; `make test-slow` looks for others.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("searching", derandomize=False)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="session")
def few_threads() -> None:
    torch.set_num_threads(1)


def make_vectors(n: int = 150, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping Gaussian classes in five dimensions: some examples are hard, some are never learnt."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = generator.normal(size=(classes, 5)) * 1.5
    return (centres[labels] + generator.normal(size=(n, 5))).astype(np.float32), labels


@pytest.fixture(scope="session")
def vectors() -> dd.Examples:
    return dd.load(make_vectors(), name="vectors")


@pytest.fixture
def tiny_recipe() -> dd.Recipe:
    return small_recipe()


@pytest.fixture
def tiny(vectors: dd.Examples, tiny_recipe: dd.Recipe, tmp_path: Path) -> Setup:
    return prepare(vectors, tiny_recipe, workspace=tmp_path / "runs", device="cpu")


@pytest.fixture(scope="session")
def ranks_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], list[Any]]:
    """Runs a program in two processes, and returns what each wrote into its `rank0.json` or `rank1.json`."""

    def run(program: Path) -> list[Any]:
        folder = tmp_path_factory.mktemp("ranks")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        with (folder / "log").open("w") as log:  # a pipe would be held open by a process that hangs
            done = subprocess.run(
                [*command, str(program), str(folder)],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                timeout=300,
            )
        assert done.returncode == 0, (folder / "log").read_text()[-3000:]
        return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]

    return run


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], AbstractContextManager[None]]:
    """`with killed_at(step):` a training in it ends after that step, as if its process was killed."""

    @contextmanager
    def killed(step: int) -> Iterator[None]:
        def on_step(self: Observer, loop: TrainingLoop) -> None:
            if loop.step == step:
                raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(ShowProgress, "on_step", on_step)
            with pytest.raises(Killed):
                yield

    return killed


@pytest.fixture
def forgets_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, empty, from which modules can be imported that are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]
