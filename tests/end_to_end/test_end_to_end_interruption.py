"""Killed at any moment and started again, or started twice at once: the same tables, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_sources import MODEL, TINY, write_vectors

import datadiet as dd

# The program forks one child a command: torch is imported once for all of them, and the parent can kill a
# child at any moment, as the system would. The page is left out, it is drawn after all is done.
DRIVER = """
import json, os, random, signal, sys, time

import datadiet.cli, datadiet.jobs.run, datadiet.jobs.run_folder, datadiet.jobs.compare, datadiet.jobs.score
import torch

torch.set_num_threads(1)
datadiet.jobs.run_folder.write_report = lambda contents, folder: folder / "report.html"


def start(arguments):
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        datadiet.cli.app(arguments)
    except SystemExit as end:
        status = end.code or 0
    finally:
        os._exit(status)


def wait(child, seconds=None):
    '''The exit status of a child; None when it is still at work after so many seconds.'''
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def killed(calm, arguments, kills, seed):
    '''Run one command in peace and kill another at random moments; after so many kills let it come to its end.'''
    before = time.monotonic()
    assert wait(start(calm)) == 0
    seconds = time.monotonic() - before
    moments, done = random.Random(seed), 0
    while done < kills:
        child = start(arguments)
        status = wait(child, moments.uniform(0.1, 0.7) * seconds)
        if status is not None:
            return {"status": status, "kills": done}
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done += 1
    return {"status": wait(start(arguments)), "kills": done}


def at_once(*commands):
    children = [start(arguments) for arguments in commands]
    return {"statuses": [wait(child) for child in children]}


name, arguments = json.loads(sys.argv[1])
print(json.dumps(globals()[name](*arguments)))
"""


def drive(job: str, *arguments: object) -> dict[str, object]:
    """Run a job of the driver."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", DRIVER, json.dumps([job, arguments])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def arguments(place: Path, workspace: str, out: str, *more: str) -> list[str]:
    """A run on the points of `place`, checkpointed all the time."""
    where = ("--workspace", str(place / workspace), "--out", str(place / out))
    what = ("--keep", "0.6", "--seeds", "2", "--scores", "el2n,forgetting", "--checkpoint-every", "0.01")
    return [
        "run",
        str(place / "points.parquet"),
        *where,
        *what,
        *TINY,
        "--epochs=12",
        *MODEL["vectors"],
        *more,
    ]


def assert_same(one: Path, other: Path) -> None:
    """The same scores, weights and accuracies in two run folders, to the last bit."""
    first, second = (dd.ScoreTable.read(folder / "scores.parquet") for folder in (one, other))
    assert first.names == second.names
    assert np.array_equal(first.ids, second.ids)
    for name in first.names:
        assert first.per_seed[name].tobytes() == second.per_seed[name].tobytes(), name
        weights = [table.provenance["scores"][name].get("weights") for table in (first, second)]
        assert weights[0] == weights[1]
    columns = ["score", "rule", "keep", "n", "seed", "accuracy", "steps", "epochs", "budget", "run"]
    rows = [pq.read_table(folder / "results.parquet", columns=columns) for folder in (one, other)]
    assert rows[0].equals(rows[1])


def final_weights(workspace: Path) -> dict[str, str]:
    """Run -> hash of its weights at the end."""
    return {
        path.parent.name: json.loads(path.read_text())["weights"]
        for path in workspace.glob("trainings/*/result.json")
    }


@pytest.mark.parametrize(
    ("kills", "seed"), [(3, 1), pytest.param(40, 2, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_killed_at_random_moments_and_resumed_the_tables_are_equal(
    kills: int, seed: int, tmp_path: Path
) -> None:
    write_vectors(tmp_path / "points.parquet", rows=240)
    calm = arguments(tmp_path, "calm", "calm-out")
    rough = arguments(tmp_path, "rough", "rough-out")
    killed = drive("killed", calm, rough, kills, seed)
    assert killed["status"] == 0
    assert killed["kills"]  # the first moment lies before the end
    assert_same(tmp_path / "calm-out", tmp_path / "rough-out")
    weights = final_weights(tmp_path / "calm")
    assert weights == final_weights(tmp_path / "rough")
    assert len(weights) == 8  # full, two scores, random; two seeds each
    assert not list((tmp_path / "rough").glob("trainings/*/state.safetensors.*"))


def test_two_processes_in_one_workspace_share_every_training(tmp_path: Path) -> None:
    write_vectors(tmp_path / "points.parquet", rows=240)
    one, other = (arguments(tmp_path, "work", out) for out in ("one", "other"))
    together = drive("at_once", one, other)
    assert together["statuses"] == [0, 0]
    assert_same(tmp_path / "one", tmp_path / "other")
    # A training that each had done for itself would have taken another time.
    seconds = [
        pq.read_table(tmp_path / out / "results.parquet").column("seconds") for out in ("one", "other")
    ]
    assert seconds[0].equals(seconds[1])


@pytest.mark.usefixtures("no_page")
def test_weights_that_were_cut_short_by_a_crash_of_the_machine_are_made_again(
    tmp_path: Path, datadiet: Callable[..., str]
) -> None:
    write_vectors(tmp_path / "points.parquet", rows=240)
    datadiet(*arguments(tmp_path, "work", "one"))
    weights = sorted(tmp_path.glob("work/trainings/*/weights/*.safetensors"))[0]
    weights.write_bytes(weights.read_bytes()[:-8])
    for path in tmp_path.glob("work/trainings/*/points/*"):
        path.unlink()
    datadiet(*arguments(tmp_path, "work", "two"))
    before, after = (dd.ScoreTable.read(tmp_path / name / "scores.parquet") for name in ("one", "two"))
    assert before.columns.keys() == after.columns.keys()
    assert all((after.columns[name] == values).all() for name, values in before.columns.items())


@pytest.mark.slow
def test_two_processes_of_torchrun_give_the_scores_of_one(tmp_path: Path) -> None:
    write_vectors(tmp_path / "points.parquet", rows=64)
    flags = [
        *TINY,
        *MODEL["vectors"],
        "--seeds",
        "2",
        "--scores",
        "el2n,forgetting,aum,grand",
        "--at-epoch",
        "2",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def score(launcher: list[str], out: str) -> dd.ScoreTable:
        command = [*launcher, "-m", "datadiet.cli", "score", "points.parquet", *flags, "--out", out, "--json"]
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["n"] == 51
        return dd.ScoreTable.read(tmp_path / out)

    alone = score([], "alone.parquet")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    together = score(launcher, "together.parquet")
    assert np.array_equal(alone.ids, together.ids)
    assert alone.names == together.names
    for name in alone.names:
        np.testing.assert_allclose(together.per_seed[name], alone.per_seed[name], rtol=1e-4, atol=1e-4)
    assert together.provenance["machine"]["processes"] == 2
