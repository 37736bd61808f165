"""What a run says of wrong labels: the worst of them, what the models say, and nothing where nothing can be said."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import datadiet as dd
from datadiet.data import corrupt
from datadiet.engine.setup import prepare
from datadiet.jobs.score import score_with
from datadiet.jobs.wrong_labels import WORST, wrong_labels_of
from datadiet.noise import NoiseRate
from tiny_models import small_recipe

OPTIONS = {"recipe": "fast", "workspace": "elsewhere", "device": "cpu", "trust_remote_code": False}


def told(examples: dd.Examples, workspace: Path, *, at_epoch: float = 3, seeds: int = 2):
    recipe = small_recipe(model_options={"hidden": (16,)}, epochs=4)
    with closing(prepare(examples, recipe, workspace=workspace, device="cpu")) as setup:
        scoring = score_with(setup, ["el2n"], also_free=True, seeds=seeds, at_epoch=at_epoch)
        found = wrong_labels_of(setup, scoring, Path("my out"), OPTIONS, of_sample=False)
    return scoring, found


@pytest.fixture(scope="module")
def noisy():
    generator = np.random.default_rng(3)
    labels = np.arange(300) % 3
    points = 3 * np.eye(3, 6)[labels] + 0.5 * generator.normal(size=(300, 6))
    return corrupt(dd.load((points.astype(np.float32), labels), name="points"), 0.1, "symmetric", seed=1)


def test_the_worst_have_wrong_labels_and_the_models_say_the_old_class(noisy, tmp_path: Path) -> None:
    _, found = told(noisy.examples, tmp_path)
    worst = found["suspects"]["worst"]
    rows = noisy.examples.train.positions_of([entry["id"] for entry in worst])
    assert len(worst) == WORST and noisy.mask[rows].all()
    names = noisy.examples.class_names
    assert [entry["label"] for entry in worst] == [
        names[label] for label in noisy.examples.train.labels[rows]
    ]
    said = np.array([names.index(entry["say"]) for entry in worst])
    assert (said == noisy.old_labels[rows]).mean() > 0.9
    assert all(0 <= entry["probability_of_label"] < entry["probability"] <= 1 for entry in worst)
    assert found["suspects"]["commands"] == []  # arrays are in no file


def test_every_field_is_in_the_documentation(noisy, tmp_path: Path) -> None:
    suspects = told(noisy.examples, tmp_path)[1]["suspects"]
    text = (Path(__file__).resolve().parents[2] / "docs" / "verdict.md").read_text(encoding="utf-8")
    table = text.partition("| of `suspects` | |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    assert {name.strip(" `") for name, _ in rows} == set(suspects)
    worst = next(about for name, about in rows if "worst" in name)
    assert set(re.findall(r"`(\w+)`", worst)) == set(suspects["worst"][0])


def test_probabilities_are_of_the_weights_that_the_loss_was_taken_with(noisy, tmp_path: Path) -> None:
    scoring, found = told(noisy.examples, tmp_path, seeds=1)
    worst = found["suspects"]["worst"]
    rows = np.searchsorted(scoring.table.ids, [entry["id"] for entry in worst])
    own = [entry["probability_of_label"] for entry in worst]
    np.testing.assert_allclose(own, np.exp(-scoring.table.column("loss")[rows]), rtol=1e-3)


def test_untrained_models_say_nothing(noisy, tmp_path: Path) -> None:
    _, found = told(noisy.examples, tmp_path, at_epoch=0)
    assert {entry["say"] for entry in found["suspects"]["worst"]} == {None}


@dataclass(frozen=True)
class Untold(NoiseRate):
    """A rate that cannot be told."""

    identified: bool = False

    def __str__(self) -> str:
        return "how many labels are wrong cannot be told from hardness here: between 0 % and 40 % fit as well"


def test_a_count_that_cannot_be_told_is_no_count(noisy, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        "datadiet.jobs.suspects.job.mixture_noise_rate", lambda *_, **__: Untold(0.1, 0.0, 0.4)
    )
    _, found = told(noisy.examples, tmp_path)
    assert found["suspects"]["about"] is None
    assert found["suspects"]["sentence"] == (
        "How many labels are wrong cannot be told from hardness here: between 0 % and 40 % fit as well."
    )
    assert len(found["suspects"]["worst"]) == WORST


def test_other_tasks_have_no_wrong_labels(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(60, 4)).astype(np.float32)
    examples = dd.load((points, points.sum(axis=1)), task="regression")
    assert told(examples, tmp_path)[1] == {}


def test_commands_name_the_trainings_and_quote_the_folder(tmp_path: Path) -> None:
    recipe = small_recipe(epochs=1)
    with closing(prepare(dd.load("digits"), recipe, workspace=tmp_path, device="cpu")) as setup:
        scoring = score_with(setup, ["el2n"], seeds=1, at_epoch=1)
        whole, sample = (
            wrong_labels_of(setup, scoring, Path("my out"), OPTIONS, of_sample=of_sample)["suspects"][
                "commands"
            ]
            for of_sample in (False, True)
        )
    machine = "--workspace elsewhere --device cpu"
    assert whole == [
        f"datadiet suspects 'my out/scores.parquet' {machine}",
        "datadiet review suspects.parquet",
    ]
    assert sample == [
        f"datadiet score digits {machine}",
        f"datadiet suspects scores.parquet {machine}",
        "datadiet review suspects.parquet",
    ]
