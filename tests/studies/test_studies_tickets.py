"""The studies of lottery tickets: shared runs, exact levels, and claims that fail where they must."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import datadiet as dd
from datadiet.engine.setup import prepare
from datadiet.studies import lottery_ticket, ticket_connectivity
from datadiet.studies.lottery_ticket import RANDOM_MASK, lottery_ticket_study
from datadiet.studies.ticket_connectivity import correlations, ticket_connectivity_study
from datadiet.studies.toolbox import tickets
from datadiet.studies.toolbox.claims import judge
from datadiet.studies.toolbox.context import Workbench
from datadiet.studies.toolbox.scale import SCALES
from datadiet.studies.toolbox.study import StudyResult, carry_out, plan_of
from datadiet.studies.toolbox.tickets import SIZES, Pretraining, Sizes, pretrainings, subset_of

TINY = Sizes(2, 0.5, (0.1, 0.3), (0.2,), crossed=False, connected_level=1)


@pytest.fixture(autouse=True)
def nothing_rendered(monkeypatch) -> None:
    monkeypatch.setattr("datadiet.studies.toolbox.study.as_png", lambda figure: b"PNG")
    monkeypatch.setattr("datadiet.studies.toolbox.study.as_svg", lambda figure: b"<svg")


@pytest.fixture
def done_tickets(bench, tmp_path) -> StudyResult:
    return carry_out(lottery_ticket_study(TINY), bench, tmp_path / "tickets")


def test_rows_have_every_kind_and_level_with_exact_counts(done_tickets) -> None:
    total = done_tickets.rows[0]["weights_of"]
    kinds = {row["pretraining"] for row in done_tickets.rows}
    assert len(kinds) == 6 and RANDOM_MASK in kinds
    for row in done_tickets.rows:
        assert row["weights"] == round(0.5 ** row["level"] * total)
        assert row["seeds"] == 2 and row["low"] <= row["accuracy"] <= row["high"]
    assert {row["level"] for row in done_tickets.rows if row["kind"] == RANDOM_MASK} == {1, 2}


def test_the_plan_counts_the_runs_that_are_trained(bench, tmp_path) -> None:
    study = lottery_ticket_study(TINY)
    planned = [item for item in plan_of(study, bench) if not item.what.startswith("pre-trainings")]
    result = carry_out(study, bench, tmp_path / "tickets")
    assert result.trained == sum(item.runs for item in planned) and result.reused == 0


def test_a_second_study_finds_the_levels_of_the_first(done_tickets, bench, tmp_path) -> None:
    result = carry_out(ticket_connectivity_study(TINY), bench, tmp_path / "connectivity")
    kinds = len(pretrainings(bench, TINY))
    assert result.trained == kinds * 2 * 2 and result.reused == kinds * 2 * 2 + 2
    again = carry_out(lottery_ticket_study(TINY), bench, tmp_path / "again")
    assert again.trained == 0 and again.rows == done_tickets.rows


def test_crossed_sizes_have_every_kind_with_every_label_step_and_size(bench) -> None:
    sizes = dataclasses.replace(TINY, crossed=True, labels=("clean", "random"), subsets=(0.2, 0.5))
    found = pretrainings(bench, sizes)
    assert len(found) == len(set(found)) == 1 + 2 * 2 + 3 * 2 * 2 * 2
    assert len({how.title for how in found}) == len(found)
    assert {how.size for how in found if how.kind == "hardest"} == {24, 60}


def test_shuffled_labels_are_for_pre_training_only(bench) -> None:
    how = Pretraining("all", "random", 5, 120)
    point = tickets.point_of(bench, how, 0)
    clean = tickets.point_of(bench, Pretraining("all", "clean", 5, 120), 0)
    assert point.weights != clean.weights
    (dense,) = tickets.levels_of(bench, how, 0, TINY, through=0)
    assert dense.run.folder.description["data"] == bench.setup.examples.fingerprint


def test_subsets_are_the_easiest_and_hardest_by_el2n_and_random_ones_of_each_seed(bench) -> None:
    hardness = dict(
        zip(bench.setup.examples.train.ids, bench.hardness("el2n", bench.score_step), strict=True)
    )
    easiest, hardest = (subset_of(bench, Pretraining(k, "clean", 5, 24), 0) for k in ("easiest", "hardest"))
    assert max(hardness[i] for i in easiest) <= sorted(hardness.values())[24]
    assert min(hardness[i] for i in hardest) >= sorted(hardness.values())[-24]
    one, two = (subset_of(bench, Pretraining("random", "clean", 5, 24), i) for i in (0, 1))
    assert len(set(one)) == len(set(two)) == 24 and set(one) != set(two)


def test_subsets_below_a_batch_become_a_batch_and_it_is_said(bench) -> None:
    found = pretrainings(bench, dataclasses.replace(TINY, subsets=(0.01,)))
    assert {how.size for how in found if how.kind == "random"} == {16}
    assert bench.notes == ["A pre-training subset has 16 examples, a batch, in place of 1."]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"levels": 0}, "one level or more"),
        ({"rate": 0.0}, "rate is 0"),
        ({"rewinds": (1.0,)}, "rewinds are shares"),
        ({"subsets": (0.0,)}, "subsets are shares"),
    ],
)
def test_sizes_that_cannot_be_met_are_refused_at_the_plan(bench, wrong, message) -> None:
    with pytest.raises(dd.BadInputError, match=message):
        plan_of(lottery_ticket_study(dataclasses.replace(TINY, **wrong)), bench)


def test_data_of_less_than_a_batch_is_refused(vectors, tiny_recipe, tmp_path) -> None:
    setup = prepare(vectors, tiny_recipe.replace(batch_size=200), workspace=tmp_path, device="cpu")
    with pytest.raises(dd.BadInputError, match="smaller --batch-size"):
        plan_of(lottery_ticket_study(TINY), Workbench(setup, SCALES["smoke"]))


def test_every_scale_has_sizes_that_make_a_plan(bench) -> None:
    assert set(SIZES) == set(SCALES)
    for name in SCALES:
        bench.scale = dataclasses.replace(
            SCALES[name], score_seeds=2, score_shares=(0.0, 0.5, 1.0), score_share=0.5
        )
        for study in (lottery_ticket.STUDY, ticket_connectivity.STUDY):
            assert sum(item.runs for item in plan_of(study, bench)) > 0


def constant_half() -> dd.Examples:
    """Two clear classes; in the first half of the training examples every input is the same."""
    generator = np.random.default_rng(3)
    labels = np.arange(400) % 4
    centres = 3.0 * generator.normal(size=(4, 10))
    inputs = centres[labels] + generator.normal(size=(400, 10))
    inputs[:120] = 1.0
    return dd.load((inputs.astype(np.float32), labels), name="constant", test=None)


@pytest.fixture
def constant_bench(tiny_recipe, tmp_path) -> Workbench:
    recipe = tiny_recipe.replace(epochs=6, schedule="linear", warmup=0.0)
    setup = prepare(constant_half(), recipe, workspace=tmp_path / "runs", device="cpu")
    return Workbench(setup, dataclasses.replace(SCALES["smoke"], retrain_seeds=4))


# The rewinding point so late that what comes before it is most of the training.
LATE = Sizes(1, 0.5, (0.85, 0.95), (0.2,), kinds=("all", "random", "easiest"), crossed=False)


def outcome(result: StudyResult, words: str) -> str:
    return next(found.outcome for found in result.findings if words in found.claim.sentence)


def test_claims_fail_where_the_subsets_are_of_constant_inputs(constant_bench, tmp_path, monkeypatch) -> None:
    train = constant_bench.setup.examples.train

    def useless(bench: Workbench, how: Pretraining, index: int) -> np.ndarray | None:
        return None if how.kind in ("init", "all") else train.ids[train.ids < 120][: how.size]

    monkeypatch.setattr(tickets, "subset_of", useless)
    result = carry_out(lottery_ticket_study(LATE), constant_bench, tmp_path / "out")
    assert outcome(result, "random examples loses no more") == "fails"
    assert outcome(result, "easiest examples by EL2N lose no more") == "fails"


@pytest.mark.slow
def test_the_claim_on_random_subsets_does_not_fail_where_they_are_as_good(
    constant_bench, tmp_path, monkeypatch
) -> None:
    train = constant_bench.setup.examples.train

    def useful(bench: Workbench, how: Pretraining, index: int) -> np.ndarray | None:
        return None if how.kind in ("init", "all") else train.ids[train.ids >= 120]

    monkeypatch.setattr(tickets, "subset_of", useful)
    result = carry_out(lottery_ticket_study(LATE), constant_bench, tmp_path / "out")
    assert outcome(result, "random examples loses no more") != "fails"


def test_one_seed_decides_nothing(bench, tmp_path) -> None:
    bench.scale = dataclasses.replace(bench.scale, retrain_seeds=1)
    sizes = dataclasses.replace(TINY, levels=1)
    results = [
        carry_out(study(sizes), bench, tmp_path / study.__name__)
        for study in (lottery_ticket_study, ticket_connectivity_study)
    ]
    assert {found.outcome for result in results for found in result.findings} == {"undecided"}


def connectivity_rows(shares: list[list[float]], accuracies: list[list[float]]) -> list[dict]:
    return [
        {"connected_by_seed": share, "accuracies": accuracy, "pretraining": str(i), "evaluated": 5}
        for i, (share, accuracy) in enumerate(zip(shares, accuracies, strict=True))
    ]


@pytest.mark.parametrize(("sign", "expected"), [(1, "holds"), (-1, "fails")])
def test_the_correlation_decides_for_and_against_the_claim(bench, sign, expected) -> None:
    generator = np.random.default_rng(0)
    shares = np.linspace(0.1, 0.9, 8)[:, None] + 0.05 * generator.normal(size=(8, 5))
    accuracies = 0.5 + sign * 0.3 * shares + 0.01 * generator.normal(size=(8, 5))
    rows = connectivity_rows(shares.tolist(), accuracies.tolist())
    found = judge(ticket_connectivity.conclude(bench, rows, {}, TINY).claims)
    assert [finding.outcome for finding in found] == [expected]


def test_no_correlation_is_made_of_two_kinds_or_of_constant_columns(bench) -> None:
    assert correlations(connectivity_rows([[0.1], [0.2]], [[0.5], [0.6]])) == []
    assert correlations(connectivity_rows([[0.1]] * 3, [[0.5], [0.6], [0.7]])) == []
    rows = connectivity_rows([[0.1]] * 3, [[0.5], [0.6], [0.7]])
    (finding,) = judge(ticket_connectivity.conclude(bench, rows, {}, TINY).claims)
    assert finding.outcome == "undecided" and "could not be measured" in finding.reason


def test_networks_without_hidden_layers_are_wholly_connected(vectors, tiny_recipe, tmp_path: Path) -> None:
    recipe = tiny_recipe.replace(model_options={"hidden": ()}, epochs=20)
    setup = prepare(vectors, recipe, workspace=tmp_path / "runs", device="cpu")
    bench = Workbench(setup, dataclasses.replace(SCALES["smoke"], group=60))
    sizes = dataclasses.replace(TINY, kinds=("init", "all"))
    for how in pretrainings(bench, sizes):
        sample = setup.examples.train.ids[:60]
        assert ticket_connectivity.connected_share(bench, how, 0, sample, sizes) == 1.0
