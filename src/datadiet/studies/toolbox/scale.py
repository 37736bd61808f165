"""How large a study is: seeds, fractions, score epochs and sample sizes for a minute, an hour or a paper."""

from __future__ import annotations

from dataclasses import dataclass

from datadiet.foundation.errors import BadInputError


@dataclass(frozen=True)
class Scale:
    """Sizes that all studies share, so that their runs can be shared too.

    Args:
        name: "smoke", "fast" or "paper".
        score_seeds: models that scores come from.
        retrain_seeds: retrainings of each subset.
        score_shares: moments of the run at which scores are taken, as shares of its length; 0 is
            initialisation. Weights are kept at all of them.
        score_share: the one moment that studies with a fixed score epoch use; one of `score_shares`.
        fractions: kept fractions, where they vary.
        keep: the kept fraction, where it is fixed.
        window_keep: the kept fraction of sliding windows.
        offsets: where windows begin, as shares of the data from the hardest end.
        noise: share of labels made wrong, where noise is injected.
        neighbours: examples of one tangent kernel.
        group: examples of the easiest, hardest and random groups of the landscape studies.
        base_share: labelled share that studies of pools begin with.
        pick_share: share that they add to it, all at once or in rounds.
        rounds: in how many rounds examples are chosen for labelling.
    """

    name: str
    score_seeds: int
    retrain_seeds: int
    score_shares: tuple[float, ...]
    score_share: float
    fractions: tuple[float, ...]
    keep: float
    window_keep: float
    offsets: tuple[float, ...]
    noise: float
    neighbours: int
    group: int
    base_share: float = 0.05
    pick_share: float = 0.1
    rounds: int = 4


SCALES = {
    scale.name: scale
    for scale in (
        Scale(
            "smoke",
            score_seeds=2,
            retrain_seeds=2,
            score_shares=(0.0, 0.125, 0.4, 1.0),
            score_share=0.4,
            fractions=(0.7, 0.3),
            keep=0.5,
            window_keep=0.4,
            offsets=(0.0, 0.1, 0.3),
            noise=0.1,
            neighbours=20,
            group=200,
            base_share=0.1,
            rounds=2,
        ),
        Scale(
            "fast",
            score_seeds=3,
            retrain_seeds=3,
            score_shares=(0.0, 0.1, 0.2, 0.4, 0.7, 1.0),
            score_share=0.4,
            fractions=(0.9, 0.7, 0.5, 0.3, 0.1),
            keep=0.5,
            window_keep=0.4,
            offsets=(0.0, 0.02, 0.05, 0.1, 0.2, 0.4),
            noise=0.1,
            neighbours=100,
            group=1000,
        ),
        Scale(
            "paper",
            score_seeds=10,
            retrain_seeds=4,
            score_shares=(0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0),
            score_share=0.1,
            fractions=(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1),
            keep=0.5,
            window_keep=0.4,
            offsets=(0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6),
            noise=0.1,
            neighbours=100,
            group=1000,
        ),
    )
}


def scale_named(name: str) -> Scale:
    """The scale of that name.

    Raises:
        BadInputError: there is none.

    Example:
        >>> scale_named("smoke").retrain_seeds
        2
    """
    if name not in SCALES:
        raise BadInputError(f"There is no scale {name!r}; use {', '.join(SCALES)}.")
    return SCALES[name]
