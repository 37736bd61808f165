"""The token ids of a whole part kept on disk, under a name that says what they were made from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datadiet.atomic import atomic_path
from datadiet.data.examples import Part
from datadiet.data.fingerprint import column_digest
from datadiet.data.rows import RaggedRows

_VERSION = 1


class TokenCache:
    """Where the ragged rows of one part in one encoding are kept.

    The name is a SHA-256 of the texts (not of ids, labels or paths) and of what describes the encoding, so
    a changed text or tokenizer never finds old rows. Files appear whole or not at all; one that cannot be
    read is made anew.
    """

    def __init__(self, folder: str | Path, part: Part, description: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps([_VERSION, description], sort_keys=True).encode())
        for column in part.input_columns:
            digest.update(column_digest(part, column))
        self.path = Path(folder) / f"{digest.hexdigest()[:40]}.safetensors"
        self.rows = len(part)

    def read(self) -> tuple[RaggedRows, npt.NDArray[np.bool_]] | None:
        """The rows and which of them were cut, None if they are not there or damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            # Read whole, not mapped: the file may be replaced or deleted while rows are in use.
            found = load(self.path.read_bytes())
            offsets, cut = found.pop("offsets"), found.pop("cut").numpy().astype(np.bool_)
        except (OSError, SafetensorError, KeyError):
            return None
        whole = all(len(values) == int(offsets[-1]) for values in found.values())
        if len(offsets) != self.rows + 1 or len(cut) != self.rows or not whole:
            return None
        return RaggedRows({name: found[name] for name in sorted(found)}, offsets), cut

    def write(self, rows: RaggedRows, cut: npt.NDArray[np.bool_]) -> None:
        """Keep the rows; where that cannot be done (a full or read-only disk), they are made anew the next time."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        columns = {name: values.contiguous() for name, values in rows.columns.items()}
        try:
            with atomic_path(self.path) as temporary:
                save_file({**columns, "offsets": rows.offsets, "cut": torch.from_numpy(cut)}, temporary)
        except (OSError, SafetensorError):
            return
