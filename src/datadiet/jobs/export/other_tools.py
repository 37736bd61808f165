"""What other tools ask for: the classification layout of FiftyOne, probabilities and labels for cleanlab."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datadiet.data import Batch, Examples
from datadiet.data.examples import require_classification
from datadiet.engine.points import load_weights
from datadiet.engine.reloading import load_again
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.evaluation import evaluate
from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.formats import Job, Written
from datadiet.jobs.export.image_folder import header_of, id_width, suffix_of, write_image
from datadiet.jobs.export.rows import chunks_that_stay, images_of, neutralised
from datadiet.jobs.verify import run_of
from datadiet.scores import ScoreTable

_COLUMNS = ("filepath", "size_bytes", "mime_type", "width", "height", "num_channels", "label")
_MIME = {"jpg": "jpeg", "tif": "tiff", "pbm": "x-portable-bitmap", "pgm": "x-portable-graymap"}
_MIME |= {"ppm": "x-portable-pixmap"}


def write_fiftyone(job: Job) -> Written:
    """Images named by their id, and a row each: path, bytes, type, size, channels (from the header), label.

    Raises:
        BadInputError: the examples are no images.
    """
    examples = job.plan.examples
    if examples.kind != "image":
        raise BadInputError(f"FiftyOne's CSV layout is for images; '{examples.name}' holds {examples.kind}s.")
    written = Written(keeps_names=True)
    for plan in job.plan.parts:
        folder = job.folder / plan.name
        (folder / "data").mkdir(parents=True)
        width = id_width(plan)
        files: list[str] = []
        with (folder / "labels.csv").open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            for chunk in chunks_that_stay(plan, job.label):
                for row, content, path in images_of(chunk, plan.part.input_columns[0]):
                    suffix = suffix_of(header_of(content, path), path)
                    name = f"data/{int(chunk.ids[row]):0{width}d}{suffix}"
                    write_image(folder / name, content, path)
                    label = examples.class_names[int(chunk.labels[row])]
                    shown = label if job.keep_formulas else neutralised(label)
                    writer.writerow([name, *_facts(folder / name, content), shown])
                    files.append(f"{plan.name}/{name}")
                job.advance(len(chunk))
        written.files[plan.name] = files
    return written


def _facts(path: Path, content: bytes | None) -> list[str | int]:
    """Bytes, MIME type, width, height and channels, from the image's header alone."""
    from PIL import Image

    with Image.open(io.BytesIO(content) if content is not None else path) as image:
        size = len(content) if content is not None else path.stat().st_size
        suffix = path.suffix.lower()[1:]
        return [size, f"image/{_MIME.get(suffix, suffix)}", image.width, image.height, len(image.getbands())]


def export_probabilities(
    table: str | Path | ScoreTable,
    *,
    source: Any = None,
    workspace: str | Path | None = None,
    load_options: Mapping[str, Any] | None = None,
    advance: Any = None,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Softmax probabilities of every training example, mean over the seeds of a score table.

    p_i = 1/K sum_k softmax(f_k(x_i)), with the weights of the latest step that the table's scores were taken at.
    The models were trained on these examples (in-sample); cleanlab prefers probabilities of models that were not.

    Args:
        table: a score table or its file.
        source: the data; None for the source that the table names.
        workspace: where the checkpoints are; None for the workspace that the table names.
        load_options: further arguments of `datadiet.load`.
        advance: called with the number of examples after each batch.
        options: further arguments of `datadiet.engine.setup.prepare`.

    Returns:
        ids (n,) int64, labels (n,) int64, probabilities (n, classes) float32, in id order.

    Raises:
        BadInputError: the table names no checkpoints, they are gone, or the data is another.
    """
    table = table if isinstance(table, ScoreTable) else ScoreTable.read(table)
    facts = table.provenance
    if "recipe" not in facts:
        raise BadInputError(
            "This score table was made from logits and names no models to take probabilities of."
        )
    steps = [
        int(entry["step"])
        for entry in facts["scores"].values()
        if entry.get("taken") == "evaluation" and "step" in entry
    ]
    if not steps:
        raise BadInputError(
            "This score table has no score that was taken in evaluation mode, so no checkpoints."
        )
    examples = load_again(facts, source, load_options)
    table.check_data(examples.fingerprint)
    where = Path(workspace if workspace is not None else facts["workspace"])
    if not where.is_dir():
        raise BadInputError(
            f"There is no workspace {str(where)!r} with the checkpoints of this table; give it with --workspace."
        )
    require_classification(examples, "The export for cleanlab", "choose another --format")
    setup = prepare(examples, Recipe.from_dict(facts["recipe"]), workspace=where, **options)
    try:
        total = np.zeros((len(examples.train), examples.num_classes), dtype=np.float64)
        for seed in facts["seeds"]:
            total += _one_seed(setup, facts, seed, max(steps), advance)
    finally:
        setup.close()
    return examples.train.ids, examples.train.labels, (total / len(facts["seeds"])).astype(np.float32)


def _one_seed(setup: Setup, facts: Mapping[str, Any], seed: int, step: int, advance: Any) -> np.ndarray:
    ids = setup.examples.train.ids
    found = np.zeros((len(ids), setup.examples.num_classes), dtype=np.float64)
    model, _ = load_weights(setup, run_of(setup, facts, seed, [step]), step)

    def visit(batch: Batch, logits: torch.Tensor) -> None:
        places = np.searchsorted(ids, batch.ids.cpu().numpy())
        found[places] = torch.softmax(logits.double().cpu(), dim=1).numpy()
        if advance is not None:
            advance(len(batch))

    evaluate(model, setup.train, setup.recipe, setup.accelerator, visit)
    return found


def write_cleanlab(job: Job, scores: Any, options: Mapping[str, Any]) -> Written:
    """`pred_probs.npy` (n, classes), `labels.npy` (n,) and `ids.npy` (n,), of the train part in id order."""
    examples: Examples = job.plan.examples
    _, _, probabilities = export_probabilities(scores, source=examples, advance=job.advance, **options)
    train = job.plan.train
    np.save(job.folder / "pred_probs.npy", probabilities[train.rows])
    np.save(job.folder / "labels.npy", train.labels)
    np.save(job.folder / "ids.npy", train.ids)
    note = (
        "The probabilities are of models that were trained on these examples; cleanlab finds more errors with "
        "probabilities of models that were not."
    )
    return Written(files={"train": "pred_probs.npy"}, keeps_names=True, notes=[note])
