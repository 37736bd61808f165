"""Claims of papers as objects: a sentence, what was measured for it here, and whether it held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from datadiet.foundation.statistics import difference_interval

Outcome = Literal["holds", "fails", "undecided"]

LEVEL = 0.95
TOLERANCE = 0.005  # half a point of accuracy, the tolerance of verdicts


@dataclass(frozen=True)
class Measurement:
    """A quantity that can say its interval at any level.

    Args:
        estimate: the quantity.
        n: number of independent units (seeds, pairs of seeds, examples) that it comes from.
        unit: what they are.
        interval: level -> (low, high).
    """

    estimate: float
    n: int
    unit: str
    interval: Callable[[float], tuple[float, float]]


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper that can fail, and what was measured for it.

    Args:
        sentence: what is claimed, so that "fails" makes sense.
        source: paper and section.
        quantity: what is measured for it, with its unit.
        measurement: the quantity as it was found here; None where it could not be measured.
        above: the claim says that the quantity lies above this bound, ...
        below: ... or, where it is given, below this one.
        least: seeds (or other independent units) under which nothing is decided.

    Example:
        >>> claim = Claim("The mean is below two.", "made up", "mean", mean_of([1.0, 1.1, 0.9], "seeds"), below=2)
        >>> judge([claim])[0].outcome
        'holds'
    """

    sentence: str
    source: str
    quantity: str
    measurement: Measurement | None
    above: float = 0.0
    below: float | None = None
    least: int = 2


@dataclass(frozen=True)
class Finding:
    """A claim and what became of it.

    Args:
        claim: what was to be seen, and what was.
        outcome: `holds` where the whole interval is on the claimed side, `fails` where it is on the other,
            else `undecided`.
        level: of the interval that decided, after correction for all claims of the study.
        interval: of the quantity at that level; None where it could not be measured.
        reason: why nothing could be decided, in words.
    """

    claim: Claim
    outcome: Outcome
    level: float
    interval: tuple[float, float] | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as in `claims.json`."""
        claim, found = self.claim, self.claim.measurement
        return {
            "sentence": claim.sentence,
            "source": claim.source,
            "quantity": claim.quantity,
            "claimed": f"above {claim.above:g}" if claim.below is None else f"below {claim.below:g}",
            "measured": None if found is None else found.estimate,
            "interval": None if self.interval is None else [finite_or_none(bound) for bound in self.interval],
            "level": self.level,
            "n": None if found is None else found.n,
            "unit": None if found is None else found.unit,
            "outcome": self.outcome,
            "reason": self.reason,
        }


def finite_or_none(value: float) -> float | None:
    """A number as JSON has it; None for those that it lacks."""
    return float(value) if np.isfinite(value) else None


def judge(claims: Sequence[Claim]) -> list[Finding]:
    """Findings of all claims of a study, with intervals that hold together.

    Each interval has the level `1 - 0.05 / m` for m claims (Bonferroni), so that the chance that any of them
    misses its quantity is at most 5 %.

    Example:
        >>> values = [1.0, 1.1, 0.9, 1.0]
        >>> judge([Claim("The mean is above zero.", "made up", "mean", mean_of(values, "seeds"))])[0].outcome
        'holds'
        >>> judge([Claim("The mean is above zero.", "made up", "mean", mean_of([1.0], "seeds"))])[0].outcome
        'undecided'
    """
    level = 1 - (1 - LEVEL) / max(1, len(claims))
    return [_judged(claim, level) for claim in claims]


def _judged(claim: Claim, level: float) -> Finding:
    found = claim.measurement
    if found is None:
        missing = "it could not be measured on this data at this scale"
        return Finding(claim, "undecided", level, reason=missing)
    low, high = interval = found.interval(level)
    if found.n < claim.least:
        few = f"{found.n} {found.unit} are too few; it takes {claim.least}"
        return Finding(claim, "undecided", level, interval, few)
    if claim.below is None:
        holds, fails = low > claim.above, high < claim.above
    else:
        holds, fails = high < claim.below, low > claim.below
    if holds or fails:
        return Finding(claim, "holds" if holds else "fails", level, interval)
    return Finding(claim, "undecided", level, interval, "the interval reaches to both sides of the threshold")


def mean_of(values: Sequence[float], unit: str) -> Measurement:
    """The mean of independent values, with Student's t interval.

    Example:
        >>> measured = mean_of([1.0, 2.0, 3.0], "seeds")
        >>> measured.estimate, [round(bound, 3) for bound in measured.interval(0.95)]
        (2.0, [-0.484, 4.484])
    """
    numbers = np.asarray(list(values), dtype=np.float64)
    mean, count = float(numbers.mean()), len(numbers)

    def interval(level: float) -> tuple[float, float]:
        if count < 2:
            return -np.inf, np.inf
        error = float(numbers.std(ddof=1)) / np.sqrt(count)
        if error == 0:
            return mean, mean
        low, high = stats.t.interval(level, count - 1, loc=mean, scale=error)
        return float(low), float(high)

    return Measurement(mean, count, unit, interval)


def mean_correlation(values: Sequence[float], unit: str) -> Measurement:
    """The mean of independent correlations, averaged and bounded on Fisher's z scale.

    Example:
        >>> measured = mean_correlation([0.5, 0.5, 0.5], "seeds")
        >>> round(measured.estimate, 6), [round(b, 3) for b in measured.interval(0.95)]
        (0.5, [0.5, 0.5])
    """
    inside = np.clip(np.asarray(list(values), dtype=np.float64), -1 + 1e-9, 1 - 1e-9)
    scaled = mean_of(list(np.arctanh(inside)), unit)

    def interval(level: float) -> tuple[float, float]:
        low, high = scaled.interval(level)
        return float(np.tanh(low)), float(np.tanh(high))

    return Measurement(float(np.tanh(scaled.estimate)), scaled.n, unit, interval)


def share_saved(ratios: Sequence[float], unit: str) -> Measurement:
    """The share that is saved, from independent ratios of a cost to the whole cost, averaged on a logarithmic scale.

    Example:
        >>> measured = share_saved([0.5, 0.4, 0.625], "seeds")
        >>> round(measured.estimate, 6), [round(b, 3) for b in measured.interval(0.95)]
        (0.5, [0.13, 0.713])
    """
    scaled = mean_of([float(value) for value in np.log(np.asarray(list(ratios), dtype=np.float64))], unit)

    def interval(level: float) -> tuple[float, float]:
        low, high = scaled.interval(level)
        if not np.isfinite(high):
            return -np.inf, np.inf
        return float(-np.expm1(high)), float(-np.expm1(low))

    return Measurement(float(-np.expm1(scaled.estimate)), scaled.n, unit, interval)


def accuracy_difference(arm: np.ndarray, reference: np.ndarray) -> Measurement:
    """Mean accuracy of one arm minus another's, on the same test examples.

    Args:
        arm: bool (seeds, test examples).
        reference: bool (its own seeds, the same test examples).

    The interval is that of `datadiet.foundation.statistics.difference_interval`: over test examples and over seeds.
    """
    mean = float(arm.mean() - reference.mean())

    def interval(level: float) -> tuple[float, float]:
        found = difference_interval(arm, reference, level=level)
        return found.low, found.high

    return Measurement(mean, min(len(arm), len(reference)), "seeds", interval)


def mean_within(values: Sequence[float], unit: str, low: float, high: float) -> Measurement:
    """The mean of independent values in [low, high]: Student's t interval, cut to that range.

    Args:
        values: one a model.
        unit: what they come from.
        low: least that the quantity can be.
        high: most that it can be.

    Example:
        >>> measured = mean_within([0.0, 0.2], "models", 0.0, 1.0)
        >>> [round(bound, 6) for bound in measured.interval(0.95)]
        [0.0, 1.0]
    """
    free = mean_of(values, unit)

    def interval(level: float) -> tuple[float, float]:
        below, above = free.interval(level)
        return max(low, below), min(high, above)

    return Measurement(free.estimate, free.n, unit, interval)


def mean_difference(
    values: ArrayLike | None, others: ArrayLike | None, unit: str, low: float = -np.inf, high: float = np.inf
) -> Measurement | None:
    """The mean of paired differences, which are in [low, high]; None where one side was not measured.

    Example:
        >>> found = mean_difference([1.0, 2.0], [0.5, 1.0], "seeds")
        >>> found.estimate, found.n, mean_difference(None, [1.0], "seeds")
        (0.75, 2, None)
    """
    if values is None or others is None:
        return None
    return mean_within(np.subtract(values, others).tolist(), unit, low, high)
