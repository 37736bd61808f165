"""Claims of papers as objects: a sentence, what was measured for it here, and whether it held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from datadiet.foundation.statistics import difference_interval

Outcome = Literal["holds", "fails", "undecided"]
Side = Literal["above", "below"]

LEVEL = 0.95


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper that can fail.

    Args:
        sentence: what is claimed, so that "fails" makes sense.
        source: paper and section.
        quantity: what is measured for it, with its unit.
        side: the claim says that the quantity lies `above` or `below` the threshold.
        threshold: in the unit of the quantity.
        least: seeds (or other independent units) under which nothing is decided.
    """

    sentence: str
    source: str
    quantity: str
    side: Side = "above"
    threshold: float = 0.0
    least: int = 2


@dataclass(frozen=True)
class Evidence:
    """What was measured for a claim: an estimate, and how its interval depends on the level.

    Args:
        estimate: the measured quantity.
        low: lower bound at the usual level.
        high: upper bound.
        n: how many independent units (seeds, pairs of seeds, examples) it comes from.
        unit: what n counts.
        at_level: (low, high) at another level, for claims that are judged together.
    """

    estimate: float
    low: float
    high: float
    n: int
    unit: str
    at_level: dict[float, tuple[float, float]]


@dataclass(frozen=True)
class Finding:
    """A claim beside its evidence.

    Args:
        claim: what was to be seen.
        evidence: what was seen; None where it could not be measured.
        outcome: `holds` where the whole interval is on the claimed side, `fails` where it is on the other,
            else `undecided`.
        level: of the interval that decided, after correction for all claims of the study.
        reason: why nothing could be decided, in words.
    """

    claim: Claim
    evidence: Evidence | None
    outcome: Outcome
    level: float
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as in `claims.json`."""
        found = self.evidence
        bounds = None if found is None else list(found.at_level.get(self.level, (found.low, found.high)))
        return {
            "sentence": self.claim.sentence,
            "source": self.claim.source,
            "quantity": self.claim.quantity,
            "claimed": f"{self.claim.side} {self.claim.threshold:g}",
            "measured": None if found is None else found.estimate,
            "interval": None if bounds is None else [_finite(value) for value in bounds],
            "level": self.level,
            "n": None if found is None else found.n,
            "unit": None if found is None else found.unit,
            "outcome": self.outcome,
            "reason": self.reason,
        }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def judge(pairs: Sequence[tuple[Claim, Measured | None]]) -> list[Finding]:
    """Findings of all claims of a study, with intervals that hold together.

    Each interval has the level `1 - 0.05 / m` for m claims (Bonferroni), so that the chance that any of them
    misses its quantity is at most 5 %.

    Args:
        pairs: each claim with its measurement; None where it could not be taken.

    Example:
        >>> claim = Claim("The mean is above zero.", "made up", "mean")
        >>> judge([(claim, mean_of([1.0, 1.1, 0.9, 1.0], "seeds"))])[0].outcome
        'holds'
        >>> judge([(claim, mean_of([1.0], "seeds"))])[0].outcome
        'undecided'
    """
    level = 1 - (1 - LEVEL) / max(1, len(pairs))
    return [_judged(claim, measured, level) for claim, measured in pairs]


def _judged(claim: Claim, measured: Measured | None, level: float) -> Finding:
    if measured is None:
        return Finding(claim, None, "undecided", level, "it could not be measured on this data at this scale")
    usual, strict = measured.interval(LEVEL), measured.interval(level)
    evidence = Evidence(measured.estimate, usual[0], usual[1], measured.n, measured.unit, {level: strict})
    if measured.n < claim.least:
        reason = f"{measured.n} {measured.unit} are too few; it takes {claim.least}"
        return Finding(claim, evidence, "undecided", level, reason)
    low, high = strict
    above, below = low > claim.threshold, high < claim.threshold
    if claim.side == "below":
        above, below = below, above
    if above or below:
        return Finding(claim, evidence, "holds" if above else "fails", level)
    return Finding(claim, evidence, "undecided", level, "the interval reaches to both sides of the threshold")


@dataclass(frozen=True)
class Measured:
    """A quantity that can say its interval at any level.

    Args:
        estimate: the quantity.
        n: number of independent units.
        unit: what they are.
        interval: level -> (low, high).
    """

    estimate: float
    n: int
    unit: str
    interval: Callable[[float], tuple[float, float]]


def mean_of(values: Sequence[float], unit: str) -> Measured:
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

    return Measured(mean, count, unit, interval)


def mean_correlation(values: Sequence[float], unit: str) -> Measured:
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

    return Measured(float(np.tanh(scaled.estimate)), scaled.n, unit, interval)


def share_saved(ratios: Sequence[float], unit: str) -> Measured:
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

    return Measured(float(-np.expm1(scaled.estimate)), scaled.n, unit, interval)


def accuracy_difference(arm: np.ndarray, reference: np.ndarray) -> Measured:
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

    return Measured(mean, min(len(arm), len(reference)), "seeds", interval)


def mean_within(values: Sequence[float], unit: str, low: float, high: float) -> Measured:
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

    return Measured(free.estimate, free.n, unit, interval)
