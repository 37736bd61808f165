"""What to add from a pool to a small labelled set: trained on the one, scored and picked in the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Unpack

from datadiet.data.fingerprint import read_content
from datadiet.engine.options import MachineOptions, TrainingOptions
from datadiet.engine.reloading import read_examples
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.randomness import derive_seed
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import picked, with_options
from datadiet.jobs.options import PoolOptions
from datadiet.jobs.outputs import check_out, digest, inputs_of, question, results_of
from datadiet.jobs.pool.hypotheses import PoolPrediction, check_pool_score, check_pool_task, predict_pool
from datadiet.jobs.pool.rows import PoolRows, read_pool_rows
from datadiet.jobs.pool.writing import NOT_SURE, POOLED, write_pooled
from datadiet.pages.report import safe_name
from datadiet.selection import select

TITLES = {
    "entropy": "entropy",
    "el2n": "EL2N against the models' own hypotheses",
    "margin": "the probability margin",
    "logit_margin": "the logit margin",
    "least_confidence": "least confidence",
}


def pooled_sentence(data: Mapping[str, Any]) -> str:
    """How many rows were picked, how, and where the others went.

    Args:
        data: the content of `pool.json`.

    Example:
        >>> facts = {"n_picked": 20, "n_pool": 100, "n_eligible": 90, "by": "random", "left_out": {"defect": 10},
        ...          "weak": True, "n_base": 50, "end": "hardest", "window": None}
        >>> pooled_sentence(facts)
        'Picked 20 of 90 usable rows at random (100 in the pool; left out: 10 defect): 50 + 20 = 70 training examples.'
    """
    window = "" if data["window"] is None else f", after the {data['window']:g} least sure"
    which = "least sure" if data["end"] == "hardest" else "surest"
    how = "at random" if data["by"] == "random" else f"that are {which} by {TITLES[data['by']]}{window}"
    gone = ", ".join(f"{count:,} {reason}" for reason, count in data["left_out"].items())
    there = f"{data['n_pool']:,} in the pool" + (f"; left out: {gone}" if gone else "")
    said = f"Picked {data['n_picked']:,} of {data['n_eligible']:,} usable rows {how} ({there})"
    if data["weak"]:
        total = data["n_base"] + data["n_picked"]
        return f"{said}: {data['n_base']:,} + {data['n_picked']:,} = {total:,} training examples."
    return f"{said}: these are to be labelled next."


@dataclass(frozen=True, eq=False)
class Pooled:
    """What was picked from a pool, and where it is written.

    Args:
        ids: row numbers in the pool of what was picked, int64 (pick,), in the order of the list: the least sure
            first, or the surest where the easiest were asked for.
        scores: of these, higher = less sure, float64 (pick,); None where they were drawn at random.
        data: the content of `pool.json`: counts, where everything comes from.
        folder: where it is written.
    """

    ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64] | None
    data: Mapping[str, Any]
    folder: Path = field(default_factory=Path)

    @property
    def weak(self) -> bool:
        """Whether the pool has hypotheses, so that what is picked was added to the base."""
        return bool(self.data["weak"])

    def __str__(self) -> str:
        return pooled_sentence(self.data)


@with_options()
def pool(base: Any, pool: Any, **options: Unpack[PoolOptions]) -> Pooled:
    """Choose what to add from a pool to a small labelled set.

    Models are trained on the base and say of each row of the pool how unsure they are, without looking at its
    label. A pool with hypotheses (weak labels of some system) gives the base with the picked rows added, their
    hypotheses as labels; a pool without gives the list of what to have labelled next. Results go to
    `workspace/<name of the base>-pool` where `out` does not say otherwise.

    Args:
        base: anything that `datadiet.load` takes, or `Examples`: the labelled data.
        pool: where the pool is: anything that `datadiet.load` takes with or without labels, a flat folder of
            images, or an array of inputs. Its inputs are in columns of the same names as the base's.

    Raises:
        BadInputError: what cannot be used; fewer usable rows than are to be picked.
        RunFailedError: a training broke off.

    Source: entropy and margin based scoring of weakly labelled pools in industrial NLU, 2023; Settles, "Active
        Learning Literature Survey", 2009.
    """
    pick, by, end, window = options["pick"], options["by"], options["end"], options["window"]
    seeds, seed, min_confidence = options["seeds"], options["seed"], options["min_confidence"]
    confidence, load_options = options["confidence"], options["load_options"]
    check_pool_score(by)
    if window is not None and (end != "hardest" or by == "random"):
        raise BadInputError(
            "A window counts from the hardest end of a score's order; leave out end, or window."
        )
    inputs = inputs_of(options, base, pool)
    check_out(options, inputs, POOLED)
    examples = read_examples(base, load_options, options["display"])
    check_pool_task(examples.task)
    rows = read_pool_rows(
        pool,
        examples,
        hypothesis=options["hypothesis"],
        tags=options["hypothesis_tags"],
        confidence=confidence,
        defect=options["defect"],
        unlabelled=options["unlabelled"],
        skip_bad=(load_options or {}).get("on_bad_example") == "skip",
    )
    if not rows.weak and rows.confidence is not None and confidence is None:
        rows.notes.append(
            "The pool's column 'confidence' is about hypotheses that it does not have; not used."
        )
    _enough(rows, len(rows.part), pick)
    with closing(prepare(examples, **picked(TrainingOptions, options))) as setup:
        for note in rows.notes:
            setup.display.say(note)
        there = read_content(examples.class_names, [rows.part]).fingerprint
        sureness = digest(np.zeros(0) if rows.confidence is None else rows.confidence)
        asked = question("pool", options, setup, pool=[there, sureness, len(rows.dataset)])
        default = f"{safe_name(examples.name)}-pool"
        results = results_of(asked, options, inputs, POOLED, default=default, display=setup.display)
        own = rows.confidence if rows.weak or confidence is not None else None
        predicted = None
        if by != "random" or (min_confidence is not None and own is None) or not rows.weak:
            predicted = predict_pool(setup, rows, seeds, seed, picked(MachineOptions, options))
            if by != "random" and by not in predicted.hardness:
                raise BadInputError(
                    f"The task '{examples.task}' has no {by}; use {', '.join(predicted.hardness)}."
                )
        sure = own if own is not None else predicted.confidence if predicted is not None else None
        eligible = np.ones(len(rows.part), dtype=bool)
        if min_confidence is not None:
            assert sure is not None
            eligible = sure >= min_confidence  # a confidence that is missing is not enough
        _enough(rows, int(eligible.sum()), pick, min_confidence)
        hardness = None if predicted is None or by == "random" else predicted.hardness[by]
        places = _picked(rows.part.ids, hardness, eligible, pick, end=end, window=window, seed=seed)
        told = {name: options[name] for name in ("by", "end", "window", "min_confidence", "seeds", "seed")}
        facts = {**told, "recipe": setup.recipe.to_dict(), "command": list(options["command"] or ())}
        data = _facts(setup, rows, predicted, eligible, places, facts)
        if setup.accelerator.is_main_process:
            with results.written() as new:
                write_pooled(new, examples, rows, predicted, hardness, eligible, places, data)
    scores = None if hardness is None else hardness[places]
    return Pooled(rows.part.ids[places], scores, data, results.path)


def _enough(rows: PoolRows, usable: int, pick: int, min_confidence: float | None = None) -> None:
    """Refuse to pick more rows than there are, saying where the others went."""
    if usable >= pick:
        return
    gone = dict(rows.left_out())
    if min_confidence is not None:
        gone[f"less confident than {min_confidence:g}"] = len(rows.part) - usable
    why = ", ".join(f"{count:,} {reason}" for reason, count in gone.items() if count)
    raise BadInputError(
        f"{pick:,} rows are to be picked, and {usable:,} of the {len(rows.dataset):,} rows of the pool can be "
        f"used{f' (left out: {why})' if why else ''}; pick fewer, or let more in."
    )


def _picked(
    ids: np.ndarray,
    hardness: np.ndarray | None,
    eligible: np.ndarray,
    pick: int,
    *,
    end: str,
    window: float | None,
    seed: int,
) -> np.ndarray:
    """Places of what is picked among the usable rows, in the order of the list; a tie goes to the lower id."""
    there = np.flatnonzero(eligible)
    if hardness is None:
        drawn = derive_seed(seed, "picked from a pool") % 2**32
        return np.searchsorted(ids, select(ids[there], None, pick, rule="random", seed=drawn))
    rule, options = (end, {}) if window is None else ("window", {"start": window})
    chosen = select(ids[there], hardness[there], pick, rule=rule, **options)  # type: ignore[arg-type]
    places = np.searchsorted(ids, chosen)
    first = -hardness[places] if end == "hardest" else hardness[places]
    return places[np.lexsort((ids[places], first))]


def _facts(
    setup: Setup,
    rows: PoolRows,
    predicted: PoolPrediction | None,
    eligible: np.ndarray,
    places: np.ndarray,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    examples = setup.examples
    left_out = rows.left_out()
    if not eligible.all():
        left_out[NOT_SURE] = int((~eligible).sum())
    agree = None
    if rows.weak and predicted is not None and examples.task in ("classification", "intent_slots"):
        agree = float((predicted.prediction[places] == rows.part.labels[places]).mean())
    names = examples.class_names
    counted = Counter(rows.part.labels[places].tolist()) if rows.weak and len(names) > 1 else Counter()
    return {
        "base": examples.source,
        "base_fingerprint": examples.fingerprint,
        "task": examples.task,
        "pool": rows.source,
        "weak": rows.weak,
        "hypothesis": rows.roles.label if rows.weak else None,
        "hypothesis_tags": rows.roles.tags if rows.weak else None,
        "n_base": len(examples.train),
        "n_pool": len(rows.dataset),
        "left_out": left_out,
        "n_eligible": int(eligible.sum()),
        "n_picked": len(places),
        "picked_by_class": {names[label]: count for label, count in sorted(counted.items())},
        "models_agree_with_hypotheses": agree,
        "weights": [] if predicted is None else list(predicted.weights),
        "notes": setup.notes,
        **facts,
    }
