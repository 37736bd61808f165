"""How large a study is: seeds, fractions, score epochs and sample sizes for a minute, an hour or a paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from datadiet.foundation.registry import Registry

Kind = Literal["init", "all", "random", "easiest", "hardest"]
Labels = Literal["clean", "random"]


@dataclass(frozen=True)
class TicketSizes:
    """How large the ticket studies are.

    Args:
        levels: how often weights are pruned.
        rate: share of what is left that a level removes.
        rewinds: rewinding points as shares of the training.
        subsets: sizes of pre-training subsets as shares of the data, at least a batch.
        kinds: kinds of pre-training data.
        labels: labels of pre-training.
        crossed: every kind at every rewinding point; else easiest only at the first one and the others only at
            the last one, which is what the claims look at.
        all_random_masks: the random-mask baseline at every level; else at the last one.
        connected_level: level whose tickets `ticket-connectivity` looks at.
        children: dense children of a rewinding point, each pair of which makes a line.
    """

    levels: int = 6
    rate: float = 0.4
    rewinds: tuple[float, ...] = (0.02, 0.06)
    subsets: tuple[float, ...] = (0.02,)
    kinds: tuple[Kind, ...] = ("init", "all", "random", "easiest", "hardest")
    labels: tuple[Labels, ...] = ("clean",)
    crossed: bool = True
    all_random_masks: bool = True
    connected_level: int = 4
    children: int = 2


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
        tickets: levels, rewinding points and subsets of the studies of lottery tickets.
        decides: whether claims are judged; not where it is for trying that everything runs.
    """

    name: str
    score_seeds: int
    retrain_seeds: int
    score_shares: tuple[float, ...]
    fractions: tuple[float, ...]
    offsets: tuple[float, ...]
    score_share: float = 0.4
    keep: float = 0.5
    window_keep: float = 0.4
    noise: float = 0.1
    neighbours: int = 100
    group: int = 1000
    base_share: float = 0.05
    pick_share: float = 0.1
    rounds: int = 4
    tickets: TicketSizes = TicketSizes()
    decides: bool = True


SCALES: Registry[Scale] = Registry("scale")
for _scale in (
    Scale(
        "smoke",
        score_seeds=2,
        retrain_seeds=2,
        score_shares=(0.0, 0.125, 0.4, 1.0),
        fractions=(0.7, 0.3),
        offsets=(0.0, 0.1, 0.3),
        neighbours=20,
        group=200,
        base_share=0.1,
        rounds=2,
        decides=False,
        tickets=TicketSizes(
            levels=2,
            rate=0.8,
            rewinds=(0.05, 0.15),
            subsets=(0.1,),
            kinds=("init", "all", "random", "easiest"),
            crossed=False,
            all_random_masks=False,
            connected_level=1,
        ),
    ),
    Scale(
        "fast",
        score_seeds=3,
        retrain_seeds=3,
        score_shares=(0.0, 0.1, 0.2, 0.4, 0.7, 1.0),
        fractions=(0.9, 0.7, 0.5, 0.3, 0.1),
        offsets=(0.0, 0.02, 0.05, 0.1, 0.2, 0.4),
    ),
    Scale(
        "paper",
        score_seeds=10,
        retrain_seeds=4,
        score_shares=(0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0),
        score_share=0.1,
        fractions=(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1),
        offsets=(0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6),
        # 200 and 400 of 62,400 steps, 256 to 25,600 of 50,000 examples, 16 levels of 20 %, level 12 shown.
        tickets=TicketSizes(
            levels=16,
            rate=0.2,
            rewinds=(200 / 62_400, 400 / 62_400),
            subsets=(0.00512, 0.0512, 0.512),
            labels=("clean", "random"),
            connected_level=12,
            children=3,
        ),
    ),
):
    SCALES.add(_scale.name, _scale)
