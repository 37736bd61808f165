"""Small sources of every form, and what loading an export must give again."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import datadiet as dd

FORMATS_OF_IMAGES = ("same", "imagefolder", "parquet", "jsonl", "csv", "datasets")
NAMES = ("cat", "dog", "newt")


def picture(seed: int, form: str = "png") -> bytes:
    """A noisy picture of 6x6 pixels in some format."""
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 6, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **({"lossless": True} if form == "webp" else {}))
    return buffer.getvalue()


def image_folder(folder: Path, per_class: int = 4, test: int = 2) -> Path:
    """Three classes; PNG, JPEG and WebP files; one in a sub-folder."""
    seed = 0
    for part, count in (("train", per_class), ("test", test)):
        for name in NAMES:
            for index in range(count):
                form = ("png", "jpeg", "webp")[index % 3]
                place = folder / part / name / ("deep" if index == 1 else "")
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{index}.{'jpg' if form == 'jpeg' else form}").write_bytes(picture(seed, form))
                seed += 1
    return folder


def image_parquet(path: Path, rows: int = 24, seed: int = 0) -> Path:
    """Pictures within the table, class names in the metadata, and a column that nobody uses."""
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["zebra", "ant", "unused"]),
            "taken": datasets.Value("int32"),
        }
    )
    forms = ("webp", "png", "jpeg")
    images = [{"bytes": picture(seed + i, forms[i % 3]), "path": f"../{i}.bin"} for i in range(rows)]
    table = pa.table(
        {"image": images, "label": [i % 2 for i in range(rows)], "taken": pa.array(range(rows), pa.int32())},
        schema=features.arrow_schema,
    )
    pq.write_table(table, path, compression="zstd", row_group_size=7)
    return path


def texts(rows: int = 20) -> list[dict[str, object]]:
    """Rows with line breaks, quotes, delimiters and letters of several scripts."""
    hard = ['say "hi", twice', "two\nlines", "größer; ☃", "tab\tinside", "plain"]
    return [
        {"text": f"{hard[i % len(hard)]} {i}", "label": ("bad", "good")[i % 2], "note": i * 10}
        for i in range(rows)
    ]


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(rows)))
    return path


def contents(part: dd.data.Part, class_names: tuple[str, ...]) -> Counter[tuple[object, ...]]:  # type: ignore[name-defined]
    """Every example of a part as (content of its input, name of its class), however it is stored."""
    found: Counter[tuple[object, ...]] = Counter()
    rows = part.dataset.select_columns(list(part.input_columns)).with_format("arrow")[:].to_pylist()
    for row, label in zip(rows, part.labels.tolist(), strict=True):
        values: list[object] = []
        for value in row.values():
            if isinstance(value, dict):
                value = value["bytes"] if value["bytes"] is not None else Path(value["path"]).read_bytes()
            values += value if isinstance(value, list) else [value]
        found[(*values, class_names[label])] += 1
    return found


def stays(
    examples: dd.Examples, ids: np.ndarray, new: dict[int, str] | None = None
) -> Counter[tuple[object, ...]]:
    """The examples with these ids, some of them with another class, taken one by one."""
    found: Counter[tuple[object, ...]] = Counter()
    for id_ in ids.tolist():
        position = int(np.flatnonzero(examples.train.ids == id_)[0])
        one = dd.data.Part(
            examples.train.dataset.select([position]),
            examples.train.ids[position : position + 1],
            examples.train.labels[position : position + 1],
            examples.train.input_columns,
            examples.train.kind,
        )
        ((example, _),) = contents(one, examples.class_names).items()
        found[(*example[:-1], (new or {}).get(id_, example[-1]))] += 1
    return found


def everything_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
