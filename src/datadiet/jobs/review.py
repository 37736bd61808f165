"""From suspects, or a score table, to the page on which they are decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from datadiet.data import Examples, Part
from datadiet.data.arrow import numeric_matrix, one_array, rows_at
from datadiet.data.columns.images import content_of, cores, open_image, to_array
from datadiet.data.depth import PixelRange
from datadiet.data.examples import require_classification
from datadiet.engine.reloading import labels_by_id, load_again
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.example_keys import PartName, key_of
from datadiet.foundation.options import with_options
from datadiet.foundation.outputs import check_file
from datadiet.foundation.tables import metadata_of
from datadiet.jobs.commands import CLEANED, DECISIONS, command_line, data_flags, is_nameable
from datadiet.jobs.options import ReviewOptions
from datadiet.jobs.outputs import Inputs, check_output, data_of, inputs_of, read_results
from datadiet.jobs.suspects.ranking import Suspects
from datadiet.pages.html import PIXEL_ART_SIDE
from datadiet.pages.review import ReviewContents, ReviewItem, thumbnail, thumbnail_side, write_review
from datadiet.scores import ScoreTable

FEWEST = 20  # rows that a page has where fewer are wrong
MOST = 5000  # where more are
UNTOLD = 100  # where it cannot be told how many are
_SECOND = ("mean_el2n", "el2n", "loss")  # the first that is there orders rows of one score
_CHUNK_ROWS = 256


@dataclass(frozen=True)
class Review:
    """A page that was written.

    Args:
        out: the page.
        n: how many suspects are on it.
        in_all: how many there were.
        source: the data that they belong to.
        fingerprint: of that data; decisions are bound to it.
        why: why there are as many on it, as a sentence; None where that was asked for, or all are.
        export: the command that makes the data set of the decisions, as it is typed; None for data that no command
            can name.
    """

    out: Path
    n: int
    in_all: int
    source: str
    fingerprint: str
    why: str | None = None
    export: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "out": str(self.out)}


@dataclass(frozen=True)
class _Ranking:
    """Rows to review, the most suspicious first: what is asked of each example, and where it came from."""

    name: str
    part: np.ndarray
    ids: np.ndarray
    given: np.ndarray
    suspicion: np.ndarray
    origin: ScoreTable | Suspects
    proposed: np.ndarray | None = None
    probability_wrong: np.ndarray | None = None
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)


@with_options()
def review(suspects: str | Path, **options: Unpack[ReviewOptions]) -> Review:
    """Write a page on which suspects are kept, relabelled or dropped by keyboard.

    Args:
        suspects: what `datadiet suspects` wrote; or a score table, whose hardest examples are then reviewed,
            without proposed labels.

    Raises:
        BadInputError: no such file or score, other data, a limit below 1.
    """
    path = Path(suspects)
    out, source = options["out"], options["source"]
    inputs = inputs_of(options, files=[path])
    target = check_output(path.parent / "review.html" if out is None else out, inputs)
    ranking = _ranking(read_results(path), options["by"])
    check_output(target, Inputs(inputs.files, (*inputs.data, *map(Path, data_of(ranking.origin)))))
    check_file(target, "review page", overwrite=options["overwrite"])
    facts = ranking.origin.provenance
    if source is None and facts.get("source") is None:
        raise BadInputError(f"{str(path)!r} does not say where its data is; give it with --source.")
    examples = load_again(facts, source, options["load_options"], options["display"])
    require_classification(
        examples, "A review", "look at its hardest examples instead, in the report of `datadiet run`"
    )
    _check_labels(ranking, examples, path)
    limit, why = options["limit"], None
    if limit is None:
        limit, why = opening(ranking.origin)
    chosen = np.arange(len(ranking.ids))[:limit]
    contents = review_contents(examples, ranking, chosen)
    place = str(source) if isinstance(source, (str, Path)) else examples.source
    written = write_review(contents, target, overwrite=options["overwrite"])
    export = None
    if is_nameable(place):
        flags = data_flags(facts, options["load_options"])
        export = command_line("export", place, flags={**flags, "decisions": DECISIONS, "to": CLEANED})
    return Review(
        written,
        len(chosen),
        len(ranking.ids),
        place,
        examples.fingerprint,
        why if len(chosen) < len(ranking.ids) else None,
        export,
    )


def opening(origin: ScoreTable | Suspects) -> tuple[int, str]:
    """How many rows a page has where none are asked for, and why: as many as are wrong, as far as that can be told.

    Example:
        >>> opening(ScoreTable.from_seeds([0], [0], [{"el2n": [1.0]}]))[0]
        100
    """
    about = origin.about_wrong if isinstance(origin, Suspects) else None
    if about is None:
        return UNTOLD, (
            f"How many labels are wrong is not known here, so the page has the {UNTOLD} most suspicious; --limit says "
            "another number."
        )
    contradicting = int(origin.conflicting.sum()) if isinstance(origin, Suspects) else 0
    limit = min(max(about, contradicting, FEWEST), MOST)
    return (
        limit,
        f"About {about:,} labels are wrong, so the page has the {limit:,} most suspicious; --limit says another "
        "number.",
    )


def review_contents(examples: Examples, ranking: _Ranking, chosen: np.ndarray) -> ReviewContents:
    """What the page shows of the chosen rows of a ranking."""
    parts: tuple[tuple[PartName, Part], ...] = (("train", examples.train), ("test", examples.test))
    seen: dict[str, dict[int, dict[str, Any]]] = {
        name: dict(_looks(examples, part, ranking.ids[chosen][ranking.part[chosen] == name], len(chosen)))
        for name, part in parts
    }
    items = []
    for row in chosen:
        proposed = -1 if ranking.proposed is None else int(ranking.proposed[row])
        wrong = ranking.probability_wrong
        items.append(
            ReviewItem(
                id=int(ranking.ids[row]),
                given=int(ranking.given[row]),
                proposed=proposed if proposed >= 0 else None,
                suspicion=float(ranking.suspicion[row]),
                probability_wrong=None if wrong is None or np.isnan(wrong[row]) else float(wrong[row]),
                signals={name: float(values[row]) for name, values in ranking.signals.items()},
                part="test" if ranking.part[row] == "test" else "train",
                **seen[str(ranking.part[row])][int(ranking.ids[row])],
            )
        )
    pictures = [item.picture for item in items if item.picture is not None]
    return ReviewContents(
        title=examples.name,
        fingerprint=examples.fingerprint,
        class_names=examples.class_names,
        items=items,
        ranking=ranking.name,
        in_all=len(ranking.ids),
        pixelated=bool(pictures) and max(max(picture.shape) for picture in pictures) <= PIXEL_ART_SIDE,
    )


def _ranking(path: Path, by: str | None) -> _Ranking:
    """What a file of suspects or of scores ranks.

    Raises:
        BadInputError: it is neither, or `by` does not fit it.
    """
    if not path.is_file():
        raise BadInputError(f"There is no file of suspects or scores at {str(path)!r}.")
    metadata = metadata_of(path)
    if b"datadiet.scores" in metadata:
        table = ScoreTable.read(path)
        if by is None and len(table.names) != 1:
            raise BadInputError(f"Say which score to review by; the table has {', '.join(table.names)}.")
        name = by or table.names[0]
        # The value is shown as it is; what the page is ordered by is turned so that higher is harder.
        signals = {name: table.column(name)} if not table.higher_is_harder(name) else {}
        hardness = np.asarray(table.hardness(name), dtype=np.float64)
        title = name if not signals else f"minus {name}"
        order = np.lexsort((table.ids, -_second(table, name), -hardness))
        return _Ranking(
            title, np.full(len(order), "train"), table.ids[order], table.labels[order], hardness[order], table,
            signals={name: values[order] for name, values in signals.items()},
        )  # fmt: skip
    if b"datadiet.suspects" not in metadata:
        raise BadInputError(
            f"{str(path)!r} holds neither suspects nor scores of datadiet; "
            "give a file that `datadiet suspects` or `datadiet score` wrote."
        )
    if by is not None:
        raise BadInputError("--by chooses a score of a score table; suspects have their own order.")
    found = Suspects.read(path)
    if not len(found):
        raise BadInputError(f"There are no suspects in {str(path)!r}: nothing to review.")
    return _Ranking(
        "suspicion", found.part, found.ids, found.labels, found.suspicion, found,
        found.proposed, np.where(found.is_told, found.probability_wrong, np.nan), found.signals,
    )  # fmt: skip


def _second(table: ScoreTable, name: str) -> np.ndarray:
    """What rows of one score are ordered by: another score of the table, as hardness; zeros where there is none."""
    other = next((one for one in _SECOND if one in table.names and one != name), None)
    return np.zeros(len(table)) if other is None else np.asarray(table.hardness(other), np.float64)


def _check_labels(ranking: _Ranking, examples: Examples, path: Path) -> None:
    """Refuse to show labels beside data that they do not belong to."""
    if isinstance(ranking.origin, ScoreTable):
        ranking.origin.check_data(examples.fingerprint, labels_by_id(examples))
        return
    ranking.origin.check_data(examples.fingerprint)
    for name, part in (("train", examples.train), ("test", examples.test)):
        rows = np.flatnonzero(ranking.part == name)
        theirs = part.labels[part.positions_of(ranking.ids[rows])]
        wrong = np.flatnonzero(theirs != ranking.given[rows])
        if len(wrong):
            row = rows[wrong[0]]
            raise BadInputError(
                f"example {key_of(name, int(ranking.ids[row]))} has the label {int(ranking.given[row])} in "
                f"{str(path)!r}, but {int(theirs[wrong[0]])} in the data; give the data that the suspects belong to "
                "with --source."
            )


def _looks(
    examples: Examples, part: Part, ids: np.ndarray, count: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """What a reader sees of each example of a part, by id: arguments of `ReviewItem`; `count` are on the page."""
    columns = examples.input_columns
    ordered = np.sort(ids)
    positions = part.positions_of(ordered)
    side = thumbnail_side(count)
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(ordered), _CHUNK_ROWS):
            rows = rows_at(part.dataset, columns, positions[start : start + _CHUNK_ROWS])
            here = ordered[start : start + _CHUNK_ROWS].tolist()
            looks: Iterator[dict[str, Any]]
            if examples.kind == "image":
                encoded = one_array(rows, columns[0]).to_pylist()
                looks = pool.map(lambda image: _picture(image, side, examples.pixel_range), encoded)
            elif examples.kind == "text":
                texts = [one_array(rows, column).to_pylist() for column in columns]
                looks = iter([{"text": _joined(columns, row)} for row in zip(*texts, strict=True)])
            else:
                looks = iter([{"vector": row} for row in numeric_matrix(rows, columns)])
            yield from zip(here, looks, strict=True)


def _picture(encoded: Any, side: int, pixel_range: PixelRange) -> dict[str, Any]:
    try:
        return {"picture": thumbnail(to_array(open_image(content_of(encoded)), None, pixel_range), side)}
    # Pillow's plugins raise whatever the broken bytes lead them to; the example can still be decided on.
    except Exception:
        return {"missing": "the image cannot be read"}


def _joined(columns: tuple[str, ...], row: tuple[Any, ...]) -> str:
    if len(columns) == 1:
        return str(row[0])
    return "\n".join(f"{column}: {text}" for column, text in zip(columns, row, strict=True))
