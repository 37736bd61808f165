"""The numbers of an epoch from a recorder that watched it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datadiet.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datadiet.tracking import Recorder


def numbers_from_recorder(recorder: Recorder, ids: NDArray[np.int64], measure: str) -> NDArray[np.float32]:
    """(n,) the measure in the recorder's last epoch, NaN where an example was not presented.

    Raises:
        BadInputError: the recorder is of other ids, has no epoch yet, or does not keep the measure.
    """
    if not np.array_equal(recorder.ids, ids):
        raise BadInputError(
            f"the recorder has {len(recorder.ids)} ids and the sampler {len(ids)}, not the same; "
            "make both with the same."
        )
    if recorder.epoch == 0:
        raise BadInputError("the recorder has no epoch yet; call its end_epoch before the sampler's.")
    if measure not in recorder.columns:
        raise BadInputError(
            f"the selector ranks by {measure}, which the recorder does not keep; add it to its columns."
        )
    numbers = recorder.trace.of_epoch(recorder.epoch, measure).astype(np.float32)
    seen = recorder.trace.of_epoch(recorder.epoch, "seen").astype(bool)
    return np.where(seen, numbers, np.float32(np.nan))
