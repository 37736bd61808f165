"""Studies of seeds, label noise, transfer and early scores, on data where the answer is known."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats
from small_contexts import outcome_of

import datadiet as dd
from datadiet.data import corrupt
from datadiet.data.corruption import Corrupted
from datadiet.engine.setup import prepare
from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.errors import BadInputError
from datadiet.studies.early_features import POINTS
from datadiet.studies.label_noise import auc_and_precision
from datadiet.studies.seeds import agreement, gain, group
from datadiet.studies.toolbox.accuracy import rank_correlation, shared_hardest
from datadiet.studies.toolbox.claims import Outcome
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.protocol import STUDIES, carry_out, plan_of
from datadiet.studies.transfer import other_model

FIGURES = {
    "seeds": {"rank-agreement", "accuracy"},
    "window": {"window"},
    "label-noise": {"histograms", "auc"},
    "transfer": {"transfer"},
    "early-features": {"settling", "training-pass"},
}


def checked_figure(path: Path) -> None:
    """A figure that has something on it: several colours, and neither all paper nor all ink."""
    pixels = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
    drawn = (pixels < 250).any(axis=2)
    assert 0.005 < drawn.mean() < 0.95
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    assert path.with_suffix(".svg").read_bytes().startswith(b"<svg")


@pytest.mark.parametrize("name", FIGURES)
def test_a_study_trains_what_it_plans_and_writes_figures_tables_and_claims(
    context, done, name, monkeypatch
) -> None:
    drawn: list[Figure] = []
    study = STUDIES[name]

    def watched(on, rows, kept):
        conclusion = study.conclude(on, rows, kept)
        drawn.extend(conclusion.figures.values())
        return conclusion

    monkeypatch.setitem(STUDIES._cards, name, dataclasses.replace(study, conclude=watched))
    planned = plan_of(study, context)
    result = done(name, context, render=True)
    assert sum(item.runs for item in planned) == result.trained
    assert {path.stem for path in result.folder.glob("*.png")} == FIGURES[name]
    for path in result.folder.glob("*.png"):
        checked_figure(path)
    for figure in drawn:
        for axes in figure.axes:
            assert axes.get_xlabel() and axes.get_ylabel()
    claims = json.loads((result.folder / "claims.json").read_text())
    assert len(claims) == len(result.findings) > 0
    assert {claim["outcome"] for claim in claims} <= set(get_args(Outcome))
    assert pq.read_table(result.folder / "results.parquet").num_rows == len(result.rows)


# Scores that say nothing, and data that has no effect to find: what is claimed must not hold.


class Blind(StudyContext):
    """A context whose scores are noise."""

    def per_seed(self, name: str, step: int, seeds: int | None = None) -> np.ndarray:
        n, count = len(self.setup.examples.train), self.scale.score_seeds if seeds is None else seeds
        return np.random.default_rng([step, count, *name.encode()]).random((count, n))


class Knowing(StudyContext):
    """A context whose scores know which labels are right, and call these the hardest."""

    right: np.ndarray

    def per_seed(self, name: str, step: int, seeds: int | None = None) -> np.ndarray:
        count = self.scale.score_seeds if seeds is None else seeds
        return np.repeat(self.right[None].astype(np.float64), count, axis=0)


@pytest.fixture(scope="session")
def half_wrong() -> Corrupted:
    """Clear classes, half of whose training labels name the next class: random subsets teach little."""
    generator = np.random.default_rng(11)
    labels = np.arange(300) % 3
    inputs = (4 * np.eye(3, 5)[labels] + generator.normal(size=(300, 5))).astype(np.float32)
    return corrupt(dd.load((inputs, labels), name="half wrong"), 0.5, "class_dependent")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("keep-fraction", "by EL2N is better than random"),
        ("seeds", "by one model are better than random"),
        ("transfer", "of mlp hidden=[12] is better than on random"),
    ],
)
def test_better_than_random_holds_for_scores_that_know_and_not_for_scores_that_are_noise(
    half_wrong, tiny_recipe, tiny_scale, trained_before, done, name, words
) -> None:
    setup = prepare(half_wrong.examples, tiny_recipe, workspace=trained_before, device="cpu")
    scale = dataclasses.replace(tiny_scale, fractions=(0.5,), retrain_seeds=3)
    knowing, blind = Knowing(setup, scale), Blind(setup, scale)
    knowing.right = ~half_wrong.mask
    assert outcome_of(done(name, knowing), words) == "holds"
    assert outcome_of(done(name, blind), words) != "holds"


def test_scores_that_are_noise_gain_nothing_by_averaging_and_settle_never(shared_context, done) -> None:
    context = Blind(
        shared_context.setup, dataclasses.replace(shared_context.scale, score_seeds=4, retrain_seeds=1)
    )
    seeds = done("seeds", context)
    assert outcome_of(seeds, "foretells how a further model") != "holds"
    early = done("early-features", context)
    assert outcome_of(early, "is useful after very few epochs") == "fails"
    assert outcome_of(early, "rank alike") == "fails"


def test_where_labels_mean_nothing_wrong_ones_cannot_be_told(context_on, tiny_scale, done) -> None:
    generator = np.random.default_rng(5)
    inputs = generator.normal(size=(400, 5)).astype(np.float32)
    meaningless = dd.load((inputs, generator.integers(0, 3, 400)), name="meaningless")
    context = context_on(meaningless)
    context.scale = dataclasses.replace(tiny_scale, score_seeds=3)
    result = done("label-noise", context)
    assert outcome_of(result, "Wrong labels move to the top") != "holds"
    found = [
        row["auc"]
        for row in result.rows
        if (row["labels"], row["score"]) == ("after", "el2n") and row["epoch"]
    ]
    assert np.mean(found) < 0.75


def test_where_classes_are_clear_wrong_labels_are_told_and_belong_to_the_top(
    context_on, tiny_scale, done
) -> None:
    generator = np.random.default_rng(6)
    labels = np.arange(240) % 3
    inputs = (8 * np.eye(3, 5)[labels] + generator.normal(size=(240, 5))).astype(np.float32)
    context = context_on(dd.load((inputs, labels), name="clear"))
    context.scale = dataclasses.replace(tiny_scale, score_seeds=3)
    result = done("label-noise", context)
    assert outcome_of(result, "Wrong labels move to the top") == "holds"
    last = max(row["epoch"] for row in result.rows)
    after = [
        row["precision"]
        for row in result.rows
        if (row["labels"], row["score"], row["epoch"]) == ("after", "el2n", last)
    ]
    assert min(after) > 0.95
    assert any(
        "labels" in note.lower() and f"of {len(context.setup.examples.train)}" in note
        for note in context.notes
    )


def test_too_little_data_for_a_wrong_label_is_refused(context_on, done, tiny_scale) -> None:
    generator = np.random.default_rng(0)
    small = context_on(
        dd.load((generator.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 2), name="few")
    )
    small.scale = dataclasses.replace(tiny_scale, noise=0.01)
    with pytest.raises(BadInputError, match="use more data"):
        done("label-noise", small)


# Quantities against slow computations of the same.


def test_area_and_precision_are_those_of_all_pairs_and_of_the_sorted_list() -> None:
    generator = np.random.default_rng(1)
    wrong, hardness = generator.random(60) < 0.3, np.round(generator.random(60), 1)
    pairs = list(itertools.product(hardness[wrong], hardness[~wrong]))
    area = np.mean([1.0 if left > right else 0.5 if left == right else 0.0 for left, right in pairs])
    found = auc_and_precision(wrong, hardness)
    assert found["auc"] == pytest.approx(area)
    order = sorted(range(60), key=lambda place: (-hardness[place], place))[: int(wrong.sum())]
    assert found["precision"] == pytest.approx(np.mean([wrong[place] for place in order]))
    assert auc_and_precision(np.zeros(4, bool), np.arange(4.0)) == {"auc": None, "precision": None}


def test_rank_correlation_is_pearsons_of_mean_ranks_and_skips_what_is_unknown() -> None:
    generator = np.random.default_rng(2)
    first, second = np.round(generator.random((2, 50)), 1)
    ranks = [[(np.sum(v < x) + (np.sum(v == x) + 1) / 2) for x in v] for v in (first, second)]
    assert rank_correlation(first, second) == pytest.approx(np.corrcoef(ranks)[0, 1])
    gappy = first.copy()
    gappy[:5] = np.nan
    assert rank_correlation(gappy, second) == pytest.approx(rank_correlation(first[5:], second[5:]))
    assert shared_hardest(first, first, 0.3) == 1.0
    assert shared_hardest(np.arange(10.0), -np.arange(10.0), 0.3) == 0.0


def test_groups_of_models_share_none_while_there_are_enough() -> None:
    for count, size in itertools.product(range(1, 11), range(1, 11)):
        if size > count:
            continue
        groups = [group(index, size, count) for index in range(count // size)]
        together = np.concatenate(groups)
        assert len(np.unique(together)) == len(together) == size * (count // size)


def test_two_models_say_what_groups_would_agree_by_and_one_does_not() -> None:
    per_seed = np.random.default_rng(15).normal(size=(2, 30))
    both, alone = agreement(per_seed, 1, "el2n"), agreement(per_seed[:1], 1, "el2n")
    assert both["predicted"] == pytest.approx(rank_correlation(*per_seed)) == both["with_other_groups"]
    assert (alone["predicted"], alone["with_other_groups"], alone["with_all_low"]) == (None, None, None)
    three = gain(np.random.default_rng(16).normal(size=(3, 30)))
    assert three is not None and three.n == 3 and gain(per_seed) is None


def test_averaging_models_with_independent_errors_gains_what_theory_says() -> None:
    generator = np.random.default_rng(3)
    truth = generator.normal(size=4000)
    per_seed = truth + 1.0 * generator.normal(size=(10, 4000))  # reliability of one model: 1 / (1 + 1) = 0.5
    rows = [agreement(per_seed, size, "el2n") for size in range(1, 11)]
    for row in rows:
        size = row["models"]
        expected = size / (size + 1.0)
        assert row["predicted"] == pytest.approx(expected, abs=0.03)
        if row["with_other_groups"] is not None:
            assert row["with_other_groups"] == pytest.approx(expected, abs=0.04)
    assert rows[-1]["with_all"] == pytest.approx(1.0)
    assert [row["with_all"] for row in rows] == sorted(row["with_all"] for row in rows)
    measured = gain(per_seed)
    assert measured is not None and measured.interval(0.95)[0] > 0.1
    same = gain(np.stack([truth] * 4))
    assert same is not None and same.estimate == pytest.approx(0.0, abs=1e-6)


def test_models_that_are_all_the_same_leave_no_room_for_averaging(shared_context, done) -> None:
    class Same(StudyContext):
        def per_seed(self, name: str, step: int, seeds: int | None = None) -> np.ndarray:
            count = self.scale.score_seeds if seeds is None else seeds
            return np.repeat(super().per_seed(name, step, 1), count, axis=0)

    scale = dataclasses.replace(shared_context.scale, score_seeds=3, retrain_seeds=1)
    result = done("seeds", Same(shared_context.setup, scale))
    (finding,) = [found for found in result.findings if "is no settled ranking" in found.claim.sentence]
    assert finding.claim.measurement.estimate == pytest.approx(1.0)
    assert finding.outcome == "undecided" and "cannot be seen" in finding.reason
    agreements = pq.read_table(result.folder / "agreement.parquet").to_pylist()
    assert {row["with_all_low"] for row in agreements} == {None}


# What is handed to whom.


@pytest.mark.parametrize("name", ["smallcnn", "resnet18", "mlp"])
def test_the_second_model_of_images_is_another_that_takes_them(name) -> None:
    digits = dd.load("digits")
    changes = other_model(Recipe(model=name), digits)
    assert changes["model"] != name
    assert changes["model"] == ("mlp" if name == "smallcnn" else "smallcnn")


@pytest.mark.parametrize("options", [{}, {"hidden": (64,)}, {"hidden": (12,)}])
def test_the_second_model_of_vectors_has_other_layers(vectors, options) -> None:
    changes = other_model(Recipe(model="mlp", model_options=options), vectors)
    assert changes["model"] == "mlp" and changes["model_options"] != options


def test_transfer_trains_each_model_on_either_ones_hardest(shared_context, done) -> None:
    context = shared_context
    result = done("transfer", context)
    table = {(row["source"], row["target"]): row for row in result.rows if row["what"] == "accuracy"}
    models = {target for _, target in table}
    assert models == {"mlp hidden=[12]", "mlp hidden=[64]"}
    assert set(table) == set(itertools.product({"full", "random", *models}, models))
    (agreed,) = [row for row in result.rows if row["what"] == "agreement"]
    other = context.with_recipe(**other_model(context.setup.recipe, context.setup.examples))
    means = [here.hardness("el2n", context.score_step) for here in (context, other)]
    assert agreed["spearman"] == pytest.approx(stats.spearmanr(*means).statistic)


def test_the_training_pass_is_held_against_evaluation_of_the_same_epoch(shared_context, done) -> None:
    context = shared_context
    result = done("early-features", context)
    last = context.epoch_of(context.total_steps)
    run = context.scoring_run(1)
    recorded = run.trace().of_epoch(2, "el2n")
    step = context.score_step
    assert context.epoch_of(step) == 2
    expected = stats.spearmanr(recorded, context.per_seed("el2n", step)[1]).statistic
    (row,) = [
        row
        for row in result.rows
        if (row["way"], row["score"], row["epoch"], row["seed"]) == ("training pass", "el2n", 2, 1)
    ]
    assert row["with_evaluation"] == pytest.approx(expected)
    ends = [row for row in result.rows if row["epoch"] == last and row["way"] != "training pass"]
    assert {row["score"] for row in ends} >= set(POINTS)
    assert all(row["with_last"] == pytest.approx(1.0) for row in ends)


def test_pictures_of_extremes_show_the_least_and_most_difficult_of_each_class(
    context_on, done, tmp_path
) -> None:
    generator = np.random.default_rng(9)
    labels = np.arange(90) % 2
    images = (generator.integers(0, 120, (90, 8, 8)) + 120 * labels[:, None, None]).astype(np.uint8)
    context = context_on(dd.load((images, labels), name="shades"))
    assert context.setup.examples.kind == "image"
    result = done("label-noise", context, render=True)
    checked_figure(result.folder / "extremes.png")
    table = pq.read_table(result.folder / "extremes.parquet").to_pylist()
    hardness = context.hardness("el2n", context.score_step)
    train = context.setup.examples.train
    for label, name in enumerate(context.setup.examples.class_names):
        own = np.flatnonzero(train.labels == label)
        hardest = max(own, key=lambda place: hardness[place])
        (row,) = [r for r in table if (r["class"], r["end"], r["place"]) == (name, "hardest", 1)]
        assert row["el2n"] == pytest.approx(hardness[hardest]) and row["id"] in train.ids[own]


def test_the_study_that_the_docs_show_runs_as_it_stands(shared_context, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(STUDIES, "_cards", {})
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "@study(" in block]
    exec(compile(code, "docs/studies.md", "exec"), {})
    result = carry_out(STUDIES["easiest-half"], shared_context, tmp_path / "study")
    assert len(result.rows) == 2 and len(result.findings) == 1
    assert {path.suffix for path in result.folder.iterdir()} >= {".json", ".csv", ".parquet"}
