"""Small data of every task, and what its rows are answered with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from exported_data import picture

import datadiet as dd

TEXTS = ["fly to rome", 'say "what, a" day it is', "to new york", "rain"] * 6
SLOTS = ["O O B-city", "O O B-date I-date O O", "O B-city I-city", "B-weather"] * 6
INTENTS = ["flight", "day", "flight", "day"] * 6
NUMBERS = [float(np.float32(value)) for value in np.random.default_rng(3).normal(size=24)]
SETS = [["a"], ["a", "b c"], [], ["b c"]] * 6
WORDS = [["to", "new york"], ["what", "a", "day"], ["rain", "in", "oslo"]] * 8
WORD_TAGS = [["O", "B-city"], ["O", "O", "B-date"], ["B-weather", "O", "B-city"]] * 8
PLAIN_WORDS = [[word.replace(" ", "-") for word in row] for row in WORDS]

COLUMNS: dict[str, dict[str, list[Any]]] = {
    "intent_slots": {"text": TEXTS, "slots": SLOTS, "intent": INTENTS, "n": list(range(24))},
    "intent_slots of lists": {
        "words": PLAIN_WORDS,
        "tags": WORD_TAGS,
        "intent": ["go", "ask", "ask"] * 8,
    },
    "token_classification": {"tokens": PLAIN_WORDS, "ner_tags": WORD_TAGS},
    "token_classification of texts": {"sentence": TEXTS, "tags": SLOTS},
    "multilabel": {"text": TEXTS, "labels": SETS, "n": list(range(24))},
    "multilabel of 0 and 1": {"text": TEXTS, "label": [[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]] * 6},
    "regression": {"text": TEXTS, "score": NUMBERS},
    "regression of vectors": {"features": [[n, 2 * n] for n in NUMBERS], "label": NUMBERS},
    "classification of words": {"tokens": PLAIN_WORDS, "label": ["x", "y"] * 12},
}


def task_of(case: str) -> str:
    return case.split(" ")[0]


def options_of(case: str) -> dict[str, Any]:
    return {"task": "regression"} if task_of(case) == "regression" else {}


def write_folder(folder: Path, columns: dict[str, list[Any]], form: str = "parquet") -> Path:
    """A train and a test part of 16 and 8 rows."""
    folder.mkdir()
    rows = pa.table(columns).to_pylist()
    for name, part in (("train", rows[:16]), ("test", rows[16:])):
        if form == "parquet":
            pq.write_table(pa.Table.from_pylist(part), folder / f"{name}.parquet")
        elif form == "jsonl":
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
        else:
            import csv

            with (folder / f"{name}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(columns))
                writer.writeheader()
                writer.writerows(part)
    return folder


def answers(examples: dd.Examples, part: dd.data.Part) -> list[object]:  # type: ignore[name-defined]
    """What every row of a part is answered with, by names."""
    targets = part.targets
    if targets is None:
        return [examples.class_names[label] for label in part.labels]
    if examples.task == "regression":
        return [float(value) for value in targets.values]
    if examples.task == "multilabel":
        return [{targets.names[i] for i in np.flatnonzero(row)} for row in targets.values]
    tags = [[targets.names[tag] if tag >= 0 else None for tag in row] for row in targets.rows()]
    if examples.task == "token_classification":
        return list(tags)
    return [(examples.class_names[label], row) for label, row in zip(part.labels, tags, strict=True)]


def inputs(part: dd.data.Part) -> list[list[object]]:  # type: ignore[name-defined]
    """The input of every row: the words of a text, the numbers of a vector."""
    rows = part.dataset.select_columns(list(part.input_columns)).with_format("arrow")[:].to_pylist()
    values = [list(row.values()) for row in rows]
    if part.kind == "text":
        return [value[0].split() if isinstance(value[0], str) else list(value[0]) for value in values]
    return [[number for item in value for number in np.ravel(item).tolist()] for value in values]


def pictures(labels: list[Any]) -> pa.Table:
    images = [{"bytes": picture(seed), "path": None} for seed in range(len(labels))]
    return pa.table({"image": images, "label": labels})
