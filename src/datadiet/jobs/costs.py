"""What a verdict costs, in seconds and in money: today, and with one or a hundred trainings to come."""

from __future__ import annotations

import math
from typing import Any

SECONDS_AN_HOUR = 3600
# A saving below this share of a training is noise of the clock.
LEAST_SAVED = 0.01


def cost_of(
    *,
    budget: str,
    today_seconds: float | None,
    scoring_seconds: float,
    full_seconds: float,
    kept_seconds: float | None,
    price_per_hour: float | None,
) -> dict[str, Any]:
    """`cost` of `verdict.json`.

    Args:
        budget: "steps" or "epochs". With as many steps for all, times differ by noise alone and nothing is a saving.
        today_seconds: all that the run took, what was found again counted as what it took when it was trained; None
            where that is not known.
        scoring_seconds: what is paid once before a subset can be trained on: 0 for a random one, and for a selector,
            whose scoring is a part of every training.
        full_seconds: of one training on full data.
        kept_seconds: of one training on the recommended subset; None where there is none.
        price_per_hour: of the machine, in any currency; None where it was not given.

    Returns:
        Plain data: `scoring_seconds`, `full_training_seconds`, `kept_training_seconds`, `today_seconds`,
        `pays_after_trainings` (null: never); `after_one` and `after_hundred`, null where nothing is kept, with the
        seconds of that many trainings: `full_seconds`, `kept_seconds` with scoring once, and what is saved,
        `saved_seconds` (below 0: it takes longer; null with the same steps); `price_per_hour`, and `money`, null
        without a price, with the price of `today`, `scoring`, and `full`, `kept` and `saved` of `after_one` and
        `after_hundred`.

    Example:
        >>> cost = cost_of(budget="epochs", today_seconds=900, scoring_seconds=36, full_seconds=18, kept_seconds=9,
        ...                price_per_hour=2.0)
        >>> cost["pays_after_trainings"], cost["after_one"]["saved_seconds"], cost["money"]["after_hundred"]["saved"]
        (4, -27, 0.48)
    """
    can_save = budget != "steps" and kept_seconds is not None

    def after(trainings: int) -> dict[str, float | None] | None:
        if kept_seconds is None:
            return None
        full, kept = trainings * full_seconds, trainings * kept_seconds + scoring_seconds
        return {
            "full_seconds": full,
            "kept_seconds": kept,
            "saved_seconds": full - kept if can_save else None,
        }

    after_one, after_hundred = after(1), after(100)
    saved = full_seconds - kept_seconds if can_save and kept_seconds is not None else 0.0
    return {
        "scoring_seconds": scoring_seconds,
        "full_training_seconds": full_seconds,
        "kept_training_seconds": kept_seconds,
        "pays_after_trainings": math.ceil(scoring_seconds / saved)
        if saved > LEAST_SAVED * full_seconds
        else None,
        "today_seconds": today_seconds,
        "after_one": after_one,
        "after_hundred": after_hundred,
        "price_per_hour": price_per_hour,
        "money": None
        if price_per_hour is None
        else {
            "today": _price(today_seconds, price_per_hour),
            "scoring": _price(scoring_seconds, price_per_hour),
            "after_one": _prices(after_one, price_per_hour),
            "after_hundred": _prices(after_hundred, price_per_hour),
        },
    }


def _price(seconds: float | None, price_per_hour: float) -> float | None:
    return None if seconds is None else seconds * price_per_hour / SECONDS_AN_HOUR


def _prices(seconds: dict[str, float | None] | None, price_per_hour: float) -> dict[str, float | None] | None:
    """The same in money, without the unit in the names."""
    if seconds is None:
        return None
    return {name.removesuffix("_seconds"): _price(value, price_per_hour) for name, value in seconds.items()}
