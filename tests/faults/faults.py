"""Every command on the smallest data, the server that runs it with a fault, and what its answer is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open

SERVER = Path(__file__).with_name("fault_server.py")
RECIPE = "recipe.yaml"
TRAINS = ("--recipe", RECIPE, "--device", "cpu")
#: What an answer has beside itself: what it took, where, and on which machine.
UNTOLD = re.compile(
    r"second|saved|cost|time|ledger|machine|workspace|bytes|versions|written|command|xxh3|cheap|trained|reused"
)


@dataclass(frozen=True)
class Case:
    """A command, and the folders and files that it makes.

    Args:
        arguments: as typed.
        makes: what it leaves, beside trainings.
    """

    arguments: tuple[str, ...]
    makes: tuple[str, ...] = ()


def case(words: str, *makes: str, trains: bool = True) -> Case:
    return Case((*words.split(), *(TRAINS if trains else ())), makes)


CASES = {
    "run": case("run data.csv --seeds 1 --keep 0.5 --scores el2n --out d", "d"),
    "score": case(
        "score data.csv --seeds 1 --out s.parquet --embeddings e.safetensors", "s.parquet", "e.safetensors"
    ),
    "score early": case("score data.csv --seeds 1 --at-epoch 1 --out s1.parquet", "s1.parquet"),
    "dynamic": case("run data.csv --seeds 1 --dynamic infobatch --out dyn", "dyn"),
    "keep": case("keep scores.parquet --by mean_el2n --keep 0.5 --out k.parquet", "k.parquet", trains=False),
    "compare": case("compare data.csv --kept a=kept.parquet --seeds 1 --out c", "c"),
    "tune": case("tune data.csv --score el2n --keep 0.5 --trials 2 --seeds 1 --out t", "t"),
    "suspects": case("suspects scores.parquet --out su.parquet", "su.parquet", trains=False),
    "review": case("review suspects.parquet --out r.html", "r.html", trains=False),
    "agree": case("agree scores.parquet other.parquet --scores mean_el2n --out a", "a", trains=False),
    "pool": case("pool data.csv pool.csv --pick 6 --seeds 1 --out p", "p"),
    "export": case("export data.csv --kept kept.parquet --to x --format parquet", "x", trains=False),
    "export again": case("export data.csv --kept other.txt --to x0 --overwrite", "x0", trains=False),
    "report": case("report d0", "d0", trains=False),
    "verify": case("verify scores.parquet", trains=False),
    "study": case("study keep-fraction data.csv --scale smoke --out st", "st"),
}
FINISHED = ("verify", "report")  # what has nothing to do where there are no trainings
TRAINING = ("run", "score", "score early", "dynamic", "compare", "tune", "suspects", "pool", "study")


def make_data(folder: Path) -> None:
    """Sixty points of two classes, a pool, a recipe of two epochs."""
    generator = np.random.default_rng(0)
    for name, rows in (("data", 60), ("pool", 30)):
        labels = np.arange(rows) % 2
        points = generator.normal(size=(rows, 3)) + labels[:, None] * 1.2
        lines = ["a,b,c,label"] + [
            ",".join([*(f"{value:.6f}" for value in point), ("no", "yes")[label]])
            for point, label in zip(points, labels, strict=True)
        ]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    recipe = {"model": "mlp", "model_options": {"hidden": [8]}, "epochs": 2, "batch_size": 16, "lr": 0.05}
    recipe |= {"schedule": "constant", "precision": "float32", "memory_format": "contiguous"}
    (folder / RECIPE).write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in recipe.items()))


class Server:
    """The process that runs commands."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        environment.pop("DATADIET_WORKSPACE", None)
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, folder: Path, *commands: dict[str, Any]) -> list[dict[str, Any]]:
        """Run commands at once; see the server."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"folder": str(folder), "commands": commands}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())  # type: ignore[no-any-return]

    def one(self, folder: Path, name: str, fault: str | None = None, at: int = 0) -> dict[str, Any]:
        """Run one case."""
        return self.run(folder, {"arguments": CASES[name].arguments, "fault": fault, "at": at})[0]

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()


@dataclass
class World:
    """A folder in which everything that commands read is there, and what each command makes of it undisturbed.

    Attributes:
        server: runs commands.
        start: with a finished workspace.
        bare: the same without trainings.
        answers: case -> its answer, on the bare folder.
        trainings: case -> the trainings that it leaves there.
        changes: case -> the changes that it makes on disk there.
    """

    server: Server
    start: Path
    bare: Path
    answers: dict[str, Any]
    trainings: dict[str, Any]
    changes: dict[str, list[list[str]]]

    def copy(self, to: Path, *, finished: bool = False) -> Path:
        """A fresh folder to try things in."""
        shutil.copytree(self.start if finished else self.bare, to, symlinks=True)
        return to


def make_world(folder: Path) -> World:
    """Everything that commands read, and every command once."""
    server, start = Server(), folder / "start"
    start.mkdir()
    make_data(start)
    for words in (
        "score data.csv --seeds 1 --out scores.parquet",
        "score data.csv --seeds 1 --seed 7 --out other.parquet",
    ):
        expect_done(server.run(start, {"arguments": [*words.split(), *TRAINS]})[0])
    for words in (
        "keep scores.parquet --by mean_el2n --keep 0.5 --out kept.parquet",
        "keep scores.parquet --by mean_el2n --keep 0.25 --rule easiest --out other.txt",
        "suspects scores.parquet --out suspects.parquet",
        "export data.csv --kept kept.parquet --to x0",
    ):
        expect_done(server.run(start, {"arguments": words.split()})[0])
    expect_done(
        server.run(
            start,
            {
                "arguments": [
                    *["run", "data.csv", "--seeds", "1", "--keep", "0.5", "--scores", "el2n", "--out", "d0"],
                    *TRAINS,
                ]
            },
        )[0]
    )
    bare = folder / "bare"
    shutil.copytree(start, bare)
    answers, trainings, changes = {}, {}, {}
    for name in CASES:
        place = folder / name.replace(" ", "-")
        shutil.copytree(start, place)
        if name not in FINISHED:
            shutil.rmtree(place / "runs" / "trainings")
        outcome = server.one(place, name)
        expect_done(outcome)
        answers[name], changes[name] = answer_of(place, name, outcome), outcome["changes"]
        trainings[name] = trainings_of(place / "runs")
    shutil.rmtree(bare / "runs" / "trainings")
    return World(server, start, bare, answers, trainings, changes)


def expect_done(outcome: dict[str, Any]) -> None:
    """Fail unless the command came to its end."""
    assert outcome["status"] == 0, outcome["stderr"][-2000:]


def expect_sentence(outcome: dict[str, Any]) -> None:
    """Fail unless the command ended in one sentence."""
    assert outcome["status"] in (1, 2), (outcome["status"], outcome["stderr"][-2000:])
    assert "Traceback" not in outcome["stderr"], outcome["stderr"][-3000:]
    said = [line for line in outcome["stderr"].splitlines() if line.startswith("datadiet: ")]
    assert len(said) == 1 and said[0].rstrip().endswith((".", "?", ")")), outcome["stderr"][-2000:]


def answer_of(folder: Path, name: str, outcome: dict[str, Any]) -> Any:
    """What a command came to, but for what it took: the content of all that it makes."""
    found: dict[str, Any] = {}
    for made in CASES[name].makes:
        place = folder / made
        files = sorted(f for f in place.rglob("*") if f.is_file()) if place.is_dir() else [place]
        for file in files:
            if not file.name.startswith("."):
                found[file.relative_to(folder).as_posix()] = content_of(file)
    if name == "verify":
        found["said"] = outcome["stdout"].splitlines()[-1:]
    return found


def trainings_of(workspace: Path) -> Any:
    """Every file of every training, but for what it took."""
    return {
        file.relative_to(workspace).as_posix(): content_of(file)
        for file in sorted((workspace / "trainings").rglob("*"))
        if file.is_file() and not file.name.startswith(".") and file.name != "manifest.json"
    }


def content_of(file: Path) -> Any:
    """The content of a file that is the same each time."""
    if file.suffix == ".parquet":
        table = pq.read_table(file)
        names = [name for name in table.column_names if not UNTOLD.search(name)]
        about = {
            key.decode(): plain(_json(value))
            for key, value in (table.schema.metadata or {}).items()
            if key.startswith(b"datadiet") and "checksum" not in key.decode()
        }
        return {"columns": {name: rows_of(table, name) for name in names}, "about": about}
    if file.suffix == ".json":
        return plain(json.loads(file.read_text()))
    if file.suffix == ".safetensors":
        with safe_open(str(file), framework="np") as tensors:
            return {name: tensors.get_tensor(name).tobytes().hex() for name in sorted(tensors.keys())}
    if file.suffix in (".html", ".png", ".svg", ".csv", ".md"):  # with times in them
        return "there" if file.stat().st_size else "empty"
    return file.read_bytes().hex()


def rows_of(table: pa.Table, name: str) -> list[str]:
    """The values of a column, exactly."""
    return [
        repr(plain(_json(value) if isinstance(value, str) else value)) for value in table[name].to_pylist()
    ]


def plain(value: Any) -> Any:
    """Plain data without what differs from one time to the next."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if not UNTOLD.search(str(key))}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str) and UNTOLD.search(value):
        return "..."
    return value


def _json(value: Any) -> Any:
    with contextlib.suppress(ValueError, TypeError, UnicodeDecodeError):
        return json.loads(value)
    return value


def check_fault(world: World, folder: Path, name: str, fault: str, at: int) -> str:
    """A fault at a change, then the same command again: everything is as undisturbed; returns what the fault came to.

    Raises:
        AssertionError: something is not.
    """
    place = world.copy(folder, finished=name in FINISHED)
    before = given(place, name)
    outcome = world.server.one(place, name, fault, at)
    assert given(place, name) == before, "what was given has changed"
    if fault == "kill":
        assert outcome["status"] in (-9, 0), outcome["stderr"][-2000:]
    elif outcome["status"] != 0:
        expect_sentence(outcome)
    again = outcome
    if outcome["status"] != 0:
        again = world.server.one(place, name)
        expect_done(again)
    same(answer_of(place, name, again), world.answers[name], "the answer")
    same(trainings_of(place / "runs"), world.trainings[name], "trainings")
    left = [p for p in place.rglob("*") if p.suffix in (".tmp", ".old", ".ready") or p.name == ".ready"]
    assert not left, left
    return "done" if outcome["status"] == 0 else "stopped"


def given(place: Path, name: str) -> dict[str, bytes]:
    """The files that were there before the command, but for those that it makes and the workspace."""
    made = tuple(place / part for part in (*CASES[name].makes, "runs"))
    return {
        file.relative_to(place).as_posix(): file.read_bytes()
        for file in place.rglob("*")
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(place).parts)
        and not any(file == part or part in file.parents for part in made)
    }


def same(found: Any, wanted: Any, what: str) -> None:
    """Fail, with the first difference, unless both are the same."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in dict.fromkeys([*wanted, *found]):
            assert key in found, f"{what} lacks {key}"
            assert key in wanted, f"{what} has {key} beside"
            same(found[key], wanted[key], f"{what}, {key}")
    assert found == wanted, f"{what} differs:\n{found!r:.500}\n{wanted!r:.500}"


def damage(file: Path, how: str, generator: np.random.Generator) -> None:
    """Flip a bit of a file, cut it in half, or drop it."""
    if how == "drop":
        file.unlink()
        return
    content = bytearray(file.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif content:
        content[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
    file.write_bytes(content)


def check_damage(world: World, folder: Path, name: str, hurt: list[tuple[str, str]], seed: int) -> str:
    """Damaged files of a finished workspace: the command comes to the same, or to a sentence; returns which."""
    place = finished(world, folder, name)
    generator = np.random.default_rng(seed)
    for file, how in hurt:
        damage(place / "runs" / file, how, generator)
    outcome = world.server.one(place, name)
    if outcome["status"] != 0:
        expect_sentence(outcome)
        return "sentence"
    same(answer_of(place, name, outcome), world.answers[name], "the answer")
    return "same"


def finished(world: World, folder: Path, name: str) -> Path:
    """A folder in which a command has trained all that it needs, and its answer is not there yet."""
    source = world.start.parent / f"finished {name}"
    if not source.exists():
        world.copy(source, finished=name in FINISHED)
        expect_done(world.server.one(source, name))
        for made in CASES[name].makes:
            if name not in ("report", "export again"):
                path = source / made
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(source, folder)
    return folder


def workspace_files(world: World, name: str) -> list[str]:
    """The files of the finished workspace of a case, but for locks."""
    runs = world.start.parent / f"finished {name}" / "runs"
    files = (f for f in sorted(runs.rglob("*")) if f.is_file() and f.suffix != ".lock" and f.name != ".lock")
    return [f.relative_to(runs).as_posix() for f in files]


def check_company(world: World, folder: Path, names: tuple[str, ...], pauses: tuple[int, ...]) -> None:
    """Commands at once in one workspace come to what each comes to alone."""
    place = world.copy(folder, finished="verify" in names)
    commands = [
        {"arguments": CASES[name].arguments, "fault": "pause" if at else None, "at": at}
        for name, at in zip(names, pauses, strict=True)
    ]
    for name, outcome in zip(names, world.server.run(place, *commands), strict=True):
        assert outcome["status"] == 0, (name, outcome["status"], outcome["stderr"][-2500:])
        same(answer_of(place, name, outcome), world.answers[name], f"the answer of {name}")
