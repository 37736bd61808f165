"""What a model is, beyond its name: the content of its folder, the revision of a hub id, the code of a factory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from datadiet.foundation.atomic import checksum
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.names import require_utf8
from datadiet.models.factories import code_of_factory, code_of_function
from datadiet.models.pretrained import revision_of
from datadiet.models.registry import MODELS, is_pretrained

# In a model's folder, but read by nobody who loads the model.
_SAYS_NOTHING = frozenset({".md", ".h5", ".msgpack", ".onnx", ".png", ".jpg", ".ckpt"})
_OF_TRAINING = frozenset(
    {"training_args.bin", "trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"}
)
_OURS = "datadiet."


def identity_of(
    model: str, model_options: Mapping[str, Any] | None = None, trust_remote_code: bool = False
) -> dict[str, Any]:
    """What decides what a model is and its name does not say, as plain data: fields that go before a recipe's own.

    Args:
        model: a built-in name, "package.module:factory", or a Hugging Face folder or id.
        model_options: of the recipe; only `revision` counts.
        trust_remote_code: whether code that comes with the model may be run.

    Returns:
        Nothing of a built-in name. `model_files` of a folder, a digest of its contents by name, and `model` without its
        path; `model_revision` of a hub id, the commit; `model_code` of a factory, a digest of its sources.

    Raises:
        BadInputError: a folder or module that cannot be read, a hub id that is not to be had.

    Example:
        >>> identity_of("mlp"), sorted(identity_of("datadiet.models.small:mlp"))
        ({}, ['model_code'])
    """
    if ":" in model:
        return {"model_code": code_of_factory(model)}
    if not is_pretrained(model):
        factory = MODELS[model].factory if model in MODELS else None
        own = factory is not None and not factory.__module__.startswith(_OURS)
        return {"model_code": code_of_function(factory)} if factory is not None and own else {}
    require_utf8(model, "model")
    if Path(model).is_dir():
        found = {"model": "folder", "model_files": digest_of_folder(model)}
    else:
        found = {"model_revision": revision_of(model, (model_options or {}).get("revision"))}
    return found | ({"remote_code": True} if trust_remote_code else {})


def digest_of_folder(folder: str | Path) -> str:
    """XXH3 of the names and contents of all files of a model's folder that may decide, wherever it lies.

    These are its files but hidden ones, pictures, prose and what training left, and the Python files below it.

    Raises:
        BadInputError: one of them cannot be read.
    """
    folder = Path(folder)
    try:
        files = [file for file in folder.iterdir() if file.is_file() and _decides(file)]
        files += [file for file in folder.rglob("*.py") if file.parent != folder and file.is_file()]
        found = xxhash.xxh3_128()
        for file in sorted(files):
            name = file.relative_to(folder).as_posix()
            found.update(f"{name}\n{checksum(file)}\n".encode(errors="surrogateescape"))
    except OSError as error:
        raise BadInputError(
            f"The model folder '{folder}' cannot be read: {error.filename or ''} {error.strerror or error}."
        ) from error
    return found.hexdigest()


def _decides(file: Path) -> bool:
    return not (file.name.startswith(".") or file.suffix in _SAYS_NOTHING or file.name in _OF_TRAINING)
