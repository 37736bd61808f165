"""A workspace that was damaged, copied by halves, or asked for more than it kept: the same numbers, nothing lost."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import datadiet as dd
from datadiet.engine.points import measure_points
from datadiet.engine.runs import Run, train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.loop import TrainingLoop
from datadiet.engine.workspace import Workspace
from datadiet.foundation import atomic
from tiny_models import small_recipe

FILES = (
    "description.json",
    "manifest.json",
    "result.json",
    "test.safetensors",
    "weights/step-00000008.safetensors",
    "points/step-00000008-outputs.safetensors",
    "trace/ids.safetensors",
    "trace/train-00001.safetensors",
    "trace/train-00004.safetensors",
)


def answers(setup: Setup) -> dict[str, bytes]:
    """What a run says of its examples, byte by byte, without its timings."""
    run = train_run(setup, 0, record=True, weights_at=[8])
    points = measure_points(setup, run, 8)
    trace = run.trace()
    return {
        "result": repr([run.result[name] for name in ("accuracy", "steps", "weights")]).encode(),
        **{f"weights {name}": tensor.numpy().tobytes() for name, tensor in run.weights(8)[0].items()},
        **{f"points {name}": column.tobytes() for name, column in points.columns.items()},
        **{f"trace {name}": trace.column(name).tobytes() for name in trace.columns},
        **{f"test {name}": values.tobytes() for name, values in run.test_predictions().items()},
    }


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def swap(path: Path) -> None:
    beside = [other for other in sorted(path.parent.iterdir()) if other.is_file() and other != path]
    other = beside[0] if beside else path.parent.parent / "test.safetensors"
    atomic.exchange(path, other)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, vectors) -> tuple[Path, dict[str, bytes]]:
    path = tmp_path_factory.mktemp("finished")
    return path, answers(prepare(vectors, small_recipe(), workspace=path, device="cpu"))


@pytest.fixture
def copied(finished, tmp_path, vectors, tiny_recipe) -> Setup:
    shutil.copytree(finished[0], tmp_path / "copy")
    return prepare(vectors, tiny_recipe, workspace=tmp_path / "copy", device="cpu")


def folder_of(setup: Setup) -> Path:
    return next(path for path in (setup.workspace.path / "trainings").iterdir())


def test_a_copied_workspace_is_only_read(copied, finished, monkeypatch) -> None:
    monkeypatch.setattr(TrainingLoop, "run", lambda *_: pytest.fail("it was trained again"))
    assert answers(copied) == finished[1]


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink, swap])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_changes_no_number(
    copied, finished, name: str, damage: Callable[[Path], None]
) -> None:
    folder = folder_of(copied)
    damage(folder / name)
    assert answers(copied) == finished[1]
    assert answers(copied) == finished[1]
    assert not (folder / "catch-up").exists()


@pytest.mark.parametrize("seed", range(4))
def test_a_workspace_copied_by_halves_gives_the_same_numbers(copied, finished, seed: int) -> None:
    chosen = random.Random(seed)
    for path in sorted(folder_of(copied).rglob("*")):
        if path.is_file() and chosen.random() < 0.5:
            path.unlink()
    assert answers(copied) == finished[1]


def test_run_folders_that_were_swapped_are_moved_aside(copied, finished) -> None:
    other = train_run(copied, 1).folder.path
    mine = next(path for path in other.parent.iterdir() if path != other)
    inside = {path: sorted(p.name for p in path.iterdir()) for path in (mine, other)}
    assert atomic.exchange(mine, other)
    assert answers(copied) == finished[1]
    aside = mine.with_name(f"{mine.name}.replaced-1")
    assert sorted({".lock", *(path.name for path in aside.iterdir())}) == inside[other]


def test_weights_that_are_caught_up_are_those_kept_at_once_and_nothing_else_changes(
    vectors, tiny_recipe, tmp_path
) -> None:
    def bytes_of(run: Run) -> dict[str, bytes]:
        files = (path for path in run.folder.path.rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in files if path.name not in ("manifest.json", ".lock")}

    at_once = prepare(vectors, tiny_recipe, workspace=tmp_path / "once", device="cpu")
    later = prepare(vectors, tiny_recipe, workspace=tmp_path / "later", device="cpu")
    expected = train_run(at_once, 0, record=True, weights_at=[3, 8])
    first = train_run(later, 0, record=True, weights_at=[16])
    before = bytes_of(first)
    run = train_run(later, 0, record=True, weights_at=[3, 8])
    assert run.trained and not train_run(later, 0, record=True, weights_at=[3, 8, 16]).trained
    after = bytes_of(run)
    assert before.items() <= after.items()
    assert set(after) - set(before) == {"step-00000003.safetensors", "step-00000008.safetensors"}
    for step in (3, 8):
        assert run.weights(step)[1]["hash"] == expected.weights(step)[1]["hash"]


def test_an_unfinished_run_catches_up_and_goes_on_from_where_it_stood(vectors, tiny_recipe, tmp_path) -> None:
    at_once = prepare(vectors, tiny_recipe, workspace=tmp_path / "once", device="cpu")
    later = prepare(vectors, tiny_recipe, workspace=tmp_path / "later", device="cpu")
    expected = train_run(at_once, 0, record=True, weights_at=[3, 8, 16])
    train_run(later, 0, record=True, until=8, weights_at=[8])
    (state,) = (tmp_path / "later").glob("trainings/*/state.safetensors")
    before = state.read_bytes()
    run = train_run(later, 0, record=True, until=8, weights_at=[3, 8])
    assert state.read_bytes() == before, "the state of a run that stands further is left alone"
    assert run.result is None and run.weights(3)[1]["hash"] == expected.weights(3)[1]["hash"]
    run = train_run(later, 0, record=True, weights_at=[3, 8, 16])
    assert run.weights(16)[1]["hash"] == expected.weights(16)[1]["hash"]


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("nth", [2, 5, 7, 9, 11, 14, 17, 20, 24, 28])
@pytest.mark.parametrize("standing", ["new", "damaged"])
def test_a_training_that_is_killed_at_any_change_on_disk_goes_on(
    vectors, tiny_recipe, tmp_path, finished, monkeypatch, nth: int, standing: str
) -> None:
    if standing == "damaged":
        shutil.copytree(finished[0], tmp_path / "runs")
        for name in ("trace/train-00002.safetensors", "weights/step-00000008.safetensors", "result.json"):
            flip(next((tmp_path / "runs" / "trainings").iterdir()) / name)
    setup = prepare(vectors, tiny_recipe, workspace=tmp_path / "runs", device="cpu", checkpoint_every=0.0)
    seen = 0

    def touching(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen >= nth:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(atomic, "touching", touching)
        with pytest.raises(Killed):
            answers(setup)
    assert answers(setup) == finished[1]


def test_a_workspace_of_a_later_version_is_one_sentence(tmp_path) -> None:
    Workspace(tmp_path)
    (tmp_path / "datadiet-workspace.json").write_text('{"format": 99}')
    with pytest.raises(dd.BadInputError, match="later version"):
        Workspace(tmp_path)
