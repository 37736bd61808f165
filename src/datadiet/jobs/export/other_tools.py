"""What other tools ask for: lists of what stays, the layout of FiftyOne, probabilities and labels for cleanlab."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch

from datadiet.data import Batch, Examples
from datadiet.data.arrow import chunks_of, one_array
from datadiet.data.columns.images import opened
from datadiet.engine.points import load_weights
from datadiet.engine.reloading import recipe_of_table, workspace_of_table
from datadiet.engine.setup import prepare
from datadiet.engine.training.evaluation import evaluate
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.csv_records import CsvWriter
from datadiet.jobs.export.formats import Job, WriteResult, export_format
from datadiet.jobs.export.image_folder import ONE_CLASS_AN_IMAGE, image_name, write_image
from datadiet.jobs.export.plan import CLASS_TASKS
from datadiet.jobs.export.rows import images_of, kept_chunks, lie_in_files, neutralised, written_names
from datadiet.jobs.verify import run_of
from datadiet.scores import ScoreTable

_FIFTYONE_COLUMNS = ("filepath", "size_bytes", "mime_type", "width", "height", "num_channels", "label")
_MIME = {"jpg": "jpeg", "tif": "tiff", "pbm": "x-portable-bitmap", "pgm": "x-portable-graymap"}
_MIME |= {"ppm": "x-portable-pixmap"}


@export_format("ids", "`ids.txt`: one example id a line.", tool=True, train_only=True)
def write_ids(job: Job) -> WriteResult:
    """`ids.txt`: one example id a line; `datadiet compare --kept` reads it, too."""
    return _write_lines(job, "ids.txt", job.plan.train.ids.tolist())


def _write_lines(job: Job, name: str, lines: Iterable[object]) -> WriteResult:
    text = "".join(f"{line}\n" for line in lines)
    (job.folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    job.advance(len(job.plan.train))
    result = WriteResult(files={"train": name}, keeps_names=True)
    result.columns_left_out = _columns(job)
    return result


def _columns(job: Job, *held: str) -> tuple[str, ...]:
    """The columns of the source but those that the format holds."""
    return tuple(name for name in job.plan.examples.train.dataset.column_names if name not in held)


@export_format("files", "`files.txt`: the files that stay, one a line.", tool=True, train_only=True)
def write_file_names(job: Job) -> WriteResult:
    """`files.txt`: one file a line, relative to the source where it lies in it, with `/`.

    Raises:
        BadInputError: the examples do not lie in files of their own, or a name has a line break.
    """
    if not lie_in_files(job.plan.train.part):
        raise BadInputError(
            f"The examples of '{job.plan.examples.name}' do not lie in files of their own; use --format ids."
        )
    names = _file_names(job)
    for name in names:
        if "\n" in name or "\r" in name:
            raise BadInputError(f"The file {name!r} has a line break in its name; use --format ids.")
    return _write_lines(job, "files.txt", names)


def _file_names(job: Job) -> list[str]:
    train = job.plan.train
    source = Path(job.plan.examples.source).expanduser()
    if job.origin.form == "imagefolder" and job.origin.files:
        files = job.origin.files_of("train")
        return [files[id_].relative_to(source).as_posix() for id_ in train.ids.tolist()]
    column = train.part.input_columns[0]
    paths: list[str | None] = []
    for _, table in chunks_of(train.part.dataset, [column]):
        paths += pc.struct_field(one_array(table, column), "path").to_pylist()
    chosen = [Path(paths[row] or "") for row in train.rows.tolist()]
    base = (source if source.is_dir() else source.parent).resolve()
    return [(p.relative_to(base) if p.is_relative_to(base) else p).as_posix() for p in chosen]


@export_format(
    "indices", "`indices.npy`, `indices.json`: positions in the source's rows.", tool=True, train_only=True
)
def write_indices(job: Job) -> WriteResult:
    """`indices.npy` and `indices.json`: positions in the rows of the source; `labels.npy`: what they are labelled.

    Labels are class indices, of a multi-label task a 0 or 1 for each label, of a regression the numbers. Tags
    of words are no array, so a task of nothing but tags has no `labels.npy`.

    An id is the position of its row in the source, so these go into `torch.utils.data.Subset(data, indices)` and
    `datasets.Dataset.select(indices)` of the source's own train part.
    """
    train = job.plan.train
    np.save(job.folder / "indices.npy", train.ids)
    targets = train.part.targets
    label = job.plan.examples.label_column
    if job.label.has_classes or targets is None:
        np.save(job.folder / "labels.npy", train.labels)
    elif targets.offsets is None:
        np.save(job.folder / "labels.npy", targets.take(train.rows).values)
    else:
        label = ""
    (job.folder / "indices.json").write_text(json.dumps(train.ids.tolist()) + "\n", encoding="utf-8")
    job.advance(len(train))
    left_out = _columns(job, label) if label else _columns(job)
    return WriteResult(files={"train": "indices.npy"}, keeps_names=True, columns_left_out=left_out)


@export_format(
    "fiftyone",
    "`<part>/data/` and `<part>/labels.csv` in the classification layout of FiftyOne.",
    tasks=CLASS_TASKS,
    kinds=("image",),
    refusal=ONE_CLASS_AN_IMAGE,
    tool=True,
)
def write_fiftyone(job: Job) -> WriteResult:
    """Images named by their id, and a row each: path, bytes, type, size, channels (from the header), label.

    Raises:
        BadInputError: the examples are no images.
    """
    examples = job.plan.examples
    if examples.kind != "image":
        raise BadInputError(f"FiftyOne's CSV layout is for images; '{examples.name}' holds {examples.kind}s.")
    result = WriteResult(keeps_names=True)
    result.columns_left_out = _columns(job, *examples.input_columns, examples.label_column)
    if not job.keep_formulas:
        result.class_names = written_names(examples.class_names, "classes")
    for plan in job.plan.parts:
        folder = job.folder / plan.name
        (folder / "data").mkdir(parents=True)
        files: list[str] = []
        with (folder / "labels.csv").open("x", encoding="utf-8", newline="") as file:
            writer = CsvWriter(file)
            writer.writerow(_FIFTYONE_COLUMNS)
            for chunk in kept_chunks(plan, job.label):
                for id_, label, content, path in images_of(chunk, plan.part.input_columns[0]):
                    name = f"data/{image_name(plan, id_, content, path)}"
                    write_image(folder / name, content, path)
                    shown = examples.class_names[label]
                    shown = shown if job.keep_formulas else neutralised(shown)
                    writer.writerow([name, *_header_facts(folder / name, content), shown])
                    files.append(f"{plan.name}/{name}")
                job.advance(len(chunk))
        result.files[plan.name] = files
    return result


def _header_facts(path: Path, content: bytes | None) -> list[str | int]:
    """Bytes, MIME type, width, height and channels, from the image's header alone."""
    with opened(content if content is not None else path) as image:
        size = len(content) if content is not None else path.stat().st_size
        suffix = path.suffix.lower()[1:]
        return [size, f"image/{_MIME.get(suffix, suffix)}", image.width, image.height, len(image.getbands())]


@export_format(
    "cleanlab",
    "`pred_probs.npy`, `labels.npy`, `ids.npy`: what the models of a score table say of each class.",
    tasks=("classification",),
    refusal="The export for cleanlab is for data with one class an example, and '{name}' is of the task '{task}'; "
    "choose another --format.",
    tool=True,
    train_only=True,
    needs_scores=True,
)
def write_cleanlab(job: Job) -> WriteResult:
    """`pred_probs.npy` (n, classes), `labels.npy` (n,) and `ids.npy` (n,), of the train part in id order."""
    train = job.plan.train
    probabilities = mean_probabilities(job.plan.examples, job.scores, advance=job.advance, **job.machine)
    np.save(job.folder / "pred_probs.npy", probabilities[train.rows])
    np.save(job.folder / "labels.npy", train.labels)
    np.save(job.folder / "ids.npy", train.ids)
    note = (
        "The probabilities are of models that were trained on these examples; cleanlab finds more errors with "
        "probabilities of models that were not."
    )
    result = WriteResult(files={"train": "pred_probs.npy"}, keeps_names=True, notes=[note])
    result.columns_left_out = _columns(job, job.plan.examples.label_column)
    return result


def mean_probabilities(
    examples: Examples,
    table: str | Path | ScoreTable,
    *,
    workspace: str | Path | None = None,
    model: str | None = None,
    advance: Any = None,
    **machine: Any,
) -> np.ndarray:
    """Softmax probabilities of every training example, mean over the seeds of a score table.

    p_i = 1/K sum_k softmax(f_k(x_i)), with the weights of the latest step that the table's scores go up to.
    The models were trained on these examples (in-sample); cleanlab prefers probabilities of models that were not.

    Args:
        examples: the data, with one class an example.
        table: a score table or its file.
        workspace: where the checkpoints are; None for the workspace that the table names.
        model: as for `datadiet.engine.reloading.recipe_of_table`.
        advance: called with the number of examples after each batch.
        machine: further arguments of `datadiet.engine.setup.prepare`.

    Returns:
        Float32 (n, classes), in id order.

    Raises:
        BadInputError: the table names no checkpoints, they are gone, or the data is another.
    """
    table = table if isinstance(table, ScoreTable) else ScoreTable.read(table)
    facts = table.provenance
    if "recipe" not in facts:
        raise BadInputError(
            "This score table was made from logits and names no models to take probabilities of."
        )
    entries = facts["scores"].values()
    steps = [int(entry["step"]) for entry in entries if "step" in entry]
    if not steps:
        raise BadInputError("This score table has no score of a training, so no checkpoints.")
    table.check_data(examples.fingerprint)
    where = workspace_of_table(facts, workspace)
    recipe = recipe_of_table(facts, model, machine.get("trust_remote_code", False))
    ids = examples.train.ids
    total, of_seed = np.zeros((2, len(ids), examples.num_classes), dtype=np.float64)

    def visit(batch: Batch, logits: torch.Tensor) -> None:
        places = np.searchsorted(ids, batch.ids.cpu().numpy())
        of_seed[places] = torch.softmax(logits.double().cpu(), dim=1).numpy()
        if advance is not None:
            advance(len(batch))

    setup = prepare(examples, recipe, workspace=where, **machine)
    try:
        for seed in facts["seeds"]:
            trained, _ = load_weights(setup, run_of(setup, facts, seed, [max(steps)]), max(steps))
            of_seed[:] = 0
            evaluate(trained, setup.train, setup.recipe, setup.accelerator, visit)
            total += of_seed
    finally:
        setup.close()
    return (total / len(facts["seeds"])).astype(np.float32)
