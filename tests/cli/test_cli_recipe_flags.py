"""Every field of a recipe has a flag, and what the flag says is what trains."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from command_line import TINY, invoke, write_vectors

import datadiet as dd
from datadiet.foundation.options import options_of

# Field -> (what is typed, what the recipe then holds); none is the default of the field.
GIVEN: dict[str, tuple[list[str], Any]] = {
    "model": (["--model=mlp"], "mlp"),
    "model_options": (
        ["--model-option=hidden=[8, 4]", "--model-option=name=x"],
        {"hidden": [8, 4], "name": "x"},
    ),
    "epochs": (["--epochs=2.5"], 2.5),
    "steps": (["--steps=7"], 7),
    "batch_size": (["--batch-size=9"], 9),
    "drop_last": (["--drop-last"], True),
    "optimizer": (["--optimizer=adamw"], "adamw"),
    "lr": (["--lr=0.0123"], 0.0123),
    "momentum": (["--momentum=0.5"], 0.5),
    "nesterov": (["--no-nesterov"], False),
    "weight_decay": (["--weight-decay=0.25"], 0.25),
    "schedule": (["--schedule=multistep"], "multistep"),
    "warmup": (["--warmup=0.125"], 0.125),
    "milestones": (["--milestones=0.5,0.75"], (0.5, 0.75)),
    "decay": (["--decay=0.75"], 0.75),
    "label_smoothing": (["--label-smoothing=0.1"], 0.1),
    "crop_pad": (["--crop-pad=3"], 3),
    "flip": (["--flip"], True),
    "cutout": (["--cutout=2"], 2),
    "max_length": (["--max-length=17"], 17),
    "precision": (["--precision=float32"], "float32"),
    "memory_format": (["--memory-format=contiguous"], "contiguous"),
    "budget": (["--budget=epochs"], "epochs"),
    "score_epoch": (["--score-epoch=1.5"], 1.5),
    "decay_norms_and_biases": (["--no-decay-norms-and-biases"], False),
    "clip_norm": (["--clip-norm=0.5"], 0.5),
    "on_long": (["--on-long=error"], "error"),
    "bucket_by_length": (["--bucket-by-length"], True),
    "model_version": (["--model-version=2"], "2"),
}
RUN_ALONE = ("dynamic", "dynamic_options")  # flags of `run`, looked at with what it does with them
FIELDS = [field.name for field in dataclasses.fields(dd.Recipe) if field.name not in ("name", *RUN_ALONE)]


@pytest.fixture
def given_recipe(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The recipe fields that commands pass on, in place of what they would do with them."""
    seen: list[dict[str, Any]] = []

    def instead(*arguments: Any, **options: Any) -> None:
        seen.append(options)
        raise dd.BadInputError("Seen enough.")

    for name in ("datadiet.jobs.run.run", "datadiet.jobs.run.compare", "datadiet.jobs.score.score"):
        monkeypatch.setattr(name, instead)
    return seen


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("command", ["run", "score", "compare"])
def test_the_flag_of_a_field_reaches_the_recipe(
    command: str, field: str, given_recipe: list[dict[str, Any]], here: Path, points: Path
) -> None:
    typed, expected = GIVEN[field]
    (here / "kept.txt").write_text("0\n1\n")
    more = ["--kept", "kept.txt"] if command == "compare" else []
    assert invoke(command, points, *more, *typed).stderr == "datadiet: Seen enough.\n"
    (options,) = given_recipe
    assert options["overrides"] == {field: expected}
    base = dd.Recipe()
    assert getattr(base.replace(**options["overrides"]), field) == expected != getattr(base, field)


@pytest.mark.parametrize("field", FIELDS)
def test_the_flag_of_a_field_has_a_sentence_of_help(field: str) -> None:
    option = options_of(dd.Recipe)[field]
    assert option.flag is not None
    assert len(option.sentence.split()) >= 3


def test_flags_go_before_the_recipe_file_which_goes_before_the_named_recipe(here: Path, points: Path) -> None:
    (here / "mine.yaml").write_text("base: paper\nmodel: mlp\nlr: 0.5\nmomentum: 0.25\n")
    flags = (
        "--recipe",
        "mine.yaml",
        "--momentum",
        "0.75",
        "--seeds",
        "1",
        "--scores",
        "el2n",
        "--at-epoch",
        "1",
    )
    outcome = invoke("score", points, *TINY, *flags)
    assert outcome.code == 0, outcome
    recipe = dd.ScoreTable.read(here / "scores.parquet").provenance["recipe"]
    assert (recipe["name"], recipe["decay"], recipe["lr"], recipe["momentum"]) == ("mine", 0.2, 0.5, 0.75)
    assert recipe["model_options"] == {"hidden": [8]}


def test_machine_and_data_flags_reach_the_commands(
    given_recipe: list[dict[str, Any]], here: Path, points: Path
) -> None:
    flags = ("--workspace", "w", "--device", "cpu", "--memory-limit", "2MB", "--num-workers", "1")
    more = ("--checkpoint-every", "5", "--input", "x0,x1", "--label", "label", "--test-fraction", "0.5")
    invoke(
        "run", points, *flags, *more, "--holdout-seed", "3", "--image-size", "8", "--on-bad-example", "skip"
    )
    (options,) = given_recipe
    assert options["load_options"] == {
        "input": ["x0", "x1"],
        "label": "label",
        "test_fraction": 0.5,
        "holdout_seed": 3,
        "image_size": 8,
        "on_bad_example": "skip",
    }
    machine = {"workspace": Path("w"), "device": "cpu", "memory_limit": 2_000_000, "num_workers": 1}
    assert machine.items() <= options.items()
    assert options["checkpoint_every"] == 5


def test_the_workspace_may_be_named_by_the_environment(
    given_recipe: list[dict[str, Any]], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = write_vectors(here / "points.parquet")
    monkeypatch.setenv("DATADIET_WORKSPACE", str(here / "elsewhere"))
    invoke("run", points)
    (options,) = given_recipe
    assert options["workspace"] == here / "elsewhere"
