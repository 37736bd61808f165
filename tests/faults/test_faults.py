"""Killed, out of disk, damaged, in company: a command comes to what it comes to undisturbed, or to one sentence."""

from __future__ import annotations

import shutil
from itertools import combinations, combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest

from faults import (
    CASES,
    FINISHED,
    TRAINING,
    World,
    check_company,
    check_damage,
    check_fault,
    expect_done,
    finished,
    workspace_files,
)

FAULTS = ("kill", "full")
READ = (*TRAINING, "verify")  # commands that use what is in a workspace
PAIRS = list(combinations_with_replacement(READ, 2))
TRIPLES = [("tune", "tune", "tune"), *combinations(READ, 3)]
SOME_PAIRS = [("tune", "tune"), ("tune", "score early"), ("score", "score early"), ("run", "suspects")]


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_changed_on_disk_but_through_the_file_layer(
    world: World, tmp_path: Path, name: str
) -> None:
    place = world.copy(tmp_path / "world", finished=name in FINISHED)
    (outcome,) = world.server.run(place, {"arguments": CASES[name].arguments, "audit": True})
    expect_done(outcome)
    announced = {place / path for _, path in outcome["changes"]}
    beside = {path.parent / f".{path.name[:100]}." for path in announced}

    def is_announced(path: Path) -> bool:
        return any(
            part in announced or any(str(part).startswith(str(start)) for start in beside)
            for part in (path, *path.parents)
        )

    # The journal of a study is written by the library that reads it.
    found = [(event, Path(path)) for event, path in outcome["audit"] if "/runs/studies/" not in path]
    assert [(event, path) for event, path in found if not is_announced(path)] == []


def generator_of(*words: str) -> np.random.Generator:
    return np.random.default_rng(sum(map(ord, "".join(words))))


@pytest.mark.parametrize("name", CASES)
def test_a_kill_and_a_full_disk(world: World, tmp_path: Path, name: str) -> None:
    total, generator = len(world.changes[name]), generator_of(name)
    for fault in FAULTS if total else ():
        check_fault(world, tmp_path / fault, name, fault, int(generator.integers(1, total + 1)))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CASES)
def test_a_kill_and_a_full_disk_at_every_change(world: World, tmp_path: Path, name: str, fault: str) -> None:
    stopped = []
    for at in range(1, len(world.changes[name]) + 1):
        stopped.append(check_fault(world, tmp_path / str(at), name, fault, at) == "stopped")
        shutil.rmtree(tmp_path / str(at))
    assert fault == "full" or all(stopped)
    assert any(stopped) or not stopped


@pytest.mark.parametrize("name", READ)
def test_a_damaged_and_a_missing_file(world: World, tmp_path: Path, name: str) -> None:
    finished(world, tmp_path / "finished", name)
    files, generator = workspace_files(world, name), generator_of(name)
    for how in ("flip", "drop"):
        check_damage(world, tmp_path / how, name, [(files[generator.integers(len(files))], how)], 0)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flip", "cut", "drop"])
@pytest.mark.parametrize("name", READ)
def test_damage_to_every_file(world: World, tmp_path: Path, name: str, how: str) -> None:
    finished(world, tmp_path / "finished", name)
    for seed, file in enumerate(workspace_files(world, name)):
        check_damage(world, tmp_path / str(seed), name, [(file, how)], seed)
        shutil.rmtree(tmp_path / str(seed))


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_workspaces_that_were_copied_in_part(world: World, tmp_path: Path, name: str) -> None:
    finished(world, tmp_path / "finished", name)
    for seed in range(60):
        generator = np.random.default_rng(seed)
        lost = [(file, "drop") for file in workspace_files(world, name) if generator.random() < 0.5]
        check_damage(world, tmp_path / str(seed), name, lost, seed)
        shutil.rmtree(tmp_path / str(seed))


def pauses(world: World, names: tuple[str, ...], seed: int) -> tuple[int, ...]:
    """For all but the first command a change at which it is stopped for a moment."""
    generator = np.random.default_rng(seed)
    return (0, *(int(generator.integers(0, len(world.changes[name]) + 1)) for name in names[1:]))


@pytest.mark.parametrize("names", SOME_PAIRS)
def test_some_commands_at_once(world: World, tmp_path: Path, names: tuple[str, ...]) -> None:
    check_company(world, tmp_path / "world", names, pauses(world, names, 0))


@pytest.mark.slow
@pytest.mark.parametrize("names", PAIRS)
def test_any_two_commands_at_once(world: World, tmp_path: Path, names: tuple[str, ...]) -> None:
    for seed in range(2):
        check_company(world, tmp_path / str(seed), names, pauses(world, names, seed))


@pytest.mark.slow
@pytest.mark.parametrize("names", TRIPLES)
def test_any_three_commands_at_once(world: World, tmp_path: Path, names: tuple[str, ...]) -> None:
    check_company(world, tmp_path / "world", names, pauses(world, names, 1))
