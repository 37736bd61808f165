"""Claims of papers as objects: a sentence, what was measured for it here, and whether it held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from datadiet.foundation.statistics import difference_interval

Outcome = Literal["holds", "fails", "undecided", "not asked", "smoke"]

LEVEL = 0.95
LEAST = 3  # independent units: with two, Student's t is so wide that nothing can come of it
TOLERANCE = 0.005  # half a point of accuracy, the tolerance of verdicts
NOT_KNOWN = (-np.inf, np.inf)
ROUNDING = 1e-12  # relative difference below which values are the same


@dataclass(frozen=True)
class Measurement:
    """A quantity that can say its interval at any level.

    Args:
        estimate: the quantity.
        n: number of independent units (seeds, pairs of seeds, examples) that it comes from.
        unit: what they are.
        interval: level -> (low, high); infinite where a bound is not known.
        exact: there is no chance in it, so that it needs no interval.
        unseen: all values agree and nothing says by how much they could have moved, so no interval can be given.
    """

    estimate: float
    n: int
    unit: str
    interval: Callable[[float], tuple[float, float]]
    exact: bool = False
    unseen: bool = False


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
        least: seeds (or other independent units) under which it is not asked.

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
    least: int = LEAST


@dataclass(frozen=True)
class Finding:
    """A claim and what became of it.

    Args:
        claim: what was to be seen, and what was.
        outcome: `holds` where the whole interval is on the claimed side, `fails` where it is on the other,
            else `undecided`. `not asked` with too few units, `smoke` at a scale that decides nothing.
        level: of the interval that decided, after correction for all claims of the study that are asked.
        interval: of the quantity at that level; None where it could not be measured or is exact.
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
            "exact": found is not None and found.exact,
            "n": None if found is None else found.n,
            "unit": None if found is None else found.unit,
            "outcome": self.outcome,
            "reason": self.reason,
        }


def finite_or_none(value: float) -> float | None:
    """A number as JSON has it; None for those that it lacks."""
    return float(value) if np.isfinite(value) else None


def judge(claims: Sequence[Claim], *, decides: bool = True) -> list[Finding]:
    """Findings of all claims of a study, with intervals that hold together.

    Each interval has the level `1 - 0.05 / m` for m claims that are asked (Bonferroni), so that the chance that any
    of them misses its quantity is at most 5 %.

    Args:
        claims: of one study.
        decides: whether anything may come of them; not at a scale that is for trying that everything runs.

    Example:
        >>> values = [1.0, 1.1, 0.9, 1.0]
        >>> judge([Claim("The mean is above zero.", "made up", "mean", mean_of(values, "seeds"))])[0].outcome
        'holds'
        >>> judge([Claim("The mean is above zero.", "made up", "mean", mean_of([1.0, 1.1], "seeds"))])[0].outcome
        'not asked'
    """
    asked = sum(not _too_few(claim) for claim in claims)
    level = 1 - (1 - LEVEL) / max(1, asked)
    findings = [_judged(claim, level) for claim in claims]
    if decides:
        return findings
    reason = "a smoke scale is for trying that everything runs; it decides nothing"
    return [replace(finding, outcome="smoke", reason=reason) for finding in findings]


def _too_few(claim: Claim) -> bool:
    found = claim.measurement
    return found is not None and not found.exact and found.n < claim.least


def _judged(claim: Claim, level: float) -> Finding:
    found = claim.measurement
    if found is None:
        missing = "it could not be measured on this data at this scale"
        return Finding(claim, "undecided", level, reason=missing)
    if found.exact:
        return Finding(claim, "holds" if _beyond(claim, found.estimate, found.estimate) else "fails", level)
    low, high = interval = found.interval(level)
    if _too_few(claim):
        few = f"{claim.least} {found.unit} are the fewest that decide; there {_are(found.n)}"
        return Finding(claim, "not asked", level, interval, few)
    if _beyond(claim, low, high):
        return Finding(claim, "holds", level, interval)
    if high < claim.above if claim.below is None else low > claim.below:
        return Finding(claim, "fails", level, interval)
    return Finding(claim, "undecided", level, interval, _why_undecided(found, low, high))


def _beyond(claim: Claim, low: float, high: float) -> bool:
    """Whether all from low to high is on the claimed side."""
    return low > claim.above if claim.below is None else high < claim.below


def _why_undecided(found: Measurement, low: float, high: float) -> str:
    if found.unseen:
        return f"the spread between {found.unit} cannot be seen, all of which agree"
    if (low, high) == NOT_KNOWN:
        return "an interval would be as wide as all that the quantity can be"
    return "the interval reaches to both sides of the threshold"


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


def mean_of(
    values: Sequence[float], unit: str, *, resolution: float | None = None, exact: bool = False
) -> Measurement:
    """The mean of independent values, with Student's t interval.

    Values that all agree do not show their spread. Where it is known how finely the quantity could move, they could
    have differed by less than that: a step has the standard deviation `step / sqrt(12)`, which is the least that is
    assumed. Where it is not known there are no bounds.

    Args:
        values: one a unit.
        unit: what they come from.
        resolution: the finest step that a value could move by, such as one of n examples for a share of them.
        exact: there is no chance in the values, so that all must agree; where they do not, they are not exact.

    Example:
        >>> measured = mean_of([1.0, 2.0, 3.0], "seeds")
        >>> measured.estimate, [round(bound, 3) for bound in measured.interval(0.95)]
        (2.0, [-0.484, 4.484])
        >>> mean_of([0.5, 0.5, 0.5], "seeds").interval(0.95)
        (-inf, inf)
        >>> [round(bound, 3) for bound in mean_of([0.5, 0.5, 0.5], "seeds", resolution=0.01).interval(0.95)]
        [0.493, 0.507]
    """
    numbers = np.asarray(list(values), dtype=np.float64)
    mean, count = float(numbers.mean()), len(numbers)
    agree = bool(np.ptp(numbers) <= ROUNDING * np.abs(numbers).max())
    unseen = agree and resolution is None

    def interval(level: float) -> tuple[float, float]:
        if count < 2 or unseen:
            return NOT_KNOWN
        deviation = max(float(numbers.std(ddof=1)), (resolution or 0.0) / np.sqrt(12))
        low, high = stats.t.interval(level, count - 1, loc=mean, scale=deviation / np.sqrt(count))
        return float(low), float(high)

    return Measurement(mean, count, unit, interval, exact and agree, unseen)


def cut(interval: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """An interval cut to the range of a quantity; not known where that range is all that is left."""
    if interval[0] <= low and interval[1] >= high:
        return NOT_KNOWN
    return max(low, interval[0]), min(high, interval[1])


def mean_correlation(values: Sequence[float], unit: str, *, resolution: float | None = None) -> Measurement:
    """The mean of independent correlations, averaged and bounded on Fisher's z scale.

    Args:
        values: one a unit.
        unit: what they come from.
        resolution: the finest step that a correlation could move by, see `mean_of`.

    Example:
        >>> measured = mean_correlation([0.4, 0.5, 0.6], "seeds")
        >>> round(measured.estimate, 3), [round(b, 3) for b in measured.interval(0.95)]
        (0.505, [0.217, 0.712])
    """
    most = 1 - 1e-9
    on_scale = np.arctanh(np.clip(np.asarray(list(values), dtype=np.float64), -most, most))
    estimate, step = float(np.tanh(on_scale.mean())), None
    if resolution is not None:
        ends = np.clip([estimate - resolution / 2, estimate + resolution / 2], -most, most)
        step = float(np.ptp(np.arctanh(ends)))
    scaled = mean_of(on_scale.tolist(), unit, resolution=step)

    def interval(level: float) -> tuple[float, float]:
        low, high = scaled.interval(level)
        return cut((float(np.tanh(low)), float(np.tanh(high))), -1.0, 1.0)

    return replace(scaled, estimate=estimate, interval=interval)


def share_saved(
    ratios: Sequence[float], unit: str, *, resolution: float | None = None, exact: bool = False
) -> Measurement:
    """The share that is saved, from independent ratios of a cost to the whole cost, averaged on a logarithmic scale.

    Args:
        ratios: one a unit.
        unit: what they come from.
        resolution: the finest step that a ratio could move by, see `mean_of`.
        exact: there is no chance in the costs, see `mean_of`.

    Example:
        >>> measured = share_saved([0.5, 0.4, 0.625], "seeds")
        >>> round(measured.estimate, 6), [round(b, 3) for b in measured.interval(0.95)]
        (0.5, [0.13, 0.713])
    """
    logs = np.log(np.asarray(list(ratios), dtype=np.float64))
    step = None if resolution is None else resolution / float(np.exp(logs.mean()))
    scaled = mean_of(logs.tolist(), unit, resolution=step, exact=exact)

    def interval(level: float) -> tuple[float, float]:
        low, high = scaled.interval(level)
        if not np.isfinite(high):
            return NOT_KNOWN
        return float(-np.expm1(high)), float(-np.expm1(low))

    return replace(scaled, estimate=float(-np.expm1(scaled.estimate)), interval=interval)


def accuracy_difference(
    arm: np.ndarray, reference: np.ndarray, among: Sequence[np.ndarray] = ()
) -> Measurement:
    """Mean accuracy of one arm minus another's, on the same test examples.

    Args:
        arm: bool (seeds, test examples).
        reference: bool (its own seeds, the same test examples).
        among: every trained arm of the study, whose spread between seeds says more than that of two of them.

    The interval is that of `datadiet.foundation.statistics.difference_interval`: over test examples and over seeds.
    """
    mean = float(arm.mean() - reference.mean())

    def interval(level: float) -> tuple[float, float]:
        found = difference_interval(arm, reference, level=level, among=among)
        return cut((found.low, found.high), -1.0, 1.0)

    return Measurement(mean, min(len(arm), len(reference)), "seeds", interval)


def mean_within(
    values: Sequence[float], unit: str, low: float, high: float, *, resolution: float | None = None
) -> Measurement:
    """The mean of independent values in [low, high]: Student's t interval, cut to that range.

    An interval that is the whole range says nothing: its bounds are not known.

    Args:
        values: one a model.
        unit: what they come from.
        low: least that the quantity can be.
        high: most that it can be.
        resolution: the finest step that a value could move by, see `mean_of`.

    Example:
        >>> [round(bound, 6) for bound in mean_within([0.0, 0.1, 0.2], "models", 0.0, 1.0).interval(0.95)]
        [0.0, 0.348414]
        >>> mean_within([0.0, 0.2], "models", 0.0, 1.0).interval(0.95)
        (-inf, inf)
    """
    free = mean_of(values, unit, resolution=resolution)
    return replace(free, interval=lambda level: cut(free.interval(level), low, high))


def mean_difference(
    values: ArrayLike | None,
    others: ArrayLike | None,
    unit: str,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    resolution: float | None = None,
) -> Measurement | None:
    """The mean of paired differences, which are in [low, high]; None where one side was not measured.

    Example:
        >>> found = mean_difference([1.0, 2.0], [0.5, 1.0], "seeds")
        >>> found.estimate, found.n, mean_difference(None, [1.0], "seeds")
        (0.75, 2, None)
    """
    if values is None or others is None:
        return None
    return mean_within(np.subtract(values, others).tolist(), unit, low, high, resolution=resolution)
