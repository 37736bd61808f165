"""Studies of fine-tuning scores, weakly labelled pools and active learning, where the right picks are known."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_contexts import outcome_of

import datadiet as dd
from datadiet.data import corrupt
from datadiet.engine.setup import prepare
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.pool.hypotheses import PoolReading
from datadiet.studies import active_learning, bert_diet, pool_selection
from datadiet.studies.toolbox.accuracy import evenness, total_variation
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.pool_arms import domains_of, sizes, split_of
from datadiet.studies.toolbox.protocol import STUDIES, plan_of

FIGURES = {
    "bert-diet": {"bert-diet", "balance"},
    "pool-selection": {"pool-selection"},
    "active-learning": {"active-learning"},
}

# Seeds times arms where a row is a training, else arms: full, random and each moment's subsets of two scores.
ROWS = {"bert-diet": 2 + 2 * 3 * 2, "pool-selection": 2 * (1 + 15), "active-learning": 2 * 4 * (1 + 2)}


@pytest.mark.parametrize("name", FIGURES)
def test_a_study_trains_what_it_plans_and_writes_figures_tables_and_claims(
    context, done, name, monkeypatch
) -> None:
    monkeypatch.setattr(bert_diet, "EPOCHS", (0.0, 0.5, 1.0))
    planned = sum(item.runs for item in plan_of(STUDIES[name], context))
    result = done(name, context, render=True)
    # What two ways to pick agree on is trained once: of twelve examples several scores often pick the same.
    assert planned // 2 < result.trained <= planned
    assert len(result.rows) == ROWS[name]
    assert {path.stem for path in result.folder.glob("*.png")} == FIGURES[name]
    assert all(path.stat().st_size > 10_000 for path in result.folder.glob("*.png"))
    claims = json.loads((result.folder / "claims.json").read_text())
    assert len(claims) == len(result.findings) > 3
    assert pq.read_table(result.folder / "results.parquet").num_rows == len(result.rows)
    again = done(name, context)
    assert again.trained == 0 and again.rows == result.rows


def test_test_rows_that_are_in_the_train_part_too_are_not_measured_on(
    vectors, tiny_recipe, tiny_scale, tmp_path
) -> None:
    points = [np.stack(part.dataset["features"]) for part in (vectors.train, vectors.test)]
    shared = (
        np.concatenate([points[1], points[0][:9]]),
        np.concatenate([vectors.test.labels, vectors.train.labels[:9]]),
    )
    examples = dd.load((points[0], vectors.train.labels), test=(shared[0][::-1], shared[1][::-1]))
    setup = prepare(examples, tiny_recipe, workspace=tmp_path, device="cpu", on_leak="drop")
    kept: dict = {}
    row = next(pool_selection.measure(StudyContext(setup, tiny_scale), kept))
    assert row["intent_accuracy"] == pytest.approx(row["accuracy"])
    assert len(kept["correct"][pool_selection.BASE][0]) == len(vectors.test)


@pytest.mark.parametrize("name", FIGURES)
def test_a_task_without_a_sure_answer_is_refused(context, name) -> None:
    study = STUDIES[name]
    assert "classification" in study.tasks and "regression" not in study.tasks


# Scores of the first epochs.


@pytest.fixture
def half_wrong(tiny_recipe, tmp_path, tiny_scale):
    """Clear classes, half of whose training labels name the next class: `(context, which labels are right)`."""
    generator = np.random.default_rng(11)
    labels = np.arange(260) % 3
    inputs = (4 * np.eye(3, 5)[labels] + generator.normal(size=(260, 5))).astype(np.float32)
    found = corrupt(dd.load((inputs, labels), name="half wrong"), 0.5, "class_dependent")
    setup = prepare(found.examples, tiny_recipe, workspace=tmp_path / "runs", device="cpu")
    scale = dataclasses.replace(tiny_scale, base_share=0.1, pick_share=0.3, rounds=2, retrain_seeds=3)
    return StudyContext(setup, scale), ~found.mask


def noise(context: StudyContext, *parts: int) -> np.ndarray:
    return np.random.default_rng(list(parts)).random(len(context.setup.examples.train))


@pytest.mark.slow
def test_scores_that_know_beat_random_and_scores_that_are_noise_do_not(half_wrong, done, monkeypatch) -> None:
    context, right = half_wrong
    context.scale = dataclasses.replace(context.scale, offsets=(0.0, 0.01), keep=0.4)
    monkeypatch.setattr(bert_diet, "EPOCHS", (0.25, 1.0))

    def knowing(context, name, step):
        # The wrong labels are the very hardest of a hundredth, then the right ones, then the other wrong ones.
        return np.stack([right + 0.1 * noise(context, step, seed) for seed in range(3)])

    monkeypatch.setattr(bert_diet, "scores_at", knowing)
    result = done("bert-diet", context)
    assert outcome_of(result, "that follow the 0.01 hardest by EL2N are better than random") == "holds"
    assert outcome_of(result, "by GraNd are better than random") == "holds"
    assert outcome_of(result, "are worse than random") == "fails"

    def blind(context, name, step):
        return np.stack([noise(context, step, seed, 7) for seed in range(3)])

    monkeypatch.setattr(bert_diet, "scores_at", blind)
    result = done("bert-diet", context)
    for words in (
        "hardest by EL2N are better than random",
        "by GraNd are better than random",
        "train better than",
    ):
        assert {f.outcome for f in result.findings if words in f.claim.sentence} <= {"undecided", "fails"}
    assert outcome_of(result, "choose unbalanced classes") != "holds"


def test_subsets_that_are_unbalanced_early_and_balanced_later_are_told(context, done, monkeypatch) -> None:
    labels = context.setup.examples.train.labels
    context.scale = dataclasses.replace(context.scale, retrain_seeds=1)
    monkeypatch.setattr(bert_diet, "EPOCHS", (0.25, 1.0))
    one_epoch = context.setup.steps_per_epoch

    def of_one_class(context, name, step):
        early = (labels == 0) * 2.0
        return np.stack(
            [noise(context, step, seed) + (early if step < one_epoch else 0) for seed in range(6)]
        )

    monkeypatch.setattr(bert_diet, "scores_at", of_one_class)
    result = done("bert-diet", context)
    assert outcome_of(result, "choose unbalanced classes") == "holds"
    table = pq.read_table(result.folder / "balance.parquet").to_pylist()
    early = [row for row in table if row["epoch"] < 1 and row["drop"] == 0]
    late = [row for row in table if row["epoch"] >= 1 and row["drop"] == 0]
    assert min(row["total_variation"] for row in early) > 0.15 > max(row["total_variation"] for row in late)
    assert max(row["evenness"] for row in early) < min(row["evenness"] for row in late)


def test_every_subset_has_its_exact_size_and_drops_are_the_hardest(context, done, monkeypatch) -> None:
    trained: list[tuple[str, np.ndarray]] = []
    original = StudyContext.correct

    def watched(self, ids, label=""):
        if isinstance(ids, np.ndarray):
            trained.append((label, ids))
        return original(self, ids, label)

    monkeypatch.setattr(StudyContext, "correct", watched)
    monkeypatch.setattr(bert_diet, "EPOCHS", (0.0, 1.0))
    ranked = np.arange(len(context.setup.examples.train), dtype=np.float64)
    monkeypatch.setattr(bert_diet, "scores_at", lambda context, name, step: np.stack([ranked, ranked]))
    context.scale = dataclasses.replace(context.scale, offsets=(0.0, 0.1), keep=0.5)
    result = done("bert-diet", context)
    train, n = context.setup.examples.train, len(context.setup.examples.train)
    for label, ids in trained:
        positions = train.positions_of(ids)
        top = n - round(0.1 * n) if "from 0.1" in label else n
        assert positions.tolist() == list(range(top - round(0.5 * n), top)), label
    assert {row["n"] for row in result.rows} == {n, round(0.5 * n)}


def test_moments_are_shares_of_the_first_epochs_within_the_run(context) -> None:
    per_epoch = context.setup.steps_per_epoch
    found = bert_diet.moments(context)
    assert found == {e: round(e * per_epoch) for e in (0.0, 0.25, 0.5, 1.0, 2.0)}
    short = context.with_recipe(epochs=1.0)
    assert max(bert_diet.moments(short)) == 1.0


def test_class_balance_is_that_of_a_slow_count() -> None:
    generator = np.random.default_rng(0)
    labels, chosen = generator.integers(0, 4, 200), generator.integers(0, 3, 50)
    shares = [sum(label == c for label in chosen) / 50 for c in range(4)]
    entropy = -sum(q * np.log(q) for q in shares if q) / np.log(4)
    variation = sum(abs(q - sum(label == c for label in labels) / 200) for c, q in enumerate(shares)) / 2
    assert evenness(chosen, 4) == pytest.approx(entropy)
    assert total_variation(chosen, labels, 4) == pytest.approx(variation)
    assert total_variation(labels, labels, 4) == 0 and evenness(np.zeros(5, int), 4) == 0


# Pools.


def test_the_base_has_its_size_and_every_class_and_the_pool_is_the_rest(context) -> None:
    split = split_of(context)
    train = context.setup.examples.train
    base, picks = sizes(context)
    assert len(split.base) == base == round(0.1 * len(train)) and picks == round(0.1 * len(train))
    assert sorted([*split.base, *split.pool]) == train.ids.tolist()
    counts = np.bincount(train.labels[train.positions_of(split.base)], minlength=3)
    assert counts.min() >= 1 and counts.max() - counts.min() <= 1
    again = StudyContext(context.setup, context.scale, seed=5)
    assert split_of(again).base.tolist() != split.base.tolist()
    context.scale = dataclasses.replace(context.scale, base_share=0.01)
    with pytest.raises(BadInputError, match="3 classes"):
        sizes(context)


def made_up(context: StudyContext, ids: np.ndarray, right: np.ndarray, hardness: np.ndarray) -> PoolReading:
    """Hypotheses that are right where it says so, else the next class, all equally confident."""
    train = context.setup.examples.train
    labels = train.labels[train.positions_of(ids)]
    given = np.where(right, labels, (labels + 1) % context.setup.examples.num_classes)
    scores = dict.fromkeys(pool_selection.SCORES, hardness)
    return PoolReading(ids, scores, np.ones(len(ids)), given, None)


@pytest.fixture
def clear(context_on, tiny_scale) -> StudyContext:
    """Classes that are easily told, so that only wrong labels cost accuracy."""
    generator = np.random.default_rng(6)
    labels = np.arange(260) % 3
    inputs = (4 * np.eye(3, 5)[labels] + generator.normal(size=(260, 5))).astype(np.float32)
    context = context_on(dd.load((inputs, labels), name="clear"))
    context.scale = dataclasses.replace(
        tiny_scale, base_share=0.02, pick_share=0.15, retrain_seeds=3, score_seeds=1
    )
    return context


@pytest.mark.parametrize(("sign", "share", "expected"), [(1.0, 0.35, "holds"), (-1.0, 0.65, "fails")])
def test_picks_beat_random_only_where_their_hypotheses_are_the_right_ones(
    clear, done, monkeypatch, sign, share, expected
) -> None:
    def knowing(context, run, ids):
        right = np.random.default_rng([3, len(ids)]).random(len(ids)) < share
        return made_up(context, ids, right, sign * right)

    monkeypatch.setattr(pool_selection, "reading_of", knowing)
    monkeypatch.setattr(pool_selection, "SCORES", ("entropy",))
    result = done("pool-selection", clear)
    assert outcome_of(result, "least sure by entropy are better picks") == expected
    arms = {(row["score"], row["end"], row["labels"]): row for row in result.rows}
    good, bad = ("hardest", "easiest") if sign > 0 else ("easiest", "hardest")
    assert arms["entropy", good, "hypotheses"]["hypotheses_right"] > 0.8
    assert arms["entropy", bad, "hypotheses"]["hypotheses_right"] < 0.2
    assert arms["entropy", good, "hypotheses"]["accuracy"] > arms["entropy", bad, "hypotheses"]["accuracy"]


@pytest.mark.slow
def test_scores_that_are_noise_pick_no_better_than_random(clear, done, monkeypatch) -> None:
    def blind(context, run, ids):
        generator = np.random.default_rng([run.seed, len(ids)])
        return made_up(context, ids, generator.random(len(ids)) < 0.5, generator.random(len(ids)))

    monkeypatch.setattr(pool_selection, "reading_of", blind)
    monkeypatch.setattr(pool_selection, "SCORES", ("entropy", "margin"))
    result = done("pool-selection", clear)
    for score in ("entropy", "probability margin"):
        assert outcome_of(result, f"least sure by {score} are better picks") != "holds"


def test_it_is_the_hypotheses_that_are_trained_on(clear, done, monkeypatch) -> None:
    def all_wrong(context, run, ids):
        return made_up(context, ids, np.zeros(len(ids), bool), np.arange(len(ids), dtype=float))

    monkeypatch.setattr(pool_selection, "reading_of", all_wrong)
    monkeypatch.setattr(pool_selection, "SCORES", ("entropy",))
    result = done("pool-selection", clear)
    assert outcome_of(result, "Wrong hypotheses cost something") == "holds"
    assert outcome_of(result, "Hypotheses are worth adding at all") == "fails"
    arms = {(row["score"], row["end"], row["labels"]): row for row in result.rows}
    assert (
        arms["random", "random", "hypotheses"]["accuracy"]
        < 0.3
        < arms["random", "random", "true"]["accuracy"]
    )


def test_a_pool_is_labelled_by_the_base_model_and_the_rest_keeps_its_labels(context) -> None:
    split = split_of(context)
    run = context.retrain(split.base, 0, weights=True)
    reading = pool_selection.reading_of(context, run, split.pool)
    found = pool_selection.confident_part(context, reading)
    assert len(found.ids) == round(0.5 * len(split.pool))
    bound = np.sort(reading.confidence)[-len(found.ids)]
    assert (reading.confidence[reading.rows_of(found.ids)] >= bound).all()
    beside = pool_selection.labelled_pool(context, found, 0)
    train, new = context.setup.examples.train, beside.setup.examples.train
    places = train.positions_of(found.ids)
    assert new.labels[places].tolist() == reading.labels[reading.rows_of(found.ids)].tolist()
    others = np.setdiff1d(np.arange(len(train)), places)
    assert new.labels[others].tolist() == train.labels[others].tolist()
    assert found.right.tolist() == (new.labels[places] == train.labels[places]).tolist()


def test_all_arms_have_the_same_size_and_random_picks_their_own_draw_each_seed(
    context, done, monkeypatch
) -> None:
    trained: dict[str, np.ndarray] = {}
    original = StudyContext.retrain

    def watched(self, ids, index, label="", *, weights=False):
        trained[label] = ids
        return original(self, ids, index, label, weights=weights)

    monkeypatch.setattr(StudyContext, "retrain", watched)
    result = done("pool-selection", context)
    base, picks = sizes(context)
    assert {row["n"] for row in result.rows} == {base, base + picks}
    assert all(len(ids) == base + picks for label, ids in trained.items() if not label.startswith("base"))
    seeds = [trained[f"random random, hypotheses labels, seed {seed}"] for seed in (1, 2)]
    assert seeds[0].tolist() != seeds[1].tolist()
    ends = [trained[f"entropy {end}, hypotheses labels, seed 1"] for end in ("hardest", "easiest")]
    assert set(ends[0]) & set(ends[1]) == set(split_of(context).base)


def test_domains_are_given_or_told_from_names() -> None:
    names = ["music.play", "music.stop", "weather.today"]
    assert domains_of(names).tolist() == [0, 0, 1]
    assert domains_of([f"x_{name}" for name in names]).tolist() == [0, 0, 1]
    assert domains_of(["a", "b"]) is None and domains_of(["0", "1", "2"]) is None
    assert domains_of(names, dict(zip(names, "aab", strict=True))).tolist() == [0, 0, 1]
    with pytest.raises(BadInputError, match="weather"):
        domains_of(names, {"music.play": "a", "music.stop": "a"})


def test_domain_errors_are_counted_by_a_given_map(context, done, monkeypatch) -> None:
    monkeypatch.setattr(pool_selection, "SCORES", ("entropy",))
    context.domains = {"0": "even", "1": "odd", "2": "even"}
    result = done("pool-selection", context)
    assert any("wrong domain" in finding.claim.sentence for finding in result.findings)
    for row in result.rows:
        # Without slots, a domain is wrong at most where the intent is, and that is all that can be wrong.
        assert row["domain_error"] <= 1 - row["intent_accuracy"] + 1e-12
        assert row["semantic_error_rate"] == pytest.approx(1 - row["accuracy"])
    assert any(0 < row["domain_error"] < 1 - row["intent_accuracy"] for row in result.rows)


# Active learning.


def test_each_round_adds_its_exact_number_from_the_rest_of_the_pool(context, done, monkeypatch) -> None:
    trained: dict[str, np.ndarray] = {}
    original = StudyContext.retrain

    def watched(self, ids, index, label="", *, weights=False):
        trained[label] = ids
        return original(self, ids, index, label, weights=weights)

    monkeypatch.setattr(StudyContext, "retrain", watched)
    context.scale = dataclasses.replace(context.scale, pick_share=0.11, rounds=3)
    counts = active_learning.per_round(context)
    picks = sizes(context)[1]
    assert sum(counts) == picks and max(counts) - min(counts) <= 1
    done("active-learning", context)
    for strategy in active_learning.STRATEGIES:
        for seed in (1, 2):
            before = trained[f"base, seed {seed}"]
            for number, count in enumerate(counts, start=1):
                now = trained[f"{strategy}, round {number}, seed {seed}"]
                assert len(now) == len(set(now)) == len(before) + count
                assert set(before) < set(now)
                before = now
    assert trained["random, round 1, seed 1"].tolist() != trained["random, round 1, seed 2"].tolist()


@pytest.mark.slow
def test_labels_that_are_worth_more_win_and_noise_wins_nothing(half_wrong, done, monkeypatch) -> None:
    context, right = half_wrong
    train = context.setup.examples.train

    def reading(values):
        return lambda context, run, ids: PoolReading(
            ids,
            {name: values(train.positions_of(ids), run) for name in active_learning.STRATEGIES},
            np.ones(len(ids)),
            np.zeros(len(ids), dtype=np.int64),
            None,
        )

    monkeypatch.setattr(active_learning, "reading_of", reading(lambda rows, run: right[rows].astype(float)))
    result = done("active-learning", context)
    for said in ("entropy", "probability margin", "least confidence"):
        assert outcome_of(result, f"least sure of by {said}") == "holds"
    blind = reading(lambda rows, run: np.random.default_rng([run.seed, len(rows)]).random(len(rows)))
    monkeypatch.setattr(active_learning, "reading_of", blind)
    result = done("active-learning", context)
    for said in ("entropy", "probability margin", "least confidence"):
        assert outcome_of(result, f"least sure of by {said}") != "holds"
