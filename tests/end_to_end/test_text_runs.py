"""Runs on texts: killed and resumed to the same bits, scores that no batch changes, GraNd against plain autograd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import text_processes_program
import torch
from text_sources import columns_of, write_encoder, write_texts

import datadiet as dd
from datadiet.data import corrupt
from datadiet.engine.points import compute_grand, compute_outputs, load_weights
from datadiet.engine.runs import train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.checkpoint import read_tensors
from datadiet.engine.training.loop import ShowProgress

pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")

TASKS = ("intent_slots", "token_classification", "multilabel", "regression")


def examples_of(task: str) -> dd.Examples:
    if "intent" in task or "token" in task:
        pytest.importorskip("seqeval")
    train, test = (datasets.Dataset.from_dict(columns_of(task, rows, rows)) for rows in (44, 20))
    return dd.load(train, test=test, task=task, name=task)


def recipe_of(model: str = "tiny-bert", **changes: object) -> dd.Recipe:
    options = {"hidden": 8, "layers": 1} if model == "tiny-bert" else {}
    fixed = {"precision": "float32", "memory_format": "contiguous", "epochs": 3, "batch_size": 16, "lr": 0.01}
    return dd.Recipe(**{"model": model, "model_options": options, "optimizer": "adamw", **fixed, **changes})


def setup_of(task: str, place: Path, **changes: object) -> Setup:
    return prepare(examples_of(task), recipe_of(**changes), workspace=place, device="cpu")


def everything_of(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        for name, tensor in read_tensors(path)[0].items():
            found[f"{path.relative_to(folder)}:{name}"] = tensor.numpy().tobytes()
    return found


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", [1, 4, 8])
def test_a_killed_run_in_buckets_of_length_ends_with_the_same_bits(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = {"bucket_by_length": True, "clip_norm": 1.0, "decay_norms_and_biases": False}
    whole = setup_of("intent_slots", tmp_path / "whole", **usual)
    expected = train_run(whole, 3, record=True, weights_at=[3])
    broken = setup_of("intent_slots", tmp_path / "broken", **usual)
    broken.checkpoint_every = 0.0

    def kill(self: ShowProgress, loop: object) -> None:
        if loop.step == step:  # type: ignore[attr-defined]
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(ShowProgress, "on_step", kill)
        with pytest.raises(Killed):
            train_run(broken, 3, record=True, weights_at=[3])
    resumed = train_run(broken, 3, record=True, weights_at=[3])
    assert everything_of(resumed.folder.path) == everything_of(expected.folder.path)
    assert resumed.result["metrics"] == expected.result["metrics"]
    assert resumed.folder.path.name == expected.folder.path.name


@pytest.mark.parametrize("task", TASKS)
def test_scores_do_not_depend_on_batches_nor_padding(task: str, tmp_path: Path) -> None:
    setup = setup_of(task, tmp_path)
    run = train_run(setup, 0, until=2, weights_at=[2])
    model, _ = load_weights(setup, run, 2)
    together = compute_outputs(setup, model) | compute_grand(setup, model)
    assert set(together) >= {"el2n", "loss", "grand"}
    setup.recipe = setup.recipe.replace(batch_size=1)
    alone = compute_outputs(setup, model) | compute_grand(setup, model)
    for name, values in together.items():
        torch.testing.assert_close(alone[name], values, rtol=1e-4, atol=1e-5)


def test_grand_of_a_joint_task_is_the_norm_of_each_examples_own_gradient(tmp_path: Path) -> None:
    setup = setup_of("intent_slots", tmp_path)
    run = train_run(setup, 0, until=2, weights_at=[2])
    model, _ = load_weights(setup, run, 2)
    heads = [p for name, p in model.named_parameters() if name.split(".")[0] in ("intent_head", "slot_head")]
    everything = [p for p in model.parameters() if p.requires_grad]
    assert len(heads) == 4 < len(everything)
    expected: dict[str, list[float]] = {"head": [], "all": []}
    for batch in setup.train.epoch(batch_size=1):
        outputs = model(batch.inputs)
        intent = torch.nn.functional.cross_entropy(outputs["intent"], batch.targets["intent"])
        slots = torch.nn.functional.cross_entropy(
            outputs["slots"][0], batch.targets["slots"][0], ignore_index=-100
        )
        for name, parameters in (("head", heads), ("all", everything)):
            loss = 0.5 * intent + 0.5 * slots
            found = torch.autograd.grad(loss, parameters, retain_graph=True)
            expected[name].append(float(torch.stack([(g.double() ** 2).sum() for g in found]).sum().sqrt()))
    for name, norms in expected.items():
        np.testing.assert_allclose(compute_grand(setup, model, name)["grand"].numpy(), norms, rtol=1e-4)


def test_grand_of_a_pre_trained_model_is_of_its_head_unless_asked_otherwise(tmp_path: Path) -> None:
    encoder = str(write_encoder(tmp_path / "encoder"))
    examples = examples_of("intent_slots")
    recipe = recipe_of(encoder, epochs=1)
    said: list[str] = []

    def table(**options: object) -> dd.ScoreTable:
        from datadiet.foundation.progress import ProgressDisplay

        display = ProgressDisplay(enabled=False)
        display.say = said.append  # type: ignore[method-assign]
        options |= {"workspace": tmp_path / "work", "device": "cpu", "display": display, "at_epoch": 1}
        return dd.score(examples, recipe, ["grand"], seeds=2, **options)  # type: ignore[arg-type]

    usual, head, every = table(), table(grand_parameters="head"), table(grand_parameters="all")
    assert [line for line in said if "freshly initialised head" in line] == said[:1]
    assert usual.column("grand").tolist() == head.column("grand").tolist()
    assert (usual.column("grand") < every.column("grand")).all()
    assert [t.provenance["scores"]["grand"]["parameters"] for t in (usual, head, every)] == [
        "head",
        "head",
        "all",
    ]


@pytest.mark.parametrize("task", ["intent_slots", "token_classification"])
def test_texts_with_tags_have_embeddings_of_an_encoder(task: str, tmp_path: Path) -> None:
    from datadiet.engine.embedding import encode

    setup = setup_of(task, tmp_path / "work")
    encoder = str(write_encoder(tmp_path / "encoder"))
    found = encode(setup, encoder)
    assert found.shape == (len(setup.examples.train), 16) and np.isfinite(found).all()
    assert np.array_equal(found, encode(setup, encoder))


def test_token_ids_are_kept_in_the_workspace(tmp_path: Path) -> None:
    setup_of("intent_slots", tmp_path).close()
    kept = sorted((tmp_path / "tokens").iterdir())
    assert len(kept) == 2  # of the train and of the test part
    written = [path.stat().st_mtime_ns for path in kept]
    setup_of("intent_slots", tmp_path).close()
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "tokens").iterdir())] == written


def test_a_tokenizer_that_gives_more_tokens_than_the_model_knows_is_refused(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    vocabulary = (encoder / "vocab.txt").read_text()
    import transformers

    (tmp_path / "vocab.txt").write_text(vocabulary + "\nanother\nword")
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(encoder)
    with pytest.raises(dd.BadInputError, match="tokenizer that does not match the model"):
        prepare(examples_of("multilabel"), recipe_of(str(encoder)), workspace=tmp_path / "work", device="cpu")


def test_labels_are_made_wrong_and_studied_only_where_there_are_classes(tmp_path: Path) -> None:
    from datadiet.studies.toolbox.protocol import run_study

    examples = examples_of("multilabel")
    with pytest.raises(dd.BadInputError, match="of the task 'multilabel'"):
        corrupt(examples, 0.1)
    with pytest.raises(dd.BadInputError, match="is for classification"):
        run_study("label-noise", examples, recipe=recipe_of(), workspace=tmp_path, device="cpu")


@pytest.mark.slow
def test_two_processes_find_the_metrics_of_one(tmp_path: Path) -> None:
    """Without dropout, both train the same model but for rounding; the test part has an odd number of rows."""
    pytest.importorskip("seqeval")
    write_texts(tmp_path, "intent_slots", train=40, test=23)
    alone = text_processes_program.train(tmp_path / "alone", tmp_path)
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    program += [text_processes_program.__file__, str(tmp_path / "together"), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    together = json.loads((tmp_path / "together" / "found.json").read_text())
    assert alone["metrics"].keys() == together["metrics"].keys() >= {"slot_f1"}
    assert alone["accuracy"] == pytest.approx(together["accuracy"], abs=1e-9)
    for name, value in alone["metrics"].items():
        assert value == pytest.approx(together["metrics"][name], abs=1e-9)
    np.testing.assert_allclose(alone["confidence"], together["confidence"], rtol=2e-2, atol=1e-3)
