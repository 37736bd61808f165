"""Whatever classes, files and texts are called, nothing lands outside, nothing collides, nothing runs."""

from __future__ import annotations

import csv
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from exported_data import contents, everything_below, picture, stays
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import datadiet as dd
from datadiet.jobs.export import export
from datadiet.jobs.export.image_folder import FolderNames, SafeTree, safe_component
from datadiet.jobs.export.rows import is_formula, neutralised

HOSTILE = (
    "../../escape",
    "/etc/passwd",
    "..",
    ".",
    "",
    "CON",
    "aux.png",
    "Cat",
    "cat",
    "CAT",
    "a/b",
    "a_b",
    "c:\\x",
    ".hidden",
    "x" * 400,
    "x" * 400 + "y",
    "é",
    "e\u0301",
    "\u202egpj.exe",
    "nul\x00byte",
    "trailing. ",
    "=cmd()",
)
NAMES = st.text(alphabet=st.characters(), max_size=40) | st.sampled_from(HOSTILE)
DEVICES = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(10))}


def assert_fit(name: str) -> None:
    assert name and name not in (".", "..") and not set(name) & set('/\\<>:"|?*')
    assert not any(ord(c) < 32 or unicodedata.category(c).startswith("C") for c in name)
    assert not name.startswith((".", " ")) and not name.endswith((".", " "))
    assert name.split(".")[0].strip().lower() not in DEVICES
    assert len(name.encode()) <= 140


@given(NAMES)
def test_every_name_becomes_one_that_any_file_system_takes(text: str) -> None:
    assert_fit(safe_component(text))
    assert safe_component(safe_component(text)) == safe_component(text)


@given(st.lists(NAMES, max_size=12))
def test_names_of_one_folder_differ_also_where_case_and_accents_do_not_count(texts: list[str]) -> None:
    names = FolderNames()
    given_out = [names.take(text) for text in texts]
    for name in given_out:
        assert_fit(name)
    assert len({unicodedata.normalize("NFC", name).lower() for name in given_out}) == len(texts)
    assert len({unicodedata.normalize("NFD", name).casefold() for name in given_out}) == len(texts)


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=8))
def test_paths_stay_below_their_folder_and_no_file_is_a_folder(paths: list[list[str]]) -> None:
    tree = SafeTree()
    placed = [tree.place(path) for path in paths]
    assert len({path.casefold() for path in placed}) == len(placed)
    folders = {path.rsplit("/", 1)[0].casefold() for path in placed if "/" in path}
    assert not folders & {path.casefold() for path in placed}
    for path in placed:
        for part in path.split("/"):
            assert_fit(part)


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("golden retriever", "Katze", "猫", "n01440764", "a.b-c_d.JPEG", "größe", "کتاب"):
        assert safe_component(name) == name


def test_hostile_classes_come_back_with_their_real_names(tmp_path: Path) -> None:
    import datasets
    import pyarrow as pa

    names = [name for name in HOSTILE if name]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    rows = 3 * len(names)
    images = [{"bytes": picture(i), "path": "../../../tmp/evil.png"} for i in range(rows)]
    table = pa.table({"image": images, "label": [i % len(names) for i in range(rows)]}, features.arrow_schema)
    pq.write_table(table, tmp_path / "a.parquet")
    examples = dd.load(tmp_path / "a.parquet", test_fraction=0.34)
    before = set(tmp_path.iterdir())
    for format in ("imagefolder", "csv"):
        export(
            tmp_path / "a.parquet",
            tmp_path / format,
            kept=examples.train.ids,
            format=format,
            load_options={"test_fraction": 0.34},
        )
        again = dd.load(tmp_path / format)
        assert again.class_names == tuple(names)
        assert contents(again.train, again.class_names) == stays(examples, examples.train.ids)
    assert set(tmp_path.iterdir()) - before == {tmp_path / f for f in ("imagefolder", "csv")}


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=2,
                max_size=5, unique=True))  # fmt: skip
def test_any_class_names_survive_an_image_folder(names: list[str]) -> None:
    import datasets
    import pyarrow as pa

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    rows = 3 * len(names)
    images = [{"bytes": picture(i), "path": None} for i in range(rows)]
    table = pa.table({"image": images, "label": [i % len(names) for i in range(rows)]}, features.arrow_schema)
    with tempfile.TemporaryDirectory() as place:
        examples = dd.load(table, test_fraction=0.4)
        target = Path(place) / "out"
        export(examples, target, kept=examples.train.ids, format="imagefolder")
        assert [p.name for p in Path(place).iterdir()] == ["out"]
        again = dd.load(target)
        assert again.class_names == tuple(names)
        assert contents(again.train, names) == stays(examples, examples.train.ids)


@given(st.text(max_size=20))
def test_no_cell_starts_a_formula_after_it_was_neutralised(text: str) -> None:
    shown = neutralised(text)
    assert shown.lstrip("'") == text.lstrip("'")
    if shown != text:
        assert shown == "'" + text
    elif text.strip(" ") and text.strip(" ")[0] in "=+-@":
        float(text)  # only a plain number may start like that


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", " =HYPERLINK(1)", "＝1", "-5", "fine=no"]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_formulas_in_csv_are_made_harmless_and_counted(tmp_path: Path, form: str) -> None:
    rows = [(text, ("a", "b")[i % 2]) for i, text in enumerate(FORMULAS + ["plain"] * 11)]
    source = tmp_path / f"a.{form}"
    if form == "csv":
        with source.open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    else:
        import json

        source.write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in rows))
    examples = dd.load(source)
    exported = export(source, tmp_path / "out", kept=examples.train.ids, format="csv")
    written = [
        row for p in ("train", "test") for row in csv.reader((tmp_path / "out" / f"{p}.csv").open(newline=""))
    ]
    shown = [row[0] for row in written if row[0] != "text"]
    assert sorted(shown) == sorted([neutralised(t) for t, _ in rows])
    assert exported.neutralised == 7 == sum(map(is_formula, FORMULAS))
    assert "7 examples have a text" in str(exported)
    export(source, tmp_path / "raw", kept=examples.train.ids, format="csv", keep_formulas=True)
    again = dd.load(tmp_path / "raw")
    assert contents(again.train, again.class_names) == stays(examples, examples.train.ids)


def test_links_are_followed_for_reading_and_never_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "src" / part / name).mkdir(parents=True)
            for i in range(2):
                (outside / f"{part}{name}{i}.png").write_bytes(picture(hash((part, name, i)) % 1000))
                (tmp_path / "src" / part / name / f"{i}.png").symlink_to(outside / f"{part}{name}{i}.png")
    (outside / "manifest.json").write_text(
        '{"format": "datadiet-export"}'
    )  # an earlier export, which is linked to
    before = everything_below(outside)
    ids = dd.load(tmp_path / "src").train.ids
    export(tmp_path / "src", tmp_path / "out", kept=ids)
    assert everything_below(outside) == before
    for path in (tmp_path / "out" / "train").rglob("*.png"):
        assert not path.is_symlink()
    assert (tmp_path / "out/train/a/0.png").read_bytes() == before["traina0.png"]
    with pytest.raises(dd.BadInputError, match="holds images of the source"):
        export(tmp_path / "src", outside, kept=ids, overwrite=True)
    assert everything_below(outside) == before


def test_file_names_of_an_image_folder_that_differ_in_nothing_but_case_stay_apart(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "src" / part / name).mkdir(parents=True)
            for i, file in enumerate(("X.png", "x.png", "con.png", "y\u0301.png", "ý.png")):
                (tmp_path / "src" / part / name / file).write_bytes(picture(i + 7 * (part == "test")))
    examples = dd.load(tmp_path / "src")
    if len(examples.train) != 10:
        pytest.skip("this file system ignores case")
    export(tmp_path / "src", tmp_path / "out", kept=examples.train.ids)
    names = [p.name for p in (tmp_path / "out/train/a").iterdir()]
    assert len({unicodedata.normalize("NFC", n).casefold() for n in names}) == 5
    again = dd.load(tmp_path / "out")
    assert contents(again.train, again.class_names) == stays(examples, np.arange(10))
