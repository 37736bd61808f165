"""What became of a pool, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
