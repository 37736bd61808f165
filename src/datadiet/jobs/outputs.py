"""Where the results of a command go: held against all that it reads before any work, and bound to what was asked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datadiet.data.sources import BUILT_IN
from datadiet.engine.setup import Setup
from datadiet.foundation.errors import BadInputError, DataDietError
from datadiet.foundation.outputs import (
    Question,
    ResultsFolder,
    check_folder,
    is_of_workspace,
    new_file,
    refuse_reads,
    usable_name,
)
from datadiet.foundation.parsing import parse_json
from datadiet.foundation.progress import ProgressDisplay
from datadiet.foundation.tables import metadata_of

# Options that say where and how fast and what may be, not what is asked: another value is the same question.
_NO_QUESTION = frozenset({
    "workspace", "out", "overwrite", "display", "command", "checkpoint_every", "num_workers", "memory_limit", "device",
    "machine", "recipe", "overrides", "load_options", "source", "embeddings", "allow_empty_class", "allow_empty_layer",
    "time", "max_seeds", "price_per_hour",
})  # fmt: skip


@dataclass(frozen=True)
class Inputs:
    """What a command reads from disk.

    Args:
        files: files that are read; no output may be one of them.
        data: files and folders of the data; no output may be one of them, nor lie in one.
    """

    files: tuple[Path, ...] = ()
    data: tuple[Path, ...] = ()


def inputs_of(options: Mapping[str, Any], *sources: Any, files: Iterable[Any] = ()) -> Inputs:
    """What a command reads: its sources, and what its options name.

    Args:
        options: of the command; `recipe`, `encoder`, `source`, a model in a folder, and another test part are read.
        sources: anything that `datadiet.load` takes.
        files: whatever else is read; what is no path is no file.

    Example:
        >>> inputs_of({"recipe": "fast", "load_options": {"test": "digits"}}, "digits", files=["a.npy", None])
        Inputs(files=(PosixPath('a.npy'),), data=())
    """
    load = options.get("load_options") or {}
    model = (options.get("overrides") or {}).get("model")
    data = [*sources, load.get("test"), options.get("source")]
    named = [place for place in (model, options.get("encoder")) if _is_folder(place)]
    recipe = options.get("recipe")
    read = [*files, recipe if _is_file(recipe) else None]
    return Inputs(_paths(read), _paths([*data, *named]))


def _paths(given: Iterable[Any]) -> tuple[Path, ...]:
    return tuple(
        Path(place).expanduser()
        for place in given
        if isinstance(place, str | Path) and str(place) not in BUILT_IN
    )


def _is_folder(place: Any) -> bool:
    return isinstance(place, str | Path) and os.path.isdir(place)  # noqa: PTH112 (no error for any name)


def _is_file(place: Any) -> bool:
    return isinstance(place, str | Path) and os.path.isfile(place)  # noqa: PTH113


class _Made(Protocol):
    @property
    def provenance(self) -> Mapping[str, Any]: ...


def data_of(table: _Made, *, read: bool = True) -> list[str]:
    """The place of the data that a table or suspects were made from, where it is on this disk.

    Args:
        table: what was made.
        read: whether the data is read again; else a relative name may mean another place than it did.
    """
    source = table.provenance.get("source")
    if not read and not Path(str(source)).is_absolute():
        return []
    return [source] if isinstance(source, str) and os.path.exists(source) else []  # noqa: PTH110


def check_output(
    out: str | Path,
    inputs: Inputs,
    *,
    workspace: str | Path | None = None,
    writes: Collection[str] = (),
    flag: str = "--out",
) -> Path:
    """The place that results may go to; nothing is made yet.

    Args:
        out: the file or folder.
        inputs: what is read.
        workspace: whose trainings are read and written; nothing else goes among them.
        writes: of a folder, the names of the files that are written in it, such as `kept/*`.
        flag: what messages call it.

    Raises:
        BadInputError: it is read or would lie in what is read, or it is no name of a place that can be written.
    """
    try:
        path = usable_name(out)
        if is_of_workspace(path, workspace):
            raise BadInputError(
                f"'{path}' is where a workspace keeps its trainings and caches; give another place with --out."
            )
        there = [file for name in writes for file in path.glob(name)] if path.is_dir() else []
        earlier = (ResultsFolder(path).manifest() or {}).get("files", {}) if writes else {}
        refuse_reads([path, *there, *(path / name for name in earlier)], inputs.files, inputs.data)
        check_folder(path if writes else path.parent)
    except BadInputError as error:
        raise BadInputError(str(error).replace("--out", flag)) from error
    return path


def check_out(options: Mapping[str, Any], inputs: Inputs, writes: Collection[str] = ()) -> None:
    """`check_output` of the option `out`, where it was given: before anything is read."""
    if options["out"] is not None:
        check_output(options["out"], inputs, workspace=options.get("workspace"), writes=writes)


def question(command: str, options: Mapping[str, Any], setup: Setup | None = None, **facts: Any) -> Question:
    """What is asked: the options that decide the answer, the data, the recipe, and what else there is to say.

    Args:
        command: such as "run".
        options: of the command; those that only say where and how fast are no part of it.
        setup: data and recipe.
        facts: that go before the options.
    """
    told = {name: value for name, value in options.items() if name not in _NO_QUESTION}
    if setup is not None:
        examples = setup.examples
        told |= {
            "recipe": setup.recipe.to_dict(),
            "device": setup.accelerator.device.type,
            "encoding": setup.encoding.describe(),
            "holdout_seed": examples.holdout_seed,
            "data": examples.fingerprint,
        }
    return Question(command, {**told, **facts})


def digest(*arrays: Any) -> str:
    """SHA-256 of the bytes and shapes of arrays and texts, for the facts of a question.

    Example:
        >>> digest(np.arange(3)) == digest([0, 1, 2]), digest(np.arange(3)) == digest([0, 1, 3])
        (True, False)
    """
    found = hashlib.sha256()
    for given in arrays:
        array = np.ascontiguousarray(given)
        found.update(f"{array.dtype.str} {array.shape};".encode())
        found.update(array.tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class Results:
    """The folder that the answer to a question goes to.

    Args:
        folder: where.
        question: that its files answer.
        overwrite: whether what another question came to is replaced.
    """

    folder: ResultsFolder
    question: Question
    overwrite: bool

    @property
    def path(self) -> Path:
        """Of the folder."""
        return self.folder.path

    def written(self) -> AbstractContextManager[Path]:
        """A folder for new files, which become those of the results at the end; see `ResultsFolder.written`."""
        return self.folder.written(self.question, overwrite=self.overwrite)


def results_of(
    asked: Question,
    options: Mapping[str, Any],
    inputs: Inputs,
    writes: Sequence[str],
    *,
    default: str | Path = "",
    display: ProgressDisplay | None = None,
) -> Results:
    """The folder for the answer, before any of it is worked out: `out`, else a free one in the workspace.

    Args:
        asked: the question.
        options: `out`, `overwrite`, `workspace`.
        inputs: what is read.
        writes: names of the files that are written, such as `kept/*`.
        default: of the workspace, the folder where none was asked for.
        display: where it is said that another folder was taken.

    Raises:
        BadInputError: it may not be written to, or holds the answer to another question.
    """
    out, overwrite, workspace = options["out"], options["overwrite"], options.get("workspace")
    if out is not None:
        folder = ResultsFolder(check_output(out, inputs, workspace=workspace, writes=writes))
    else:
        # The default workspace may lie in the data, where it is left out.
        apart = Inputs((*inputs.files, *inputs.data))
        wanted = Path(str(workspace)) / default
        folder = ResultsFolder(check_output(wanted, apart, workspace=workspace, writes=writes))
        if not overwrite:
            folder = folder.free_beside(asked, [name for name in writes if "*" not in name])
        if folder.path.name != wanted.name:
            check_output(folder.path, apart, workspace=workspace, writes=writes)
            if display is not None:
                display.say(
                    f"'{wanted}' holds something else; results go to '{folder.path}'.",
                    passing=True,
                )
    folder.check(asked, [name for name in writes if "*" not in name], overwrite=overwrite)
    return Results(folder, asked, overwrite)


def is_main_process() -> bool:
    """Whether this process is the one of several that writes."""
    return os.environ.get("RANK", "0") == "0"


def answers(asked: Question) -> Callable[[Path], bool]:
    """Whether a Parquet file of this package says that it answers the same question."""

    def same(there: Path) -> bool:
        try:
            metadata = metadata_of(there)
        except BadInputError:
            return False
        abouts = (parsed(text) for key, text in metadata.items() if key.startswith(b"datadiet."))
        return any(_question_in(about) == asked.as_dict() for about in abouts)

    def parsed(text: bytes) -> Any:
        try:
            return parse_json(text, "metadata")
        except BadInputError:
            return None

    return same


def _question_in(about: Any) -> Any:
    facts = about.get("provenance") if isinstance(about, Mapping) else None
    return facts.get("question") if isinstance(facts, Mapping) else None


def write_file(
    path: Path,
    what: str,
    write: Callable[[Path], Any],
    *,
    overwrite: bool = False,
    same: Callable[[Path], bool] | None = None,
) -> None:
    """Write a file by a method that takes its path, as `datadiet.foundation.outputs.new_file` writes one.

    Args:
        path: of the file.
        what: it is, for messages.
        write: such as `table.write`.
        overwrite: whether another file may be replaced.
        same: whether the file that is there answers the same question.

    Raises:
        BadInputError: the file cannot be written, or another is there.
        RunFailedError: the disk is full.
    """
    with new_file(path, what, overwrite=overwrite, same=same) as temporary:
        try:
            write(temporary)
        except DataDietError as error:
            raise type(error)(str(error).replace(str(temporary), str(path))) from error


def refuse_damaged(path: Path, names: Collection[str]) -> None:
    """Finish what a stopped command had begun in a folder of results, and refuse those files of it that were changed.

    Args:
        path: of the folder.
        names: of the files that are read, such as `kept/*`.

    Raises:
        BadInputError: one is not as it was written.
    """
    folder = ResultsFolder(path)
    folder.mend()
    if (name := folder.damaged(names)) is not None:
        raise BadInputError(
            f"'{path / name}' is not as it was written: it is missing, cut short or was changed; give the command "
            "that made it again, with --overwrite."
        )


def read_results(path: str | Path) -> Path:
    """A file that is read; where it belongs to a folder of results, that is mended and the file is as it was written.

    Raises:
        BadInputError: it is not.
    """
    path = Path(path)
    refuse_damaged(path.parent, [path.name])
    if path.parent.name == "kept":
        refuse_damaged(path.parent.parent, [f"kept/{path.name}"])
    return path
