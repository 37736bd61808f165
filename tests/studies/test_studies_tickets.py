"""The studies of lottery tickets: shared runs, exact levels, and claims that fail where they must."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from small_contexts import outcome_of

import datadiet as dd
from datadiet.engine.setup import prepare
from datadiet.studies import ticket_connectivity
from datadiet.studies.lottery_ticket import RANDOM_MASK
from datadiet.studies.ticket_connectivity import correlations
from datadiet.studies.toolbox import tickets
from datadiet.studies.toolbox.claims import judge
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.protocol import STUDIES, StudyResult, carry_out, plan_of
from datadiet.studies.toolbox.scale import SCALES, TicketSizes
from datadiet.studies.toolbox.tickets import Pretraining, pretrainings, subset_of

TINY = TicketSizes(2, 0.5, (0.1, 0.3), (0.2,), crossed=False, connected_level=1)


@pytest.fixture
def context(context) -> StudyContext:
    return with_tickets(context, TINY)


def with_tickets(context: StudyContext, sizes: TicketSizes) -> StudyContext:
    context.scale = dataclasses.replace(context.scale, tickets=sizes)
    return context


@pytest.fixture(autouse=True)
def nothing_rendered(monkeypatch) -> None:
    monkeypatch.setattr("datadiet.studies.toolbox.protocol.as_png", lambda figure: b"PNG")
    monkeypatch.setattr("datadiet.studies.toolbox.protocol.as_svg", lambda figure: b"<svg")


@pytest.fixture
def done_tickets(context, tmp_path) -> StudyResult:
    return carry_out(STUDIES["lottery-ticket"], context, tmp_path / "tickets")


def test_rows_have_every_kind_and_level_with_exact_counts(done_tickets) -> None:
    total = done_tickets.rows[0]["weights_of"]
    kinds = {row["pretraining"] for row in done_tickets.rows}
    assert len(kinds) == 6 and RANDOM_MASK in kinds
    for row in done_tickets.rows:
        assert row["weights"] == round(0.5 ** row["level"] * total)
        assert row["seeds"] == 2 and row["low"] <= row["accuracy"] <= row["high"]
    assert {row["level"] for row in done_tickets.rows if row["kind"] == RANDOM_MASK} == {1, 2}


def test_the_plan_counts_the_runs_that_are_trained(context, tmp_path) -> None:
    study = STUDIES["lottery-ticket"]
    planned = [item for item in plan_of(study, context) if not item.what.startswith("pre-trainings")]
    result = carry_out(study, context, tmp_path / "tickets")
    assert result.trained == sum(item.runs for item in planned) and result.reused == 0


def test_a_second_study_finds_the_levels_of_the_first(done_tickets, context, tmp_path) -> None:
    result = carry_out(STUDIES["ticket-connectivity"], context, tmp_path / "connectivity")
    kinds = len(pretrainings(context))
    assert result.trained == kinds * 2 * 2 and result.reused == kinds * 2 * 2 + 2
    again = carry_out(STUDIES["lottery-ticket"], context, tmp_path / "again")
    assert again.trained == 0 and again.rows == done_tickets.rows


def test_crossed_sizes_have_every_kind_with_every_label_step_and_size(context) -> None:
    sizes = dataclasses.replace(TINY, crossed=True, labels=("clean", "random"), subsets=(0.2, 0.5))
    found = pretrainings(with_tickets(context, sizes))
    assert len(found) == len(set(found)) == 1 + 2 * 2 + 3 * 2 * 2 * 2
    assert len({how.title for how in found}) == len(found)
    assert {how.size for how in found if how.kind == "hardest"} == {24, 60}


def test_shuffled_labels_are_for_pre_training_only(context) -> None:
    how = Pretraining("all", "random", 5, 120)
    point = tickets.point_of(context, how, 0)
    clean = tickets.point_of(context, Pretraining("all", "clean", 5, 120), 0)
    assert point.weights != clean.weights
    (dense,) = tickets.levels_of(context, how, 0, through=0)
    assert dense.run.folder.description["data"] == context.setup.examples.fingerprint


def test_subsets_are_the_easiest_and_hardest_by_el2n_and_random_ones_of_each_seed(context) -> None:
    hardness = dict(
        zip(context.setup.examples.train.ids, context.hardness("el2n", context.score_step), strict=True)
    )
    easiest, hardest = (subset_of(context, Pretraining(k, "clean", 5, 24), 0) for k in ("easiest", "hardest"))
    assert max(hardness[i] for i in easiest) <= sorted(hardness.values())[24]
    assert min(hardness[i] for i in hardest) >= sorted(hardness.values())[-24]
    one, two = (subset_of(context, Pretraining("random", "clean", 5, 24), i) for i in (0, 1))
    assert len(set(one)) == len(set(two)) == 24 and set(one) != set(two)


def test_subsets_below_a_batch_become_a_batch_and_it_is_said(context) -> None:
    found = pretrainings(with_tickets(context, dataclasses.replace(TINY, subsets=(0.01,))))
    assert {how.size for how in found if how.kind == "random"} == {16}
    assert context.notes == ["A pre-training subset has 16 examples, a batch, in place of 1."]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"levels": 0}, "one level or more"),
        ({"rate": 0.0}, "rate is 0"),
        ({"rewinds": (1.0,)}, "rewinds are shares"),
        ({"subsets": (0.0,)}, "subsets are shares"),
    ],
)
def test_sizes_that_cannot_be_met_are_refused_at_the_plan(context, wrong, message) -> None:
    with pytest.raises(dd.BadInputError, match=message):
        plan_of(STUDIES["lottery-ticket"], with_tickets(context, dataclasses.replace(TINY, **wrong)))


def test_data_of_less_than_a_batch_is_refused(vectors, tiny_recipe, tmp_path) -> None:
    setup = prepare(vectors, tiny_recipe.replace(batch_size=200), workspace=tmp_path, device="cpu")
    with pytest.raises(dd.BadInputError, match="smaller --batch-size"):
        plan_of(STUDIES["lottery-ticket"], with_tickets(StudyContext(setup, SCALES["smoke"]), TINY))


def test_every_scale_has_sizes_that_make_a_plan(context) -> None:
    for name in SCALES:
        context.scale = dataclasses.replace(
            SCALES[name], score_seeds=2, score_shares=(0.0, 0.5, 1.0), score_share=0.5
        )
        for study in (STUDIES["lottery-ticket"], STUDIES["ticket-connectivity"]):
            assert sum(item.runs for item in plan_of(study, context)) > 0


def constant_half() -> dd.Examples:
    """Two clear classes; in the first half of the training examples every input is the same."""
    generator = np.random.default_rng(3)
    labels = np.arange(400) % 4
    centres = 3.0 * generator.normal(size=(4, 10))
    inputs = centres[labels] + generator.normal(size=(400, 10))
    inputs[:120] = 1.0
    return dd.load((inputs.astype(np.float32), labels), name="constant", test=None)


@pytest.fixture
def constant_context(tiny_recipe, tmp_path) -> StudyContext:
    recipe = tiny_recipe.replace(epochs=6, schedule="linear", warmup=0.0)
    setup = prepare(constant_half(), recipe, workspace=tmp_path / "runs", device="cpu")
    return StudyContext(
        setup, dataclasses.replace(SCALES["smoke"], decides=True, retrain_seeds=4, tickets=LATE)
    )


# The rewinding point so late that what comes before it is most of the training.
LATE = TicketSizes(1, 0.5, (0.85, 0.95), (0.2,), kinds=("all", "random", "easiest"), crossed=False)


def test_claims_fail_where_the_subsets_are_of_constant_inputs(
    constant_context, tmp_path, monkeypatch
) -> None:
    train = constant_context.setup.examples.train

    def useless(context: StudyContext, how: Pretraining, index: int) -> np.ndarray | None:
        return None if how.kind in ("init", "all") else train.ids[train.ids < 120][: how.size]

    monkeypatch.setattr(tickets, "subset_of", useless)
    result = carry_out(STUDIES["lottery-ticket"], constant_context, tmp_path / "out")
    assert outcome_of(result, "random examples loses no more") == "fails"
    assert outcome_of(result, "easiest examples by EL2N lose no more") == "fails"


@pytest.mark.slow
def test_the_claim_on_random_subsets_does_not_fail_where_they_are_as_good(
    constant_context, tmp_path, monkeypatch
) -> None:
    train = constant_context.setup.examples.train

    def useful(context: StudyContext, how: Pretraining, index: int) -> np.ndarray | None:
        return None if how.kind in ("init", "all") else train.ids[train.ids >= 120]

    monkeypatch.setattr(tickets, "subset_of", useful)
    result = carry_out(STUDIES["lottery-ticket"], constant_context, tmp_path / "out")
    assert outcome_of(result, "random examples loses no more") != "fails"


def test_one_seed_decides_nothing(context, tmp_path) -> None:
    sizes = dataclasses.replace(TINY, levels=1)
    context.scale = dataclasses.replace(context.scale, retrain_seeds=1, tickets=sizes)
    results = [
        carry_out(STUDIES[name], context, tmp_path / name)
        for name in ("lottery-ticket", "ticket-connectivity")
    ]
    assert {found.outcome for result in results for found in result.findings} == {"not asked", "undecided"}


def connectivity_rows(shares: list[list[float]], accuracies: list[list[float]]) -> list[dict]:
    return [
        {"connected_by_seed": share, "accuracies": accuracy, "pretraining": str(i), "evaluated": 5}
        for i, (share, accuracy) in enumerate(zip(shares, accuracies, strict=True))
    ]


@pytest.mark.parametrize(("sign", "expected"), [(1, "holds"), (-1, "fails")])
def test_the_correlation_decides_for_and_against_the_claim(context, sign, expected) -> None:
    generator = np.random.default_rng(0)
    shares = np.linspace(0.1, 0.9, 8)[:, None] + 0.05 * generator.normal(size=(8, 5))
    accuracies = 0.5 + sign * 0.3 * shares + 0.01 * generator.normal(size=(8, 5))
    rows = connectivity_rows(shares.tolist(), accuracies.tolist())
    found = judge(ticket_connectivity.conclude(context, rows, {}).claims)
    assert [finding.outcome for finding in found] == [expected]


def test_no_correlation_is_made_of_two_kinds_or_of_constant_columns(context) -> None:
    assert correlations(connectivity_rows([[0.1], [0.2]], [[0.5], [0.6]])) == []
    assert correlations(connectivity_rows([[0.1]] * 3, [[0.5], [0.6], [0.7]])) == []
    rows = connectivity_rows([[0.1]] * 3, [[0.5], [0.6], [0.7]])
    (finding,) = judge(ticket_connectivity.conclude(context, rows, {}).claims)
    assert finding.outcome == "undecided" and "could not be measured" in finding.reason


def test_networks_without_hidden_layers_are_wholly_connected(vectors, tiny_recipe, tmp_path: Path) -> None:
    recipe = tiny_recipe.replace(model_options={"hidden": ()}, epochs=20)
    setup = prepare(vectors, recipe, workspace=tmp_path / "runs", device="cpu")
    sizes = dataclasses.replace(TINY, kinds=("init", "all"))
    context = StudyContext(setup, dataclasses.replace(SCALES["smoke"], group=60, tickets=sizes))
    for how in pretrainings(context):
        sample = setup.examples.train.ids[:60]
        assert ticket_connectivity.connected_share(context, how, 0, sample) == 1.0
