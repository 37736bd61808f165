"""How often the interval of the noise rate holds the truth, on simulated data whose truth is known.

    python benchmarks/noise_rate.py --draws 40                # the grid (hours on one core)
    python benchmarks/noise_rate.py --draws 4 --classes 2     # a corner
    python benchmarks/noise_rate.py --before PACKAGE          # beside an earlier `combine`, importable from there

Classes are Gaussian, each of several clusters, easy (hardly any overlap) or hard (a fifth or so of the clean labels is
not the most probable class). Labels are drawn from `p(y | x)`, then flipped: only the flips count as wrong. Models are
linear or have a hidden layer, in turns, and are trained here: plain folds (`--views folds`), or three second passes
without suspects that leave out a part of their own, as `datadiet suspects` does it (`--views second`). For each cell
and each of predictions, a table that holds the area under the margin alone, and the method before, the lines give:
draws whose rate is stated, how many of their intervals hold the truth, their mean width, the largest error of their
estimate, the mean calibration error of their probabilities (ten parts of equal size), and over all draws the mean
average precision of the ranking.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from datadiet.jobs.suspects.evidence import random_parts
from datadiet.noise import combine, mixture_noise_rate, mixture_posterior

EPOCHS = 24
BATCH = 64


@dataclass(frozen=True)
class Cell:
    """One condition of the grid."""

    classes: int
    hard: bool
    rate: float
    kind: str
    imbalanced: bool

    def __str__(self) -> str:
        balance = "1:50" if self.imbalanced else "balanced"
        hardness = "hard" if self.hard else "easy"
        return f"{self.classes} classes, {hardness}, {balance}, {self.kind} {100 * self.rate:.0f} %"


@dataclass
class Draw:
    """One simulated data set and what its models say.

    Args:
        labels: (n,) given.
        wrong: (n,) bool.
        views: logits (n, classes) of models.
        held_out: (n,) bool for each view, drawn at random and not seen by the model.
        late_loss: (n,) of the training pass.
        aum: (n,) area under the margin.
    """

    labels: np.ndarray
    wrong: np.ndarray
    views: list[np.ndarray]
    held_out: list[np.ndarray]
    late_loss: np.ndarray
    aum: np.ndarray


def grid(classes: list[int]) -> Iterator[Cell]:
    """All cells, those without noise once."""
    for count, hard, imbalanced in itertools.product(classes, (False, True), (False, True)):
        yield Cell(count, hard, 0.0, "symmetric", imbalanced)
        for kind, rate in itertools.product(("symmetric", "class_dependent"), (0.05, 0.2, 0.4)):
            if count > 2 or kind == "symmetric":  # of two classes there is only one other
                yield Cell(count, hard, rate, kind, imbalanced)


def data(cell: Cell, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, given labels, and which of them were flipped."""
    classes = cell.classes
    sizes = 50.0 ** -np.linspace(0, 1, classes) if cell.imbalanced else np.ones(classes)
    true = generator.choice(classes, n, p=sizes / sizes.sum())
    dimensions = 6 if classes == 2 else 16
    centres = generator.normal(size=(classes, 1 + cell.hard, dimensions))
    spread = {
        (2, False): 5.0,
        (2, True): 1.7,
        (10, False): 8.0,
        (10, True): 3.8,
        (100, False): 9.0,
        (100, True): 5.5,
    }
    centres *= spread[classes, cell.hard] / np.sqrt(np.mean(np.sum(centres**2, axis=2)))
    points = centres[true, generator.integers(0, 1 + cell.hard, n)] + generator.normal(size=(n, dimensions))
    if cell.kind == "symmetric":
        wrong = generator.random(n) < cell.rate
        steps = generator.integers(1, classes, n)
    else:
        wrong, steps = generator.random(n) < cell.rate, np.ones(n, int)
    return points.astype(np.float32), np.where(wrong, (true + steps) % classes, true), wrong


def train(
    points: np.ndarray, labels: np.ndarray, seen: np.ndarray, hidden: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Several models at once, each on the examples that it may see.

    Args:
        points: (n, d).
        labels: (n,).
        seen: (models, n) bool.
        hidden: units of a hidden layer; 0 for linear models.
        seed: of weights and order.

    Returns:
        Logits (models, n, classes) at the end, and (epochs, n, classes) of the first model's training pass.
    """
    generator = torch.Generator().manual_seed(seed)
    x, y, mask = torch.tensor(points), torch.tensor(labels), torch.tensor(seen, dtype=torch.float32)
    models, n, classes = len(seen), len(y), int(labels.max()) + 1
    widths = [x.shape[1], *([hidden] if hidden else []), classes]
    layers = [
        (torch.randn(models, a, b, generator=generator) / a**0.5, torch.zeros(models, 1, b))
        for a, b in itertools.pairwise(widths)
    ]
    parameters = [tensor.requires_grad_() for layer in layers for tensor in layer]
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * -(-n // BATCH))

    def forward(batch: torch.Tensor) -> torch.Tensor:
        values = batch.expand(models, *batch.shape)
        for place, (weight, bias) in enumerate(layers):
            values = torch.baddbmm(bias, values.relu() if place else values, weight)
        return values

    passes = torch.zeros(EPOCHS, n, classes)
    for epoch in range(EPOCHS):
        for rows in torch.randperm(n, generator=generator).split(BATCH):
            logits = forward(x[rows])
            passes[epoch, rows] = logits[0].detach()
            losses = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), y[rows].repeat(models), reduction="none"
            ).view(models, -1)
            optimizer.zero_grad()
            ((losses * mask[:, rows]).sum(1) / mask[:, rows].sum(1).clamp(min=1)).sum().backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return forward(x).numpy().astype(np.float64), passes.numpy().astype(np.float64)


def margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logit of the label less the largest other one, (..., n)."""
    own = np.take_along_axis(logits, np.broadcast_to(labels, logits.shape[:-1])[..., None], -1)[..., 0]
    others = np.where(np.eye(logits.shape[-1], dtype=bool)[labels], -np.inf, logits)
    return own - others.max(axis=-1)


def drawn(cell: Cell, seed: int, how: str, folds: int = 5, seeds: int = 2) -> Draw:
    """One data set and its models."""
    generator = np.random.default_rng([seed, cell.classes, cell.hard, int(100 * cell.rate), cell.imbalanced])
    n = 1500 if cell.classes < 100 else 3000
    points, labels, wrong = data(cell, n, generator)
    hidden = 32 if seed % 2 else 0
    everything = np.ones((1, n), bool)
    fold = generator.permutation(n) % folds
    if how == "folds":
        apart = np.array([fold != index for index in range(folds)])
        found, passes = train(points, labels, np.concatenate([everything, *[apart] * seeds]), hidden, seed)
        by_fold = found[1:].reshape(seeds, folds, n, -1)
        views = list(by_fold[:, fold, np.arange(n)])
        held_out = [np.ones(n, bool)] * seeds
    else:
        seeds = 3
        found, passes = train(points, labels, np.ones((seeds, n), bool), hidden, seed)
        suspected = suspects_of(found, labels)
        held_out = random_parts(suspected, labels, seeds, seed)
        views = list(train(points, labels, ~(suspected | np.array(held_out)), hidden, seed + 1000)[0])
    losses = (
        np.logaddexp.reduce(passes, axis=-1)
        - np.take_along_axis(passes, np.broadcast_to(labels, passes.shape[:-1])[..., None], -1)[..., 0]
    )
    late_loss = losses[EPOCHS // 2 - 1 :].mean(axis=0)
    return Draw(labels, wrong, views, held_out, late_loss, margins(passes, labels).mean(axis=0))


def suspects_of(first: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What every second pass leaves out."""
    exp = np.exp(first - first.max(axis=-1, keepdims=True))
    mean = (exp / exp.sum(axis=-1, keepdims=True)).mean(axis=0)
    return np.asarray((mean.argmax(axis=1) != labels) & (mean.max(axis=1) > 0.5))


def calibration_error(probability: np.ndarray, wrong: np.ndarray) -> float:
    """Expected calibration error over ten parts of equal size."""
    parts = np.array_split(np.argsort(probability, kind="stable"), 10)
    return sum(len(p) * abs(probability[p].mean() - wrong[p].mean()) for p in parts) / len(wrong)


@dataclass
class Outcome:
    """What a method said of one draw."""

    stated: bool
    holds: bool
    width: float
    error: float
    calibration: float
    precision: float


def outcome(rate: Any, probability: np.ndarray, suspicion: np.ndarray, wrong: np.ndarray) -> Outcome:
    """A noise rate, probabilities and a ranking against the truth."""
    truth = wrong.mean()
    return Outcome(
        getattr(rate, "identified", True),  # an earlier rate was always stated
        rate.low <= truth <= rate.high,
        rate.high - rate.low,
        abs(rate.estimate - truth),
        calibration_error(probability, wrong),
        average_precision_score(wrong, suspicion) if wrong.any() else np.nan,
    )


def outcomes(draw: Draw, before: Callable[..., Any] | None = None) -> dict[str, Outcome]:
    """What the predictions, a table and the method before say of one draw."""
    found = combine(draw.views, draw.labels, draw.late_loss, draw.aum, held_out=draw.held_out)
    said = {"predictions": outcome(found.noise_rate, found.probability_wrong, found.suspicion, draw.wrong)}
    doubts = -draw.aum
    said["table"] = outcome(
        mixture_noise_rate(doubts, draw.labels), mixture_posterior(doubts), doubts, draw.wrong
    )
    if before is not None:
        old = before(draw.views, draw.labels, draw.late_loss, draw.aum)
        said["before"] = outcome(old.noise_rate, old.probability_wrong, old.suspicion, draw.wrong)
    return said


def line(name: str, rows: list[Outcome]) -> str:
    """The means of a cell."""
    stated = [row for row in rows if row.stated]
    held = sum(row.holds for row in stated)
    precision = np.mean([row.precision for row in rows])
    text = f"{name} | {len(stated)} of {len(rows)} | {held}"
    if not stated:
        return f"{text} | - | - | - | {precision:.3f}"
    width, calibration = np.mean([(row.width, row.calibration) for row in stated], axis=0)
    return f"{text} | {width:.3f} | {max(r.error for r in stated):.3f} | {calibration:.3f} | {precision:.3f}"


def main() -> None:
    """Print the lines of each cell, then those of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 10, 100])
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--views", choices=("folds", "second"), default="second")
    parser.add_argument("--before", help="a package with an earlier `combine`")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = importlib.import_module(options.before).combine if options.before else None
    everything: dict[str, list[Outcome]] = defaultdict(list)
    print(
        "cell, by | stated | holds the truth | width | largest error | calibration error | average precision"
    )
    for cell in grid(options.classes):
        rows: dict[str, list[Outcome]] = defaultdict(list)
        for seed in range(options.draws):
            for name, said in outcomes(drawn(cell, seed, options.views), before).items():
                rows[name].append(said)
                everything[name].append(said)
        for name, each in rows.items():
            print(line(f"{cell}, {name}", each), flush=True)
    for name, each in everything.items():
        print(line(f"all, {name}", each))


if __name__ == "__main__":
    main()
