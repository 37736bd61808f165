"""Rewinding: exact bits, identity tickets, killed levels, pre-training on subsets, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.engine.runs import Run, describe, train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.checkpoint import TrainingState, read_tensors, weights_hash
from datadiet.engine.training.loop import Observer, ShowProgress, TrainingLoop
from datadiet.engine.workspace import content_address
from datadiet.sparse import (
    Mask,
    magnitude_mask,
    pretrain,
    rewinding_point,
    tickets,
    train_from,
    with_random_labels,
)


def last_weights(run: Run) -> dict[str, torch.Tensor]:
    return run.weights(run.total_steps)[0]


def half_mask(setup: Setup) -> Mask:
    return magnitude_mask(setup.build(0), 0.5)


def test_an_identity_ticket_from_initialisation_is_the_dense_network_to_the_bit(tiny) -> None:
    dense = train_run(tiny, 0, weights_at=[10**9])
    ticket = next(tickets(tiny, pretrain(tiny, 0, 0), [0.0]))
    assert weights_hash(last_weights(ticket.run)) == weights_hash(last_weights(dense))
    assert ticket.accuracy == dense.result["accuracy"] and ticket.mask.keeps_all


@pytest.mark.parametrize("step", [1, 8, 13, 31])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_rewinding_the_optimiser_as_well_goes_on_to_the_bits_of_the_dense_network(
    vectors, tiny_recipe, tmp_path, step, optimizer
) -> None:
    setup = prepare(vectors, tiny_recipe.replace(optimizer=optimizer), workspace=tmp_path, device="cpu")
    dense = train_run(setup, 0, weights_at=[10**9])
    with_state = train_from(setup, pretrain(setup, 0, step), optimizer=True)
    assert weights_hash(last_weights(with_state)) == weights_hash(last_weights(dense))
    at_rest = train_from(setup, pretrain(setup, 0, step))
    assert weights_hash(last_weights(at_rest)) != weights_hash(last_weights(dense))


def test_a_rewound_run_begins_with_the_exact_weights_and_statistics_of_the_point(
    tmp_path, tiny_recipe, monkeypatch
) -> None:
    images = np.random.default_rng(0).integers(0, 255, (80, 8, 8, 3), dtype=np.uint8)
    examples = dd.load((images, np.arange(80) % 2), name="images")
    setup = prepare(
        examples, tiny_recipe.replace(model="smallcnn", model_options={}), workspace=tmp_path, device="cpu"
    )
    point = pretrain(setup, 0, 5)
    mask = magnitude_mask(setup.build(0), 0.5)
    seen = []
    load_state = TrainingLoop.load_state

    def watched(self: TrainingLoop, state: TrainingState) -> None:
        load_state(self, state)
        seen.append({name: value.clone() for name, value in self.bare_model.state_dict().items()})

    monkeypatch.setattr(TrainingLoop, "load_state", watched)
    train_from(setup, point, mask)
    assert len(seen) == 1 and any("running_var" in name for name in point.model)
    for name, value in point.model.items():
        assert torch.equal(value, seen[0][name])


def test_a_point_of_any_kept_checkpoint_and_one_of_pre_training_are_the_same(tiny) -> None:
    run = train_run(tiny, 0, weights_at=[9])
    assert rewinding_point(run, 9).weights == pretrain(tiny, 0, 9).weights
    kept = pretrain(tiny, 0, 9)
    assert kept.optimizer["state"] and weights_hash(kept.model) == kept.weights


def test_points_after_the_end_or_without_a_checkpoint_are_refused(tiny) -> None:
    run = train_run(tiny, 0, weights_at=[9])
    with pytest.raises(dd.BadInputError, match=r"no checkpoint at step 10 .*weights_at=\[10"):
        rewinding_point(run, 10)
    for call in (
        lambda: rewinding_point(run, run.total_steps),
        lambda: pretrain(tiny, 0, run.total_steps),
        lambda: pretrain(tiny, 0, -1),
    ):
        with pytest.raises(dd.BadInputError, match="before the end of training"):
            call()


def test_the_optimiser_cannot_be_rewound_where_its_state_was_not_kept(tiny) -> None:
    run = train_run(tiny, 0, weights_at=[9])
    with pytest.raises(dd.BadInputError, match="no state of the optimiser"):
        train_from(tiny, rewinding_point(run, 9), optimizer=True)


def test_a_subset_smaller_than_a_batch_is_refused(tiny) -> None:
    with pytest.raises(dd.BadInputError, match="15 examples, fewer than a batch of 16"):
        pretrain(tiny, 0, 3, ids=tiny.examples.train.ids[:15])
    pretrain(tiny, 0, 3, ids=tiny.examples.train.ids[:16])


def test_a_mask_of_another_model_is_refused(tiny) -> None:
    with pytest.raises(dd.BadInputError, match="another model"):
        train_from(tiny, pretrain(tiny, 0, 0), Mask({"body.0.weight": torch.ones(2, 2, dtype=torch.bool)}))


@pytest.mark.parametrize(
    "changes",
    [
        {"nesterov": True, "weight_decay": 0.05},
        {"nesterov": False, "weight_decay": 0.05},
        {"optimizer": "adamw", "weight_decay": 0.1},
    ],
)
def test_zeros_are_exactly_zero_in_every_checkpoint(
    vectors, tiny_recipe, tmp_path, monkeypatch, changes
) -> None:
    setup = prepare(
        vectors, tiny_recipe.replace(**changes), workspace=tmp_path, device="cpu", checkpoint_every=0.0
    )
    point = pretrain(setup, 0, 5)
    mask = half_mask(setup)
    seen = []

    def look(self: Observer, loop: TrainingLoop) -> None:
        path = next(p for p in setup.workspace.path.glob("trainings/*/state.safetensors") if _masked(p))
        state = TrainingState.read(path)
        assert state.step == loop.step
        names = [name for name, _ in loop.bare_model.named_parameters()]
        for name, part in mask.parts.items():
            assert torch.count_nonzero(state.model[name][~part]) == 0
            for value in state.optimizer["state"].get(names.index(name), {}).values():
                if isinstance(value, torch.Tensor) and value.shape == part.shape:
                    assert torch.count_nonzero(value[~part]) == 0
        seen.append(state.step)

    def _masked(path) -> bool:
        return (path.parent / "mask.safetensors").exists()

    monkeypatch.setattr(ShowProgress, "on_step", look)
    run = train_from(setup, point, mask)
    assert seen == list(range(6, run.total_steps + 1))
    assert Mask.read(run.folder.path / "mask.safetensors").digest() == mask.digest()
    for name, part in mask.parts.items():
        assert torch.count_nonzero(last_weights(run)[name][~part]) == 0
        assert bool((last_weights(run)[name][part] != 0).all())


@pytest.mark.parametrize("step", [10, 17, 31])
def test_a_level_that_was_killed_ends_with_the_same_bits(
    vectors, tiny_recipe, tmp_path, killed_at, step
) -> None:
    whole = prepare(vectors, tiny_recipe, workspace=tmp_path / "whole", device="cpu")
    mask = half_mask(whole)
    expected = train_from(whole, pretrain(whole, 0, 5), mask, optimizer=True)
    interrupted = prepare(
        vectors, tiny_recipe, workspace=tmp_path / "interrupted", device="cpu", checkpoint_every=0.0
    )
    point = pretrain(interrupted, 0, 5)

    with killed_at(step):
        train_from(interrupted, point, mask, optimizer=True)
    run = train_from(interrupted, point, mask, optimizer=True)
    assert run.trained and run.folder.path.name == expected.folder.path.name
    assert weights_hash(last_weights(run)) == weights_hash(last_weights(expected))
    first, _ = read_tensors(expected.folder.test_path)
    second, _ = read_tensors(run.folder.test_path)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_levels_are_trained_once_and_told_apart_by_mask_point_optimiser_and_noise(tiny, monkeypatch) -> None:
    point, mask = pretrain(tiny, 0, 5), half_mask(tiny)
    other = magnitude_mask(tiny.build(0), 0.25)
    asked = [
        (point, mask, {}),
        (point, other, {}),
        (point, None, {}),
        (point, None, {"noise": 0}),
        (point, None, {"noise": 1}),
        (point, mask, {"optimizer": True}),
        (pretrain(tiny, 0, 6), mask, {}),
        (pretrain(tiny, 1, 5), mask, {}),
    ]
    runs = [train_from(tiny, *one, **more) for *one, more in asked]
    assert len({run.folder.path.name for run in runs}) == len(runs)
    assert len({weights_hash(last_weights(run)) for run in runs}) == len(runs)
    monkeypatch.setattr(TrainingLoop, "run", lambda *_: pytest.fail("it was trained again"))
    assert not any(train_from(tiny, *one, **more).trained for *one, more in asked)


def test_pre_training_sees_its_subset_only_and_the_learning_rates_of_the_whole_training(
    tiny, monkeypatch
) -> None:
    ids = tiny.examples.train.ids[3:40]
    seen, rates = set(), []

    def on_step(self: TrainingLoop, batch, size) -> None:
        step(self, batch, size)
        seen.update(batch.ids.tolist())
        rates.append(self.optimizer.param_groups[0]["lr"])

    step = TrainingLoop._step
    monkeypatch.setattr(TrainingLoop, "_step", on_step)
    pretrain(tiny, 0, 12, ids=ids)
    assert seen == set(ids.tolist())
    of_subset, rates[:] = list(rates), []
    train_run(tiny, 7, until=12)
    assert of_subset == rates and len(rates) == 12


def test_shuffled_labels_are_the_same_labels_on_other_examples(tiny) -> None:
    shuffled = with_random_labels(tiny.examples, 1)
    before, after = tiny.examples.train.labels, shuffled.train.labels
    assert sorted(before) == sorted(after) and np.mean(before == after) < 0.6
    assert np.array_equal(shuffled.test.labels, tiny.examples.test.labels)
    assert shuffled.fingerprint not in (
        tiny.examples.fingerprint,
        with_random_labels(tiny.examples, 2).fingerprint,
    )


def test_addresses_of_runs_that_know_no_masks_are_what_they_were(tiny) -> None:
    """A run's description has these fields and no others: what is new only ever adds to runs that ask for it."""
    description = describe(tiny, 0, None, False)
    assert sorted(description) == [
        "data",
        "device",
        "encoding",
        "ids",
        "processes",
        "protocol",
        "recipe",
        "record",
        "seed",
        "total_steps",
    ]
    fields = {field.name for field in dataclasses.fields(dd.Recipe)}
    assert not {"sparsity", "mask", "pretrain", "rewind"} & fields
    run = train_run(tiny, 0)
    assert run.folder.path.name == content_address(description)
