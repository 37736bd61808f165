"""From suspects, or a score table, to the page on which they are decided."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.data import Examples
from datadiet.data.arrow import numeric_matrix, one_array, rows_at
from datadiet.data.columns.images import content_of, cores, open_image, to_array
from datadiet.data.examples import require_classification
from datadiet.engine.reloading import load_again
from datadiet.foundation.errors import BadInputError
from datadiet.pages.html import PIXEL_ART_SIDE
from datadiet.pages.review import ReviewContents, ReviewItem, thumbnail, thumbnail_side, write_review
from datadiet.scores import ScoreTable

_CHUNK_ROWS = 256
_SUSPECTS_KEY = "datadiet.suspects"
_SCORES_KEY = "datadiet.scores"
_SIGNAL = "signal_"


@dataclass(frozen=True)
class Review:
    """A page that was written.

    Args:
        out: the page.
        n: how many suspects are on it.
        in_all: how many there were.
        source: the data that they belong to.
        fingerprint: of that data; decisions are bound to it.
    """

    out: Path
    n: int
    in_all: int
    source: str
    fingerprint: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "out": str(self.out)}


@dataclass(frozen=True)
class _Ranking:
    """Rows to review, as the file has them: what is asked of each example, and where it came from."""

    name: str
    ids: np.ndarray
    given: np.ndarray
    suspicion: np.ndarray
    facts: Mapping[str, Any]
    proposed: np.ndarray | None = None
    probability_wrong: np.ndarray | None = None
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)
    table: ScoreTable | None = None


def review(
    suspects: str | Path,
    *,
    out: str | Path | None = None,
    limit: int = 5000,
    source: Any = None,
    by: str | None = None,
    load_options: Mapping[str, Any] | None = None,
) -> Review:
    """Write a page on which suspects are kept, relabelled or dropped by keyboard.

    Args:
        suspects: what `datadiet suspects` wrote; or a score table, whose hardest examples are then reviewed,
            without proposed labels.
        out: the page; None for `review.html` beside `suspects`.
        limit: how many of them, the most suspicious first.
        source: the data, when it has moved; None for the source that the file names.
        by: the score to rank a score table by; may be left out when it has one.
        load_options: arguments of `datadiet.load` that go before those remembered.

    Raises:
        BadInputError: no such file or score, other data, a limit below 1.
    """
    path = Path(suspects)
    if limit < 1:
        raise BadInputError(f"limit is {limit}; it must be 1 or more.")
    target = path.parent / "review.html" if out is None else Path(out)
    ranking = _read(path, by)
    if source is None and ranking.facts.get("source") is None:
        raise BadInputError(f"{str(path)!r} does not say where its data is; give it with --source.")
    examples = load_again(ranking.facts, source, load_options)
    require_classification(
        examples, "A review", "look at its hardest examples instead, in the report of `datadiet run`"
    )
    _check_data(ranking, examples, path)
    chosen = np.lexsort((ranking.ids, -ranking.suspicion))[:limit]
    contents = review_contents(examples, ranking, chosen)
    place = str(source) if isinstance(source, (str, Path)) else examples.source
    written = write_review(contents, target)
    return Review(written, len(chosen), len(ranking.ids), place, examples.fingerprint)


def review_contents(examples: Examples, ranking: _Ranking, chosen: np.ndarray) -> ReviewContents:
    """What the page shows of the chosen rows of a ranking."""
    seen: dict[int, dict[str, Any]] = dict(_looks(examples, ranking.ids[chosen]))
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
                probability_wrong=None if wrong is None else float(wrong[row]),
                signals={name: float(values[row]) for name, values in ranking.signals.items()},
                **seen[int(ranking.ids[row])],
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


def _read(path: Path, by: str | None) -> _Ranking:
    if not path.is_file():
        raise BadInputError(f"There is no file of suspects or scores at {str(path)!r}.")
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise BadInputError(f"{str(path)!r} is not a readable Parquet file: {error}") from error
    keys = {key.decode("utf-8", "replace"): value for key, value in metadata.items()}
    if _SCORES_KEY in keys:
        return _from_scores(ScoreTable.read(path), by)
    about = next((value for key, value in keys.items() if key.startswith(_SUSPECTS_KEY)), None)
    if about is None:
        raise BadInputError(
            f"{str(path)!r} holds neither suspects nor scores of datadiet; "
            "give a file that `datadiet suspects` or `datadiet score` wrote."
        )
    if by is not None:
        raise BadInputError("--by chooses a score of a score table; suspects have their own order.")
    return _from_suspects(path, about)


def _from_scores(table: ScoreTable, by: str | None) -> _Ranking:
    if by is None and len(table.names) != 1:
        raise BadInputError(f"Say which score to review by; the table has {', '.join(table.names)}.")
    name = by or table.names[0]
    # The value is shown as it is; what the page is ordered by is turned so that higher is harder.
    signals = {name: table.column(name)} if not table.higher_is_harder(name) else {}
    hardness = np.asarray(table.hardness(name), dtype=np.float64)
    title = name if not signals else f"minus {name}"
    return _Ranking(title, table.ids, table.labels, hardness, table.provenance, signals=signals, table=table)


def _from_suspects(path: Path, about: bytes) -> _Ranking:
    try:
        stated = json.loads(about)
        table = pq.read_table(path)
        columns = {name: table.column(name).to_numpy() for name in ("id", "label", "proposed", "suspicion")}
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise BadInputError(f"The suspects in {str(path)!r} cannot be read: {error}.") from error
    if not table.num_rows:
        raise BadInputError(f"There are no suspects in {str(path)!r}: nothing to review.")
    signals = {
        name.removeprefix(_SIGNAL): np.asarray(table.column(name).to_numpy(), dtype=np.float64)
        for name in table.column_names
        if name.startswith(_SIGNAL)
    }
    wrong = None
    if "probability_wrong" in table.column_names:
        wrong = np.asarray(table.column("probability_wrong").to_numpy(), dtype=np.float64)
    proposed = np.nan_to_num(np.asarray(columns["proposed"], dtype=np.float64), nan=-1.0)
    return _Ranking(
        "suspicion",
        np.asarray(columns["id"], dtype=np.int64),
        np.asarray(columns["label"], dtype=np.int64),
        np.asarray(columns["suspicion"], dtype=np.float64),
        {**stated, **stated.get("provenance", {})},
        proposed.astype(np.int64),
        wrong,
        signals,
    )


def _check_data(ranking: _Ranking, examples: Examples, path: Path) -> None:
    """Refuse to show labels beside data that they do not belong to."""
    train = examples.train
    if ranking.table is not None:
        labels = np.full(int(train.ids[-1]) + 1, -1, dtype=np.int64)
        labels[train.ids] = train.labels
        ranking.table.check_data(examples.fingerprint, labels)
        return
    made_from = ranking.facts.get("fingerprint")
    if made_from is not None and made_from != examples.fingerprint:
        raise BadInputError(
            f"{str(path)!r} was made from other data than is given here (the fingerprints differ); look for "
            "suspects in this data, or give the data that they belong to with --source."
        )
    theirs = train.labels[train.positions_of(ranking.ids)]
    if (theirs != ranking.given).any():
        row = int(np.flatnonzero(theirs != ranking.given)[0])
        raise BadInputError(
            f"example {int(ranking.ids[row])} has the label {int(ranking.given[row])} in {str(path)!r}, but "
            f"{int(theirs[row])} in the data; give the data that the suspects belong to with --source."
        )


def _looks(examples: Examples, ids: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
    """What a reader sees of each example, by id: arguments of `ReviewItem`."""
    part, columns = examples.train, examples.input_columns
    ordered = np.sort(ids)
    positions = part.positions_of(ordered)
    side = thumbnail_side(len(ids))
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(ordered), _CHUNK_ROWS):
            rows = rows_at(part.dataset, columns, positions[start : start + _CHUNK_ROWS])
            here = ordered[start : start + _CHUNK_ROWS].tolist()
            looks: Iterator[dict[str, Any]]
            if examples.kind == "image":
                encoded = one_array(rows, columns[0]).to_pylist()
                looks = pool.map(lambda image: _picture(image, side), encoded)
            elif examples.kind == "text":
                texts = [one_array(rows, column).to_pylist() for column in columns]
                looks = iter([{"text": _joined(columns, row)} for row in zip(*texts, strict=True)])
            else:
                looks = iter([{"vector": row} for row in numeric_matrix(rows, columns)])
            yield from zip(here, looks, strict=True)


def _picture(encoded: Any, side: int) -> dict[str, Any]:
    try:
        return {"picture": thumbnail(to_array(open_image(content_of(encoded))), side)}
    # Pillow's plugins raise whatever the broken bytes lead them to; the example can still be decided on.
    except Exception:
        return {"missing": "the image cannot be read"}


def _joined(columns: tuple[str, ...], row: tuple[Any, ...]) -> str:
    if len(columns) == 1:
        return str(row[0])
    return "\n".join(f"{column}: {text}" for column, text in zip(columns, row, strict=True))
