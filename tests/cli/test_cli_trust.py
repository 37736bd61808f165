"""Score tables from elsewhere: what they name is not run, trained in, or opened unless the user names it too."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import TINY, assert_refused, contents, invoke, write_vectors

import datadiet as dd
from datadiet.foundation.errors import BadInputError
from datadiet.scores import ScoreTable
from tiny_models import bert_config, save_tokenizer, small_recipe

FACTORY = """
from pathlib import Path
from torch import nn

Path("ran").touch()

def make(context):
    return nn.Linear(context.input_shape[0], context.num_outputs)
"""
MODELLING = """
from pathlib import Path
from transformers import BertConfig, BertForSequenceClassification

Path("ran").touch()

class Config(BertConfig):
    model_type = "mine"

class Classifier(BertForSequenceClassification):
    config_class = Config
"""
TRAIN = [flag for flag in TINY if not flag.startswith("--model")]


@pytest.fixture
def here(forgets_modules: Path) -> Path:
    return forgets_modules


@pytest.fixture
def vectors_file(here: Path) -> Path:
    return write_vectors(here / "vectors.parquet")


def scored(source: Path, *more: str) -> Path:
    out = source.parent / "scores.parquet"
    outcome = invoke("score", source, "--out", out, "--seeds=1", "--at-epoch=1", *TRAIN, *more)
    assert outcome.code == 0, outcome
    return out


def rewritten(path: Path, change: Callable[[dict[str, Any]], None], name: str = "hostile.parquet") -> Path:
    """The table again, with other provenance, as somebody else would send it."""
    table = ScoreTable.read(path)
    facts = json.loads(json.dumps(dict(table.provenance)))
    change(facts)
    return dataclasses.replace(table, provenance=facts).write(path.with_name(name))


def commands(table: Path) -> dict[str, list[object]]:
    """Every command that goes on from a score table."""
    out = table.parent
    return {
        "suspects": ["suspects", table, "--device=cpu", "--out", out / "s.parquet"],
        "verify": ["verify", table, "--device=cpu"],
        "review": ["review", table, "--by", "mean_el2n", "--out", out / "r.html"],
        "keep": ["keep", table, "--by=mean_el2n", "--out", out / "k.parquet", "--source", out / "vectors.parquet"],
        "agree": ["agree", table, table.with_name("scores.parquet"), "--scores=mean_el2n", "--out", out / "agreement"],
        "export": [
            "export", out / "vectors.parquet", "--format=cleanlab", "--scores", table, "--to", out / "exported",
            "--device=cpu",
        ],
    }  # fmt: skip


RUNS_MODELS = ("suspects", "verify", "export")


@pytest.mark.parametrize("name", ["suspects", "verify", "review", "keep", "agree", "export"])
def test_a_factory_that_a_table_names_runs_only_if_the_user_names_it_too(here, vectors_file, name) -> None:
    table = rewritten(
        scored(vectors_file, "--model=mlp", "--model-option=hidden=[8]"),
        lambda facts: facts["recipe"].update(model="helpers:make", model_options={}),
    )
    (here / "helpers.py").write_text(FACTORY)
    outcome = invoke(*commands(table)[name])
    assert not (here / "ran").exists() and "helpers" not in sys.modules
    if name in RUNS_MODELS:
        assert_refused(outcome, "helpers:make", "--model helpers:make")
        assert_refused(invoke(*commands(table)[name], "--model=other:make"), "helpers:make")
        assert not (here / "ran").exists()
        invoke(*commands(table)[name], "--model=helpers:make")
        assert (here / "ran").exists()
    else:
        assert outcome.code == 0, outcome


@pytest.mark.parametrize("name", RUNS_MODELS)
def test_a_table_of_ones_own_factory_goes_on_with_the_flag(here, vectors_file, name) -> None:
    (here / "helpers.py").write_text(FACTORY)
    table = scored(vectors_file, "--model=helpers:make")
    assert_refused(invoke(*commands(table)[name]), "helpers:make")
    outcome = invoke(*commands(table)[name], "--model=helpers:make")
    assert outcome.code == 0, outcome
    assert "comes from 'helpers.py' in the current folder, which is run" in outcome.stderr
    (here / "helpers.py").write_text(FACTORY.replace("num_outputs)", "num_outputs, False)"))
    refused = invoke(*commands(table)[name], "--model=helpers:make", *(["--overwrite"] * (name == "export")))
    assert_refused(refused, "has changed", "its code")


def test_a_recipe_file_that_the_user_names_may_name_a_factory_and_that_is_said(here, vectors_file) -> None:
    (here / "helpers.py").write_text(FACTORY)
    small_recipe(model="helpers:make", model_options={}, epochs=1).to_yaml(here / "mine.yaml")
    outcome = invoke("score", vectors_file, "--recipe=mine.yaml", "--seeds=1", "--device=cpu", "--at-epoch=0")
    assert outcome.code == 0 and "'helpers.py' in the current folder, which is run" in outcome.stderr


@pytest.fixture
def texts_file(here: Path) -> Path:
    words = ["good", "bad", "day", "film"]
    lines = [
        json.dumps({"text": f"{one} {other}", "label": "ab"[index % 2]})
        for index, (one, other) in enumerate((one, other) for one in words for other in words)
    ]
    (here / "vectors.parquet").unlink(missing_ok=True)
    path = here / "texts.jsonl"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def remote(here: Path) -> Path:
    """A folder of a model whose classes are Python files in it."""
    transformers = pytest.importorskip("transformers")
    folder = here / "remote"
    save_tokenizer(folder, ["good", "bad", "day", "film"])
    transformers.BertForSequenceClassification(bert_config(vocab_size=12)).save_pretrained(folder)
    (folder / "modeling_mine.py").write_text(MODELLING)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {
        "AutoConfig": "modeling_mine.Config",
        "AutoModelForSequenceClassification": "modeling_mine.Classifier",
        "AutoModel": "modeling_mine.Classifier",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_code_in_a_model_folder_runs_with_the_users_own_flag_only(
    here, remote, texts_file, monkeypatch
) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(here / "modules"))
    arguments = ["score", texts_file, "--model", remote, "--seeds=1", "--at-epoch=0", *TRAIN]
    assert_refused(invoke(*arguments, "--out", here / "t.parquet"), "--trust-remote-code", "remote")
    asked = [*arguments, "--model-option=trust_remote_code=true", "--out", here / "t.parquet"]
    assert_refused(invoke(*asked), "--trust-remote-code")
    assert not (here / "ran").exists()
    table = here / "scores.parquet"
    outcome = invoke(*arguments, "--trust-remote-code", "--out", table)
    assert outcome.code == 0, outcome
    assert (here / "ran").exists()
    (here / "ran").unlink()
    hostile = rewritten(table, lambda facts: facts["recipe"]["model_options"].update(trust_remote_code=True))
    blank = rewritten(hostile, lambda facts: facts.pop("model_identity"), "blank.parquet")
    for told in (table, hostile, blank):
        assert_refused(invoke("verify", told, "--device=cpu"), "--trust-remote-code")
        assert_refused(invoke("suspects", told, "--device=cpu"), "--trust-remote-code")
    assert invoke("verify", table, "--device=cpu", "--trust-remote-code").code == 0


def test_a_recipe_file_does_not_say_whom_to_trust(here, remote, texts_file) -> None:
    recipe = small_recipe(model=str(remote), model_options={"trust_remote_code": True}, epochs=1)
    recipe.to_yaml(here / "mine.yaml")
    outcome = invoke("score", texts_file, "--recipe=mine.yaml", "--seeds=1", "--device=cpu", "--at-epoch=0")
    assert_refused(outcome, "--trust-remote-code")
    assert not (here / "ran").exists()


def test_a_model_folder_that_changed_since_is_said_and_one_that_moved_is_named(here, texts_file) -> None:
    transformers = pytest.importorskip("transformers")
    folder = here / "bert"
    save_tokenizer(folder, ["good", "bad", "day", "film"])
    transformers.BertModel(bert_config(vocab_size=12)).save_pretrained(folder)
    table = scored(texts_file, f"--model={folder}")
    assert invoke("verify", table, "--device=cpu").code == 0
    folder.rename(here / "moved")
    assert_refused(invoke("verify", table, "--device=cpu"), "--model", "bert")
    assert invoke("verify", table, "--device=cpu", "--model=moved").code == 0
    weights = here / "moved" / "model.safetensors"
    before, content = weights.stat(), bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(bytes(content))
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    for command in ("verify", "suspects"):
        refused = invoke(command, table, "--device=cpu", "--model=moved")
        assert_refused(refused, "has changed since", "files")
    assert_refused(invoke("verify", table, "--device=cpu", "--model=mlp"), "mlp")


def test_a_workspace_that_a_table_names_is_only_read(here, vectors_file) -> None:
    table = scored(vectors_file, "--model=mlp", "--model-option=hidden=[8]", "--workspace=theirs")
    before = contents(here / "theirs")
    assert invoke("verify", table, "--device=cpu").code == 0
    assert contents(here / "theirs") == before and not (here / "runs").exists()
    outcome = invoke("suspects", table, "--device=cpu")
    assert outcome.code == 0 and "'theirs'" in outcome.stderr and "--workspace" in outcome.stderr
    assert contents(here / "theirs") == before and (here / "runs").exists()
    assert invoke("suspects", table, "--device=cpu", "--workspace=theirs", "--out=again.parquet").code == 0
    assert contents(here / "theirs") != before


@pytest.mark.parametrize("name", RUNS_MODELS)
def test_a_workspace_that_is_not_there_is_not_made(here, vectors_file, name) -> None:
    made = scored(vectors_file, "--model=mlp", "--model-option=hidden=[8]", "--workspace=ours")
    (here / "documents").mkdir()
    for place in ("made", "documents"):
        table = rewritten(made, lambda facts, place=place: facts.update(workspace=str(here / place)))
        invoke(*commands(table)[name])
        assert not (here / "made").exists() and not list((here / "documents").iterdir())


def test_a_table_of_this_process_goes_on_where_it_was_made(vectors, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = dd.score(vectors, small_recipe(), ["el2n"], seeds=1, workspace="mine", device="cpu")
    dd.find_suspects(table, source=vectors, device="cpu", second_pass=False)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "place", ["https://example.org/a.csv", "/dev/zero", "/dev/stdin", "pipe.csv", "", None]
)
@pytest.mark.parametrize("name", ["suspects", "verify", "review"])
def test_what_is_no_file_is_not_opened_because_a_table_says_so(here, vectors_file, name, place) -> None:
    os.mkfifo(here / "pipe.csv")
    made = scored(vectors_file, "--model=mlp", "--model-option=hidden=[8]")
    table = rewritten(made, lambda facts: facts.update(source=place))
    assert_refused(invoke(*commands(table)[name]), "--source")
    if place not in (None, ""):
        table = rewritten(made, lambda facts: facts["load_options"].update(test=place))
        assert_refused(invoke(*commands(table)[name]), "--test")


def test_options_of_loading_that_there_are_not_are_one_sentence(here, vectors_file) -> None:
    made = scored(vectors_file, "--model=mlp", "--model-option=hidden=[8]")
    for wrong in ({"trust_remote_code": True}, {"source": "other.csv"}, {"data_files": "x"}):
        table = rewritten(made, lambda facts, wrong=wrong: facts["load_options"].update(wrong))
        for name in ("suspects", "verify", "review"):
            assert_refused(invoke(*commands(table)[name]), next(iter(wrong)))


def test_trust_is_an_option_of_python_too(vectors, tmp_path) -> None:
    table = dd.score(vectors, small_recipe(), ["el2n"], seeds=1, workspace=tmp_path / "runs", device="cpu")
    facts = dict(table.provenance)
    facts["recipe"] = {**facts["recipe"], "model": "no_such_module:make"}
    hostile = dataclasses.replace(table, provenance=facts)
    for function in (dd.verify, dd.find_suspects):
        with pytest.raises(BadInputError, match="model='no_such_module:make'"):
            function(hostile, source=vectors)
        with pytest.raises(BadInputError, match="cannot be imported"):
            function(hostile, source=vectors, model="no_such_module:make", trust_remote_code=True)
    assert np.isfinite(table.column("el2n")).all()
