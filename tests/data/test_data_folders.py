"""What a folder holds: parts, classes, metadata and caches of generated trees, against what was put there."""

import io
import os
import re
import shutil
import tempfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import datadiet.data as dd
from datadiet.data.sources import open_source
from datadiet.foundation.errors import BadInputError


def _png(number):
    file = io.BytesIO()
    Image.fromarray(np.full((3, 3, 3), number, np.uint8)).save(file, "PNG")
    return file.getvalue()


PICTURES = [_png(number) for number in range(0, 250, 10)]
HIDDEN = [
    ".ipynb_checkpoints/0.png",
    "._0.png",
    ".DS_Store",
    "Thumbs.db",
    "__MACOSX/cat/0.png",
    "@eaDir/0.png",
]
QUICK = settings(max_examples=30, deadline=None)


class Tree:
    """A folder that is being filled; `visible` are the files that a user means to be there."""

    def __init__(self, root):
        self.root = root
        self.visible = set()

    def image(self, path, *, hidden=False):
        return self.file(path, PICTURES[len(self.visible) % len(PICTURES)], hidden=hidden)

    def file(self, path, content=b"x", *, hidden=False):
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if not hidden:
            self.visible.add(path)
        return path

    def images(self, folder, count=3):
        return [self.image(f"{folder}/{number}.png") for number in range(count)]


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "data")


def rows_of(part, root):
    """Path below the root and label of each row of a part, in the order of the ids."""
    if part is None:
        return []
    images = part.with_format("arrow")[:]["image"].to_pylist()
    real = root.resolve()
    return [
        (Path(image["path"]).relative_to(real).as_posix(), label)
        for image, label in zip(images, part["label"][:], strict=True)
    ]


def not_used(notes):
    """How many files the notes say are left over."""
    counts = [
        int(found[1]) for note in notes if (found := re.match(r"(\d+) of \d+ files? in .* not used: ", note))
    ]
    assert len(counts) <= 1
    return sum(counts)


def one_sentence(error):
    text = str(error)
    assert "\n" not in text and text.endswith("."), text


CLASSES = st.lists(
    st.sampled_from(["cat", "dog", "fox", "1", "bullet_train", "Ä"]), min_size=2, max_size=4, unique=True
)
TRAIN_NAMES = [
    "train",
    "Train",
    "training",
    "training_set",
    "train_images",
    "trainset",
    "seg_train/seg_train",
]
# Of each row the first word wins where a folder has several.
TEST_NAMES = ["test", "Testing", "validation", "valid", "val", "dev", "eval"]


@QUICK
@given(data=st.data(), classes=CLASSES)
def test_parts_and_classes_of_an_image_folder_are_those_that_were_put_there(data, classes):
    with tempfile.TemporaryDirectory() as temporary:
        tree = Tree(Path(temporary, "data"))
        above = "".join(
            f"{name}/" for name in data.draw(st.lists(st.sampled_from(["archive", "pets"]), max_size=2))
        )
        parted = data.draw(st.booleans())
        train = data.draw(st.sampled_from(TRAIN_NAMES)) + "/" if parted else ""
        tests = data.draw(st.lists(st.sampled_from(TEST_NAMES), max_size=3, unique=True)) if parted else []
        labelled = [name for name in TEST_NAMES if name in tests and data.draw(st.booleans())]

        expected = {"train": {}, "test": {}}
        for name in classes:
            below = data.draw(st.sampled_from(["", "", "more/"]))
            for path in (
                *tree.images(f"{above}{train}{name}", 2),
                tree.image(f"{above}{train}{name}/{below}z.png"),
            ):
                expected["train"][path] = name
        for part in tests:
            for name in classes if part in labelled else [""]:
                for path in tree.images(f"{above}{part}/{name}".rstrip("/"), 2):
                    if labelled and part == labelled[0]:
                        expected["test"][path] = name
        folders = sorted({Path(path).parent.as_posix() for path in tree.visible} - {"."})
        for _ in range(data.draw(st.integers(0, 4))):
            tree.file(
                f"{data.draw(st.sampled_from(folders))}/{data.draw(st.sampled_from(HIDDEN))}", hidden=True
            )
            tree.file(
                f"{data.draw(st.sampled_from(folders))}/{data.draw(st.sampled_from(['a.txt', 'x', 'c.json']))}"
            )
        if data.draw(st.booleans()):
            tree.file(f"{above}info.csv", b"a,label\n1,x\n")
            tree.file(f"{above}class_names.json", b"{}")

        source = open_source(tree.root)
        for part, rows in (("train", source.train), ("test", source.test)):
            assert rows_of(rows, tree.root) == sorted(expected[part].items())
        used = len(expected["train"]) + len(expected["test"])
        assert used + not_used(source.notes) == len(tree.visible)
        assert len(source.origin.files_of("train")) == len(expected["train"])
        said = " ".join(source.notes)
        if labelled and labelled[0] != "test":
            assert f"The test part is the folder '{labelled[0]}'." in said
        for part in tests:
            assert ("has no class folders" in said) or part in labelled or part != tests[0] or labelled


NAMES = [
    "train",
    "test",
    "val",
    "training_set",
    "cat",
    "dog",
    "images",
    "data",
    "a=1",
    "a=2",
    ".git",
    "__MACOSX",
    "a b",
]
FILES = [
    "0.png",
    "1.jpg",
    "2.PNG",
    "._0.png",
    "train.csv",
    "test.csv",
    "metadata.csv",
    "info.json",
    "x.parquet",
    "n.txt",
]
FILES += [
    "dataset_infos.json",
    "state.json",
    "x.tar",
    "x.zip",
    "a-train.arrow",
    "README.md",
    "no suffix",
    "labels.csv",
]
TREES = st.lists(
    st.tuples(st.lists(st.sampled_from(NAMES), max_size=3), st.sampled_from(FILES), st.integers(1, 3)),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(files=TREES)
def test_any_folder_becomes_examples_or_one_sentence(files):
    """Whatever lies around, nothing else happens; no image is in two parts, and no file vanishes."""
    with tempfile.TemporaryDirectory() as temporary:
        tree = Tree(Path(temporary, "data"))
        tree.root.mkdir()
        for above, name, count in files:
            for number in range(count):
                path = "/".join([*above, name if number == 0 else f"{number}{name}"])
                hidden = any(part.startswith((".", "__MACOSX")) for part in path.split("/"))
                if path.endswith((".png", ".jpg", ".PNG")):
                    tree.image(path, hidden=hidden)
                elif path.endswith(".parquet"):
                    tree.file(path, hidden=hidden)
                    pq.write_table(
                        pa.table({"text": ["a", "b", "c", "d"], "label": [0, 1, 0, 1]}), tree.root / path
                    )
                elif path.endswith("metadata.csv"):
                    tree.file(path, b"file_name,label\n0.png,x\n0.png,y\n" * 2, hidden=hidden)
                else:
                    tree.file(path, b"text,label\na,0\nb,1\nc,0\nd,1\n", hidden=hidden)
        try:
            source = open_source(tree.root)
        except BadInputError as error:
            one_sentence(error)
            return
        assert all("\n" not in note and note.endswith(".") for note in source.notes), source.notes
        if source.origin.form == "imagefolder":
            train, test = (
                [path for path, _ in rows_of(rows, tree.root)] for rows in (source.train, source.test)
            )
            assert len({*train, *test}) == len(train) + len(test)
            assert {*train, *test} <= tree.visible
            assert len(train) + len(test) + not_used(source.notes) == len(tree.visible)
        try:
            dd.load(tree.root)
        except BadInputError as error:
            one_sentence(error)


@QUICK
@given(data=st.data(), layout=st.sampled_from(["names", "data", "folders", "config", "hive"]))
def test_rows_of_tables_are_in_the_order_in_which_their_files_were_written(data, layout):
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary, "data")
        other = data.draw(st.sampled_from([None, "test", "validation", "dev"]))
        padded = data.draw(st.booleans())
        expected = {"train": [], "test": []}
        for part in ["train"] + ([other] if other else []):
            count = data.draw(st.integers(1, 12))
            for number in range(count):
                shown = f"{number:05d}" if padded else str(number)
                path = {
                    "names": f"{part}-{shown}-of-{count}.parquet",
                    "data": f"data/{part}-{shown}.parquet",
                    "folders": f"{part}/{shown}.parquet",
                    "config": f"plain_text/{part}/{shown}.parquet",
                    "hive": f"split={part}/year={shown}/part-0.parquet",
                }[layout]
                rows = [f"{part} {number} {row}" for row in range(data.draw(st.integers(1, 3)))]
                expected["train" if part == "train" else "test"] += [(row, shown) for row in rows]
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(pa.table({"text": rows, "label": ["x"] * len(rows)}), root / path)
        (root / "dataset_infos.json").write_text("{}")
        (root / "_SUCCESS").write_text("")
        source = open_source(root)
        for part, rows in (("train", source.train), ("test", source.test)):
            assert (rows["text"][:] if rows else []) == [text for text, _ in expected[part]]
            if layout == "hive" and rows:
                assert rows["year"][:] == [year for _, year in expected[part]]
        assert not_used(source.notes) == 1
        assert bool(source.origin.files) == (layout != "hive")


def write_table(path, rows=8, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    given = {
        "text": [f"{path.stem} {i}" for i in range(rows)],
        "label": [i % 2 for i in range(rows)],
        **columns,
    }
    table = pa.table({name: values for name, values in given.items() if values is not None})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        table.to_pandas().to_csv(path, index=False)


def test_a_class_called_train_is_a_class_among_classes(tree):
    for name in ("train", "plane", "car"):
        tree.images(name)
    examples = dd.load(tree.root)
    assert examples.class_names == ("car", "plane", "train")
    assert any("'train' is read as a class" in note for note in examples.notes)


@pytest.mark.parametrize("test", ["", "test"])
def test_a_train_folder_with_classes_beside_a_folder_with_images_is_told_by_its_test_part(
    tree, refused, test
):
    for name in ("steam", "diesel"):
        tree.images(f"train/{name}")
    tree.images("plane")
    if test:
        tree.images("test/steam")
        assert dd.load(tree.root).class_names == ("diesel", "steam")
    else:
        refused(
            r"can be the train part, with 'diesel', 'steam' as classes, or a class beside 'plane'", tree.root
        )


def test_parts_without_class_folders_are_refused(tree, refused):
    tree.images("train")
    tree.images("test")
    refused("called like parts, but hold images and no class folders", tree.root)
    tree.images("cat")
    refused("'test', 'train' .* hold images and no class folders, beside 'cat'", tree.root)


def test_parts_in_classes_are_refused(tree, refused):
    for name in ("cat", "dog"):
        tree.images(f"{name}/train")
        tree.images(f"{name}/test")
    refused("can be classes that are parted into 'test', 'train' each, or several data sets", tree.root)


def test_a_test_part_alone_is_refused(tree, refused):
    for name in ("cat", "dog"):
        tree.images(f"test/{name}")
    refused("no train folder beside 'test'; give .*test' itself", tree.root)


def test_classes_beside_a_validation_folder_with_the_same_classes_are_the_train_part(tree):
    for name in ("cat", "dog"):
        tree.images(name)
        tree.images(f"val/{name}", 1)
    examples = dd.load(tree.root)
    assert (len(examples.train), len(examples.test), examples.class_names) == (6, 2, ("cat", "dog"))


def test_tables_called_like_parts_beside_class_folders_are_refused_unless_they_name_the_images(tree, refused):
    paths = [path for name in ("cat", "dog") for path in tree.images(f"train/{name}")]
    table = tree.root / "train.csv"
    table.write_text("text,label\n" + "a,0\nb,1\n" * 4)
    refused(r"images in class folders \('cat', 'dog'\) and tables \('train.csv'\), and either", tree.root)
    table.write_text("image,label\n" + "".join(f"{path},{'xy'[i % 2]}\n" for i, path in enumerate(paths)))
    examples = dd.load(tree.root)
    assert examples.class_names == ("x", "y") and len(examples.train) + len(examples.test) == 6


def test_tables_in_a_part_folder_beside_class_folders_are_refused(tree, refused):
    for name in ("cat", "dog"):
        tree.images(name)
    write_table(tree.root / "data" / "train.parquet")
    refused(r"images in class folders \('cat', 'dog'\) and tables \('data'\)", tree.root)


def test_a_table_beside_a_flat_folder_of_images_is_the_data(tree):
    tree.images("images", 6)
    tree.images("masks", 6)
    lines = [f"images/{i}.png,{'xy'[i % 2]}\n" for i in range(4)]
    (tree.root / "list.csv").write_text("image,label\n" + "".join(lines))
    examples = dd.load(tree.root)
    assert len(examples.train) + len(examples.test) == 4
    assert any("8 of 13 files" in note and "6 images in 'masks'" in note for note in examples.notes)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("where", ["root", "parts", "paths"])
def test_metadata_names_the_images_and_their_labels(tree, form, where):
    parts = {"train": 6, "test": 4} if where != "root" else {"": 6}
    rows = {}
    for part, count in parts.items():
        paths = tree.images(f"{part}/sub" if part else "sub", count)
        tree.image(f"{part}/sub/unnamed.png" if part else "sub/unnamed.png")
        home = "" if where != "parts" else part
        # The rows are in an order of their own, not that of the names.
        for number in range(count)[::-1]:
            name = paths[number].removeprefix(f"{home}/") if home else paths[number]
            rows.setdefault(home, []).append({"file_name": name, "label": "xy"[number % 2], "note": number})
    for home, listed in rows.items():
        table = pa.Table.from_pylist(listed)
        path = tree.root / home / f"metadata.{form}"
        if form == "csv":
            table.to_pandas().to_csv(path, index=False)
        elif form == "jsonl":
            table.to_pandas().to_json(path, orient="records", lines=True)
        else:
            pq.write_table(table, path)
    source = open_source(tree.root)
    assert source.train["note"][:] == [5, 4, 3, 2, 1, 0]
    assert (source.test is None) == (where == "root")
    if source.test is not None:
        assert source.test["note"][:] == [3, 2, 1, 0]
    assert not_used(source.notes) == len(parts)
    examples = dd.load(tree.root)
    assert examples.kind == "image" and examples.class_names == ("x", "y")


def test_metadata_of_captions_leaves_the_labels_to_the_class_folders(tree):
    paths = [path for name in ("cat", "dog") for path in tree.images(name)]
    (tree.root / "metadata.csv").write_text("file_name,text\n" + "".join(f"{path},a pet\n" for path in paths))
    examples = dd.load(tree.root)
    assert examples.class_names == ("cat", "dog") and examples.input_columns == ("image",)
    assert any("'metadata.csv'" in note and "not used" in note for note in examples.notes)


def test_files_that_metadata_names_and_that_are_not_there_are_told(tree, refused):
    tree.images("images", 6)
    path = tree.root / "metadata.csv"
    path.write_text("file_name,label\n" + "".join(f"images/{i}.png,{'xy'[i % 2]}\n" for i in range(2, 8)))
    refused(r"Row 4 of the train rows.*images/6.png.*1 more bad rows: 5", tree.root)
    notes = dd.load(tree.root, on_bad_example="skip").notes
    assert any("2 of 6 files that" in note and "('images/6.png', 'images/7.png')" in note for note in notes)
    path.write_text("file_name,label\n" + "".join(f"{i}.png,{'xy'[i % 2]}\n" for i in range(6)))
    refused(r"None of the 6 files that .*metadata.csv' names is there", tree.root)
    tree.file("a.heic")
    path.write_text("file_name,label\n" + "a.heic,x\nimages/0.png,y\n" * 2)
    refused(r"are no images that the installed Pillow can read \('a.heic'", tree.root)
    (tree.root / "metadata.jsonl").write_text("{}")
    refused("holds 'metadata.csv', 'metadata.jsonl'; leave one", tree.root)


def test_links_are_followed_once(tree):
    for name in ("cat", "dog"):
        tree.images(name, 2)
    elsewhere = tree.root.parent / "elsewhere"
    Tree(elsewhere).images("x/y", 2)
    (tree.root / "fox").symlink_to(elsewhere / "x")
    (tree.root / "cat" / "more").symlink_to(elsewhere)  # holds what 'fox' is
    (tree.root / "kitty").symlink_to(tree.root / "cat")
    (tree.root / "dog" / "up").symlink_to("../..")
    (tree.root / "dog" / "file.png").symlink_to(tree.root / "cat" / "0.png")
    (tree.root / "dog" / "gone.png").symlink_to("nowhere.png")
    (tree.root / "circle").symlink_to("circle")
    source = open_source(tree.root)
    images = source.train.with_format("arrow")[:]["image"].to_pylist()
    by_class = [
        (label, Path(image["path"]).name)
        for label, image in zip(source.train["label"][:], images, strict=True)
    ]
    assert by_class[:2] == [("cat", "0.png"), ("cat", "1.png")]
    assert sorted(by_class[2:5]) == [("dog", "0.png"), ("dog", "0.png"), ("dog", "1.png")]
    assert [label for label, _ in by_class].count("fox") == 2 and len(by_class) == 7
    assert any("2 links" in note and "lead nowhere" in note for note in source.notes)
    assert any(
        "'kitty'" in note.replace(f"{tree.root}/", "") and "not followed" in note for note in source.notes
    )


def test_images_of_more_suffixes_are_read_and_those_that_pillow_cannot_read_are_told(tree):
    for name in ("cat", "dog"):
        tree.images(name, 2)
        for suffix in (".jfif", ".jpe", ".JPG"):
            file = io.BytesIO()
            Image.new("RGB", (3, 3)).save(file, "JPEG")
            tree.file(f"{name}/a{suffix}", file.getvalue())
        tree.file(f"{name}/a.heic")
        tree.file(f"{name}/a.pdf")
    source = open_source(tree.root)
    assert len(source.train) == 10 and not_used(source.notes) == 4
    assert any("2 .heic files, 2 .pdf files" in note for note in source.notes)


def test_a_folder_that_cannot_be_read_is_named(tree, refused, monkeypatch):
    for name in ("cat", "dog"):
        tree.images(name)
    really = os.scandir

    def scandir(path):
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied")
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused(r"dog' cannot be read \(Permission denied\)", tree.root)


def test_names_that_are_no_text_are_named(tree, refused):
    for name in ("cat", "dog"):
        tree.images(name)
    odd = os.fsencode(tree.root) + b"/cat/\xff.png"
    try:
        shutil.copy(tree.root / "cat" / "0.png", odd)
    except OSError:
        pytest.skip("this file system only has names that are text")
    refused(r"name of 'cat/\\udcff.png' .* is not UTF-8", tree.root)
    Path(os.fsdecode(odd)).rename(os.fsdecode(odd.replace(b".png", b"\n.txt")))
    assert any(r"'cat/\udcff\n.txt'" in note for note in dd.load(tree.root).notes)


def test_pipes_are_not_opened(tree):
    for name in ("cat", "dog"):
        tree.images(name)
    os.mkfifo(tree.root / "cat" / "pipe.png")
    assert len(open_source(tree.root).train) == 6


def test_archives_are_to_be_unpacked(tree, refused):
    tree.file("images.zip")
    refused("unpack 'images.zip' first", tree.root)
    refused("is an archive; unpack it first", tree.root / "images.zip")


def test_tables_about_data_are_read_only_if_they_are_asked_for(tree, refused):
    tree.file("config.json", b'{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n' * 4)
    refused("'config.json' are about data; give such a file itself", tree.root)
    assert len(dd.load(tree.root / "config.json").train) == 6


@pytest.mark.parametrize("hidden", [None, [""] * 8, [None] * 8])
def test_a_test_table_without_labels_gives_way(tmp_path, hidden):
    write_table(tmp_path / "train.parquet")
    write_table(tmp_path / "test.parquet", label=hidden)
    source = open_source(tmp_path)
    said = "has no column 'label'" if hidden is None else "has nothing in its column 'label'"
    assert source.test is None and f"'test.parquet' {said} and is not used." in source.notes
    write_table(tmp_path / "val.parquet")
    assert open_source(tmp_path).test["text"][0] == "val 0"


def test_a_test_part_is_labelled_by_the_column_that_is_asked_for(tmp_path):
    rows = {"tokens": [["a", "b"]] * 8, "tags": [["x", "y"], ["y", "x"]] * 4}

    def write(part, label, **more):
        table = pa.table({**rows, "label": pa.array(label, pa.list_(pa.float64())), **more})
        pq.write_table(table, tmp_path / f"{part}.parquet")

    write("train", [[1.0], None] * 4)
    for nothing in ([None, []] * 4, [None] * 8):
        write("test", nothing)
        assert len(dd.load(tmp_path, tags="tags").test) == 8
    write("test", [[1.0]] * 8, tags=pa.nulls(8, pa.list_(pa.string())))
    assert dd.load(tmp_path, tags="tags").holdout_seed == 0


def test_a_test_table_that_lacks_another_column_stays(tmp_path):
    write_table(tmp_path / "train.csv", more=range(8))
    write_table(tmp_path / "test.csv")
    assert len(open_source(tmp_path).test) == 8


def test_names_in_camel_case_tell_parts_where_nothing_else_does(tmp_path):
    write_table(tmp_path / "PetsTrain.csv")
    write_table(tmp_path / "PetsTest.csv", 4)
    examples = dd.load(tmp_path)
    assert (len(examples.train), len(examples.test)) == (8, 4)
    (tmp_path / "PetsTrain.csv").unlink()
    assert dd.load(tmp_path).holdout_seed == 0  # a lone file is the data, whatever it is called


def test_several_configurations_are_listed(tmp_path, refused):
    for name in ("en", "de"):
        write_table(tmp_path / name / "train-00000-of-00001.parquet")
    refused("several data sets, in the folders 'de', 'en'; give the folder of one", tmp_path)


def test_shards_with_hashes_are_of_one_data_set(tmp_path):
    for number, digest in enumerate(("f7ecb50890d5bd2e", "51b3fa3cc6b3b0ff")):
        write_table(tmp_path / "data" / f"train-0000{number}-of-00002-{digest}.parquet", 4)
    assert len(open_source(tmp_path).train) == 8


def test_a_table_beside_other_tables_for_train_is_refused(tmp_path, refused):
    write_table(tmp_path / "info.csv")
    write_table(tmp_path / "data" / "train.parquet")
    refused("holds 'info.csv' and, in 'data', other tables, and either could be", tmp_path)


def test_partitions_are_columns(tmp_path):
    for year in ("9", "10"):
        for name in ("cat", "dog%20x", "__HIVE_DEFAULT_PARTITION__"):
            write_table(tmp_path / f"year={year}" / f"label={name}" / "part-0.parquet", 2, label=None)
    source = open_source(tmp_path)
    assert source.train["year"][:] == ["9"] * 6 + ["10"] * 6
    assert set(source.train["label"][:]) == {"cat", "dog x", None}
    assert any("'year', 'label' are what the names of folders say" in note for note in source.notes)


def test_the_cache_of_datasets_is_read(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["z", "a"])}
    )
    folder = tmp_path / "my_set" / "default" / "0.0.0" / "0123456789abcdef"
    folder.mkdir(parents=True)
    for part, rows in (("train", 8), ("test", 4)):
        given = {"text": [f"{part} {i}" for i in range(rows)], "label": [i % 2 for i in range(rows)]}
        datasets.Dataset.from_dict(given, features=features).save_to_disk(tmp_path / "saved")
        shutil.move(next((tmp_path / "saved").glob("*.arrow")), folder / f"my_set-{part}.arrow")
        shutil.rmtree(tmp_path / "saved")
    (folder / "dataset_info.json").write_text("{}")
    (folder / "cache-0123.arrow").write_bytes(b"no data")
    for source in (tmp_path / "my_set", folder):
        examples = dd.load(source)
        assert (len(examples.train), len(examples.test), examples.class_names) == (8, 4, ("z", "a"))
    assert len(open_source(folder / "my_set-test.arrow").train) == 4


def test_damaged_arrow_files_are_one_sentence(tmp_path, refused):
    (tmp_path / "x-train.arrow").write_bytes(b"no arrow")
    refused("cannot be read as Arrow files", tmp_path)


def test_the_cache_of_the_hub_is_read(tmp_path):
    root = tmp_path / "datasets--org--name"
    snapshot = root / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for part in ("train", "test"):
        write_table(root / "blobs" / f"{part}.parquet")
        (root / "blobs" / f"{part}.parquet").rename(root / "blobs" / part)
        (snapshot / f"{part}-00000-of-00001.parquet").symlink_to(f"../../blobs/{part}")
    assert len(dd.load(root).test) == 8


def test_a_saved_data_set_one_folder_deeper(tmp_path):
    rows = datasets.Dataset.from_dict({"text": list("abcdefgh"), "label": [0, 1] * 4})
    datasets.DatasetDict(train=rows, test=rows, validation=rows).save_to_disk(tmp_path / "above" / "saved")
    examples = dd.load(tmp_path / "above")
    assert len(examples.test) == 8
    assert "Not used: 8 rows of the split 'validation'." in examples.notes


def test_a_lone_folder_in_a_test_part_that_is_no_class_has_no_labels(tree):
    for name in ("cat", "dog"):
        tree.images(f"train/{name}")
    tree.images("test/unknown")
    source = open_source(tree.root)
    assert source.test is None and not_used(source.notes) == 3
    tree.images("val/dog")
    assert rows_of(open_source(tree.root).test, tree.root)[0] == ("val/dog/0.png", "dog")


def test_a_lone_class_folder_is_a_class_and_none_that_only_covers_the_data(tree, refused):
    tree.images("cat")
    refused("only one class, 'cat'", tree.root)
    shutil.rmtree(tree.root)
    for below in ("old", "young"):
        tree.images(f"cat/{below}")
    (tree.root / "dog").mkdir()
    refused("only one class, 'cat'", tree.root)
