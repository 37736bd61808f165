"""`datadiet review`: from a file of suspects, or of scores, to the page."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, write_images, write_vectors

import datadiet as dd
from datadiet.jobs.review import opening
from datadiet.noise import NoiseRate
from datadiet.scores import ScoreTable


def write_suspects(path: Path, examples: dd.Examples, labels: np.ndarray | None = None) -> None:
    """Every training example as a suspect, the later the more suspicious, the next class proposed."""
    ids = examples.train.ids
    order = np.arange(len(ids), dtype=np.float64)
    dd.Suspects.ranked(
        ids,
        examples.train.labels if labels is None else labels,
        order,
        np.full(len(ids), 0.5),
        (examples.train.labels + 1) % examples.num_classes,
        {"margin": -order},
        NoiseRate(0.5, 0.4, 0.6),
        examples.class_names,
        {"fingerprint": examples.fingerprint, "source": examples.source, "load_options": {}},
    ).write(path)


def write_suspects_of_both_parts(
    path: Path, examples: dd.Examples, rates: tuple[NoiseRate, NoiseRate]
) -> None:
    """Every example as a suspect of one suspicion, in the order of a second signal: test, then train, falling ids."""
    parts = [examples.train, examples.test]
    ids, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "labels"))
    part = np.repeat(["train", "test"], [len(examples.train), len(examples.test)])
    dd.Suspects.ranked(
        ids,
        labels,
        np.zeros(len(ids)),
        np.full(len(ids), 0.5),
        (labels + 1) % examples.num_classes,
        {},
        rates[0],
        examples.class_names,
        {"fingerprint": examples.fingerprint, "source": examples.source, "load_options": {}},
        part,
        rates[1],
        then=ids + 1000.0 * (part == "test"),
    ).write(path)


def data_of(page: Path) -> dict[str, object]:
    """What the page's script reads."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found is not None
    return json.loads(found.group(1))


def test_the_page_shows_the_most_suspicious_and_says_how_to_go_on(datadiet, points: Path) -> None:
    examples = dd.load(str(points))
    write_suspects(points.parent / "suspects.parquet", examples)
    outcome = datadiet("review", "suspects.parquet", "--limit", 5)
    assert outcome.code == 0, outcome.stderr
    assert f"5 of {len(examples.train)} examples to review: review.html" in outcome.stdout
    assert f"datadiet export {examples.source} --decisions decisions.json --to cleaned" in outcome.stdout
    data = data_of(points.parent / "review.html")
    wanted = examples.train.ids[::-1][:5]
    labels = examples.train.labels[::-1][:5]
    assert data["keys"] == list(map(str, wanted))
    assert data["given"] == labels.tolist()
    assert data["proposed"] == ((labels + 1) % 3).tolist()
    assert data["probability_wrong"] == [0.5] * 5
    assert data["signals"] == [{"name": "margin", "values": [-x for x in data["suspicion"]]}]
    assert data["fingerprint"] == examples.fingerprint
    assert data["class_names"] == list(examples.class_names)
    rows = pq.read_table(points).to_pylist()
    for id_, (length, *numbers) in zip(map(int, data["keys"]), data["vectors"], strict=True):
        assert length == 4
        np.testing.assert_allclose(numbers, [rows[id_][f"x{column}"] for column in range(4)], rtol=1e-5)


def test_images_are_on_the_page(datadiet, here: Path) -> None:
    folder = write_images(here / "shapes", train=6, test=3)
    examples = dd.load(str(folder))
    write_suspects(here / "suspects.parquet", examples)
    outcome = datadiet("review", "suspects.parquet", "--out", "pages/mine.html", "--json")
    told = json.loads(outcome.stdout)
    assert told == {
        "out": str(Path("pages/mine.html")),
        "n": 12,
        "in_all": 12,
        "source": examples.source,
        "fingerprint": examples.fingerprint,
        "why": None,
        "export": f"datadiet export {examples.source} --decisions decisions.json --to cleaned",
        "notes": list(examples.notes),
    }
    data = data_of(here / "pages" / "mine.html")
    assert (data["kind"], data["pixelated"]) == ("image", True)
    assert data["sheets"]["sizes"] == [[8, 8]] * 12


def test_texts_are_on_the_page_with_the_id_that_they_belong_to(datadiet, here: Path) -> None:
    texts = [f"note {row} <b>" for row in range(20)]
    pq.write_table(pa.table({"text": texts, "label": ["x", "y"] * 10}), here / "notes.parquet")
    write_suspects(here / "suspects.parquet", dd.load("notes.parquet"))
    assert datadiet("review", "suspects.parquet").code == 0
    data = data_of(here / "review.html")
    assert data["texts"] == [texts[int(id_)] for id_ in data["keys"]]


def test_a_score_table_is_reviewed_hardest_first_without_proposals(datadiet, points: Path) -> None:
    examples = dd.load(str(points))
    ids, labels = examples.train.ids, examples.train.labels
    values = np.random.default_rng(0).normal(size=len(ids))
    facts = {"fingerprint": examples.fingerprint, "source": examples.source}
    scores = [{"el2n": values, "aum": values}]
    ScoreTable.from_seeds(ids, labels, scores, class_names=examples.class_names, provenance=facts).write(
        "s.parquet"
    )

    assert_refused(datadiet("review", "s.parquet"), "el2n", "aum")
    assert_refused(datadiet("review", "s.parquet", "--by", "grand"), "grand")
    assert datadiet("review", "s.parquet", "--by", "el2n").code == 0
    data = data_of(points.parent / "review.html")
    assert data["ranking"] == "el2n"
    assert data["keys"] == list(map(str, ids[np.argsort(-values)]))
    assert data["proposes"] is False
    # A low AUM is hard.
    assert datadiet("review", "s.parquet", "--by", "aum", "--limit", 3, "--overwrite").code == 0
    assert data_of(points.parent / "review.html")["keys"] == list(map(str, ids[np.argsort(values)][:3]))


def test_data_that_has_moved_is_named(datadiet, points: Path) -> None:
    write_suspects(points.parent / "suspects.parquet", dd.load(str(points)))
    points.rename(points.parent / "moved.parquet")
    assert datadiet("review", "suspects.parquet").code == 2
    outcome = datadiet("review", "suspects.parquet", "--source", "moved.parquet")
    assert outcome.code == 0
    assert "datadiet export moved.parquet" in outcome.stdout


def test_other_data_is_refused(datadiet, points: Path) -> None:
    write_suspects(points.parent / "suspects.parquet", dd.load(str(points)))
    write_vectors(points.parent / "other.parquet", seed=1)
    assert_refused(datadiet("review", "suspects.parquet", "--source", "other.parquet"), "fingerprints differ")


def test_labels_that_are_not_those_of_the_data_are_refused(datadiet, points: Path) -> None:
    examples = dd.load(str(points))
    labels = examples.train.labels.copy()
    labels[3] = (labels[3] + 1) % 3
    write_suspects(points.parent / "suspects.parquet", examples, labels)
    assert_refused(datadiet("review", "suspects.parquet"), f"example {examples.train.ids[3]} has the label")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing.parquet",), "no file of suspects"),
        (("points.parquet",), "neither suspects nor scores"),
        (("suspects.parquet", "--limit", 0), "limit is 0"),
        (("suspects.parquet", "--by", "el2n"), "--by"),
        (("broken.parquet",), "not a readable Parquet file"),
    ],
)
def test_what_cannot_be_reviewed_is_refused(datadiet, points: Path, arguments, words) -> None:
    write_suspects(points.parent / "suspects.parquet", dd.load(str(points)))
    (points.parent / "broken.parquet").write_text("nothing")
    assert_refused(datadiet("review", *arguments), words)
    assert not (points.parent / "review.html").exists()


def test_test_rows_are_on_the_page_with_their_own_pictures_and_ties_keep_their_order(
    datadiet, here: Path
) -> None:
    examples = dd.load(str(write_images(here / "shapes", train=6, test=3)))
    assert set(examples.test.ids) <= set(examples.train.ids)
    rates = NoiseRate(0.5, 0.4, 0.6), NoiseRate(0.9, 0.8, 1.0)
    write_suspects_of_both_parts(here / "suspects.parquet", examples, rates)
    assert datadiet("review", "suspects.parquet", "--limit", 8).code == 0
    data = data_of(here / "review.html")
    assert data["keys"] == [*(f"test:{id_}" for id_ in range(5, -1, -1)), "11", "10"]
    labels = [*examples.test.labels[::-1], *examples.train.labels[::-1][:2]]
    assert data["given"] == labels


def test_labels_of_the_test_part_that_are_not_those_of_the_data_are_refused(datadiet, points: Path) -> None:
    examples = dd.load(str(points))
    rate = NoiseRate(0.5, 0.4, 0.6)
    test = replace(examples.test, labels=(examples.test.labels + 1) % 3)
    write_suspects_of_both_parts(
        points.parent / "suspects.parquet", replace(examples, test=test), (rate, rate)
    )
    assert_refused(
        datadiet("review", "suspects.parquet"), f"example test:{examples.test.ids[-1]} has the label"
    )


@pytest.mark.parametrize(
    ("rates", "shown", "said"),
    [
        ((0.5, 0.25), 27, "About 27 labels are wrong, so the page has the 27 most suspicious"),
        ((0.05, 0.0), 20, "About 2 labels are wrong, so the page has the 20 most suspicious"),
    ],
)
def test_the_page_opens_at_as_many_as_are_wrong(datadiet, points: Path, rates, shown, said) -> None:
    both = tuple(NoiseRate(rate, 0.0, 1.0) for rate in rates)
    examples = dd.load(str(points))
    found = points.parent / "suspects.parquet"
    write_suspects_of_both_parts(found, examples, both)
    outcome = datadiet("review", found)
    assert f"{shown} of 60 examples to review" in outcome.stdout and said in outcome.stdout
    assert len(data_of(points.parent / "review.html")["keys"]) == shown
    assert said not in datadiet("review", found, "--limit", 30, "--overwrite").stdout


@dataclass(frozen=True)
class Untold(NoiseRate):
    """A rate that cannot be told."""

    identified: bool = False


@pytest.mark.parametrize("rates", [(Untold, NoiseRate), (NoiseRate, Untold)])
def test_where_that_cannot_be_told_in_either_part_the_page_opens_at_a_hundred(points: Path, rates) -> None:
    write_suspects(points.parent / "suspects.parquet", dd.load(str(points)))
    found = dd.Suspects.read(points.parent / "suspects.parquet")
    one, other = (kind(0.1, 0.0, 0.9) for kind in rates)
    limit, why = opening(replace(found, noise_rate=one, test_noise_rate=other))
    assert (limit, why.startswith("How many labels are wrong is not known here")) == (100, True)


def test_a_score_table_is_ordered_by_another_score_where_one_is_the_same(datadiet, points: Path) -> None:
    examples = dd.load(str(points))
    ids = examples.train.ids
    mean = np.random.default_rng(1).permutation(len(ids)).astype(float)
    facts = {"fingerprint": examples.fingerprint, "source": examples.source}
    scores = [{"el2n": np.ones(len(ids)), "mean_el2n": mean}]
    table = ScoreTable.from_seeds(
        ids, examples.train.labels, scores, class_names=examples.class_names, provenance=facts
    )
    table.write("s.parquet")
    assert datadiet("review", "s.parquet", "--by", "el2n").code == 0
    assert data_of(points.parent / "review.html")["keys"] == list(map(str, ids[np.argsort(-mean)]))
