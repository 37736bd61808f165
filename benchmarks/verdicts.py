"""How often verdicts err: simulated trainings whose true accuracies are known, judged as `datadiet run` judges them.

    python benchmarks/verdicts.py grid --runs 500 --out benchmarks/results/verdicts.json
    python benchmarks/verdicts.py default --runs 1000
    python benchmarks/verdicts.py auto --runs 500
    python benchmarks/verdicts.py groups --runs 500

A test example has a difficulty, an arm makes some of them lastingly easier or harder, every training is better or worse
as a whole, and luck decides the rest: right where the sum of the four normal numbers is above zero (a probit model with
crossed seeds and examples). Full data is right on 93 %; two trainings differ on 3.7 % of the test examples.

`grid`: nine subsets of one score, 0.9 to 0.1 of the data, all truly as good as full data, or 0.5, 0.6 or 1 points
worse.
`default`: one score and random, 0.7, 0.5 and 0.3 of the data. `auto`: the same with seeds until it is decided.
`groups`: false alarms over ten groups. Beside it stands the method that was there before: bootstrap over test examples
plus Student's t of the spread between seeds, each subset by itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import stats

from datadiet.foundation.statistics import Trained
from datadiet.jobs.left_out import excess_differences
from datadiet.jobs.race import Race, Seeds

DIFFICULTY, LASTING = 4.0, 0.5  # standard deviations on the scale of the luck of a training
ACCURACY, TOLERANCE = 0.93, 0.5
NINE = [1.0, *(round(0.9 - 0.1 * step, 1) for step in range(9))]
DEFAULT = [1.0, 0.7, 0.5, 0.3, 0.7, 0.5, 0.3]
SPREADS = ("0", "0.2", "1", "growing", "wild")


@dataclass
class MadeUp:
    """An arm whose trainings are simulated, as a race asks of it."""

    score: str
    keep: float
    right: np.ndarray
    runs: list[int] = field(default_factory=list)
    rule: str = "hardest"

    @property
    def n(self) -> int:
        return round(1e6 * self.keep)

    def correct(self) -> np.ndarray:
        return self.right[: len(self.runs)]


def sigmas(spread: str, keeps: Sequence[float], wild: int = 1) -> list[float]:
    """Standard deviation of accuracy between seeds of every arm: 0.2 points, from 0.2 to 1, or one of 1.5."""
    if spread == "growing":
        return [0.002 + 0.008 * (1 - keep) / 0.9 for keep in keeps]
    if spread == "wild":
        return [0.015 if arm == wild else 0.002 for arm in range(len(keeps))]
    return [float(spread) / 100] * len(keeps)


def trainings(
    generator: np.random.Generator,
    n: int,
    seeds: int,
    losses: Sequence[float],
    sigmas: Sequence[float],
    *,
    leak: float = 0.0,
) -> list[np.ndarray]:
    """Which test examples every training of every arm is right on, bool (seeds, n) an arm.

    `leak` is the share of the variance between seeds that all seeds of an arm have in common, so that they look more
    alike than they are.
    """
    total = DIFFICULTY**2 + LASTING**2 + 1
    difficulty = generator.standard_normal(n, dtype=np.float32) * np.float32(DIFFICULTY)
    arms = []
    for loss, sigma in zip(losses, sigmas, strict=True):
        quantile = stats.norm.ppf(ACCURACY - loss)
        slope, whole = stats.norm.pdf(quantile), 0.0
        for _ in range(30):
            whole = sigma * np.sqrt(total + whole**2) / slope
        mean = quantile * np.sqrt(total + whole**2)
        shared, own = generator.standard_normal(1), generator.standard_normal(seeds)
        better = whole * (np.sqrt(leak) * shared + np.sqrt(1 - leak) * own)
        lasting = generator.standard_normal(n, dtype=np.float32) * np.float32(LASTING)
        luck = generator.standard_normal((seeds, n), dtype=np.float32)
        arms.append(luck + (difficulty + lasting + np.float32(mean)) + better.astype(np.float32)[:, None] > 0)
    return arms


def before(arm: np.ndarray, full: np.ndarray, generator: np.random.Generator) -> tuple[float, float, float]:
    """Mean difference and its interval by the method that was there before; 1,000 draws."""
    values = arm.mean(axis=0) - full.mean(axis=0)
    kinds, often = np.unique(np.round(values, 9), return_counts=True)
    kinds, weights = np.append(kinds, [1.0, -1.0, 0.0]), np.append(often, [0.5, 0.5, 1.0])
    count = round(weights.sum())
    draws = generator.multinomial(count, weights / weights.sum(), size=1000) @ kinds / count
    accuracies = [one.mean(axis=1) for one in (arm, full)]
    degrees = sum(len(one) - 1 for one in accuracies)
    squares = sum(((one - one.mean()) ** 2).sum() for one in accuracies)
    error = np.sqrt(squares / degrees * sum(1 / len(one) for one in accuracies))
    draws = draws + error * stats.t.rvs(degrees, size=1000, random_state=generator)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def race_of(keeps: Sequence[float], right: Sequence[np.ndarray], seeds: Seeds) -> Race:
    """Of simulated arms; where fractions come twice, the second time they are random."""
    scores = [
        "full" if arm == 0 else "random" if arm >= 1 + len(keeps) // 2 else "el2n"
        for arm in range(len(keeps))
    ]
    if len(set(keeps)) == len(keeps):
        scores = ["full", *["el2n"] * (len(keeps) - 1)]
    arms = [MadeUp(score, keep, one) for score, keep, one in zip(scores, keeps, right, strict=True)]
    return Race(arms, seeds, TOLERANCE, () if seeds.fixed else (seeds.most,))  # type: ignore[arg-type]


def fixed(race: Race, seeds: int) -> None:
    """Every arm with as many seeds, and one look."""
    for arm in race.arms:
        arm.runs = list(range(seeds))  # type: ignore[arg-type]
    race.look()


def until_decided(race: Race) -> int:
    """Three seeds of every arm, then one more of those that are open; how many trainings that took."""
    fixed(race, 3)
    while fronts := [index for index in race.fronts() if len(race.arms[index].runs) < race.seeds.most]:
        for index in fronts:
            race.arms[index].runs.append(0)  # type: ignore[arg-type]
        full, most = race.arms[0].runs, max(len(race.arms[index].runs) for index in fronts)
        full.extend([0] * max(0, most - len(full)))  # type: ignore[list-item]
        race.look()
    return sum(len(arm.runs) for arm in race.arms)


def cell(
    n: int,
    seeds: int,
    spread: str,
    loss: float,
    runs: int,
    keeps: Sequence[float],
    *,
    old: int = 0,
    leak: float = 0.0,
) -> dict[str, float]:
    """What becomes of so many simulated runs, of which `old` are judged by the method before, too.

    Coverage of the 95 % intervals of the typical and of the worst arm, the share of runs in which something is
    recommended, and the mean half width of an interval in points.
    """
    generator = np.random.default_rng([n, seeds, SPREADS.index(spread), round(1e4 * loss), len(keeps)])
    covered, half, found = np.zeros(len(keeps) - 1), 0.0, 0
    old_covered, old_half, old_found, new_half = np.zeros(len(keeps) - 1), 0.0, 0, 0.0
    losses = [0.0, *[loss] * (len(keeps) - 1)]
    for number in range(runs):
        right = trainings(generator, n, seeds, losses, sigmas(spread, keeps), leak=leak)
        race = race_of(keeps, right, Seeds(seeds, fixed=True))
        fixed(race, seeds)
        found += any(standing.outcome == "holds" for standing in race.standings)
        evidence = Trained(right, keeps)
        intervals = [evidence.difference(place, 0) for place in range(1, len(keeps))]
        covered += [one.low <= -loss <= one.high for one in intervals]
        widths = np.mean([one.high - one.low for one in intervals]) / 2
        half += widths
        if number < old:
            earlier = [before(one, right[0], generator) for one in right[1:]]
            old_covered += [low <= -loss <= high for _, low, high in earlier]
            old_half += np.mean([high - low for _, low, high in earlier]) / 2
            new_half += widths
            old_found += any(low > -TOLERANCE / 100 for _, low, _ in earlier)
    result = {
        "typical": float(np.median(covered / runs)),
        "worst": float(covered.min() / runs),
        "found": found / runs,
        "half": 100 * half / runs,
    }
    if old:
        result |= {
            "before_typical": float(np.median(old_covered / old)),
            "before_worst": float(old_covered.min() / old),
            "before_found": old_found / old,
            "before_half": 100 * old_half / old,
            "half_ratio": float(new_half / old_half),
        }
    return result


def grid(
    runs: int, keeps: Sequence[float], old: int, sizes: Sequence[int]
) -> Iterator[dict[str, float | str]]:
    """All cells."""
    for n in sizes:
        for seeds in (3, 5, 10):
            for spread in SPREADS:
                for loss in (0.0, 0.005, 0.006, 0.01) if seeds == 3 else (0.0, 0.005, 0.01):
                    about = {"n": n, "seeds": seeds, "spread": spread, "loss": 100 * loss}
                    yield about | cell(n, seeds, spread, loss, runs, keeps, old=old)


def auto(runs: int, n: int, spread: str, loss: float, most: int = 8) -> dict[str, float | str]:
    """Seeds until it is decided: what is recommended by how many seeds, and how many trainings that takes."""
    generator = np.random.default_rng([n, SPREADS.index(spread), round(1e4 * loss), 77])
    found, wrongly_dropped, trained = 0, 0, 0
    for _ in range(runs):
        right = trainings(generator, n, most, [0.0, *[loss] * 6], sigmas(spread, DEFAULT))
        race = race_of(DEFAULT, right, Seeds(most))
        trained += until_decided(race)
        found += any(standing.outcome == "holds" for standing in race.standings)
        wrongly_dropped += any(standing.outcome == "fails" for standing in race.standings)
    return {
        "n": n,
        "spread": spread,
        "loss": 100 * loss,
        "found": found / runs,
        "fails": wrongly_dropped / runs,
        "trainings": trained / runs,
    }


def groups(runs: int, n: int = 2_000, number: int = 10, seeds: int = 3) -> dict[str, float]:
    """False alarms of "loses more than the whole" over ten groups, and coverage of a group's difference."""
    generator = np.random.default_rng(5)
    alarms, covered = 0, 0.0
    for _ in range(runs):
        right = trainings(generator, n, seeds, [0.0, 0.01, 0.01], [0.002] * 3)
        codes = generator.integers(0, number, n)
        alarm = False
        for code in range(number):
            members = codes == code
            alarm |= any(
                one.high < 0 for one in excess_differences(right, members, level=1 - 0.1 / number)[:1]
            )
            difference = Trained([one[:, members] for one in right], [1.0, 0.7, 0.5]).difference(1, 0)
            covered += difference.low <= -0.01 <= difference.high
        alarms += alarm
    return {"false_alarms": alarms / runs, "coverage": covered / runs / number}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("grid", "default", "auto", "groups"))
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument(
        "--old", type=int, default=100, help="Runs of a cell that the method before judges, too."
    )
    parser.add_argument(
        "--n", type=int, nargs="+", default=[10_000, 1_000, 100], help="Test examples of the grid."
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    began = time.perf_counter()
    rows: list[dict[str, float | str]] = []
    if arguments.what == "groups":
        print(groups(arguments.runs))
        return
    if arguments.what == "auto":
        cells = [
            auto(arguments.runs, n, spread, loss)
            for n in (10_000, 1_000)
            for spread in SPREADS
            for loss in (0.0, 0.005, 0.006, 0.01)
        ]
        cells_of: Iterator[dict[str, float | str]] = iter(cells)
    elif arguments.what == "grid":
        cells_of = grid(arguments.runs, NINE, arguments.old, arguments.n)
    else:
        cells_of = (
            {"n": n, "seeds": 3, "spread": spread, "loss": 100 * loss}
            | cell(n, 3, spread, loss, arguments.runs, DEFAULT, old=arguments.old)
            for n in (10_000, 1_000)
            for spread in SPREADS
            for loss in (0.0, 0.006)
        )
    for row in cells_of:
        if not rows:
            print(" | ".join(row))
        rows.append(row)
        print(
            " | ".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()),
            flush=True,
        )
        if arguments.out is not None:
            arguments.out.write_text(json.dumps({"runs": arguments.runs, "rows": rows}, indent=1))
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
