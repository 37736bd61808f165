"""The commands that go on from a result, as they are typed into a shell: with all that loads the same data again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datadiet.data.sources import BUILT_IN
from datadiet.engine.options import MachineOptions, WorkspaceOption
from datadiet.foundation.options import options_of
from datadiet.jobs.options import DataOptions

DECISIONS = "decisions.json"  # what the review page downloads
CLEANED = "cleaned"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def command_line(*words: str | Path, flags: Mapping[str, Any] | None = None) -> str:
    """A command of datadiet as it is typed.

    Args:
        words: of it, before its flags.
        flags: values by the name of the option; those that are None or False are left out.

    Example:
        >>> command_line("export", "my photos", flags={"label": "-kind", "delimiter": ";", "task": None})
        "datadiet export 'my photos' --label=-kind --delimiter ';'"
    """
    return shlex.join(["datadiet", *map(str, words), *_typed(flags or {})])


def _typed(flags: Mapping[str, Any]) -> Iterator[str]:
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        if value is None or value is False:
            continue
        text = (
            ",".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
        )
        if value is True:
            yield flag
        elif str(text).startswith("-") or not str(text):
            yield f"{flag}={text}"
        else:
            yield from (flag, str(text))


def data_flags(facts: Mapping[str, Any], load_options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The flags that load the data of a table again.

    Args:
        facts: its provenance: `load_options`, `holdout_seed`.
        load_options: arguments of `datadiet.load` that go before those remembered.
    """
    given = {**(facts.get("load_options") or {}), **(load_options or {})}
    if facts.get("holdout_seed"):  # 0 is what it is without the flag
        given.setdefault("holdout_seed", facts["holdout_seed"])
    return {name: given[name] for name in options_of(DataOptions) if name in given}


def machine_flags(options: Mapping[str, Any], model: str | None = None) -> dict[str, Any]:
    """The flags with which trainings are found again: the workspace, the device, whose code is run.

    Args:
        options: of the job that trained.
        model: of its recipe; a factory is named again, since its code is run.
    """
    known = {**options_of(WorkspaceOption), **options_of(MachineOptions)}
    names = ("workspace", "device", "trust_remote_code")
    found = {name: options[name] for name in names if options.get(name) not in (None, known[name].default)}
    return {"model": model if model is not None and ":" in model else None, **found}


def is_nameable(source: Any) -> bool:
    """Whether a shell can name this data: what is in memory is in no file.

    Example:
        >>> is_nameable("digits"), is_nameable("arrays")
        (True, False)
    """
    if not isinstance(source, str) or not source:
        return False
    return source in BUILT_IN or _HUB_ID.fullmatch(source) is not None or Path(source).exists()
