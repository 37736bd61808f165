"""Arrays in `.npy` files: one way to read them, whatever the file holds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datadiet.foundation.errors import BadInputError


def read_array(source: Path | bytes, what: str) -> NDArray[Any]:
    """The array of a `.npy` file, mapped where it is a file on disk.

    Args:
        source: the file, or its bytes.
        what: it is, for messages, such as "The logits 'a.npy'".

    Raises:
        BadInputError: it cannot be read, holds several arrays, or Python objects.

    Example:
        >>> read_array(b"nothing", "It")
        Traceback (most recent call last):
        ...
        datadiet.foundation.errors.BadInputError: It is not a readable .npy file: its header cannot be read.
    """
    try:
        if isinstance(source, bytes):
            if not source.startswith(np.lib.format.MAGIC_PREFIX):
                raise ValueError("its header cannot be read")
            found = np.load(io.BytesIO(source), allow_pickle=False)
        else:
            found = np.load(source, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy parses the header as Python, which fails in many ways
        reason = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
        raise BadInputError(f"{what} is not a readable .npy file: {reason}.") from error
    if not isinstance(found, np.ndarray):
        raise BadInputError(f"{what} holds several arrays; save one alone with numpy.save.")
    return found
