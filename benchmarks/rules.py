"""Rules of selection side by side, over one score: accuracy of what each keeps, same epochs, with intervals.

    python benchmarks/rules.py ../shared/data/cifar10 --out results/cifar10 --workspace runs
    python benchmarks/rules.py train.parquet --test test.parquet --seeds 5 --out results/trec6

Every rule keeps the same fractions by the same score (of --models models, at the score epoch), `dual` by its own;
random draws anew for every seed. `stratified tuned` and `window tuned` choose beta and start on a validation part, a
tenth of the training part, with trainings of their own that are not counted. `--arms-only` trains and writes nothing,
so that several processes can share the work (--fractions); a killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import datadiet as dd
from datadiet.engine.embedding import embeddings_of
from datadiet.engine.runs import train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.foundation.progress import ProgressDisplay
from datadiet.foundation.statistics import Trained
from datadiet.jobs.arms import FRESH_SEEDS, Arm, subset_arm
from datadiet.jobs.compare import compare_arms
from datadiet.jobs.race import Seeds
from datadiet.jobs.score import default_epoch, score_with
from datadiet.jobs.tune.job import carve_validation
from datadiet.scores import ScoreTable
from datadiet.selection import select

FRACTIONS = (0.9, 0.7, 0.5, 0.3, 0.1)
#: Rule by the name in the table: the rule, its options, and the score where it is not the common one.
RULES: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "hardest": ("hardest", {}, None),
    "easiest": ("easiest", {}, None),
    "stratified": ("stratified", {}, None),
    "dual": ("dual", {}, "dual"),
    "moderate": ("moderate", {}, None),
    "moderate released": ("moderate", {"centre": "median", "window": "ranks"}, None),
    "prototypes hard": ("prototypes", {"end": "hard"}, None),
    "prototypes easy": ("prototypes", {"end": "easy"}, None),
    "d2": ("d2", {}, None),
    "d2 released": ("d2", {"form": "code"}, None),
    "stratified by aum": ("stratified", {"drop_by": "aum"}, None),
    "tdds": ("hardest", {}, "tdds"),
    "tdds label": ("hardest", {}, "tdds_label"),
}
#: What is tuned on a validation part: the option, and the shares of the hardest that are tried beside none.
TUNED = {"stratified tuned": ("stratified", "beta"), "window tuned": ("window", "start")}
TRIED = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)


def rule_of(name: str) -> tuple[str, dict[str, Any], str | None]:
    """What a name in the table stands for; `stratified beta=0.2` is a rule with a number of its own."""
    if name in RULES:
        return RULES[name]
    rule, *given = name.split()
    return rule, {option: float(value) for option, value in (each.split("=") for each in given)}, None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="what datadiet.load takes")
    parser.add_argument("--test")
    parser.add_argument("--label")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--model")
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--by", default="mean_el2n")
    parser.add_argument("--models", type=int, default=3, help="that scores are averaged over")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fractions", type=float, nargs="+", default=FRACTIONS)
    parser.add_argument("--rules", nargs="+", default=[*RULES, *TUNED, "random"])
    parser.add_argument("--rows", type=int, help="the first rows alone")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    parser.add_argument("--arms-only", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    given = {name: getattr(chosen, name) for name in ("test", "label") if getattr(chosen, name)}
    examples = dd.load(chosen.data, **given)
    overrides: dict[str, Any] = {"budget": "epochs"}
    overrides |= {name: getattr(chosen, name) for name in ("model", "epochs") if getattr(chosen, name)}
    with ProgressDisplay() as display:
        setup = prepare(
            examples, chosen.recipe, workspace=chosen.workspace, overrides=overrides, display=display
        )
        table, more, vectors = scores_of(setup, chosen)
        arms: list[Arm] = []
        settings: dict[str, Any] = {}
        for fraction in chosen.fractions:
            for name in chosen.rules:
                if name == "random":
                    continue
                rule, options, by = (*TUNED[name], None) if name in TUNED else rule_of(name)
                if name in TUNED:
                    assert isinstance(options, str)
                    value = tuned(setup, chosen, table, rule, options, fraction)
                    settings[f"{name} {fraction:g}"] = value
                    options = {options: value}
                extra = {"confidence": more.column("confidence")} if rule == "dual" else None
                if dropped := options.get("drop_by"):
                    extra = {dropped: more.hardness(dropped)}
                scores = (more if by else table).hardness(by or chosen.by)
                ids = select(
                    table.ids,
                    scores,
                    fraction,
                    rule=rule,
                    labels=table.labels,
                    embeddings=vectors,
                    extra=extra,
                    **options,
                )
                arms.append(subset_arm(by or chosen.by, name, fraction, ids))
        seeds = Seeds(most=chosen.seeds, fixed=True)
        comparison = compare_arms(setup, arms, seeds=seeds)
    if chosen.arms_only:
        return
    found = judged(comparison.arms, examples.name, len(examples.train), setup, chosen)
    found["tuned"] = settings
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "rules.json").write_text(json.dumps(found, indent=1) + "\n")
    print_table(found)


def scores_of(setup: Setup, chosen: Any) -> tuple[ScoreTable, ScoreTable, np.ndarray]:
    """The common score at the score epoch, the others over the whole training, and embeddings at the score epoch."""
    size = len(setup.examples.train)
    epoch = default_epoch(setup.recipe, size)
    scoring = score_with(setup, [chosen.by], seeds=chosen.models, at_epoch=epoch, also_free=False)
    further = [by for name in chosen.rules if name not in TUNED and (by := rule_of(name)[2])]
    last = int(setup.recipe.total_steps(size) / setup.steps_per_epoch)
    more = score_with(
        setup,
        list(dict.fromkeys(["dual", "confidence", "aum", *further])),
        seeds=chosen.models,
        at_epoch=last,
        also_free=False,
    )
    vectors = embeddings_of(setup, scoring.runs[0], setup.step_of(epoch), None).values
    return scoring.table, more.table, vectors


def tuned(setup: Setup, chosen: Any, table: ScoreTable, rule: str, option: str, fraction: float) -> float:
    """The share of the hardest that is best left out, by one training each, judged on a tenth of the training part."""
    carved = carve_validation(setup.examples)
    overrides = {
        "budget": "epochs",
        "precision": setup.recipe.precision,
        "memory_format": setup.recipe.memory_format,
    }
    best, accuracy = 0.0, -1.0
    inside = np.isin(table.ids, carved.train.ids)
    validated = prepare(
        carved,
        setup.recipe,
        workspace=chosen.workspace,
        overrides=overrides,
        display=setup.display,
        on_leak="keep",
    )
    try:
        for value in TRIED:
            if value >= 1 - fraction:
                continue
            ids = select(
                table.ids[inside],
                table.hardness(chosen.by)[inside],
                fraction,
                rule=rule,
                labels=table.labels[inside],
                **{option: value},
            )
            run = train_run(
                validated, FRESH_SEEDS - 1, ids=ids, label=f"{rule} {option}={value:g} at {fraction:g}"
            )
            assert run.result is not None
            if run.result["accuracy"] > accuracy:
                best, accuracy = value, run.result["accuracy"]
    finally:
        validated.close()
    return best


def judged(arms: list[Arm], name: str, n: int, setup: Setup, chosen: Any) -> dict[str, Any]:
    """Accuracy of every arm, and its difference to random and to the best rule of its fraction, with intervals."""
    evidence = Trained([arm.correct() for arm in arms], [arm.keep for arm in arms])
    place = {(arm.rule, arm.keep): index for index, arm in enumerate(arms)}
    cells = []
    for fraction in chosen.fractions:
        others = {rule: index for (rule, keep), index in place.items() if keep == fraction}
        best = max(others, key=lambda rule: float(np.mean(arms[others[rule]].accuracies)))
        for rule, index in others.items():
            cells.append(
                {
                    "rule": rule,
                    "keep": fraction,
                    "n": arms[index].n,
                    "accuracies": arms[index].accuracies,
                    "accuracy": evidence.accuracy(index).as_list(),
                    "minus_random": evidence.difference(index, others["random"]).as_list(),
                    "minus_full": evidence.difference(index, 0).as_list(),
                    "best": best,
                    "minus_best": evidence.difference(index, others[best]).as_list(),
                }
            )
    return {
        "data": name,
        "n": n,
        "n_test": setup.n_test,
        "recipe": setup.recipe.to_dict(),
        "by": chosen.by,
        "models": chosen.models,
        "seeds": chosen.seeds,
        "full": {"accuracies": arms[0].accuracies, "accuracy": evidence.accuracy(0).as_list()},
        "cells": cells,
    }


def print_table(found: Mapping[str, Any]) -> None:
    rules = list(dict.fromkeys(cell["rule"] for cell in found["cells"]))
    full = found["full"]["accuracy"]
    print(
        f"{found['data']}: {found['n']:,} training and {found['n_test']:,} test rows, {found['recipe']['name']}, "
        f"{found['recipe']['model']}, {found['seeds']} seeds, same epochs; {found['by']} of {found['models']} models. "
        f"Full data {100 * full[0]:.2f} [{100 * full[1]:.2f}, {100 * full[2]:.2f}]\n"
    )
    print("| keep | " + " | ".join(rules) + " |\n|" + " --- |" * (len(rules) + 1))
    for fraction in dict.fromkeys(cell["keep"] for cell in found["cells"]):
        row = []
        for rule in rules:
            cell = next(c for c in found["cells"] if (c["rule"], c["keep"]) == (rule, fraction))
            text = f"{100 * cell['accuracy'][0]:.2f}"
            if rule != "random":
                text += " ({:+.2f} [{:+.2f}, {:+.2f}])".format(*(100 * v for v in cell["minus_random"]))
            row.append(text)
        print(f"| {fraction:g} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
