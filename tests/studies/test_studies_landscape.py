"""The studies of the landscape: kernels that turn, children that part, and claims that fail where they must."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_contexts import TINY, assert_drawn, outcomes, small_context

import datadiet as dd
from datadiet.engine.points import load_weights
from datadiet.landscape import kernel_distance, ntk_gram
from datadiet.studies import STUDIES
from datadiet.studies.mode_connectivity import group_size
from datadiet.studies.ntk_velocity import BELOW_NOISE, OFFSETS, epochs, groups_in_order
from datadiet.studies.toolbox.claims import judge
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.protocol import StudyResult, carry_out, plan_of
from tiny_models import small_recipe


def half_clear_half_random() -> dd.Examples:
    """Half of the examples lie by themselves far out, the other half are noise with labels by chance."""
    generator = np.random.default_rng(5)
    labels = np.arange(240) % 2
    inputs = generator.normal(size=(240, 8))
    inputs[:120, 0] = 6.0 * (2 * labels[:120] - 1)
    return dd.load((inputs.astype(np.float32), labels), name="halves")


@pytest.fixture(scope="module")
def halves(tmp_path_factory) -> StudyContext:
    recipe = small_recipe(
        name="memorising", model_options={"hidden": (48,)}, epochs=20, lr=0.3, weight_decay=0.0
    )
    context = small_context(half_clear_half_random(), recipe, tmp_path_factory.mktemp("halves"))
    context.scale = dataclasses.replace(TINY, group=45, retrain_seeds=4)
    return context


@pytest.fixture(scope="module")
def connectivity(halves, tmp_path_factory) -> StudyResult:
    return carry_out(STUDIES["mode-connectivity"], halves, tmp_path_factory.mktemp("mode"))


@pytest.mark.slow
def test_hard_examples_have_the_barrier_where_half_of_the_labels_are_chance(connectivity) -> None:
    assert outcomes(connectivity)[:2] == ["holds", "holds"]
    row = {(row["step"], row["group"]): row for row in connectivity.rows}
    steps = sorted({step for step, _ in row})
    assert steps[0] == 0 and all(row[step, "hardest"]["n"] == 45 for step in steps)
    assert row[0, "hardest"]["barrier"] > row[0, "random"]["barrier"] > row[0, "easiest"]["barrier"]


def test_groups_by_a_random_score_show_no_difference(connectivity, halves, tmp_path, monkeypatch) -> None:
    chance = np.random.default_rng(0).normal(size=len(halves.setup.examples.train))
    monkeypatch.setattr(StudyContext, "hardness", lambda *_: chance)
    result = carry_out(STUDIES["mode-connectivity"], halves, tmp_path / "out")
    assert result.trained == 0
    assert "holds" not in outcomes(result)[:2]
    barrier = {(row["step"], row["group"]): row["barrier"] for row in result.rows}
    assert barrier[0, "easiest"] > 0.5 * barrier[0, "hardest"] > 0


def test_networks_without_hidden_layers_are_connected_from_the_start(vectors, tiny_recipe, tmp_path) -> None:
    context = small_context(vectors, tiny_recipe.replace(model_options={"hidden": ()}), tmp_path)
    result = carry_out(STUDIES["mode-connectivity"], context, tmp_path / "out")
    assert "holds" not in (outcomes(result)[0], outcomes(result)[2])
    assert all(row["barrier"] < 0.07 for row in result.rows)


def test_barriers_come_from_the_paths_that_are_kept_beside_them(connectivity) -> None:
    import pyarrow.parquet as pq

    paths = pq.read_table(connectivity.folder / "paths.parquet").to_pylist()
    for row in connectivity.rows:
        for parent, barrier in enumerate(row["barriers"]):
            line = sorted(
                (p["alpha"], p["error"])
                for p in paths
                if (p["epoch"], p["group"], p["parent"]) == (row["epoch"], row["group"], parent)
            )
            first, last = line[0][1], line[-1][1]
            assert barrier == pytest.approx(max(e - (1 - a) * first - a * last for a, e in line), abs=1e-9)


def test_small_data_gets_smaller_groups_and_is_told_so(vectors, tiny_recipe, tmp_path) -> None:
    context = small_context(vectors, tiny_recipe, tmp_path)
    context.scale = dataclasses.replace(TINY, group=1_000)
    have = len(context.setup.examples.train)
    assert group_size(context) == group_size(context) == have // 4
    assert context.notes == [f"The groups have {have // 4} examples in place of 1,000: a quarter of {have}."]


def test_too_little_data_for_any_group_or_kernel_is_refused(tiny_recipe, tmp_path) -> None:
    rng = np.random.default_rng(0)
    few = dd.load((rng.normal(size=(15, 3)).astype(np.float32), np.arange(15) % 3), name="few")
    context = small_context(few, tiny_recipe, tmp_path)
    for name in ("mode-connectivity", "ntk-velocity"):
        with pytest.raises(dd.BadInputError, match="training examples"):
            plan_of(STUDIES[name], context)


@pytest.fixture(scope="module")
def noisy_scale_context(vectors, tmp_path_factory) -> StudyContext:
    recipe = small_recipe()
    return small_context(vectors, recipe, tmp_path_factory.mktemp("ntk"))


@pytest.fixture(scope="module")
def velocity(noisy_scale_context, tmp_path_factory) -> StudyResult:
    return carry_out(STUDIES["ntk-velocity"], noisy_scale_context, tmp_path_factory.mktemp("velocity"))


def test_velocities_are_distances_of_kernels_of_neighbouring_epochs(noisy_scale_context, velocity) -> None:
    context, result = noisy_scale_context, velocity
    assert_drawn(result, ["ntk-velocity"])
    assert {row["labels"] for row in result.rows} == {"clean", "noisy"}
    assert len(result.rows) == 2 * len(OFFSETS) * len(epochs(context))
    row = next(r for r in result.rows if (r["labels"], r["offset"], r["epoch"]) == ("clean", 1.0, 1))
    hardness = context.hardness("el2n", context.score_step)
    hardest = np.argsort(hardness, kind="stable")[-row["examples"] :]
    ids = np.sort(context.setup.examples.train.ids[hardest])
    inputs = next(iter(context.setup.train.epoch(ids, batch_size=len(ids)))).inputs
    per_epoch = context.setup.steps_per_epoch
    run = context.epochs_run(0, [e * per_epoch for e in range(5)])
    kernels = []
    for epoch in (1, 2):
        model, _ = load_weights(context.setup, run, epoch * per_epoch)
        kernels.append(ntk_gram(model, inputs))
    assert row["velocities"][0] == pytest.approx(kernel_distance(*kernels), rel=1e-6)


def test_the_kernel_of_a_linear_model_stands_still(vectors, tiny_recipe, tmp_path) -> None:
    context = small_context(vectors, tiny_recipe.replace(model_options={"hidden": ()}), tmp_path)
    result = carry_out(STUDIES["ntk-velocity"], context, tmp_path / "out")
    assert all(row["velocity"] < 1e-9 for row in result.rows)
    assert "holds" not in outcomes(result)


def test_wrong_labels_gather_at_the_hard_end(velocity) -> None:
    share = {row["offset"]: row["wrong_labels"] for row in velocity.rows if row["labels"] == "noisy"}
    assert share[1.0] > share[0.0]
    assert not any(row["wrong_labels"] for row in velocity.rows if row["labels"] == "clean")


def made_up(velocity, labels: str) -> list[dict]:
    """Rows of three models whose velocity is a function of the offset, with a little noise."""
    rng = np.random.default_rng(1)
    rows = []
    for offset in OFFSETS:
        for epoch in (0, 1, 4):
            values = [float(velocity(offset) * (1 + 0.01 * rng.normal())) for _ in range(3)]
            rows.append({"labels": labels, "offset": offset, "epoch": epoch, "velocities": values})
    return [
        {**row, "velocity": float(np.mean(row["velocities"])), "least": min(row["velocities"])}
        | {"largest": max(row["velocities"]), "examples": 6}
        for row in rows
    ]


@pytest.mark.parametrize(
    ("clean", "noisy", "expected"),
    [
        (lambda o: 0.1 + o, lambda o: 1.0 if o < 1 else 0.2, ["holds", "holds", "holds"]),
        (lambda o: 1.2 - o, lambda o: 0.1 + o, ["fails", "fails", "fails"]),
    ],
)
def test_claims_on_velocity_go_with_the_velocities(noisy_scale_context, clean, noisy, expected) -> None:
    rows = made_up(clean, "clean") + made_up(noisy, "noisy")
    conclusion = STUDIES["ntk-velocity"].conclude(noisy_scale_context, rows, {})
    assert [finding.outcome for finding in judge(conclusion.claims)] == expected
    for axes in conclusion.figures["ntk-velocity"].axes:
        assert axes.get_xlabel() and axes.get_ylabel()


def test_groups_of_neighbours_follow_the_order_of_scores() -> None:
    values = np.random.default_rng(0).permutation(200).astype(float)
    groups = groups_in_order(values, 10)
    assert sorted(values[groups[0.0]]) == list(range(10))
    assert sorted(values[groups[1.0]]) == list(range(190, 200))
    assert values[groups[0.5]].mean() == pytest.approx(99.5, abs=1)
    assert BELOW_NOISE in groups


def test_the_figure_of_barriers_is_there_with_named_axes(halves, connectivity) -> None:
    assert_drawn(connectivity, ["mode-connectivity"])
    conclusion = STUDIES["mode-connectivity"].conclude(halves, connectivity.rows, {})
    (axes,) = conclusion.figures["mode-connectivity"].axes
    assert axes.get_xlabel() and "barrier" in axes.get_ylabel() and len(axes.containers) == 3
