"""JSON of sources and of exported folders, whatever it holds: data, or one sentence that names the file."""

from __future__ import annotations

import io
import json
import random
import tarfile

import pytest

import datadiet as dd
from datadiet.data.sources.exported import ExportedClasses, classes_of_shards, exported_classes
from datadiet.data.sources.json_rows import is_deep
from mutations import altered, check_each, damaged

DEEP = {"list": "[" * 100_000 + "]" * 100_000, "object": '{"a":' * 100_000 + "1" + "}" * 100_000}


@pytest.mark.parametrize("value", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("form", ["x.jsonl", "x.json", "x.tar"])
def test_json_of_any_depth_is_one_sentence(tmp_path, value, form):
    row = f'{{"text": "a", "label": 1, "more": {value}}}'
    path = tmp_path / form
    if form == "x.tar":
        with tarfile.open(path, "w") as archive:
            for suffix, content in (("json", row.encode()), ("txt", b"a")):
                member = tarfile.TarInfo(f"one.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    else:
        path.write_text(f"{row}\n" * 2 if form == "x.jsonl" else f"[{row}, {row}]")
    with pytest.raises(dd.BadInputError, match=rf"{form}'.*(nested|depth|recursion)"):
        dd.load(path)


def depth(text):
    level = most = 0
    quoted, letters = False, iter(text.decode())
    for letter in letters:
        if quoted:
            if letter == "\\":
                next(letters)
            quoted = letter != '"'
        elif letter == '"':
            quoted = True
        else:
            level += (letter in "[{") - (letter in "]}")
            most = max(most, level)
    return most


def test_depth_is_told_from_brackets_in_texts(monkeypatch):
    monkeypatch.setattr("datadiet.data.sources.json_rows._LEVELS", 5)
    monkeypatch.setattr("datadiet.data.sources.json_rows._PIECE", 7)
    generator = random.Random(0)

    def value(level):
        kind = generator.randrange(6)
        if level <= 0 or kind == 0:
            return "".join(generator.choice('"[]{}\\ab\n') for _ in range(generator.randrange(6)))
        if kind < 3:
            return [value(level - 1) for _ in range(generator.randrange(3))]
        return {generator.choice('"[{\\x'): value(level - 1)}

    texts = [json.dumps(value(generator.randrange(9))).encode() for _ in range(500)]
    assert [is_deep(text) for text in texts] == [depth(text) > 5 for text in texts]
    assert 20 < sum(map(is_deep, texts)) < 480


def check_export(folder, count):
    """Both files that say what an export holds, damaged one after the other."""
    files = {
        "manifest.json": {
            "format": "datadiet-export",
            "class_names": ["no", "yes"],
            "label_column_written": "label",
            "own_columns": ["id"],
        },
        "classes.json": ExportedClasses(("no", "yes"), {"no_": "no"}, columns={"text_": "text"}).as_dict(),
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    whole = exported_classes(folder)
    assert whole.renamed == {"no_": "no"} and classes_of_shards(folder).own_columns == ("id",)
    for name, value in files.items():
        content = (folder / name).read_bytes()

        def read(form, path=folder / name):
            path.write_bytes(form if isinstance(form, bytes) else json.dumps(form).encode())
            return exported_classes(folder), classes_of_shards(folder)

        check_each([*damaged(content, count, seed=1), *altered(value, count, seed=2)], read)
        (folder / name).write_bytes(content)
    assert exported_classes(folder) == whole


def test_damaged_manifests(tmp_path):
    check_export(tmp_path, 40)


@pytest.mark.slow
def test_manifests_damaged_in_two_thousand_ways(tmp_path):
    check_export(tmp_path, 2000)


def test_a_manifest_of_somebody_else_is_no_export(tmp_path):
    (tmp_path / "manifest.json").write_text("[" * 1000)
    assert exported_classes(tmp_path).class_names == ()
