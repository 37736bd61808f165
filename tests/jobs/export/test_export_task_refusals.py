"""What an export refuses, or writes with care, because of what its examples are answered with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from exported_tasks import (
    COLUMNS,
    NUMBERS,
    WORD_TAGS,
    WORDS,
    answers,
    inputs,
    options_of,
    pictures,
    write_folder,
)

import datadiet as dd
from datadiet.jobs.decisions import Decisions
from datadiet.jobs.export import export

pytestmark = pytest.mark.usefixtures("few_threads")


@pytest.mark.parametrize("case", ["multilabel", "regression", "token_classification"])
def test_a_relabelling_is_refused_where_there_are_no_classes(tmp_path: Path, case: str) -> None:
    examples = dd.load(write_folder(tmp_path / "data", COLUMNS[case]), **options_of(case))
    decisions = Decisions({0: "relabel"}, {0: examples.class_names[0]}, fingerprint=examples.fingerprint)
    with pytest.raises(dd.BadInputError, match="without one class an example"):
        export(examples, tmp_path / "out", decisions=decisions)
    exported = export(examples, tmp_path / "out", decisions=Decisions({0: "drop"}))
    assert (exported.dropped, exported.relabelled) == (1, 0)


@pytest.mark.parametrize("format", ["imagefolder", "fiftyone"])
def test_formats_with_one_class_an_image_refuse_sets_and_numbers(tmp_path: Path, format: str) -> None:
    for labels, task in (([["a"], ["a", "b"], [], ["b"]] * 4, "multilabel"), (NUMBERS[:16], "regression")):
        examples = dd.load(pictures(labels), task=task)
        with pytest.raises(dd.BadInputError, match=f"one class an image.*'{task}'") as caught:
            export(examples, tmp_path / "out", kept=examples.train.ids, format=format)
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", ["multilabel", "regression", "token_classification", "intent_slots"])
def test_cleanlab_is_for_one_class_an_example(tmp_path: Path, case: str) -> None:
    examples = dd.load(write_folder(tmp_path / "data", COLUMNS[case]), **options_of(case))
    with pytest.raises(dd.BadInputError, match="cleanlab is for data with one class an example"):
        export(examples, tmp_path / "out", format="cleanlab", scores=tmp_path / "none.parquet")


def test_csv_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    sets = dd.load(pa.table(COLUMNS["multilabel"]))
    with pytest.raises(dd.BadInputError, match="CSV has no lists"):
        export(sets, tmp_path / "out", kept=sets.train.ids, format="csv")
    spaced = dd.load(pa.table({"tokens": WORDS, "tags": WORD_TAGS}))
    with pytest.raises(dd.BadInputError, match=r"item with white space.*'tokens'"):
        export(spaced, tmp_path / "out", kept=spaced.train.ids, format="csv")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_an_apostrophe_never_changes_a_tag_or_the_number_of_words(tmp_path: Path, form: str) -> None:
    columns = {"text": ["=to rome", " + two", "what day", "it is"] * 6, "tags": ["O B-city", "O O"] * 12}
    source = write_folder(tmp_path / "data", columns, form)
    examples = dd.load(source)
    exported = export(source, tmp_path / "out", kept=examples.train.ids, format="csv")
    assert exported.neutralised == 12
    again = dd.load(tmp_path / "out")
    assert answers(again, again.train) == answers(examples, examples.train)
    assert inputs(again.train)[:2] == [["'=to", "rome"], ["'+", "two"]]

    odd = write_folder(tmp_path / "odd", columns | {"tags": ["-LRB- NN", "NN NN"] * 12}, form)
    for format in ("csv", "same") if form == "csv" else ("csv",):
        with pytest.raises(dd.BadInputError, match=r"tags of example 0 .*--keep-formulas"):
            export(odd, tmp_path / "no", kept=[0, 1], format=format)
    export(odd, tmp_path / "yes", kept=np.arange(16), format="csv", keep_formulas=True)
    assert dd.load(tmp_path / "yes").tag_names == dd.load(odd).tag_names


def test_the_command_line_passes_the_task_on(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from datadiet.cli import app

    source = write_folder(tmp_path / "data", COLUMNS["regression"], "csv")
    (tmp_path / "kept.txt").write_text("0\n3\n7\n8\n")
    given = ["export", str(source), "--kept", str(tmp_path / "kept.txt"), "--to", str(tmp_path / "out")]
    asked = CliRunner().invoke(app, [*given, "--task", "regression"])
    assert asked.exit_code == 0, asked.output
    again = dd.load(tmp_path / "out", task="regression")
    assert answers(again, again.train) == [NUMBERS[row] for row in (0, 3, 7, 8)]
    wrong = CliRunner().invoke(app, [*given, "--overwrite", "--task", "regresion"])
    assert wrong.exit_code == 2 and "There is no task 'regresion'" in wrong.output
    wrong = CliRunner().invoke(app, [*given, "--overwrite", "--tags", "nothing"])
    assert wrong.exit_code == 2 and "There is no column 'nothing'" in wrong.output
