"""A test part that shares rows with the train part: what a verdict is of, and when it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

import datadiet as dd
from datadiet.engine.runs import train_run
from datadiet.engine.setup import prepare
from datadiet.foundation.errors import BadInputError
from datadiet.pages.report.view import page_view
from datadiet.studies import run_study
from datadiet.studies.toolbox.context import correct_of
from datadiet.studies.toolbox.protocol import open_context
from tiny_models import small_recipe

LEAKS = 15  # rows of the test part that are copied from the train part
FRESH = 30
RECIPE = small_recipe(model_options={"hidden": (6,)}, epochs=2)
SAID = "15 of 45 test rows are exact copies of training rows and are left out: accuracies are of the other 30 rows."
ROLES: dict[str, dict[str, Any]] = {
    "classification": {},
    "multilabel": {"label": "label", "task": "multilabel"},
    "regression": {"label": "label", "task": "regression"},
}


def rows_of(task: str, n: int, seed: int) -> dict[str, list[Any]]:
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(n, 3)).round(6)
    classes = (points[:, 0] + 0.5 * generator.normal(size=n) > 0).astype(int)
    others = (points[:, 1] > 0).astype(int)
    labels: dict[str, list[Any]] = {
        "classification": [f"c{value}" for value in classes],
        "multilabel": [["a"] * a + ["b"] * b for a, b in zip(classes, others, strict=True)],
        "regression": (points[:, 0] + 0.3 * generator.normal(size=n)).tolist(),
    }  # fmt: skip
    return {"x": points.tolist(), "label": labels[task], "site": [f"s{i % 3}" for i in range(n)]}


def leaking(task: str = "classification", *, leaks: int = LEAKS, fresh: int = FRESH) -> dd.Examples:
    """120 rows to train on, and a test part in which copies of `leaks` of them stand among `fresh` others."""
    train, test = rows_of(task, 120, 0), rows_of(task, fresh, 1)
    order = np.random.default_rng(2).permutation(leaks + fresh)
    mixed = {name: [(train[name][:leaks] + test[name])[i] for i in order] for name in train}
    parts = datasets.DatasetDict(
        train=datasets.Dataset.from_dict(train), test=datasets.Dataset.from_dict(mixed)
    )
    return dd.load(parts, input="x", name="leaking", **ROLES[task])


def cleaned(task: str = "classification") -> dd.Examples:
    """The same with the copies taken out of the test part by hand."""
    examples = leaking(task)
    known = set(map(tuple, examples.train.dataset["x"]))
    test = examples.test.dataset.filter(lambda row: tuple(row["x"]) not in known)
    assert len(test) == FRESH
    parts = datasets.DatasetDict(train=examples.train.dataset, test=test)
    return dd.load(parts, input="x", name="leaking", **ROLES[task])


def numbers_of(data: Any) -> Any:
    """A verdict without what clocks say and what is said of leaks; six digits, for batches are summed otherwise."""
    if isinstance(data, dict):
        times = ("seconds", "saved", "cost", "leaks", "warnings", "source", "command", "notes")
        return {key: numbers_of(value) for key, value in data.items() if not any(t in key for t in times)}
    if isinstance(data, list | tuple):
        return [numbers_of(value) for value in data]
    return float(f"{data:.6g}") if isinstance(data, float) else data


def trainings(workspace: Path) -> set[str]:
    return {path.name for path in (workspace / "trainings").iterdir()}


@pytest.mark.parametrize("task", ROLES)
def test_the_verdict_is_the_one_without_the_shared_rows_in_every_number(task, tmp_path) -> None:
    verdict, by_hand = (
        dd.compare(
            data,
            {"half": data.train.ids[::2]},
            RECIPE,
            seeds=2,
            groups=["site"],
            device="cpu",
            workspace=tmp_path / name,
            out=tmp_path / name,
        )
        for name, data in (("leaking", leaking(task)), ("cleaned", cleaned(task)))
    )
    assert numbers_of(verdict.data) == numbers_of(by_hand.data)
    assert verdict.data["n_test"] == FRESH
    assert verdict.data["leaks"] == {
        "on_leak": "drop", "test_rows": LEAKS + FRESH, "shared": LEAKS, "dropped": LEAKS,
    }  # fmt: skip
    assert "leaks" not in by_hand.data
    assert verdict.data["warnings"][0] == SAID
    columns = ["accuracy", "n", *({"multilabel": ["micro_f1"], "regression": ["rmse"]}.get(task, []))]
    found, expected = (
        pq.read_table(folder / "results.parquet", columns=columns).to_pydict()
        for folder in (verdict.folder, by_hand.folder)
    )
    assert numbers_of(found) == numbers_of(expected)


def test_what_is_done_about_shared_rows_changes_no_training(tmp_path, monkeypatch) -> None:
    examples, shown = leaking(), []

    def write(contents: Any, folder: Path) -> Path:
        shown.append(page_view(contents)["warnings"])
        return folder / "report.html"

    monkeypatch.setattr("datadiet.jobs.run_folder.write_report", write)  # drawing takes most of the time
    options = {"recipe": RECIPE, "keep": (0.5,), "seeds": 1, "workspace": tmp_path, "device": "cpu"}
    kept = dd.run(examples, **options, on_leak="keep")
    before = trainings(tmp_path)
    dropped = dd.run(examples, **options)
    assert trainings(tmp_path) == before
    assert SAID in shown[-1] and SAID not in shown[0]
    assert kept.data["n_test"] == LEAKS + FRESH and dropped.data["n_test"] == FRESH
    assert kept.data["leaks"]["dropped"] == 0
    assert "count as all others (--on-leak keep)" in kept.data["warnings"][0]
    # The runs themselves predicted every row.
    whole, left = (
        prepare(examples, RECIPE, workspace=tmp_path, device="cpu", on_leak=o) for o in ("keep", "drop")
    )
    every, some = (train_run(setup, 1_000) for setup in (whole, left))
    assert not every.trained and not some.trained
    fresh = ~np.isin(examples.test.ids, examples.repeats.leaked)
    for name, values in every.test_predictions().items():
        assert (some.test_predictions()[name] == values[fresh]).all() and len(values) == LEAKS + FRESH
    assert some.result["accuracy"] == pytest.approx(every.test_predictions()["correct"][fresh].mean())
    assert some.result | {"accuracy": 0} == every.result | {"accuracy": 0}
    assert kept.data["full"]["accuracies"][0] == every.result["accuracy"]
    assert dropped.data["full"]["accuracies"][0] == some.result["accuracy"]


def test_further_metrics_of_runs_that_did_not_take_them_apart_are_not_known(tmp_path) -> None:
    setup = prepare(leaking("multilabel"), RECIPE, workspace=tmp_path, device="cpu", on_leak="drop")
    run = train_run(setup, 0)
    assert (
        set(run.result["metrics"]) == {"micro_f1", "macro_f1"} and None not in run.result["metrics"].values()
    )
    result = json.loads(run.folder.result_path.read_text())
    assert result["metrics"] != run.result["metrics"] == result.pop("metrics_without_leaks")
    run.folder.write(run.folder.result_path, json.dumps(result).encode())
    assert train_run(setup, 0).result["metrics"] == {"micro_f1": None, "macro_f1": None}


JOBS: dict[str, Callable[..., Any]] = {
    "run": lambda data, **options: dd.run(data, keep=(0.5,), seeds=1, **options),
    "dynamic": lambda data, **options: dd.run(data, dynamic="infobatch", seeds=1, **options),
    "compare": lambda data, **options: dd.compare(data, {"half": data.train.ids[::2]}, seeds=1, **options),
    "study": lambda data, **options: run_study("keep-fraction", data, scale="smoke", **options),
}  # fmt: skip


@pytest.mark.parametrize("job", JOBS)
def test_what_is_refused_is_refused_before_anything_is_trained(job, tmp_path) -> None:
    options = {"recipe": RECIPE, "workspace": tmp_path / "runs", "device": "cpu"}
    with pytest.raises(
        BadInputError, match=r"15 of 45 test rows .*test row \d+ is training row \d+.*--on-leak drop"
    ):
        JOBS[job](leaking(), **options, on_leak="error")
    for on_leak in ("error", "drop"):
        with pytest.raises(BadInputError, match="All 15 test rows are exact copies of training rows"):
            JOBS[job](leaking(fresh=0), **options, on_leak=on_leak)
    with pytest.raises(BadInputError, match="and a single row is left"):
        JOBS[job](leaking(fresh=1), **options)
    with pytest.raises(BadInputError, match="on_leak 'no'"):
        JOBS[job](leaking(), **options, on_leak="no")
    assert not (tmp_path / "runs").exists()


def test_a_test_part_that_is_the_train_part_can_be_asked_for(tmp_path) -> None:
    options = {"recipe": RECIPE, "workspace": tmp_path, "device": "cpu", "on_leak": "keep"}
    verdict = JOBS["compare"](leaking(fresh=0), **options)
    assert verdict.data["n_test"] == LEAKS
    assert verdict.data["warnings"][0].startswith("All 15 test rows are exact copies of training rows")


def test_a_dynamic_verdict_is_of_the_rows_that_are_left(tmp_path) -> None:
    found, by_hand = (
        JOBS["dynamic"](data, recipe=RECIPE, workspace=tmp_path / name, device="cpu")
        for name, data in (("a", leaking()), ("b", cleaned()))
    )
    assert found.data["n_test"] == FRESH and found.data["leaks"]["dropped"] == LEAKS
    assert found.data["full"]["accuracies"] == by_hand.data["full"]["accuracies"]


def test_studies_measure_on_the_rows_that_are_left_and_note_it(tmp_path) -> None:
    options = {"recipe": RECIPE, "workspace": tmp_path, "device": "cpu", "scale": "smoke"}
    examples = leaking()
    context = open_context(examples, **options)
    assert context.setup.n_test == FRESH == context.correct(None).shape[1]
    assert context.notes == [SAID]
    beside = context.with_recipe(lr=0.05)
    assert correct_of(beside.retrain(None, 0)).shape == (FRESH,)
    assert open_context(examples, **options, on_leak="keep").setup.n_test == LEAKS + FRESH


def test_a_class_that_is_gone_from_the_test_part_is_named(tmp_path) -> None:
    train = ([[float(i), 0.0] for i in range(12)], ["cat", "dog", "emu"] * 4)
    test = ([[2.0, 0.0], [20.0, 0.0], [21.0, 0.0]], ["emu", "cat", "dog"])
    verdict = JOBS["compare"](dd.load(train, test=test), recipe=RECIPE, workspace=tmp_path, device="cpu")
    assert verdict.data["warnings"][0] == (
        "1 of 3 test rows is an exact copy of a training row and is left out: accuracies are of the other 2 rows. "
        "No test row is left of class 'emu'."
    )
