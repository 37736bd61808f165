"""Iterative pruning from beginning to end, on the user's own data, and beside small data sets."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.engine.setup import prepare
from datadiet.engine.training.loop import TrainingLoop
from datadiet.foundation.progress import ProgressDisplay
from datadiet.sparse import magnitude_mask, pretrain, with_random_labels


@pytest.fixture
def found(vectors, tiny_recipe, tmp_path):
    return dd.iterative_magnitude_pruning(
        vectors, levels=3, rate=0.4, rewind_step=5, recipe=tiny_recipe, workspace=tmp_path, device="cpu"
    )


def test_each_level_keeps_the_largest_trained_weights_of_the_level_before(found, tiny) -> None:
    total = found.levels[0].mask.total
    assert [ticket.mask.kept for ticket in found.levels] == [round(0.6**level * total) for level in range(4)]
    for before, after in zip(found.levels, found.levels[1:], strict=False):
        weights = before.run.weights(before.run.total_steps)[0]
        size = torch.cat([weights[name].abs().flatten() for name in sorted(after.mask.parts)])
        stays = torch.cat([after.mask.parts[name].flatten() for name in sorted(after.mask.parts)])
        assert size[stays].min() >= size[~stays].max()
        assert all(not bool((part & ~before.mask.parts[n]).any()) for n, part in after.mask.parts.items())


def test_every_level_was_rewound_to_the_point(found) -> None:
    for ticket in found.levels:
        assert ticket.run.folder.description["rewound_to"]["weights"] == found.point.weights
        assert ticket.run.folder.description["rewound_to"]["step"] == 5
    rows = found.table()
    assert [row["level"] for row in rows] == [0, 1, 2, 3]
    assert all(row["accuracy"] == t.run.result["accuracy"] for row, t in zip(rows, found.levels, strict=True))


def test_a_second_call_trains_nothing_and_more_levels_go_on_from_it(
    found, vectors, tiny_recipe, tmp_path, monkeypatch
) -> None:
    options = {"rate": 0.4, "rewind_step": 5, "recipe": tiny_recipe, "workspace": tmp_path, "device": "cpu"}
    more = dd.iterative_magnitude_pruning(vectors, levels=4, **options)
    assert [ticket.run.trained for ticket in more.levels] == [False] * 4 + [True]
    monkeypatch.setattr(TrainingLoop, "run", lambda *_: pytest.fail("it was trained again"))
    dd.iterative_magnitude_pruning(vectors, levels=4, **options)


def test_a_sparsity_is_reached_to_one_weight_at_the_last_level(vectors, tiny_recipe, tmp_path) -> None:
    found = dd.iterative_magnitude_pruning(
        vectors, levels=2, sparsity=0.77, recipe=tiny_recipe, workspace=tmp_path, device="cpu"
    )
    assert found.levels[-1].mask.kept == round(0.23 * found.levels[0].mask.total)


def test_pre_training_on_shuffled_labels_of_a_subset_is_what_the_building_blocks_do(
    vectors, tiny_recipe, tiny, tmp_path
) -> None:
    ids = vectors.train.ids[::3]
    found = dd.iterative_magnitude_pruning(
        vectors,
        levels=1,
        rewind_step=7,
        pretrain_ids=ids,
        pretrain_labels="random",
        recipe=tiny_recipe,
        workspace=tmp_path,
        device="cpu",
    )
    shuffled = prepare(with_random_labels(vectors, 0), tiny_recipe, workspace=tmp_path, device="cpu")
    assert pretrain(shuffled, 0, 7, ids=ids).weights == found.point.weights
    assert pretrain(tiny, 0, 7, ids=ids).weights != found.point.weights
    assert found.levels[0].run.folder.description["data"] == vectors.fingerprint


def test_what_cannot_be_done_is_refused_before_anything_is_trained(
    vectors, tiny_recipe, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(TrainingLoop, "run", lambda *_: pytest.fail("something was trained"))
    options = {"recipe": tiny_recipe, "workspace": tmp_path, "device": "cpu"}
    for wrong, message in (
        ({"levels": 0}, "one level or more"),
        ({"rate": 1.0}, "rate is 1"),
        ({"sparsity": 1.0}, "sparsity is 1"),
        ({"rewind_step": 10**6}, "before the end of training"),
        ({"pretrain_ids": vectors.train.ids[:3]}, "3 examples, fewer than a batch"),
        ({"pretrain_labels": "wrong"}, "'clean' or 'random'"),
        ({"ids": [0, 0]}, "twice"),
    ):
        with pytest.raises(dd.BadInputError, match=message):
            dd.iterative_magnitude_pruning(vectors, **{**options, **wrong})


def test_an_emptied_layer_is_refused_or_said(vectors, tiny_recipe, tmp_path) -> None:
    said: list[str] = []
    display = ProgressDisplay(enabled=False)
    display.say = said.append
    options = {
        "levels": 1,
        "sparsity": 0.995,
        "recipe": tiny_recipe,
        "workspace": tmp_path,
        "device": "cpu",
        "display": display,
    }
    with pytest.raises(dd.BadInputError, match="leaves no weight of"):
        dd.iterative_magnitude_pruning(vectors, **options)
    found = dd.iterative_magnitude_pruning(vectors, allow_empty_layer=True, **options)
    assert found.levels[1].mask.emptied and any("leaves no weight of" in line for line in said)


@pytest.fixture
def whole_run(vectors, tiny_recipe, tmp_path):
    def run(**options):
        return dd.run(
            vectors,
            keep=[0.5],
            seeds=2,
            recipe=tiny_recipe,
            workspace=tmp_path / "runs",
            out=tmp_path / "out",
            device="cpu",
            **options,
        )

    return run


def test_sparse_networks_stand_beside_dense_ones_of_every_arm(whole_run, tmp_path, tiny) -> None:
    verdict = whole_run(sparsity=0.8)
    rows = verdict.data["sparse"]["rows"]
    total = magnitude_mask(tiny.build(0), 0.0).total
    expected = [("full", total), ("full", round(0.2 * total))]
    expected += [
        (name, weights) for name in ("mean_el2n", "random") for weights in (total, round(0.2 * total))
    ]
    assert [(row["score"], row["weights"]) for row in rows] == expected
    for dense, sparse in zip(rows[::2], rows[1::2], strict=True):
        assert dense["examples"] == sparse["examples"] and dense["minus_dense"] is None
        difference = np.mean(sparse["accuracies"]) - np.mean(dense["accuracies"])
        assert sparse["minus_dense"][0] == pytest.approx(difference)
    judged = {"full": verdict.data["full"], **{s["score"]: s for s in verdict.data["subsets"]}}
    assert all(row["accuracies"] == judged[row["score"]]["accuracies"] for row in rows[::2])
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["sparse"]["sparsity"] == 0.8


def test_a_sparsity_outside_its_range_is_refused_before_anything_is_trained(whole_run, monkeypatch) -> None:
    monkeypatch.setattr(TrainingLoop, "run", lambda *_: pytest.fail("something was trained"))
    with pytest.raises(dd.BadInputError, match="sparsity is 1"):
        whole_run(sparsity=1.0)
