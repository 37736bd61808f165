"""From a finished run folder to its report: gathers what the page shows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from typing_extensions import Unpack

from datadiet.data import Examples
from datadiet.data.arrow import one_array, rows_at
from datadiet.data.columns.images import content_of, open_image, to_array
from datadiet.data.depth import PixelRange
from datadiet.engine.reloading import load_again
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import with_options
from datadiet.foundation.outputs import ResultsFolder
from datadiet.jobs.dynamic_run import write_dynamic_report
from datadiet.jobs.keep import Kept
from datadiet.jobs.options import ReportOptions
from datadiet.jobs.outputs import refuse_damaged
from datadiet.pages.report import ExampleView, Gallery, ReportContents, subset_key, write_report
from datadiet.scores import ScoreTable

MOST_CLASSES = 100  # galleries of more classes than this help nobody
SHOWN = 8  # examples at each end of a class


def report_contents(
    examples: Examples,
    table: ScoreTable,
    verdict: Mapping[str, Any],
    kept: Mapping[str, np.ndarray],
    compared: Sequence[str],
    notes: Sequence[str] = (),
) -> ReportContents:
    """What the page shows.

    Args:
        examples: the data.
        table: its scores.
        verdict: as in `verdict.json`.
        kept: subset name -> ids that stay.
        compared: the scores that subsets were chosen by, shown first and with galleries.
        notes: sentences for the reader.
    """
    # What is known of the other scores stands in the table itself.
    known = {name: entry for name, entry in table.provenance.get("scores", {}).items() if name in compared}
    ordered = [*compared, *(name for name in table.names if name not in compared and name != "random")]
    return ReportContents(
        title=examples.name,
        verdict=verdict,
        scores={name: table.column(name) for name in ordered},
        labels=table.labels,
        class_names=examples.class_names,
        kept={name: np.isin(table.ids, ids) for name, ids in kept.items()},
        galleries=[gallery(examples, table, name) for name in compared],
        provenance={**table.provenance, "scores": known},
        notes=list(dict.fromkeys([*examples.notes, *verdict.get("notes", ()), *notes])),
        worst=_worst(examples, table, verdict),
    )


def _worst(examples: Examples, table: ScoreTable, verdict: Mapping[str, Any]) -> list[ExampleView]:
    """The examples whose labels look wrong most, as far as the table has them."""
    named = {entry["id"]: entry["label"] for entry in (verdict.get("suspects") or {}).get("worst", ())}
    row_of = {int(table.ids[row]): int(row) for row in np.flatnonzero(np.isin(table.ids, list(named)))}
    nothing = np.zeros(len(table))
    return [example_view(examples, table, row_of[id_], named[id_], nothing) for id_ in named if id_ in row_of]


def gallery(examples: Examples, table: ScoreTable, score: str) -> Gallery:
    """The easiest and hardest examples of each class, most extreme first."""
    hardness, values = table.hardness(score), table.column(score)
    by_class: dict[str, tuple[Sequence[ExampleView], Sequence[ExampleView]]] = {}
    for label in np.unique(table.labels)[:MOST_CLASSES]:
        rows = np.flatnonzero(table.labels == label)
        order = rows[np.argsort(hardness[rows], kind="stable")]
        easiest, hardest = order[:SHOWN], order[::-1][:SHOWN]
        name = examples.class_names[int(label)]
        by_class[name] = (
            [example_view(examples, table, row, name, values) for row in easiest],
            [example_view(examples, table, row, name, values) for row in hardest],
        )
    return Gallery(score, by_class)


def example_view(
    examples: Examples, table: ScoreTable, row: int, label: str, values: np.ndarray
) -> ExampleView:
    """One training example as a reader sees it."""
    part = examples.train
    identity, value = int(table.ids[row]), float(values[row])
    position = int(part.positions_of([identity])[0])
    columns = examples.input_columns
    if examples.kind == "image":
        encoded = one_array(rows_at(part.dataset, columns, [position]), columns[0]).to_pylist()[0]
        return ExampleView(identity, label, value, image=_png(encoded, examples.pixel_range))
    content = rows_at(part.dataset, columns, [position]).to_pylist()[0]
    if examples.kind == "text":
        return ExampleView(identity, label, value, text=" / ".join(_text(content[c]) for c in columns))
    numbers = [np.ravel(content[c]) for c in columns]
    return ExampleView(identity, label, value, vector=np.concatenate(numbers).astype(float))


def _text(value: Any) -> str:
    """A text, also where it is a list of words."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _png(encoded: Any, pixel_range: PixelRange) -> bytes:
    """An encoded image as PNG, with the pixels that models see."""
    pixels = to_array(open_image(content_of(encoded)), None, pixel_range)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@with_options()
def rewrite_report(folder: Path, **options: Unpack[ReportOptions]) -> Path:
    """The HTML page of a finished run again, from the files in its folder and its data.

    Args:
        folder: what `datadiet run` wrote.

    Raises:
        BadInputError: the folder is not one of a run, or the data is another.
    """
    folder = Path(folder)
    refuse_damaged(folder, ["verdict.json", "scores.parquet", "kept/*"])
    path = folder / "verdict.json"
    if not path.is_file():
        raise BadInputError(
            f"There is no verdict.json in {str(folder)!r}; give a folder that `datadiet run` wrote."
        )
    try:
        verdict = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInputError(
            f"{str(path)!r} is not readable as JSON ({error}); run `datadiet run` again."
        ) from error
    if "dynamic" in verdict:
        return _replaced(folder, options["overwrite"], lambda new: write_dynamic_report(verdict, new))
    table = ScoreTable.read(folder / "scores.parquet")
    examples = load_again(table.provenance, options["source"], options["load_options"], options["display"])
    table.check_data(examples.fingerprint)
    kept = {}
    for file in sorted((folder / "kept").glob("*.parquet")):
        subset = Kept.read(file)
        kept[subset_key(subset.about)] = subset.ids
    scores = [s["score"] for s in verdict["subsets"] if s["score"] in table.names and s["score"] != "random"]
    contents = report_contents(examples, table, verdict, kept, list(dict.fromkeys(scores)))
    return _replaced(folder, options["overwrite"], lambda new: write_report(contents, new))


def _replaced(folder: Path, overwrite: bool, write: Callable[[Path], Path]) -> Path:
    """The page with its figures in the place of the earlier one, beside the other results."""
    try:
        with ResultsFolder(folder).written(None, overwrite=overwrite, keeps=True) as new:
            page = write(new)
    except BadInputError as error:
        raise BadInputError(str(error).replace("give another folder with --out, or ", "give ")) from error
    return folder / page.name
