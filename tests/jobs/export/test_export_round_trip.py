"""Load, export, load: the same examples in every format."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported_data import (
    FORMATS_OF_IMAGES,
    contents,
    everything_below,
    image_folder,
    image_parquet,
    stays,
    texts,
    write_jsonl,
)
from PIL import Image

import datadiet as dd
from datadiet.jobs.decisions import Decisions
from datadiet.jobs.export import export

OTHER_FORMATS = ("same", "parquet", "jsonl", "csv", "datasets")


def check(examples: dd.Examples, folder: Path, kept: np.ndarray, new: dict[int, str] | None = None) -> None:
    again = dd.load(folder)
    assert again.holdout_seed is None
    assert again.kind == examples.kind
    assert contents(again.train, again.class_names) == stays(examples, kept, new)
    assert contents(again.test, again.class_names) == contents(examples.test, examples.class_names)


@pytest.mark.parametrize("format", FORMATS_OF_IMAGES)
def test_an_image_folder_comes_back_with_the_same_files(tmp_path: Path, format: str) -> None:
    source = image_folder(tmp_path / "pets")
    before = everything_below(source)
    examples = dd.load(source)
    kept = examples.train.ids[[0, 1, 2, 4, 5, 7, 9, 10]]
    one = int(kept[3])
    decisions = Decisions({one: "relabel"}, {one: "newt"}, examples.class_names, examples.fingerprint)
    exported = export(source, tmp_path / "out", kept=kept, decisions=decisions, format=format)
    assert (exported.kept, exported.dropped, exported.relabelled, exported.test) == (8, 4, 1, 6)
    check(examples, tmp_path / "out", kept, {one: "newt"})
    assert everything_below(source) == before


def test_an_image_folder_keeps_its_names_and_sub_folders(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "pets")
    export(source, tmp_path / "out", kept=dd.load(source).train.ids)
    found = {k: v for k, v in everything_below(tmp_path / "out").items() if "/" in k}
    assert found == everything_below(source)


@pytest.mark.parametrize("format", FORMATS_OF_IMAGES)
def test_pictures_of_a_table_come_back_byte_for_byte_under_their_own_suffix(
    tmp_path: Path, format: str
) -> None:
    source = image_parquet(tmp_path / "a.parquet")
    examples = dd.load(source)
    kept = examples.train.ids[::2]
    one = int(kept[0])
    other = {"zebra": "ant", "ant": "zebra"}[examples.class_names[examples.train.labels[0]]]
    exported = export(
        source,
        tmp_path / "out",
        kept=kept,
        decisions=Decisions({one: "relabel"}, {one: other}, fingerprint=examples.fingerprint),
        format=format,
    )
    check(examples, tmp_path / "out", kept, {one: other})
    # The order of the classes stands too, and the one that no example has.
    assert dd.load(tmp_path / "out").class_names == ("zebra", "ant", "unused")
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix in (".png", ".jpg", ".webp"):
            assert Image.open(path).format == {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[path.suffix]
    assert ("taken" in str(exported)) == (format == "imagefolder")


@pytest.mark.parametrize("format", OTHER_FORMATS)
@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "json", "jsonl.gz", "csv.gz", "parquet", "saved"])
def test_texts_come_back_whatever_they_came_from(tmp_path: Path, format: str, form: str) -> None:
    import datasets

    rows = texts()
    source = tmp_path / f"a.{form}"
    table = pa.Table.from_pylist(rows)
    if form == "saved":
        datasets.Dataset(table).save_to_disk(str(source))
    elif form == "parquet":
        pq.write_table(table, source)
    elif form == "json":
        source.write_text(json.dumps(rows))
    elif form.startswith("jsonl"):
        write_jsonl(tmp_path / "a.jsonl", rows)
        if form.endswith("gz"):
            import gzip

            source.write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    else:
        import csv

        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, delimiter="\t" if form == "tsv" else ",", lineterminator="\r\n")
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
        content = buffer.getvalue().encode()
        import gzip

        source.write_bytes(gzip.compress(content) if form.endswith("gz") else content)
    examples = dd.load(source)
    kept = examples.train.ids[1::2]
    one, gone = int(kept[0]), int(kept[1])
    label = {"good": "bad", "bad": "good"}[rows[one]["label"]]
    decisions = Decisions({one: "relabel", gone: "drop"}, {one: label}, fingerprint=examples.fingerprint)
    export(source, tmp_path / "out", kept=kept, decisions=decisions, format=format)
    check(examples, tmp_path / "out", np.setdiff1d(kept, [gone]), {one: label})


@pytest.mark.parametrize("format", OTHER_FORMATS)
@pytest.mark.parametrize("as_list", [False, True])
def test_vectors_come_back_to_the_last_bit(tmp_path: Path, format: str, as_list: bool) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(30, 3)).astype(np.float32)
    labels = [("a", "b", "c")[i % 3] for i in range(30)]
    columns = {"features": list(values)} if as_list else {f"x{i}": values[:, i] for i in range(3)}
    pq.write_table(pa.table(columns | {"label": labels}), tmp_path / "v.parquet")
    examples = dd.load(tmp_path / "v.parquet")
    export(examples, tmp_path / "out", kept=examples.train.ids[:12], format=format)
    check(examples, tmp_path / "out", examples.train.ids[:12])


@pytest.mark.parametrize("format", OTHER_FORMATS)
def test_arrays_in_memory_come_back(tmp_path: Path, vectors: dd.Examples, format: str) -> None:
    kept = vectors.train.ids[::3]
    export(vectors, tmp_path / "out", kept=kept, format=format)
    check(vectors, tmp_path / "out", kept)


def test_the_same_csv_keeps_the_bytes_of_every_record_that_stays(tmp_path: Path) -> None:
    records = [
        b'"a, ""quoted""\r\nline",1, good \r\n',
        b"plain,  02,bad\r\n",
        b'"x"y,3,good\r\n',
        b"\r\n",
        b"last one,4,bad\r\n",
        b"five,5, good ",
    ]
    source = tmp_path / "a.csv"
    source.write_bytes(b"\xef\xbb\xbftext,n,label\r\n" + b"".join(records))
    (tmp_path / "t.csv").write_bytes(b"text,n,label\ntest,1, good \ntest 2,2,bad\n")
    options = {"test": tmp_path / "t.csv", "input": "text"}
    export(source, tmp_path / "out", kept=[0, 2, 3, 4], load_options=options)
    written = (tmp_path / "out" / "train.csv").read_bytes()
    header = b"\xef\xbb\xbftext,n,label\r\n"
    assert written == header + records[0] + records[2] + records[4] + records[5] + b"\n"
    assert (tmp_path / "out" / "test.csv").read_bytes() == (tmp_path / "t.csv").read_bytes()


def test_the_same_json_lines_keep_the_bytes_of_every_line_that_stays(tmp_path: Path) -> None:
    lines = [
        b'{"text": "a\\u00e4", "label":  0}\n',
        b'{"label": 1, "text": "b"}\n',
        b'{"text":"c","label":0 }\n',
    ]
    lines += [b'{"text": "d", "label": 1, "more": [1.50, 2e0]}\n']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "t.jsonl").write_bytes(lines[0] + lines[1])
    export(
        tmp_path / "a.jsonl", tmp_path / "out", kept=[1, 2, 3], load_options={"test": tmp_path / "t.jsonl"}
    )
    assert (tmp_path / "out" / "train.jsonl").read_bytes() == b"".join(lines[1:])


def test_the_same_parquet_keeps_columns_types_metadata_and_compression(tmp_path: Path) -> None:
    source = image_parquet(tmp_path / "a.parquet")
    examples = dd.load(source)
    export(source, tmp_path / "out", kept=examples.train.ids[3:9], include_test=False)
    before, after = pq.ParquetFile(source), pq.ParquetFile(tmp_path / "out" / "train.parquet")
    assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
    assert after.metadata.row_group(0).column(0).compression == "ZSTD"
    wanted = before.read().take(pa.array(examples.train.ids[3:9]))
    assert after.read().equals(wanted)
    assert not (tmp_path / "out" / "test.parquet").exists()


def test_shards_of_one_part_are_taken_from_all_of_them(tmp_path: Path) -> None:
    rows = pa.table({"text": [f"text {i}" for i in range(12)], "label": [i % 2 for i in range(12)]})
    folder = tmp_path / "source"
    folder.mkdir()
    for shard in range(3):
        pq.write_table(rows.slice(shard * 4, 4), folder / f"train-{shard:05d}-of-00003.parquet")
    pq.write_table(rows.slice(0, 2), folder / "test.parquet")
    examples = dd.load(folder)
    export(folder, tmp_path / "out", kept=[1, 2, 8, 11])
    assert sorted(p.name for p in (tmp_path / "out").glob("train*")) == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    check(examples, tmp_path / "out", np.array([1, 2, 8, 11]))
    files = pq.read_table(tmp_path / "out" / "manifest.parquet").filter(pa.compute.field("part") == "train")
    by_id = dict(zip(files["id"].to_pylist(), files["file"].to_pylist(), strict=True))
    assert by_id[2] == "train-00000-of-00002.parquet" and by_id[11] == "train-00001-of-00002.parquet"
    assert by_id[0] is None


@pytest.mark.parametrize("kind", ["image", "text", "vector"])
def test_webdataset_shards_hold_every_example_and_stay_below_their_size(tmp_path: Path, kind: str) -> None:
    if kind == "image":
        examples = dd.load(image_parquet(tmp_path / "a.parquet", rows=80))
    elif kind == "text":
        rows = [{**row, "text": row["text"] * 60} for row in texts(120)]
        examples = dd.load(write_jsonl(tmp_path / "a.jsonl", rows))
    else:
        generator = np.random.default_rng(0)
        examples = dd.load((generator.normal(size=(80, 5)), np.arange(80) % 2))
    kept = examples.train.ids[:50]
    export(examples, tmp_path / "out", kept=kept, format="webdataset", shard_size=1 << 16)
    shards = sorted((tmp_path / "out").glob("train-*.tar"))
    assert len(shards) > 1 and all(shard.stat().st_size <= 1 << 16 for shard in shards)
    found: dict[str, dict[str, bytes]] = {}
    for shard in shards:
        with tarfile.open(shard) as tar:
            for member in tar.getmembers():
                key, _, suffix = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                found.setdefault(key, {})[suffix] = file.read()
    assert [int(key) for key in found] == kept.tolist()
    rows = examples.train.dataset.with_format("arrow")[:].to_pylist()
    for key, sample in found.items():
        position = examples.train.positions_of([int(key)])[0]
        label = int(examples.train.labels[position])
        assert int(sample.pop("cls")) == label
        about = json.loads(sample.pop("json"))
        assert (about["id"], about["label"]) == (int(key), examples.class_names[label])
        ((suffix, content),) = sample.items()
        row = rows[position]
        if kind == "image":
            assert content == row["image"]["bytes"]
            image = Image.open(io.BytesIO(content)).format
            assert suffix == {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}[image]
        elif kind == "text":
            assert content.decode() == row["text"] and about["note"] == row["note"]
        else:
            assert np.array_equal(np.load(io.BytesIO(content)), row["features"])


def test_an_export_can_be_exported_again(tmp_path: Path) -> None:
    source = image_parquet(tmp_path / "a.parquet")
    examples = dd.load(source)
    export(source, tmp_path / "one", kept=examples.train.ids[:10], format="imagefolder")
    export(tmp_path / "one", tmp_path / "two", kept=dd.load(tmp_path / "one").train.ids)
    assert dd.load(tmp_path / "two").fingerprint == dd.load(tmp_path / "one").fingerprint
