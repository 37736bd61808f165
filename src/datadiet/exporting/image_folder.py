"""An image folder: `train/<class>/<file>` and `test/<class>/<file>`, every file with the bytes it had."""

from __future__ import annotations

from datadiet.errors import BadInputError
from datadiet.exporting.images import header_of, suffix_of, write_image
from datadiet.exporting.plan import PartPlan
from datadiet.exporting.rows import chunks_that_stay, images_of
from datadiet.exporting.safe_paths import FolderNames, SafeTree
from datadiet.exporting.written import Job, Written

_LONGEST_PATH = 180  # characters below the class folder


def write_image_folder(job: Job) -> Written:
    """Files of an image folder keep their names, other images are named by their id.

    Raises:
        BadInputError: the examples are no images.
    """
    examples = job.plan.examples
    if examples.kind != "image":
        raise BadInputError(
            f"'{examples.name}' holds {examples.kind}s, no images; export it to parquet, jsonl, csv or datasets."
        )
    names = FolderNames()
    folders = [names.take(name) for name in examples.class_names]
    written = Written(class_folders=dict(zip(examples.class_names, folders, strict=True)))
    column = examples.input_columns[0]
    others = (column, examples.label_column)
    written.columns_left_out = tuple(
        name for name in examples.train.dataset.column_names if name not in others
    )
    for plan in job.plan.parts:
        trees = [SafeTree() for _ in folders]
        made: set[str] = set()
        width = id_width(plan)
        files: list[str] = []
        for chunk in chunks_that_stay(plan, job.label):
            for row, content, path in images_of(chunk, column):
                label = int(chunk.labels[row])
                parts = _own_name(job, plan, int(chunk.ids[row]), path)
                if parts is None:
                    suffix = suffix_of(header_of(content, path), path)
                    parts = [f"{int(chunk.ids[row]):0{width}d}{suffix}"]
                target = f"{plan.name}/{folders[label]}/{trees[label].place(parts)}"
                parent, _, _ = target.rpartition("/")
                if parent not in made:
                    (job.folder / parent).mkdir(parents=True, exist_ok=True)
                    made.add(parent)
                write_image(job.folder / target, content, path)
                files.append(target)
            job.advance(len(chunk))
        written.files[plan.name] = files
    return written


def _own_name(job: Job, plan: PartPlan, id_: int, path: str | None) -> list[str] | None:
    """The path below its class folder that an image of an image folder has; None for any other image."""
    if job.origin.form != "imagefolder" or path is None:
        return None
    files = job.origin.files_of(plan.name)
    if not files:
        return [path.rsplit("/", 1)[-1]]
    root = job.origin.roots.get(plan.name, job.origin.roots["train"])
    if id_ >= len(files) or str(files[id_].resolve()) != path:
        raise BadInputError(f"The folder '{root}' was changed while it was exported; export again.")
    parts = list(files[id_].relative_to(root).parts[1:])
    return parts if len("/".join(parts)) <= _LONGEST_PATH else parts[-1:]


def id_width(plan: PartPlan) -> int:
    """Digits that hold every id of a part, so that files are in the order of their ids."""
    return len(str(int(plan.part.ids[-1]))) if len(plan.part) else 1
