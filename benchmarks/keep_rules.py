"""Rules of selection side by side on CIFAR-10: hardest, stratified, dual, auto and random, with intervals.

    python benchmarks/keep_rules.py ../shared/data/cifar10 --examples 10000 --seeds 2 --budget epochs --out results

Writes `keep_rules.json`, `keep_rules.png` and `.svg`, and prints the table. Trainings are kept in the workspace; a
killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from datadiet.engine.setup import prepare
from datadiet.foundation.progress import ProgressDisplay
from datadiet.jobs.arms import Arm, subset_arm
from datadiet.jobs.compare import compare_arms
from datadiet.jobs.keep import keep
from datadiet.jobs.score import score_with
from datadiet.jobs.verdict import decide
from datadiet.pages.report.canvas import as_png, as_svg, drawing_style
from datadiet.selection import explain_auto, kept_size
from datadiet.studies.toolbox.figures import lines
from noise_material import cifar10

FRACTIONS = (0.7, 0.5, 0.3, 0.1)
EARLY, LATE = 4, 10  # epochs of EL2N and of the trace that DUAL looks at
BY = {"hardest": "el2n", "stratified": "el2n", "dual": "dual", "auto": "el2n"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with train.parquet and test.parquet of CIFAR-10")
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--budget", choices=("steps", "epochs"), default="epochs")
    parser.add_argument("--fractions", type=float, nargs="+", default=FRACTIONS)
    parser.add_argument("--rules", nargs="+", choices=BY, default=list(BY))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/keep_rules"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    examples = cifar10(chosen.data, chosen.examples)
    fixed = {"budget": chosen.budget, "precision": "float32", "memory_format": "channels_last"}
    with ProgressDisplay() as display:
        setup = prepare(examples, "fast", workspace=chosen.workspace, overrides=fixed, display=display)
        late = "dual" in chosen.rules
        wanted = ["el2n", "dual", "confidence"] if late else ["el2n"]
        moments = (EARLY, LATE) if late else (EARLY,)
        table = score_with(setup, wanted, seeds=chosen.seeds, at_epoch=moments).table
        ends = {"el2n": f"@{EARLY}", "dual": f"@{LATE}"} if late else {"el2n": ""}
        by = {rule: BY[rule] + ends[BY[rule]] for rule in chosen.rules}
        arms: list[Arm] = []
        for fraction in chosen.fractions:
            for rule, score in by.items():
                arms.append(subset_arm(score, rule, fraction, keep(table, fraction, by=score, rule=rule)))
        data = decide(compare_arms(setup, arms, seeds=chosen.seeds))
    size = len(examples.train)
    data["auto"] = {
        f"{f:g}": explain_auto(size, kept_size(size, f), examples.num_classes).rule for f in chosen.fractions
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "keep_rules.json").write_text(json.dumps(data, indent=1) + "\n")
    rules = [*by, "random"]
    cells = {(s["rule"], s["keep"]): s for s in data["subsets"]}
    print("| keep | " + " | ".join(rules) + " | auto takes |\n|" + " --- |" * (len(rules) + 2))
    for fraction in chosen.fractions:
        row = []
        for rule in rules:
            cell = cells[rule, fraction]
            text = f"{100 * cell['accuracy']:.2f}"
            if cell["minus_random"] is not None:
                mean, low, high = (100 * value for value in cell["minus_random"])
                text += f" ({mean:+.2f} [{low:+.2f}, {high:+.2f}])"
            row.append(text)
        print(f"| {fraction:g} | " + " | ".join(row) + f" | {data['auto'][f'{fraction:g}']} |")
    full = data["full"]
    print(
        f"full data: {100 * full['accuracy']:.2f} [{100 * full['interval'][0]:.2f}, {100 * full['interval'][1]:.2f}]"
    )
    series = {
        rule: [
            (f, *(100 * v for v in (cells[rule, f]["accuracy"], *cells[rule, f]["interval"])))
            for f in sorted(chosen.fractions)
        ]
        for rule in rules
    }
    with drawing_style():
        figure = lines(
            series,
            x="kept fraction",
            y="test accuracy, %",
            title=f"CIFAR-10, first {size:,} training images, {len(examples.test):,} test images; fast, smallcnn; "
            f"{chosen.seeds} seeds; same {chosen.budget}",
            level_line=("full data", 100 * full["accuracy"]),
        )
        (chosen.out / "keep_rules.png").write_bytes(as_png(figure))
        (chosen.out / "keep_rules.svg").write_bytes(as_svg(figure))


if __name__ == "__main__":
    main()
