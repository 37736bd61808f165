"""Options of whatever trains: the recipe's fields, the machine, where trainings live."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import TypedDict

from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.options import Option, size_in_bytes
from datadiet.foundation.progress import ProgressDisplay

_machine = partial(Option, panel="Machine")


class RecipeOption(TypedDict, total=False):
    """What is trained.

    Args:
        recipe: fast, paper, finetune, or a YAML file [fast].
    """

    recipe: Annotated[str | Recipe, Option("fast", panel="Recipe")]


class WorkspaceOption(TypedDict, total=False):
    """Where trainings live.

    Args:
        workspace: Where trainings live and are found again [runs; for verify, the table's own].
    """

    workspace: Annotated[str | Path, _machine("runs", variable="DATADIET_WORKSPACE")]


class TrustOption(TypedDict, total=False):
    """Whose code is run.

    Args:
        trust_remote_code: Run Python code that comes with a Hugging Face model or encoder.
    """

    trust_remote_code: Annotated[bool, _machine(False)]


class MachineOptions(TrustOption, total=False):
    """What trainings run on.

    Args:
        device: auto, cpu, cuda or mps.
        memory_limit: Hold a part in memory up to this size, such as 4GB; larger ones are streamed.
        num_workers: Worker processes of data that is streamed [0].
        checkpoint_every: Seconds between two checkpoints [30].
    """

    device: Annotated[str, _machine("auto")]
    memory_limit: Annotated[int | None, _machine(read=size_in_bytes)]
    num_workers: Annotated[int, _machine(0, least=0)]
    checkpoint_every: Annotated[float, _machine(30.0, least=0)]


class DisplayOption(TypedDict, total=False):
    """What is shown meanwhile.

    Args:
        display: Where notes are said and progress is shown; None for silence.
    """

    display: Annotated[ProgressDisplay | None, Option(flag=None)]


class SetupOptions(MachineOptions, DisplayOption, total=False):
    """What `datadiet.engine.setup.prepare` takes beside data, recipe and workspace.

    Args:
        overrides: Fields of the recipe, by name, that go before its own.
    """

    overrides: Annotated[Mapping[str, Any] | None, Option(flag=None, flags=Recipe, panel="Recipe")]


class TrainingOptions(RecipeOption, WorkspaceOption, SetupOptions, total=False):
    """Recipe, workspace and machine."""
