"""Texts of every task that are made in a moment, and a random encoder with its tokenizer in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tiny_models import bert_config, save_tokenizer

VERBS = {"travel": ["fly", "ride", "go"], "weather": ["rain", "sun", "snow"]}
CITIES = ("rome", "oslo", "new york", "paris")
OTHER = ("to", "in", "please", "today")


def _sentence(generator: np.random.Generator, row: int) -> dict[str, object]:
    intent = ("travel", "weather")[row % 2]
    city = CITIES[int(generator.integers(len(CITIES)))].split()
    end = ["please"] * int(generator.integers(0, 6))  # so that lengths differ
    words = [VERBS[intent][int(generator.integers(3))], "to" if intent == "travel" else "in", *city, *end]
    tags = ["O", "O", "B-city", *["I-city"] * (len(city) - 1), *["O"] * len(end)]
    labels = [intent, *(["polite"] if end else []), *(["far"] if city[0] == "new" else [])]
    number = float(len(words)) + float(generator.normal(0, 0.1))
    return {"words": words, "tags": tags, "intent": intent, "labels": labels, "number": number}


def columns_of(task: str, rows: int, seed: int = 0) -> dict[str, list[object]]:
    """The columns of a data set of that task."""
    generator = np.random.default_rng(seed)
    made = [_sentence(generator, row) for row in range(rows)]
    text = [" ".join(row["words"]) for row in made]  # type: ignore[arg-type]
    if task == "intent_slots":
        slots = [" ".join(row["tags"]) for row in made]  # type: ignore[arg-type]
        return {"text": text, "slots": slots, "intent": [row["intent"] for row in made]}
    if task == "token_classification":
        return {"tokens": [row["words"] for row in made], "tags": [row["tags"] for row in made]}
    label = {"classification": "intent", "multilabel": "labels", "regression": "number"}[task]
    return {"text": text, "label": [row[label] for row in made]}


def write_texts(folder: Path, task: str, *, train: int = 48, test: int = 24) -> tuple[Path, Path]:
    """The train and the test part as Parquet files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{task}.train.parquet", folder / f"{task}.test.parquet"
    for seed, (path, rows) in enumerate(zip(paths, (train, test), strict=True)):
        pq.write_table(pa.table(columns_of(task, rows, seed)), path)
    return paths


def write_encoder(folder: Path) -> Path:
    """A random BERT of one layer without a head, and a tokenizer that cuts some of the words in two."""
    import torch
    import transformers

    whole = [word for verbs in VERBS.values() for word in verbs if word != "snow"]
    pieces = ["sn", "##ow", "pa", "##ris", "rome", "oslo", "new", "york", *OTHER]
    save_tokenizer(folder, [*whole, *pieces])
    config = bert_config(vocab_size=5 + len(whole) + len(pieces), max_position_embeddings=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(folder)
    return folder
