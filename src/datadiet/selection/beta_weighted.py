"""DUAL's sampling: weights from the score and a Beta distribution that turns to the easy as less is kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datadiet.errors import BadInputError
from datadiet.selection.ordered import hardest_rows
from datadiet.selection.pool import Pool
from datadiet.selection.registry import selection_rule

# The paper's constant: Beta(a, b) has a + b = 16. The mean confidence of the ten highest scores is its
# anchor, as in the released code.
CONCENTRATION = 15.0
ANCHORS = 10


def beta_parameters(keep: float, anchor: float, c_d: float) -> tuple[float, float]:
    """The two parameters of the Beta distribution for a kept fraction.

    `b = 15 (1 - anchor) (1 - (1 - keep) ** c_d)` and `a = 16 - b`: much kept puts its mean at about the
    anchor, little kept moves it towards confident, easy examples.

    Args:
        keep: fraction that stays, in (0, 1].
        anchor: mean probability of the label among the highest scores.
        c_d: how late the move sets in; the paper tunes it by data set.

    Example:
        >>> beta_parameters(1.0, 0.4, 4.0), beta_parameters(0.1, 0.4, 4.0)[1] < 4
        ((7.0, 9.0), True)
    """
    b = CONCENTRATION * (1.0 - anchor) * (1.0 - (1.0 - keep) ** c_d)
    return CONCENTRATION + 1.0 - b, b


@selection_rule(
    "dual",
    needs=("scores", "trace"),
    extra=("confidence",),
    when="The DUAL score of the first part of training is at hand: good from much kept to very "
    "little, early.",
    fails="Scores other than DUAL; traces so short that the spread of the probability is noise.",
    source="DUAL: Cho, Shin, Kang, Yun 2025",
    options={
        "c_d": "how late the move to easy examples sets in as less is kept, default 4; tuned by data set"
    },
)
def dual(pool: Pool, size: int, generator: np.random.Generator, *, c_d: float = 4.0) -> npt.NDArray[np.int64]:
    """Draw without replacement with weights `score * Beta(a, b).pdf(confidence)`.

    The hardness is the DUAL score, 0 or more; `extra["confidence"]` is the mean probability of the label over
    the same epochs. The draw is the exponential race (Gumbel keys), which equals drawing one by one.
    """
    scores = pool.scores().astype(np.float64, copy=False)
    confidence = pool.extra["confidence"].astype(np.float64, copy=False)
    if confidence.shape != scores.shape:
        raise BadInputError(f"confidence has shape {confidence.shape}: give one mean probability an example.")
    for name, column, high in (
        ("hardness (the DUAL score)", scores, np.inf),
        ("confidence", confidence, 1.0),
    ):
        if (wrong := np.flatnonzero((column < 0) | (column > high) | ~np.isfinite(column))).size:
            raise BadInputError(
                f"Rule 'dual': {name} is {column[wrong[0]]} for id {pool.ids[wrong[0]]}; it must "
                f"lie between 0 and "
                f"{high}."
            )
    if not c_d > 0:
        raise BadInputError(f"c_d is {c_d}: give a number above 0.")
    highest = hardest_rows(scores, min(ANCHORS, len(pool)))
    a, b = beta_parameters(size / len(pool), float(confidence[highest].mean()), c_d)
    # In logarithms nothing underflows, and an example of weight zero comes last instead of never.
    tiny = np.finfo(np.float64).tiny
    keys = np.log(np.maximum(scores, tiny))
    keys += (a - 1.0) * np.log(np.maximum(confidence, 1e-12))
    keys += (b - 1.0) * np.log1p(-np.minimum(confidence, 1.0 - 1e-12))
    keys += generator.gumbel(size=len(pool))
    return hardest_rows(keys, size)
