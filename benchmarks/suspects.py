"""Label errors found: average precision of the default beside single signals, and intervals of the noise rate.

    python benchmarks/suspects.py                      # digits, trained here (minutes)
    python benchmarks/suspects.py --material FOLDER    # trainings kept as <kind>-<rate>-seed<k>.npz

A file of material holds `labels`, `mask` (whether a label was made wrong), `trace_<measure>` (epochs, n) of the
training pass, `logits_<epoch>` (n, classes) of the first pass in evaluation mode, at the score epoch and the last, and
`second_logits_<epoch>` of a model trained without the suspects and without a random part, which `held_out` (n,) says;
without it the noise rate rests on the trace alone. For each setting and seed one line gives the average
precision of EL2N at the score epoch; of cleanlab's self-confidence ranking (the probability of the label) at the last
epoch; of the best single signal at its best epoch, with hindsight; and of the default. Then estimate, interval and
truth of the noise rate, and the calibration error of the probabilities (ten parts of equal size).
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score

import datadiet as dd
from datadiet.data import corrupt
from datadiet.engine.runs import train_run
from datadiet.engine.setup import prepare
from datadiet.jobs.score import score_with
from datadiet.jobs.suspects.evidence import first_pass, late_mean, logits_of, random_parts, second_passes
from datadiet.noise import combine, el2n, label_probability, log_probabilities
from datadiet.scores.outputs import logit_margin

SETTINGS = (("symmetric", 0.1), ("symmetric", 0.3), ("class_dependent", 0.1))
# Sign that makes higher more suspicious, of every measure that a trace holds.
SIGNS = {"el2n": 1, "l1_error": 1, "loss": 1, "probability": -1, "margin": -1, "logit_margin": -1}


@dataclass
class Material:
    """One setting and seed: labels, truth, trace, first-pass logits by epoch, those of the second, what it left out."""

    name: str
    labels: np.ndarray
    mask: np.ndarray
    trace: dict[str, np.ndarray]
    logits: dict[int, np.ndarray]
    second: list[np.ndarray]
    held_out: list[np.ndarray]


def from_folder(folder: Path) -> Iterator[Material]:
    """The files of a folder."""
    for path in sorted(folder.glob("*-seed*.npz")):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        logits = {int(name[7:]): arrays[name] for name in arrays if re.fullmatch(r"logits_\d+", name)}
        second = [arrays[name] for name in arrays if re.fullmatch(r"second_logits_\d+", name)]
        trace = {name: arrays[f"trace_{name}"] for name in SIGNS}
        held_out = [arrays["held_out"]] * len(second) if "held_out" in arrays else []
        yield Material(path.stem, arrays["labels"], arrays["mask"], trace, logits, second, held_out)


def from_digits(seeds: int) -> Iterator[Material]:
    """Digits with injected noise, trained with the recipe `fast`, one training and one second pass a seed."""
    clean = dd.load("digits")
    with tempfile.TemporaryDirectory() as workspace:
        for kind, rate in SETTINGS:
            for seed in range(seeds):
                noisy = corrupt(clean, rate, kind, seed=seed)
                setup = prepare(noisy.examples, "fast", workspace=workspace, device="cpu")
                scoring = score_with(setup, ["el2n"], seeds=1, seed=seed)
                step = scoring.table.provenance["scores"]["el2n"]["step"]
                first = first_pass(setup, scoring.table, [seed])
                run = train_run(setup, seed, record=True)
                trace = {name: run.trace().column(name) for name in SIGNS}
                # EL2N at the score epoch stands in the table; its logits are not needed.
                early, last = step // setup.steps_per_epoch, len(trace["loss"])
                parts = random_parts(first.suspected, noisy.examples.train.labels, 1, seed)
                material = Material(
                    f"digits {kind}-{rate}-seed{seed}",
                    noisy.examples.train.labels,
                    noisy.mask,
                    trace,
                    {last: first.logits[0]},
                    [
                        logits_of(setup, second)
                        for second in second_passes(setup, [seed], [first.suspected | parts[0]])
                    ],
                    parts,
                )
                material.logits[early] = logits_of_step(setup, run, step)
                setup.close()
                yield material


def logits_of_step(setup: object, run: object, step: int) -> np.ndarray:
    """Logits at an earlier step of a run."""
    import dataclasses

    return logits_of(setup, dataclasses.replace(run, total_steps=step))  # type: ignore[arg-type, type-var]


def single_signals(material: Material) -> dict[str, float]:
    """Average precision of every single signal, at its best epoch where it has several."""
    y, mask = material.labels, material.mask
    found: dict[str, float] = {}
    for name, sign in SIGNS.items():
        rows = sign * material.trace[name].astype(np.float64)
        found[f"{name} of one epoch"] = max(average_precision_score(mask, row) for row in rows)
        found[f"{name}, mean so far"] = max(
            average_precision_score(mask, rows[: e + 1].mean(axis=0)) for e in range(len(rows))
        )
    for name, function in (
        ("el2n", el2n),
        ("label probability", lambda z, y: -label_probability(z, y)),
        ("logit margin", lambda z, y: -logit_margin(z.astype(np.float64), y)),
    ):
        found[f"{name}, evaluated"] = max(
            average_precision_score(mask, function(z, y)) for z in material.logits.values()
        )
    entropy = [-(np.exp(p) * p).sum(axis=1) for p in map(log_probabilities, material.logits.values())]
    found["entropy, evaluated"] = max(average_precision_score(mask, values) for values in entropy)
    return found


def calibration_error(probability: np.ndarray, mask: np.ndarray) -> float:
    """Expected calibration error over ten parts of equal size."""
    parts = np.array_split(np.argsort(probability, kind="stable"), 10)
    return sum(len(p) * abs(probability[p].mean() - mask[p].mean()) for p in parts) / len(mask)


def main() -> None:
    """Print a line for each setting and seed, then means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--material", type=Path, help="folder of .npz files; digits are trained without it")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of digits")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    means: dict[str, list[list[float]]] = defaultdict(list)
    print(
        "setting | EL2N@score | self-confidence | best single | default | rate [interval] truth | calibration error"
    )
    for material in from_folder(options.material) if options.material else from_digits(options.seeds):
        y, mask = material.labels, material.mask
        trace = {name: rows.astype(np.float64) for name, rows in material.trace.items()}
        found = combine(
            material.second,
            y,
            late_mean(trace["loss"], np.ones(trace["loss"].shape, bool)),
            trace["logit_margin"].mean(axis=0),
            held_out=material.held_out or None,
            out_of_sample=bool(material.held_out),
        )
        single = single_signals(material)
        best = max(single, key=lambda name: single[name])
        values = [
            average_precision_score(mask, el2n(material.logits[min(material.logits)], y)),
            average_precision_score(mask, -label_probability(material.logits[max(material.logits)], y)),
            single[best],
            average_precision_score(mask, found.suspicion),
        ]
        rate = found.noise_rate
        error = calibration_error(found.probability_wrong, mask)
        covers = "covers" if rate.low <= mask.mean() <= rate.high else "MISSES"
        covers = covers if rate.identified else f"cannot be told, {covers}"
        print(
            f"{material.name} | {values[0]:.4f} | {values[1]:.4f} | {values[2]:.4f} ({best}) | {values[3]:.4f} | "
            f"{rate.estimate:.4f} [{rate.low:.4f}, {rate.high:.4f}] {covers} {mask.mean():.4f} | {error:.4f}",
            flush=True,
        )
        means[material.name.rpartition("-seed")[0]].append([*values, rate.estimate, error])
    for name, rows in means.items():
        mean = np.mean(rows, axis=0)
        print(
            f"mean of {len(rows)}: {name} | {mean[0]:.4f} | {mean[1]:.4f} | {mean[2]:.4f} | {mean[3]:.4f} "
            f"({mean[3] - max(mean[0], mean[1]):+.4f} over the better baseline) | {mean[4]:.4f} | {mean[5]:.4f}"
        )


if __name__ == "__main__":
    main()
