"""The data of a command, and what a score table names: its data, its model, its workspace, as far as it is trusted."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.data import Examples, load
from datadiet.engine.options import WorkspaceOption
from datadiet.engine.training.recipe import Recipe
from datadiet.engine.workspace import Workspace
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import options_of, unknown
from datadiet.foundation.progress import ProgressDisplay
from datadiet.models import identity_of, is_pretrained
from datadiet.pages.text import printable
from datadiet.scores import ScoreTable
from datadiet.scores.registry import SCORES
from datadiet.tracking.further import further_columns

_WORKSPACE = str(options_of(WorkspaceOption)["workspace"].default)


def read_examples(
    source: Any, load_options: Mapping[str, Any] | None = None, display: ProgressDisplay | None = None
) -> Examples:
    """`datadiet.load` as every command does it: what is to be known of the data is said.

    Args:
        source: anything that `datadiet.load` takes; `Examples` are given back, whoever made them knows their notes.
        load_options: its further arguments.
        display: where it is said; None for silence.

    Raises:
        BadInputError: the data cannot be loaded.
    """
    if isinstance(source, Examples):
        return source
    display = display or ProgressDisplay(enabled=False)
    display.mention(f"Reading {printable(str(source))}")
    examples = load(source, **_known(load_options or {}))
    for note in examples.notes:
        display.say(note)
    return examples


def _known(load_options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `datadiet.load`, each of which it has.

    Raises:
        BadInputError: there is no such argument.
    """
    names = [name for name in inspect.signature(load).parameters if name != "source"]
    for name in load_options:
        if name not in names:
            raise unknown("load option", name, names)
    return dict(load_options)


def loading_facts(examples: Examples, load_options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a table's provenance says of how its data was loaded.

    Args:
        examples: the data.
        load_options: arguments of `datadiet.load`; those that are no plain data are not remembered.

    Returns:
        `load_options`, and `left_out`: ids of bad examples of the train part that were skipped.
    """
    return {
        "load_options": plain_options(load_options),
        "left_out": [int(id_) for id_ in examples.left_out],
    }


def plain_options(load_options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Those arguments of `datadiet.load` that are plain data, which a file can remember.

    Example:
        >>> plain_options({"label": "kind", "test": object()})
        {'label': 'kind'}
    """
    plain = {}
    for name, value in (load_options or {}).items():
        with suppress(TypeError):
            json.dumps(value)
            plain[name] = value
    return plain


def load_again(
    facts: Mapping[str, Any],
    source: Any = None,
    load_options: Mapping[str, Any] | None = None,
    display: ProgressDisplay | None = None,
) -> Examples:
    """The data of a table.

    Args:
        facts: the table's provenance.
        source: the data, when it has moved; None for the source that the table names.
        load_options: arguments of `datadiet.load` that go before those remembered.
        display: as for `read_examples`.

    Raises:
        BadInputError: the data cannot be loaded, or the table names what is no data or no option of loading.
    """
    remembered = facts.get("load_options") or {}
    known = set(inspect.signature(load).parameters) - {"source"}
    if not isinstance(remembered, Mapping) or (strange := sorted(set(remembered) - known)):
        said = f" ({', '.join(map(repr, strange))})" if isinstance(remembered, Mapping) else ""
        raise BadInputError(
            f"This file says of its data what datadiet.load does not take{said}; it is damaged, or not of datadiet."
        )
    options = {**remembered, **(load_options or {})}
    if facts.get("holdout_seed") is not None:
        options.setdefault("holdout_seed", facts["holdout_seed"])
    if source is None and facts.get("source") is None:
        raise BadInputError("This score table does not say where its data is; give the data with --source.")
    for name, place in (("source", facts.get("source")), ("test", remembered.get("test"))):
        if (source if name == "source" else (load_options or {}).get("test")) is None:
            _check_named(name, place, needed=name == "source")
    return read_examples(source if source is not None else facts["source"], options, display)


def _check_named(option: str, place: Any, *, needed: bool) -> None:
    """Refuse a place of data, as a file names it, that is anything but a name, a file or a folder; nothing is opened.

    Raises:
        BadInputError: it is an address of the network, a device, a pipe or a socket, or no text.
    """
    if place is None and not needed:
        return
    if not isinstance(place, str) or not place:
        raise BadInputError(f"This file does not say where its data is; give it with {option}='...'.")
    path = Path(place).expanduser()
    with suppress(OSError, ValueError):
        if "://" not in place and (not path.exists() or path.is_file() or path.is_dir()):
            return
    raise BadInputError(
        f"This file says that its data is '{printable(place)}', which is no file and no folder, and is not opened; "
        f"give the data with {option}='...'."
    )


def recipe_of_table(
    facts: Mapping[str, Any], model: str | None = None, trust_remote_code: bool = False
) -> Recipe:
    """The recipe that a table was made with, when its model is as it was then.

    Code is only run that the user names too, and a model's folder may have moved.

    Args:
        facts: the table's provenance.
        model: what the user says of the model: the factory that the table names, or where its folder is now.
        trust_remote_code: as for `datadiet.engine.setup.prepare`.

    Raises:
        BadInputError: the table names a factory and the user does not; another model; one that has changed.
    """
    recipe = Recipe.from_dict(facts["recipe"])
    named, was = recipe.model, facts.get("model_identity") or {}
    if ":" in named and model != named:
        raise BadInputError(
            f"This score table was made with the model factory {named!r}, whose code would be run; give "
            f"model='{named}' as well where that is meant."
        )
    if model is not None and model != named:
        if not (is_pretrained(model) and ("model_files" in was or "model_revision" in was)):
            raise BadInputError(
                f"This score table was made with the model {named!r}, not with {model!r}; leave model='...' out."
            )
        recipe = recipe.replace(model=model)
    if "model_files" in was and not Path(recipe.model).is_dir():
        raise BadInputError(
            f"There is no model folder {recipe.model!r} any more; give the place where it is now with model='...'."
        )
    if was.get("remote_code") and not trust_remote_code:
        raise BadInputError(
            f"The model {recipe.model!r} was used with Python code of its own, which is only run with "
            "trust_remote_code; give that where you trust the code."
        )
    if was and was != (now := identity_of(recipe.model, recipe.model_options, trust_remote_code)):
        what = {"model_files": "files", "model_revision": "revision", "model_code": "code"}
        other = next((said for key, said in what.items() if was.get(key) != now.get(key)), "trusted code")
        raise BadInputError(
            f"The model {recipe.model!r} has changed since this score table was made (its {other}); bring back the "
            "model as it was, or score the data again."
        )
    return recipe


def recorded_for(facts: Mapping[str, Any]) -> bool | tuple[str, ...]:
    """What the runs behind a table record, as `datadiet.engine.runs.train_run` takes it.

    Args:
        facts: provenance of the table.

    Example:
        >>> recorded_for({"scores": {"mean_el2n": {}}}), recorded_for({"scores": {"el2n@2": {}, "tdds": {}}})
        (True, ('tdds_change',))
    """
    scores = [name.partition("@")[0] for name in facts.get("scores", {})]
    return further_columns([name for name in scores if name in SCORES]) or True


def workspace_of_table(facts: Mapping[str, Any], workspace: str | Path | None = None) -> Workspace:
    """The workspace with the checkpoints of a table: the user's, or the one that the table names, which is only read.

    Args:
        facts: the table's provenance.
        workspace: what the user says.

    Raises:
        BadInputError: there is no such workspace.
    """
    where = Path(workspace if workspace is not None else str(facts.get("workspace", "")))
    if not (where.is_dir() if workspace is not None else (where / "trainings").is_dir()):
        raise BadInputError(
            f"There is no workspace {str(where)!r} with the checkpoints of this table; give it with --workspace."
        )
    return Workspace(where, read_only=workspace is None)


def workspace_to_train_in(
    facts: Mapping[str, Any], workspace: str | Path | None, *, own: bool, display: ProgressDisplay
) -> str | Path:
    """Where the runs of a table go on: the user's workspace, unless the table is this process's own.

    Args:
        facts: the table's provenance.
        workspace: what the user says; None for the default.
        own: whether the table is no file's; the workspace that it names is then used, if it is there.
        display: where it is said that the table names another one.
    """
    there = str(facts.get("workspace") or _WORKSPACE)
    if workspace is None and own and (Path(there) / "trainings").is_dir():
        return there
    chosen = _WORKSPACE if workspace is None else workspace
    if Path(there).resolve() != Path(chosen).resolve():
        display.say(
            f"The table's trainings were made in the workspace '{printable(there)}', which is not used unless "
            f"--workspace names it; what is missing in '{chosen}' is trained there."
        )
    return chosen


def data_of_table(
    table: ScoreTable,
    source: Any = None,
    load_options: Mapping[str, Any] | None = None,
    display: ProgressDisplay | None = None,
) -> Examples:
    """The data that a table was made from, and no other.

    Args:
        table: scores; one made from logits is held against the data's labels.
        source: as for `load_again`.
        load_options: as for `load_again`.
        display: as for `read_examples`.

    Raises:
        BadInputError: the data cannot be loaded, or the table was made from other data.
    """
    examples = load_again(table.provenance, source, load_options, display)
    table.check_data(examples.fingerprint, labels_by_id(examples))
    return examples


def labels_by_id(examples: Examples) -> np.ndarray:
    """The labels of the train part by id, int64; -1 where there is no example."""
    train = examples.train
    labels = np.full(int(train.ids[-1]) + 1, -1, dtype=np.int64)
    labels[train.ids] = train.labels
    return labels
