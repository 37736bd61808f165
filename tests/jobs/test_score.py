"""Scores of a run against formulas written out in NumPy, and what they must not depend on."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import datadiet as dd
from datadiet.engine.points import load_weights
from datadiet.engine.runs import train_run
from datadiet.engine.setup import prepare
from datadiet.engine.training.loop import RecordTrace
from datadiet.engine.workspace import Workspace
from datadiet.jobs.score import score, score_with
from datadiet.scores.training_dynamics import tdds_of_probabilities


def logits_by_hand(setup, run, step) -> tuple[np.ndarray, np.ndarray]:
    """Float64 logits of every training example in id order, from the checkpoint, one example at a time."""
    model, _ = load_weights(setup, run, step)
    model = model.double().eval()
    rows = [
        (model(b.inputs.double()).detach().numpy()[0], int(b.targets[0]))
        for b in setup.train.epoch(batch_size=1)
    ]
    return np.stack([r[0] for r in rows]), np.array([r[1] for r in rows])


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def test_point_scores_are_the_formulas_at_the_weights_of_that_epoch(tiny) -> None:
    scoring = score_with(tiny, ["el2n"], seeds=2, at_epoch=2, also_free=True)
    table = scoring.table
    for index, run in enumerate(scoring.runs):
        logits, labels = logits_by_hand(tiny, run, tiny.step_of(2))
        p = softmax(logits)
        rows = np.arange(len(labels))
        error = p.copy()
        error[rows, labels] -= 1
        others = p.copy()
        others[rows, labels] = -np.inf
        expected = {
            "el2n": np.sqrt((error**2).sum(1)),
            "l1_error": np.abs(error).sum(1),
            "entropy": -(p * np.log(p)).sum(1),
            "loss": -np.log(p[rows, labels]),
            "margin": p[rows, labels] - others.max(1),
        }
        for name, values in expected.items():
            np.testing.assert_allclose(
                table.per_seed[name][index], values, rtol=2e-4, atol=2e-6, err_msg=name
            )
    np.testing.assert_allclose(table.column("el2n"), table.per_seed["el2n"].mean(0), rtol=1e-6)


def test_grand_is_the_norm_of_the_gradient_of_one_examples_loss_alone(tiny) -> None:
    scoring = score_with(tiny, ["grand", "grand_last_layer"], seeds=1, at_epoch=1)
    model, _ = load_weights(tiny, scoring.runs[0], tiny.step_of(1))
    model = model.double().eval()
    norms, heads = [], []
    for batch in tiny.train.epoch(batch_size=1):
        model.zero_grad()
        F.cross_entropy(model(batch.inputs.double()), batch.targets).backward()
        squares = {n: float((p.grad**2).sum()) for n, p in model.named_parameters()}
        norms.append(np.sqrt(sum(squares.values())))
        heads.append(np.sqrt(sum(v for n, v in squares.items() if n.startswith("head"))))
    np.testing.assert_allclose(scoring.table.column("grand"), norms, rtol=1e-4)
    np.testing.assert_allclose(scoring.table.column("grand_last_layer"), heads, rtol=1e-4)
    head = score_with(tiny, ["grand"], seeds=1, at_epoch=1, grand_parameters="head").table
    np.testing.assert_allclose(head.column("grand"), heads, rtol=1e-4)


def test_forgetting_counts_what_the_training_pass_did(tiny) -> None:
    scoring = score_with(tiny, ["forgetting"], seeds=1, at_epoch=4)
    trace = scoring.runs[0].trace()
    correct = trace.column("correct").astype(bool)
    expected = []
    for column in correct.T:
        drops = sum(bool(a and not b) for a, b in itertools.pairwise(column))
        expected.append(drops if column.any() else len(column))
    assert scoring.table.column("forgetting").tolist() == expected
    never = ~correct.any(axis=0)
    assert never.any(), "the data must hold examples that are never learnt"
    assert scoring.table.column("forgetting")[never].min() > max(expected[i] for i in np.flatnonzero(~never))


def test_the_trace_of_an_epoch_is_what_the_loop_saw(tiny) -> None:
    run = train_run(tiny, 0, record=True, until=tiny.step_of(1))
    model = tiny.build(0)
    from datadiet.engine.training.randomness import derive_seed

    first = next(iter(tiny.train.epoch(batch_size=16, seed=derive_seed(0, "order"), epoch=0)))
    with torch.no_grad():
        expected = F.softmax(model(first.inputs), 1)[torch.arange(len(first)), first.targets]
    places = tiny.examples.train.positions_of(first.ids.numpy())
    np.testing.assert_allclose(run.trace().column("probability")[0][places], expected.numpy(), rtol=1e-5)


def test_tdds_is_of_all_classes_where_it_is_asked_for(tiny, monkeypatch) -> None:
    free = score_with(tiny, None, seeds=1, at_epoch=4).table
    assert "tdds_label" in free.names and "tdds" not in free.names
    seen = np.zeros((4, len(tiny.examples.train), 3))

    def watch(self, loop, batch, outputs, losses) -> None:
        places = tiny.examples.train.positions_of(batch.ids.numpy())
        seen[self.recorder.epoch, places] = outputs.detach().double().softmax(1).numpy()
        self.recorder.update(batch.ids, outputs, batch.targets)

    monkeypatch.setattr(RecordTrace, "on_batch", watch)
    table = score_with(tiny, ["tdds", "mean_least_confidence"], seeds=1, at_epoch=4).table
    np.testing.assert_allclose(table.column("tdds"), tdds_of_probabilities(seen), rtol=2e-3, atol=1e-6)
    mean = (1 - seen[1:].max(axis=2)).mean(axis=0)
    np.testing.assert_allclose(table.column("mean_least_confidence"), mean, rtol=1e-4, atol=1e-7)
    assert table.provenance["scores"]["tdds"]["taken"] == "training pass"
    assert any("trained once more" in sentence for sentence in tiny.display.said)


class Moody(nn.Module):
    """Dropout and BatchNorm: scores would change with mode and batch if they were taken carelessly."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(16, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(inputs))


def moody(context) -> nn.Module:
    return Moody(context.num_classes)


@pytest.fixture
def moody_model():
    dd.model("moody_test", kinds=("vector",), summary="for this test")(moody)
    yield "moody_test"
    from datadiet.models import MODELS

    MODELS.forget("moody_test")


def test_scores_do_not_depend_on_batch_size_workers_or_streaming(
    vectors, tiny_recipe, tmp_path, moody_model
) -> None:
    recipe = tiny_recipe.replace(model=moody_model, model_options={})
    setup = prepare(vectors, recipe, workspace=tmp_path, device="cpu")
    scoring = score_with(setup, ["grand", "el2n"], seeds=1, at_epoch=2, also_free=True)
    run, step = scoring.runs[0], setup.step_of(2)
    from datadiet.engine.points import compute_grand, compute_outputs
    from datadiet.engine.training.evaluation import evaluation_mode

    model, _ = load_weights(setup, run, step)
    for batch_size, limit, workers in ((1, None, 0), (7, None, 0), (33, 0, 0), (16, 0, 2)):
        other = prepare(
            vectors, recipe, workspace=tmp_path, device="cpu", memory_limit=limit, num_workers=workers
        )
        assert other.train.in_memory == (limit is None)
        other.recipe = other.recipe.replace(batch_size=batch_size)
        with evaluation_mode(model):
            again = compute_outputs(other, model) | compute_grand(other, model)
        other.close()
        for name, values in again.items():
            np.testing.assert_allclose(
                values.numpy(), scoring.table.column(name), rtol=1e-4, atol=1e-5, err_msg=name
            )


def test_a_table_with_grand_of_a_model_with_batch_norm_can_be_verified(
    vectors, tiny_recipe, tmp_path, moody_model
) -> None:
    recipe = tiny_recipe.replace(model=moody_model, model_options={})
    table = score(vectors, recipe, ["grand", "el2n"], seeds=2, at_epoch=2, workspace=tmp_path, device="cpu")
    outcome = dd.verify(table, source=vectors, sample=40, device="cpu")
    assert outcome.agrees and set(outcome.worst) >= {"grand", "el2n"}


def test_by_default_scores_are_of_the_training_pass_and_cost_no_other(tiny, monkeypatch) -> None:
    def no_pass(*_, **__):
        raise AssertionError("a forward pass was made")

    monkeypatch.setattr("datadiet.jobs.score.measure_points", no_pass)
    scoring = score_with(tiny, seeds=2, at_epoch=3)
    assert scoring.table.names[0] == "mean_el2n" and not {"el2n", "margin"} & set(scoring.table.names)
    for index, run in enumerate(scoring.runs):
        values = run.trace().column("el2n", through_epoch=3).astype(np.float64)
        expected = [(values[1, row] + values[2, row]) / 2 for row in range(values.shape[1])]
        np.testing.assert_allclose(scoring.table.per_seed["mean_el2n"][index], expected, rtol=1e-6)
    entry = scoring.table.provenance["scores"]["mean_el2n"]
    assert (entry["taken"], entry["from_epoch"], entry["epoch"]) == ("training pass", 2, 3.0)
    assert "weights" not in entry and sum(ledger["seconds"]["scoring"] for ledger in scoring.ledgers) == 0


def test_before_an_epoch_is_whole_the_default_is_el2n_at_the_checkpoint(tiny) -> None:
    table = score_with(tiny, seeds=1, at_epoch=0.5).table
    assert table.names[0] == "el2n" and "mean_el2n" not in table.names
    assert table.provenance["scores"]["el2n"]["taken"] == "evaluation"
    first = score_with(tiny, ["mean_el2n"], seeds=1, at_epoch=1)
    np.testing.assert_array_equal(
        first.table.column("mean_el2n"), first.runs[0].trace().column("el2n", through_epoch=1)[0]
    )
    assert first.table.provenance["scores"]["mean_el2n"]["from_epoch"] == 1


def test_scores_of_the_training_pass_are_verified_against_what_was_recorded(tiny, vectors, tmp_path) -> None:
    table = score(vectors, tiny.recipe, seeds=2, at_epoch=3, workspace=tmp_path, device="cpu")
    outcome = dd.verify(table, source=vectors, sample=40, device="cpu")
    assert outcome.agrees and set(outcome.worst) >= {"mean_el2n", "forgetting", "aum"}
    changed = dict(table.per_seed)
    changed["mean_el2n"] = changed["mean_el2n"] * 1.01
    columns = {**table.columns, "mean_el2n": changed["mean_el2n"].mean(axis=0)}
    wrong = replace(table, per_seed=changed, columns=columns)
    outcome = dd.verify(wrong, source=vectors, sample=40, device="cpu")
    assert not outcome.agrees and "mean_el2n" in str(outcome) and "aum" not in str(outcome)
    elsewhere = Workspace(tmp_path / "elsewhere").path
    with pytest.raises(dd.BadInputError, match="has no training pass of seed 0; give the workspace"):
        dd.verify(table, source=vectors, workspace=elsewhere, device="cpu")


def test_scores_that_were_recorded_where_asked_for_are_verified_in_the_run_that_has_them(
    tiny, vectors, tmp_path
) -> None:
    names = ["tdds", "mean_least_confidence"]
    table = score(vectors, tiny.recipe, names, seeds=1, at_epoch=4, workspace=tmp_path, device="cpu")
    outcome = dd.verify(table, source=vectors, sample=40, device="cpu")
    assert outcome.agrees and set(outcome.worst) == set(names)
    assert str(outcome).startswith("40 examples, 1 seed, 2 scores: ")
    before = len(list((tmp_path / "trainings").iterdir()))
    dd.find_suspects(table, source=vectors, second_pass=False, device="cpu")
    assert len(list((tmp_path / "trainings").iterdir())) == before, "the same run goes on"


def test_streamed_data_trains_to_the_same_bits_as_data_in_memory(vectors, tiny_recipe, tmp_path) -> None:
    in_memory = prepare(vectors, tiny_recipe, workspace=tmp_path / "a", device="cpu")
    streamed = prepare(vectors, tiny_recipe, workspace=tmp_path / "b", device="cpu", memory_limit=0)
    assert in_memory.train.in_memory and not streamed.train.in_memory
    results = [train_run(setup, 0).result for setup in (in_memory, streamed)]
    assert results[0]["weights"] == results[1]["weights"]


def test_several_epochs_give_a_column_each_and_initialisation_is_epoch_zero(tiny) -> None:
    table = score_with(tiny, ["el2n"], seeds=1, at_epoch=[0, 0.5, 2]).table
    assert table.names == ("el2n@0", "el2n@0.5", "el2n@2")
    entry = table.provenance["scores"]["el2n@0.5"]
    assert (entry["epoch"], entry["step"]) == (0.5, tiny.step_of(0.5))
    model = tiny.build(0).eval()
    batch = next(iter(tiny.train.epoch(batch_size=10**6)))
    with torch.no_grad():
        error = F.softmax(model(batch.inputs), 1) - F.one_hot(batch.targets, 3)
    np.testing.assert_allclose(table.column("el2n@0"), error.norm(dim=1).numpy(), rtol=1e-4)


def test_every_seed_of_a_column_names_its_weights(tiny) -> None:
    scoring = score_with(tiny, ["el2n"], seeds=2, at_epoch=1)
    hashes = scoring.table.provenance["scores"]["el2n"]["weights"]
    assert len(set(hashes)) == 2
    assert hashes == [run.weights(tiny.step_of(1))[1]["hash"] for run in scoring.runs]


def test_two_random_columns_of_two_seeds_are_different_and_repeatable(tiny) -> None:
    table = score_with(tiny, ["random"], seeds=2, at_epoch=1).table
    assert not np.array_equal(*table.per_seed["random"])
    again = score_with(tiny, ["random"], seeds=2, at_epoch=1).table
    assert np.array_equal(table.column("random"), again.column("random"))


def test_scores_follow_their_examples_when_the_rows_are_shuffled(tiny_recipe, tmp_path) -> None:
    """The score of an example is that of its content: relabelled examples stand out wherever they stand."""
    generator = np.random.default_rng(0)
    labels = np.arange(200) % 2
    inputs = (labels[:, None] * 4 + generator.normal(size=(200, 4))).astype(np.float32)
    order = generator.permutation(200)
    wrong = generator.choice(200, 8, replace=False)
    labels = labels.copy()
    labels[wrong] = 1 - labels[wrong]
    test = (inputs[:40], np.arange(40) % 2)
    recipe = tiny_recipe.replace(lr=0.05)
    table = score(
        dd.load((inputs[order], labels[order]), test=test),
        recipe,
        ["el2n"],
        seeds=2,
        workspace=tmp_path,
        device="cpu",
    )
    hardest = set(order[dd.keep(table, 8, by="el2n", rule="hardest")])
    assert hardest == set(wrong)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scores": ["el3n"]}, "el2n"),
        ({"scores": ["forgetting"], "at_epoch": 0}, "epoch 1 or later"),
        ({"at_epoch": 5}, "trains for 4 epochs"),
        ({"at_epoch": -1}, "from 0 to 4"),
        ({"at_epoch": []}, "at least one epoch"),
        ({"seeds": 0}, "1 or more"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_trained(tiny, arguments, words) -> None:
    with pytest.raises(dd.BadInputError, match=words):
        score_with(tiny, **arguments)
    assert not list((tiny.workspace.path / "trainings").iterdir())
