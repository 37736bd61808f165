"""Pools of texts, images, label sets, and utterances with an intent and slots."""

from __future__ import annotations

import csv
import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pool_files import TINY

import datadiet as dd
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.pool import pool

WORDS = {"cold": ["snow", "ice", "frost", "winter"], "hot": ["sun", "sand", "summer", "fire"]}
QUICK = {
    "seeds": 1,
    "device": "cpu",
    "overrides": {"epochs": 8.0, "batch_size": 16, "precision": "float32", "memory_format": "contiguous"},
}


def sentences(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts of four words of one class."""
    generator = np.random.default_rng(seed)
    names = [("cold", "hot")[index % 2] for index in range(count)]
    return [" ".join(generator.choice(WORDS[name], 4)) for name in names], names


def test_texts_are_scored_by_their_words_and_mixed_ones_are_the_least_sure(tmp_path) -> None:
    texts, names = sentences(60, 0)
    base = dd.load((texts, names), name="weather")
    easy, _ = sentences(40, 1)
    mixed = ["snow sun ice fire", "=frost summer", "winter sand", "sun snow"]
    pq.write_table(pa.table({"text": easy[:20] + mixed + easy[20:]}), tmp_path / "pool.parquet")
    found = pool(
        base, tmp_path / "pool.parquet", pick=4, out=tmp_path / "out", workspace=tmp_path / "runs", **QUICK
    )
    assert sorted(found.ids.tolist()) == [20, 21, 22, 23]
    with (found.folder / "to_label.csv").open(newline="", encoding="utf-8") as file:
        listed = {int(line["id"]): line["text"] for line in csv.DictReader(file)}
    assert listed[21] == "'=frost summer", "a spreadsheet must not run it"


def test_texts_can_be_given_as_a_list(tmp_path) -> None:
    texts, names = sentences(60, 0)
    base = dd.load((texts, names), name="weather")
    found = pool(
        base, ["snow sun", *texts[:10]], pick=1, out=tmp_path / "out", workspace=tmp_path / "runs", **QUICK
    )
    assert found.ids.tolist() == [0]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of dark and bright pictures by class, and a flat one with grey ones among them."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)

    def write(path, level: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(level + generator.integers(-20, 20, (8, 8)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)

    for index in range(24):
        write(folder / "base" / "dark" / f"{index}.png", 40)
        write(folder / "base" / "bright" / f"{index}.png", 210)
    for index in range(12):
        write(folder / "flat" / f"{index:02d}.png", 125 if index in (3, 8) else (40, 210)[index % 2])
        write(folder / "weak" / ("dark", "bright")[index % 2] / f"{index:02d}.png", (40, 210)[index % 2])
    return folder


def test_a_flat_folder_of_images_is_a_pool_without_labels(pictures, tmp_path) -> None:
    found = pool(
        str(pictures / "base"), str(pictures / "flat"), pick=2, out=tmp_path / "out",
        workspace=tmp_path / "runs", **TINY,
    )  # fmt: skip
    assert sorted(found.ids.tolist()) == [3, 8]
    table = pq.read_table(found.folder / "to_label.parquet").to_pylist()
    assert {row["image"]["path"] for row in table} == {"03.png", "08.png"}
    assert all(row["image"]["bytes"].startswith(b"\x89PNG") for row in table)
    assert "image" not in (found.folder / "to_label.csv").read_text().splitlines()[0]


def test_images_with_hypotheses_are_added_to_the_base_with_their_bytes(pictures, tmp_path) -> None:
    found = pool(
        str(pictures / "base"), str(pictures / "weak"), pick=5, by="random", out=tmp_path / "out",
        workspace=tmp_path / "runs", **TINY,
    )  # fmt: skip
    again = dd.load(str(found.folder / "augmented"))
    base = dd.load(str(pictures / "base"))
    assert again.kind == "image" and len(again.train) == len(base.train) + 5
    assert again.class_names == base.class_names and len(again.test) == len(base.test)
    levels = [np.asarray(image.convert("L")).mean() for image in again.train.dataset["image"][-5:]]
    named = [again.class_names[label] for label in again.train.labels[-5:]]
    assert named == ["bright" if level > 125 else "dark" for level in levels]


def test_arrays_of_images_are_a_pool_for_digits(tmp_path) -> None:
    from sklearn.datasets import load_digits

    images = np.round(load_digits().images[:40] * (255 / 16)).astype(np.uint8)
    quick = {**TINY, "seeds": 1, "overrides": {**TINY["overrides"], "epochs": 1.0, "batch_size": 256}}
    found = pool(
        "digits",
        images,
        pick=3,
        by="logit_margin",
        out=tmp_path / "out",
        workspace=tmp_path / "runs",
        **quick,
    )
    assert found.data["n_pool"] == 40 and len(set(found.ids.tolist())) == 3
    assert set(pq.read_table(found.folder / "to_label.parquet")["prediction"].to_pylist()) <= set(
        "0123456789"
    )


# Several labels an example, and an intent with slots.


def test_label_sets_of_a_pool_are_numbered_as_the_base_numbers_them(tmp_path) -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(60, 3))
    labels = [[name for name, value in zip("abc", row, strict=True) if value > 0] for row in points]
    base = dd.load(datasets.Dataset.from_dict({"features": points.tolist(), "label": labels}), name="sets")
    weak = {"features": points[:20].tolist(), "label": [["c"]] * 18 + [["z"]] + [["b", "a"]]}
    found = pool(
        base, datasets.Dataset.from_dict(weak), pick=19, by="el2n", out=tmp_path / "out",
        workspace=tmp_path / "runs", **TINY,
    )  # fmt: skip
    assert found.data["left_out"] == {"hypothesis that the base does not know": 1}
    rows = pq.read_table(found.folder / "augmented" / "train.parquet").to_pylist()[-19:]
    assert [row["label"] for row in rows] == [["c"]] * 18 + [["b", "a"]]


CITIES = ["rome", "oslo", "bern", "riga"]
JOINT = {
    "seeds": 1,
    "device": "cpu",
    "recipe": dd.Recipe(
        model="tiny-bert",
        model_options={"layers": 1, "hidden": 32, "heads": 2},
        epochs=12.0,
        batch_size=16,
        optimizer="adamw",
        lr=5e-3,
        max_length=16,
        precision="float32",
        memory_format="contiguous",
    ),
}


def utterances(count: int, seed: int) -> dict[str, list[str]]:
    """ "fly to CITY now" and "weather in CITY", with slots."""
    generator = np.random.default_rng(seed)
    rows: dict[str, list[str]] = {"text": [], "slots": [], "intent": []}
    for index in range(count):
        city = generator.choice(CITIES)
        fly = index % 2 == 0
        rows["text"].append(f"fly to {city} now" if fly else f"weather in {city}")
        rows["slots"].append("O O B-city O" if fly else "O O B-place")
        rows["intent"].append("travel_fly" if fly else "weather_ask")
    return rows


def write_rows(path, rows) -> str:
    pq.write_table(pa.table(rows), path)
    return str(path)


def test_utterances_are_scored_with_their_tags_and_added_with_both(tmp_path) -> None:
    base = write_rows(tmp_path / "base.parquet", utterances(60, 0))
    weak = utterances(20, 1)
    weak["intent"][2], weak["slots"][3], weak["slots"][5] = "banking", "O O B-unknown", "O O"
    found = pool(
        base, write_rows(tmp_path / "weak.parquet", weak), pick=6, by="margin", out=tmp_path / "out",
        workspace=tmp_path / "runs", **JOINT,
    )  # fmt: skip
    assert found.data["left_out"] == {
        "hypothesis that the base does not know": 2,
        "tags that do not go with the words": 1,
    }
    assert found.data["n_eligible"] == 17 and not {2, 3, 5} & set(found.ids.tolist())
    rows = pq.read_table(found.folder / "augmented" / "train.parquet").to_pylist()[-6:]
    for row in rows:
        source = row["datadiet_pool"]["id"]
        assert {name: row[name] for name in weak} == {name: weak[name][source] for name in weak}
    again = dd.load(str(found.folder / "augmented"))
    assert again.task == "intent_slots" and len(again.train) == 48 + 6


def test_utterances_without_hypotheses_are_listed_and_a_pool_with_half_of_them_is_refused(tmp_path) -> None:
    base = write_rows(tmp_path / "base.parquet", utterances(60, 0))
    texts = [*utterances(12, 1)["text"], "fly in weather rome", "in now"]
    found = pool(
        base, write_rows(tmp_path / "texts.parquet", {"text": texts}), pick=2, by="entropy", out=tmp_path / "out",
        workspace=tmp_path / "runs", **JOINT,
    )  # fmt: skip
    unsure = pq.read_table(found.folder / "pool.parquet")["by_entropy"].to_pylist()
    assert found.ids.tolist() == sorted(range(14), key=lambda row: (-unsure[row], row))[:2]
    assert len(set(unsure)) == len(set(texts)), "the same text is as unsure wherever it stands"
    half = write_rows(tmp_path / "half.parquet", {"text": texts, "intent": ["travel_fly"] * 14})
    with pytest.raises(BadInputError, match="none of slots"):
        pool(base, half, pick=2, out=tmp_path / "half", workspace=tmp_path / "runs", **JOINT)


def test_the_study_of_pools_reports_all_metrics_of_utterances(tmp_path, monkeypatch) -> None:
    import dataclasses

    from datadiet.engine.setup import prepare
    from datadiet.studies import pool_selection
    from datadiet.studies.toolbox.context import StudyContext
    from datadiet.studies.toolbox.protocol import STUDIES, carry_out
    from datadiet.studies.toolbox.scale import SCALES

    monkeypatch.setattr("datadiet.studies.toolbox.protocol.as_png", lambda figure: b"PNG")
    monkeypatch.setattr("datadiet.studies.toolbox.protocol.as_svg", lambda figure: b"<svg")
    monkeypatch.setattr(pool_selection, "SCORES", ("entropy",))
    rows = utterances(80, 0)
    rows["intent"] = [f"{name}_{index % 3}" for index, name in enumerate(rows["intent"])]
    examples = dd.load(datasets.Dataset.from_dict(rows), name="utterances")
    recipe = JOINT["recipe"].replace(epochs=2.0)
    setup = prepare(examples, recipe, workspace=tmp_path / "runs", device="cpu")
    context = StudyContext(setup, dataclasses.replace(SCALES["smoke"], base_share=0.2, retrain_seeds=1))
    result = carry_out(STUDIES["pool-selection"], context, tmp_path / "study")
    for row in result.rows:
        assert row["intent_accuracy"] >= row["accuracy"]
        assert row["domain_error"] <= 1 - row["intent_accuracy"] + 1e-9
        assert row["semantic_error_rate"] is not None and row["slot_f1"] is not None
    claims = json.loads((result.folder / "claims.json").read_text())
    assert any("semantic error rate" in claim["sentence"] for claim in claims)
    assert any("wrong domain" in claim["sentence"] for claim in claims)


def test_images_of_a_pool_are_read_by_the_range_of_the_base_or_their_own_where_it_has_none(tmp_path) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    pictures = generator.integers(0, 90, (40, 8, 8), dtype=np.uint8)
    pictures[labels == 1, :4] += 90
    pictures[0, 0, 0] = 255
    others, dark = generator.integers(0, 256, (2, 20, 8, 8), dtype=np.uint8)
    others[0, 0, 0] = 255
    dark //= 17  # 0 to 15: of 12 bits times sixteen, these look like 8 bits

    def folder(name: str, images: np.ndarray, depth: int) -> str:
        (tmp_path / name).mkdir()
        for index, image in enumerate(images):
            stored = image if depth == 8 else image.astype(np.uint16) * 16
            Image.fromarray(stored).save(tmp_path / name / f"{index:02}.png")
        return str(tmp_path / name)

    def picked(base, pool_folder: str) -> tuple[list[int], np.ndarray, list[str]]:
        found = pool(base, pool_folder, pick=20, workspace=tmp_path / "runs", **QUICK)
        return found.ids.tolist(), found.scores, found.data["notes"]

    eight = dd.load((pictures, labels), test_fraction=0.25)
    twelve = dd.load((pictures.astype(np.uint16) * 16, labels), test_fraction=0.25)
    wanted = picked(eight, folder("others8", others, 8))
    for base, name in ((eight, "own"), (twelve, "same")):
        found = picked(base, folder(name, others, 12))
        assert found[0] == wanted[0] and np.array_equal(found[1], wanted[1])
        assert any("scaled by their own range" in note for note in found[2]) == (name == "own")
    wanted, found = picked(eight, folder("dark8", dark, 8)), picked(twelve, folder("dark12", dark, 12))
    assert found[0] == wanted[0] and np.array_equal(found[1], wanted[1])
    assert any("another range" in note for note in found[2])
