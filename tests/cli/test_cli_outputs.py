"""What a command writes never goes over what it reads, nor over what it did not write for the same question."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import TINY, Datadiet, assert_refused, contents, write_vectors

from datadiet.foundation import atomic

FEW = ("--seeds=1", *TINY)
RUN = ("--keep=0.5", "--seeds=1", "--score-seeds=1", *TINY)
TUNE = ("--keep=0.5", "--trials=2", "--seeds=1", "--score-seeds=1", *TINY)
# A command with what it reads and is given; each makes OUT, a file or a folder, and again is another question.
COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "run": (("run", "points.parquet", *RUN), "--seeds=2"),
    "run dynamic": (("run", "points.parquet", "--dynamic=infobatch", *FEW), "--seeds=2"),
    "score": (("score", "points.parquet", *FEW), "--seeds=2"),
    "score from logits": (
        ("score", "--from-logits=logits.npy", "--labels=labels.npy", "--scores=el2n"),
        "--scores=loss",
    ),
    "keep": (("keep", "scores.parquet"), "--keep=0.25"),
    "compare": (("compare", "points.parquet", "--kept=kept.parquet", *FEW), "--seeds=2"),
    "agree": (("agree", "scores.parquet", "kept.parquet", "--by=mean_el2n"), "--keep=0.25"),
    "tune": (("tune", "points.parquet", *TUNE), "--trials=3"),
    "pool": (("pool", "points.parquet", "pool.parquet", "--pick=6", *FEW), "--by=margin"),
    "suspects": (("suspects", "scores.parquet", "--method=late_el2n"), "--seed=1"),
    "review": (("review", "suspects.parquet"), "--limit=3"),
    "study": (("study", "score-epoch", "points.parquet", "--scale=smoke", *TINY), "--seed=1"),
}  # fmt: skip
SLOW_STUDY = pytest.param("study", marks=pytest.mark.slow)
FOLDERS = ("run", "run dynamic", "compare", "agree", "tune", "pool", "study")
INPUTS = [(name, given.partition("=")[2] or given) for name, (words, _) in COMMANDS.items() for given in words
          if given.endswith((".parquet", ".npy"))]  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that commands read, and the trainings that they share."""
    from command_line import invoke

    folder, before = tmp_path_factory.mktemp("prepared"), Path.cwd()
    os.chdir(folder)
    try:
        write_vectors(folder / "points.parquet")
        write_vectors(folder / "pool.parquet", seed=1, rows=30, hypothesis=["ash", "elm", "oak"] * 10)
        generator = np.random.default_rng(0)
        np.save(folder / "logits.npy", generator.normal(size=(12, 3)).astype(np.float32))
        np.save(folder / "labels.npy", np.arange(12) % 3)
        (folder / "recipe.yaml").write_text("base: fast\nepochs: 2\n")
        for words in (
            ("score", "points.parquet", *FEW),
            ("keep", "scores.parquet"),
            ("suspects", "scores.parquet", "--method=late_el2n"),
            ("score", "points.parquet", "--out=spare.parquet", "--embeddings=vectors.safetensors", *FEW),
        ):
            assert invoke(*words).code == 0, words
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the prepared folder, as the current one; no training is done twice."""
    shutil.copytree(prepared, tmp_path / "here", ignore=shutil.ignore_patterns("*.lock"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a few bytes, as drawing takes most of the time."""

    def page(contents: object, folder: Path) -> Path:
        with atomic.atomic_file(folder / "report.html") as file:
            file.write(b"page")
        return folder / "report.html"

    for module in ("run_folder", "dynamic_run", "report"):
        monkeypatch.setattr(f"datadiet.jobs.{module}.write_report", page)


def data_files(folder: Path) -> dict[str, bytes | None]:
    """What is in a folder, without its workspace and without locks."""
    return {
        name: data
        for name, data in contents(folder).items()
        if not name.startswith("runs") and not name.endswith(".lock")
    }


@pytest.mark.parametrize("form", ["as it is", "./", "link", "hard link"])
@pytest.mark.parametrize(("name", "read"), INPUTS)
def test_what_is_read_is_never_written_over(
    name: str, read: str, form: str, place: Path, datadiet: Datadiet
) -> None:
    out = {"as it is": read, "./": f"./{read}"}.get(form, "other" + Path(read).suffix)
    if form == "link":
        (place / out).symlink_to(place / read)
    if form == "hard link":
        os.link(place / read, place / out)
    before = data_files(place)
    for more in ((), ("--overwrite",)):
        assert_refused(datadiet(*COMMANDS[name][0], "--out", out, *more), "--out")
        assert data_files(place) == before


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (("run", "d/results.parquet", *RUN), {"results.parquet": "points.parquet"}),
        (("run", "points.parquet", "--test=d/groups.parquet", *RUN), {"groups.parquet": "points.parquet"}),
        (("run", "points.parquet", "--recipe=d/recipe.yaml", *RUN), {"recipe.yaml": "recipe.yaml"}),
        (("study", "score-epoch", "d/any.csv", *TINY), {"any.csv": "points.parquet"}),
        (("pool", "points.parquet", "d/pool.parquet", "--pick=6", *FEW), {"pool.parquet": "pool.parquet"}),
        (("pool", "d/augmented", "pool.parquet", "--pick=6", *FEW), {"augmented/train.parquet": "points.parquet"}),
        (("agree", "d/agreement.parquet", "kept.parquet"), {"agreement.parquet": "scores.parquet"}),
        (("compare", "points.parquet", "--kept=d/verdict.json", *FEW), {"verdict.json": "kept.parquet"}),
        (("tune", "d/trials.parquet", *TUNE), {"trials.parquet": "points.parquet"}),
    ],
)  # fmt: skip
def test_a_folder_is_not_written_over_what_is_read_in_it(
    words: tuple[str, ...], files: dict[str, str], place: Path, datadiet: Datadiet
) -> None:
    for name, like in files.items():
        (place / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place / like, place / "d" / name)
    before = data_files(place)
    for more in ((), ("--overwrite",)):
        assert_refused(
            datadiet(*words, "--out=d", *more), "is read here" if "aug" not in str(files) else "lies in"
        )
        assert data_files(place) == before


def test_embeddings_and_recipes_are_inputs_too(place: Path, datadiet: Datadiet) -> None:
    before = data_files(place)
    score = ("score", "points.parquet", *FEW)
    assert_refused(datadiet(*score, "--embeddings=points.parquet"), "--embeddings", "is read here")
    assert_refused(datadiet(*score, "--embeddings=a", "--out=a"), "two names")
    assert_refused(datadiet(*score, "--recipe=recipe.yaml", "--out=recipe.yaml"), "is read here")
    keep = ("keep", "scores.parquet", "--by=mean_el2n", "--rule=ccs", "--embeddings=vectors.safetensors")
    assert_refused(datadiet(*keep, "--out=vectors.safetensors"), "is read here")
    # Another model's vectors are there: refused before anything is trained.
    assert_refused(
        datadiet(*score, "--seed=7", "--out=new.parquet", "--embeddings=vectors.safetensors"),
        "holds something else",
    )
    assert data_files(place) == before
    again = datadiet(*score, "--out=spare.parquet", "--embeddings=vectors.safetensors")
    assert again.code == 0 and data_files(place) == before


def test_kept_files_of_an_earlier_answer_are_not_dropped_by_who_reads_them(
    place: Path, datadiet: Datadiet, no_pages: None
) -> None:
    assert datadiet("run", "points.parquet", *RUN, "--out=d").code == 0
    kept = next((place / "d" / "kept").glob("mean_el2n*"))
    before = data_files(place)
    compare = ("compare", "points.parquet", f"--kept={kept.relative_to(place)}", *FEW)
    assert_refused(datadiet(*compare, "--out=d", "--overwrite"), "is read here")
    assert_refused(
        datadiet("keep", "d/scores.parquet", "--by=mean_el2n", "--out=d/scores.parquet"), "is read here"
    )
    assert data_files(place) == before


@pytest.mark.parametrize("name", [name if name != "study" else SLOW_STUDY for name in COMMANDS])
def test_another_question_is_refused_until_asked_and_the_same_is_silent(
    name: str, place: Path, datadiet: Datadiet, no_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, other = COMMANDS[name]
    out = ("--out", "made" if name in FOLDERS else "made.html" if name == "review" else "made.parquet")
    first = datadiet(*words, *out)
    assert first.code == 0, first
    before = data_files(place)
    if name in FOLDERS:
        (place / "made" / "mine.txt").write_text("mine")
        before |= {"made/mine.txt": b"mine"}
    again = datadiet(*words, *out)
    assert again.code == 0, again
    kept = {path: data for path, data in data_files(place).items() if not path.endswith((".json", ".svg"))}
    if name != "study":  # which notes how many runs were there already
        assert kept == {path: before[path] for path in kept}
    before = data_files(place)
    trainings = sorted((place / "runs" / "trainings").iterdir())
    assert_refused(datadiet(*words, other, *out), "--overwrite", "made")
    assert data_files(place) == before
    if name not in ("keep", "review"):
        assert sorted((place / "runs" / "trainings").iterdir()) == trainings, "refused before it was trained"
    assert datadiet(*words, other, *out, "--overwrite").code == 0
    after = data_files(place)
    assert after != before
    if name in FOLDERS:
        assert after["made/mine.txt"] == b"mine"
        manifest = json.loads((place / "made" / "manifest.json").read_text())
        files = {
            path.removeprefix("made/")
            for path, data in after.items()
            if path.startswith("made/") and data is not None
        }
        assert files == {*manifest["files"], "manifest.json", "mine.txt"}


@pytest.mark.parametrize(
    "name", ["run", "pool", "agree", pytest.param("tune", marks=pytest.mark.slow), SLOW_STUDY]
)
def test_the_default_folder_of_another_question_is_another(
    name: str, place: Path, datadiet: Datadiet, no_pages: None
) -> None:
    words, other = COMMANDS[name]
    wanted = {"run": "runs/points", "tune": "runs/points-tuning", "pool": "runs/points-pool", "agree": "agreement",
              "study": "runs/studies/score-epoch"}[name]  # fmt: skip
    assert datadiet(*words).code == 0
    before = contents(place / wanted)
    outcome = datadiet(*words, other)
    assert outcome.code == 0 and f"{wanted}-2" in outcome.stderr + outcome.stdout
    assert contents(place / wanted) == before and (place / f"{wanted}-2" / "manifest.json").is_file()
    assert datadiet(*words, other).code == 0
    assert not (place / f"{wanted}-3").exists()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "out", ["", " ", "file/below/out", "x" * 300, "bad\udcff", "a\0b", "wrong kind", "runs/trainings/new"]
)
def test_a_place_that_cannot_be_is_one_sentence(name: str, out: str, place: Path, datadiet: Datadiet) -> None:
    (place / "file").write_text("a file")
    (place / "folder").mkdir()
    before = data_files(place)
    if out == "wrong kind":
        out = "file" if name in FOLDERS else "folder"
    for more in ((), ("--overwrite",)):
        assert_refused(datadiet(*COMMANDS[name][0], "--out", out, *more))
        assert data_files(place) == before
    if name == "run":
        assert_refused(
            datadiet(
                "export", "points.parquet", "--kept=kept.parquet", "--to", out if out != "file" else "file"
            )
        )
        assert data_files(place) == before


class Full:
    """The disk takes nothing more from a change on."""

    def __init__(self, start: int) -> None:
        self.start, self.seen = start, 0

    def __call__(self, change: str, path: Path) -> None:
        self.seen += change != "delete"  # which needs no room
        if self.seen >= self.start and change != "delete":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("name", "every"),
    [
        (name, 5)
        for name in ("run", "score", "keep", "compare", "pool", "suspects", "review", "report", "export")
    ]
    + [
        pytest.param(name, 1, marks=pytest.mark.slow)
        for name in (*COMMANDS, "report", "export", "score --embeddings")
    ],
)
def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(
    name: str, every: int, place: Path, datadiet: Datadiet, no_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in COMMANDS:
        words, other = COMMANDS[name]
        out = "made" if name in FOLDERS else "made.html" if name == "review" else "made.parquet"
        first, then = (*words, "--out", out), (*words, other, "--out", out, "--overwrite")
    elif name == "report":
        out, first, then = (
            "made",
            ("run", "points.parquet", *RUN, "--out=made"),
            ("report", "made", "--overwrite"),
        )
    elif name == "export":
        export = ("export", "points.parquet", "--kept=kept.parquet", "--to=made")
        out, first, then = "made", export, (*export, "--format=csv", "--overwrite")
    else:
        score = ("score", "points.parquet", *FEW, "--out=made.parquet", "--embeddings=made.vectors")
        out, first, then = "made.vectors", score, (*score, "--seed=1", "--overwrite")
    assert datadiet(*first).code == 0
    before = data_files(place)
    assert (
        datadiet(*then, "--out=elsewhere" if name in COMMANDS else "--json").code == 0
    )  # so that all is trained
    for path in ("elsewhere", out):
        if path == "elsewhere" or name not in COMMANDS:
            shutil.rmtree(place / path) if (place / path).is_dir() else (place / path).unlink(missing_ok=True)
    if name not in COMMANDS:
        (place / "made.parquet").unlink(missing_ok=True)
        assert datadiet(*first).code == 0
        before = data_files(place)
    outcomes = set()
    for start in range(1, 200, every):
        full = Full(start)
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "touching", full)
            outcome = datadiet(*then)
        if full.seen < start:
            break
        assert outcome.code == 1, (start, outcome)
        assert_refused(outcome, "cannot be", code=1)
        after = data_files(place)
        outcomes.add(after == before)
        ours = {path: data for path, data in after.items() if not path.startswith(f"{out}/.")}
        assert ours.keys() >= {path for path in before if not path.startswith(out)}, start
        assert all(ours[path] == before[path] for path in before if not path.startswith("made")), start
    assert True in outcomes and start > 1
    done = datadiet(*then)
    assert done.code == 0, done
