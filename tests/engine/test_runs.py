"""Runs: trained once, resumed to the same bits, extended, shared, and found out when tampered with."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.engine.children import train_child
from datadiet.engine.points import load_weights
from datadiet.engine.runs import Run, describe, train_run
from datadiet.engine.setup import prepare
from datadiet.engine.training.checkpoint import TrainingState, read_tensors, weights_hash, write_tensors
from datadiet.engine.training.loop import ShowProgress, TrainingLoop
from datadiet.scores.registry import SCORES


def everything_of(run: Run) -> dict[str, bytes]:
    """All that a run computed, byte by byte, without its timings."""
    found = {}
    for path in sorted(run.folder.path.rglob("*.safetensors")):
        tensors, _ = read_tensors(path)
        for name, tensor in tensors.items():
            found[f"{path.relative_to(run.folder.path)}:{name}"] = tensor.numpy().tobytes()
    return found


def test_a_finished_run_is_never_trained_again(tiny, monkeypatch) -> None:
    first = train_run(tiny, 0)
    monkeypatch.setattr(TrainingLoop, "run", lambda *_: pytest.fail("it was trained again"))
    again = train_run(tiny, 0)
    assert first.trained and not again.trained
    assert first.result == again.result is not None


def test_the_result_is_the_accuracy_of_the_final_weights(tiny) -> None:
    run = train_run(tiny, 0, weights_at=[10**9])
    model, _ = load_weights(tiny, run, run.total_steps)
    model.eval()
    batch = next(iter(tiny.test.epoch(batch_size=1_000)))
    with torch.no_grad():
        predicted = model(batch.inputs).argmax(1)
    correct = predicted == batch.targets
    assert run.result["accuracy"] == pytest.approx(correct.float().mean().item())
    assert run.test_predictions()["correct"].tolist() == correct.tolist()
    assert run.test_predictions()["prediction"].tolist() == predicted.tolist()


FURTHER = ["tdds_change", "least_confidence"]


@pytest.mark.parametrize(
    ("step", "record"), [*((step, True) for step in (1, 8, 11, 17, 31)), (8, FURTHER), (17, FURTHER)]
)
def test_a_run_that_was_killed_at_any_step_ends_with_the_same_bits(
    vectors, tiny_recipe, tmp_path, killed_at, step, record
) -> None:
    whole = prepare(vectors, tiny_recipe, workspace=tmp_path / "whole", device="cpu")
    kept_at = [whole.step_of(1), whole.step_of(4)]
    expected = everything_of(train_run(whole, 5, record=record, weights_at=kept_at))
    interrupted = prepare(
        vectors, tiny_recipe, workspace=tmp_path / "interrupted", device="cpu", checkpoint_every=0.0
    )
    with killed_at(step):
        train_run(interrupted, 5, record=record, weights_at=kept_at)
    resumed = train_run(interrupted, 5, record=record, weights_at=kept_at)
    assert resumed.trained and everything_of(resumed) == expected


def test_resuming_begins_at_the_checkpoint_not_at_the_start(tiny, killed_at, monkeypatch) -> None:
    tiny.checkpoint_every = 0.0
    with killed_at(20):
        train_run(tiny, 0)
    steps = []
    monkeypatch.setattr(ShowProgress, "on_step", lambda self, loop: steps.append(loop.step))
    train_run(tiny, 0)
    assert steps[0] in (20, 21)


def test_a_run_trained_in_part_is_extended_to_the_same_bits(vectors, tiny_recipe, tmp_path) -> None:
    straight = prepare(vectors, tiny_recipe, workspace=tmp_path / "a", device="cpu")
    expected = everything_of(train_run(straight, 1, record=True))
    parts = prepare(vectors, tiny_recipe, workspace=tmp_path / "b", device="cpu")
    first = train_run(parts, 1, record=True, until=parts.step_of(2))
    assert first.result is None and first.trace().epochs == (1, 2)
    assert not train_run(parts, 1, record=True, until=parts.step_of(2)).trained
    assert everything_of(train_run(parts, 1, record=True)) == expected


def test_weights_are_kept_at_the_very_step_where_a_run_was_left(tiny) -> None:
    train_run(tiny, 0, until=tiny.step_of(1))
    run = train_run(tiny, 0, until=tiny.step_of(1), weights_at=[tiny.step_of(1)])
    assert run.weights(tiny.step_of(1))[1]["step"] == tiny.step_of(1)
    assert not train_run(tiny, 0, until=tiny.step_of(1), weights_at=[tiny.step_of(1)]).trained


def test_weights_that_were_not_kept_are_trained_again_to_the_same_bits(tiny) -> None:
    run = train_run(tiny, 0)
    early = train_run(tiny, 0, until=tiny.step_of(1), weights_at=[0, tiny.step_of(1)])
    assert early.trained and run.folder.path == early.folder.path
    state, facts = early.weights(0)
    assert facts["step"] == 0 and weights_hash(state) == weights_hash(tiny.build(0).state_dict())


def test_everything_that_changes_a_run_changes_its_folder(vectors, tiny_recipe, tmp_path) -> None:
    def folder(recipe=tiny_recipe, seed=0, ids=None, record=False) -> str:
        setup = prepare(vectors, recipe, workspace=tmp_path, device="cpu")
        return train_run(setup, seed, ids=ids, record=record, until=0).folder.path.name

    ids = vectors.train.ids[:60]
    folders = [
        folder(),
        folder(seed=1),
        folder(ids=ids),
        folder(ids=vectors.train.ids[1:61]),
        folder(record=True),
        folder(record=["tdds_change"]),
        folder(record=FURTHER),
        folder(tiny_recipe.replace(lr=0.05)),
        folder(tiny_recipe.replace(epochs=5)),
        folder(tiny_recipe.replace(model_options={"hidden": (13,)})),
    ]
    assert len(set(folders)) == len(folders)
    assert folder(tiny_recipe.replace(name="other", score_epoch=2)) == folders[0]
    assert folder(ids=ids[::-1].copy()) == folders[2]
    assert folder(record=()) == folder(record=True)
    assert folder(record=FURTHER[::-1]) == folder(record=FURTHER)


def test_a_trace_with_further_columns_is_of_the_same_training(tiny) -> None:
    plain, more = (train_run(tiny, 0, record=record) for record in (True, FURTHER))
    assert set(more.trace().columns) == {*plain.trace().columns, *FURTHER}
    for name in plain.trace().columns:
        np.testing.assert_array_equal(more.trace().column(name), plain.trace().column(name))
    said = [sentence for sentence in tiny.display.said if "trained once more" in sentence]
    assert len(said) == 1 and "did not record least_confidence and tdds_change" in said[0]


def test_the_code_of_a_users_own_score_is_part_of_the_address(tiny) -> None:
    @dd.register_score("first_logit", needs="outputs")
    def first_logit(logits, targets):
        """The first logit."""
        return logits[:, 0]

    try:
        (recorded,) = describe(tiny, 0, None, ["first_logit"])["record"]
        assert recorded[0] == "first_logit" and recorded[1]
        assert train_run(tiny, 0, record=["first_logit"], until=8).folder.path.is_dir()
    finally:
        SCORES.forget("first_logit")


def test_a_run_with_further_columns_can_have_children(tiny) -> None:
    parent = train_run(tiny, 0, record=FURTHER, weights_at=[5])
    assert train_child(tiny, parent, 5, 1).result is not None


def test_subsets_train_for_the_same_steps_or_the_same_epochs(vectors, tiny_recipe, tmp_path) -> None:
    ids = vectors.train.ids[:60]
    steps = prepare(vectors, tiny_recipe, workspace=tmp_path, device="cpu")
    epochs = prepare(vectors, tiny_recipe.replace(budget="epochs"), workspace=tmp_path, device="cpu")
    assert train_run(steps, 0, ids=ids).result["steps"] == 4 * 8
    assert train_run(epochs, 0, ids=ids).result["steps"] == 4 * 4


def test_a_checkpoint_with_other_weights_is_found_out(tiny) -> None:
    run = train_run(tiny, 0, weights_at=[8])
    state, facts = run.weights(8)
    state["head.bias"] += 1e-3
    write_tensors(run.folder.weights_path(8), state, facts)
    with pytest.raises(dd.RunFailedError, match="not as it was written"):
        load_weights(tiny, run, 8)


def test_a_checkpoint_of_another_step_is_found_out(tiny) -> None:
    run = train_run(tiny, 0, weights_at=[8, 16])
    run.folder.weights_path(16).replace(run.folder.weights_path(8))
    with pytest.raises(dd.RunFailedError, match="not as it was written"):
        load_weights(tiny, run, 8)


def test_a_training_state_survives_its_file(tmp_path) -> None:
    parameter = torch.nn.Parameter(torch.randn(3))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    parameter.sum().backward()
    optimizer.step()
    state = TrainingState(7, {"w": parameter.detach()}, 1.5, optimizer.state_dict(), {"x": torch.arange(3)})
    state.write(tmp_path / "state.safetensors")
    back = TrainingState.read(tmp_path / "state.safetensors")
    assert (back.step, back.seconds) == (7, 1.5)
    torch.testing.assert_close(back.optimizer, state.optimizer, rtol=0, atol=0)
    assert torch.equal(back.recorder["x"], torch.arange(3))


def test_a_damaged_file_is_one_clear_sentence(tmp_path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"not tensors")
    with pytest.raises(dd.RunFailedError, match="cannot be read"):
        TrainingState.read(tmp_path / "state.safetensors")


def test_training_on_a_subset_shows_no_other_example(tiny) -> None:
    ids = tiny.examples.train.ids[10:50]
    run = train_run(tiny, 0, ids=ids, record=True)
    assert np.array_equal(run.trace().ids, ids)


@pytest.fixture
def built(tiny, monkeypatch) -> list[weakref.ref[torch.nn.Module]]:
    """Every model that the setup builds from now on."""
    build, found = type(tiny).build, []

    def watched(setup, seed):
        model = build(setup, seed)
        found.append(weakref.ref(model))
        return model

    monkeypatch.setattr(type(tiny), "build", watched)
    return found


def test_models_and_optimisers_of_finished_runs_are_let_go_when_they_get_large(
    tiny, built, monkeypatch
) -> None:
    size = sum(p.numel() * p.element_size() for p in tiny.build(0).parameters())
    built.clear()
    monkeypatch.setattr("datadiet.engine.setup.MAX_PREPARED_BYTES", 2 * size)
    train_run(tiny, 0)
    gc.collect()
    assert built[0]() is not None  # one alone is not worth collecting garbage for
    train_run(tiny, 1)
    gc.collect()
    assert len(built) == 2 and all(model() is None for model in built)


def test_runs_that_are_only_read_collect_no_garbage(tiny, monkeypatch) -> None:
    train_run(tiny, 0)
    monkeypatch.setattr("datadiet.engine.setup.MAX_PREPARED_BYTES", 0)
    collected = []
    monkeypatch.setattr(type(tiny.accelerator), "free_memory", lambda *_: collected.append(True))
    tiny.prepared_bytes.clear()
    train_run(tiny, 0)
    assert collected == []
    train_run(tiny, 1)
    assert collected == [True]
