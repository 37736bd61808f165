"""What all studies share: claims and how they are judged, plans, shared runs, interruption, tables."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from scipy import stats

from datadiet.foundation.errors import BadInputError
from datadiet.studies.toolbox.claims import (
    Claim,
    Measurement,
    accuracy_difference,
    judge,
    mean_correlation,
    mean_of,
)
from datadiet.studies.toolbox.protocol import STUDIES, Study, carry_out, plan_of, write_table
from datadiet.studies.toolbox.scale import SCALES


def within(low: float, high: float, n: int = 5) -> Measurement:
    return Measurement((low + high) / 2, n, "seeds", lambda level: (low, high))


@pytest.mark.parametrize(
    ("side", "low", "high", "outcome"),
    [
        ("above", 1.1, 2.0, "holds"),
        ("above", 0.2, 0.9, "fails"),
        ("above", 0.5, 1.5, "undecided"),
        ("above", 1.0, 2.0, "undecided"),  # the bound itself is not above
        ("below", 0.2, 0.9, "holds"),
        ("below", 1.1, 2.0, "fails"),
        ("below", 0.5, 1.5, "undecided"),
    ],
)
def test_a_claim_holds_only_where_the_whole_interval_is_on_its_side(side, low, high, outcome) -> None:
    bound = {side: 1.0}
    (finding,) = judge([Claim("x is there.", "made up", "x", within(low, high), **bound)])
    assert finding.outcome == outcome
    assert finding.as_dict()["interval"] == [low, high]
    assert (finding.reason is None) == (outcome != "undecided")


def test_too_few_seeds_and_missing_measurements_decide_nothing() -> None:
    measurements = [within(1.0, 2.0, n=2), None, within(1.0, 2.0, n=3)]
    few, missing, enough = judge([Claim("x is there.", "made up", "x", found) for found in measurements])
    assert (few.outcome, missing.outcome, enough.outcome) == ("not asked", "undecided", "holds")
    assert few.reason == "3 seeds are the fewest that decide; there are 2"
    assert missing.as_dict()["measured"] is None and missing.reason is not None


def test_intervals_widen_with_the_number_of_claims_as_bonferroni_says() -> None:
    claim = Claim("The mean is above zero.", "made up", "mean", mean_of([0.9, 1.0, 1.3, 1.2], "seeds"))
    for count in (1, 4, 10):
        finding = judge([claim] * count)[0]
        assert finding.level == pytest.approx(1 - 0.05 / count)
        error = np.std([0.9, 1.0, 1.3, 1.2], ddof=1) / 2
        reach = stats.t.ppf(1 - 0.05 / count / 2, 3) * error
        assert finding.as_dict()["interval"] == pytest.approx([1.1 - reach, 1.1 + reach])


def test_a_claim_that_holds_alone_can_be_undecided_among_many() -> None:
    claim = Claim("The mean is above zero.", "made up", "mean", mean_of([0.2, 1.0, 0.9, 1.3], "seeds"))
    assert judge([claim])[0].outcome == "holds"
    assert judge([claim] * 20)[0].outcome == "undecided"


def test_one_value_has_no_interval_and_json_says_null() -> None:
    (finding,) = judge([Claim("x.", "made up", "x", mean_of([1.0], "seeds"))])
    assert finding.outcome == "not asked" and "there is 1" in str(finding.reason)
    assert json.loads(json.dumps(finding.as_dict()))["interval"] == [None, None]


def test_correlations_are_averaged_on_fishers_scale() -> None:
    values = [0.3, 0.8, 0.95]
    scaled = [0.5 * np.log((1 + value) / (1 - value)) for value in values]
    mean, error = np.mean(scaled), np.std(scaled, ddof=1) / np.sqrt(3)
    reach = stats.t.ppf(0.975, 2) * error
    measured = mean_correlation(values, "seeds")
    assert measured.estimate == pytest.approx(np.tanh(mean))
    assert measured.interval(0.95) == pytest.approx((np.tanh(mean - reach), np.tanh(mean + reach)))


def test_equal_arms_never_differ_and_clearly_better_ones_do() -> None:
    generator = np.random.default_rng(0)
    for better, outcome in ((0.0, "undecided"), (0.3, "holds"), (-0.3, "fails")):
        arm, reference = (generator.random((4, 400)) < 0.6 + shift for shift in (better, 0.0))
        found = accuracy_difference(arm, reference)
        assert judge([Claim("The arm is better.", "made up", "difference", found)])[0].outcome == outcome


def test_an_unknown_study_or_scale_is_refused_with_what_there_is() -> None:
    with pytest.raises(BadInputError, match="Did you mean 'keep-fraction'"):
        STUDIES["keep-fractoin"]
    with pytest.raises(BadInputError, match="smoke, fast, paper"):
        SCALES["huge"]


@pytest.mark.parametrize("name", ["score-epoch", "keep-fraction"])
def test_a_plan_counts_the_runs_that_are_then_trained(context, done, name) -> None:
    planned = plan_of(STUDIES[name], context)
    result = done(name, context)
    assert sum(item.runs for item in planned) == result.trained
    assert result.reused == 0
    record = json.loads((result.folder / "study.json").read_text())
    assert record["runs_trained"] == result.trained and record["partial"] is False


def test_a_second_study_trains_only_what_is_new_and_says_so(context, done) -> None:
    first = done("early-features", context)
    second = done("label-noise", context)
    again = done("label-noise", context)
    seeds = context.scale.score_seeds
    assert (first.trained, first.reused) == (seeds, 0)
    assert (second.trained, second.reused) == (seeds, seeds)  # those with wrong labels are new
    assert (again.trained, again.reused) == (0, 2 * seeds)
    assert again.rows == second.rows


def test_data_of_a_kind_that_a_study_cannot_use_is_refused(context) -> None:
    seen = STUDIES["window"]
    pictures = Study("pictures", "t", "s", seen.plan, seen.measure, seen.conclude, kinds=("image",))
    with pytest.raises(BadInputError, match="needs image data, not vector data"):
        plan_of(pictures, context)


def test_interruption_leaves_marked_results_and_the_next_call_finishes(context, tmp_path) -> None:
    whole = STUDIES["keep-fraction"]

    def interrupted(on, kept):
        for number, row in enumerate(whole.measure(on, kept)):
            if number == 3:
                raise KeyboardInterrupt
            yield row

    stopped = Study(whole.name, whole.title, whole.source, whole.plan, interrupted, whole.conclude)
    folder = tmp_path / "study"
    with pytest.raises(KeyboardInterrupt):
        carry_out(stopped, context, folder)
    trained_before = len(context.trained)
    record = json.loads((folder / "study.json").read_text())
    assert record["partial"] is True
    assert json.loads((folder / "claims.json").read_text()) == []  # half a study decides nothing
    assert pq.read_table(folder / "results.parquet").num_rows == 3
    assert "partial: interrupted" in (folder / "keep-fraction.svg").read_text()

    result = carry_out(whole, context, folder)
    assert result.reused == trained_before > 0 and result.trained > 0
    assert json.loads((folder / "study.json").read_text())["partial"] is False
    assert len(json.loads((folder / "claims.json").read_text())) == len(result.findings) > 0
    assert pq.read_table(folder / "results.parquet").num_rows == len(result.rows)
    assert "partial" not in (folder / "keep-fraction.svg").read_text()


def test_a_context_beside_another_shares_workspace_counts_and_notes(context) -> None:
    other = context.with_recipe(model_options={"hidden": (5,)})
    assert other.setup.workspace is context.setup.workspace and other.setup.recipe.model == "mlp"
    other.retrain(None, 0)
    context.retrain(None, 0)
    assert len(context.trained) == 2 and context.trained is other.trained
    other.notes.append("said there")
    assert context.notes == ["said there"]
    same = context.on(context.setup.examples)
    same.retrain(None, 0)
    assert len(context.trained) == 2  # the same data and recipe are the same run
    assert context.reused == set()
    context.close()


def test_cells_that_begin_like_a_formula_are_no_formula_in_csv(tmp_path) -> None:
    texts = ("=1+1", "+1+1", "-1+2", "@SUM(A1)", "\t=1", "plain", "-1", "")
    rows = [{"name": text, "x": -1.5} for text in texts]
    write_table(tmp_path / "t", rows)
    with (tmp_path / "t.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["name"] for row in read] == [f"'{text}" for text in texts[:5]] + ["plain", "-1", ""]
    assert {row["x"] for row in read} == {"-1.5"}  # numbers stay numbers
    assert pq.read_table(tmp_path / "t.parquet")["name"].to_pylist() == [row["name"] for row in rows]


def test_csv_and_parquet_hold_the_same_numbers(shared_context, done) -> None:
    folder = done("keep-fraction", shared_context).folder
    exact, plain = pq.read_table(folder / "results.parquet"), pa_csv.read_csv(folder / "results.csv")
    assert exact.column_names == plain.column_names
    for name in ("score", "epoch", "keep", "n", "accuracy", "low", "high"):
        assert exact[name].to_pylist() == plain[name].to_pylist()
    assert [json.loads(cell) for cell in plain["accuracies"].to_pylist()] == exact["accuracies"].to_pylist()
