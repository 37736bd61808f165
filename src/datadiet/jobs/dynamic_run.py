"""The whole job for a dynamic selector: full data, the selector and its random twin, trained and decided."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.dynamic import selector_card
from datadiet.engine.runs import Run, train_run
from datadiet.engine.setup import Setup
from datadiet.engine.training.dynamic import sampler_for, schedule_of, without_dynamic
from datadiet.jobs.arms import FRESH_SEEDS, Arm
from datadiet.jobs.compare import Comparison
from datadiet.jobs.race import Race, Seeds
from datadiet.jobs.verdict import decide
from datadiet.pages.report import ReportContents, write_report

RULE = "dynamic"  # what stands in the column of rules


def with_dynamic(setup: Setup, name: str, options: Mapping[str, Any] | None = None) -> Setup:
    """The same data and recipe with a dynamic selector.

    Args:
        setup: any.
        name: of the selector.
        options: its own and those of its schedule.

    Raises:
        BadInputError: no such selector or option, or one that does not fit the data.
    """
    recipe = setup.recipe.replace(dynamic=name, dynamic_options=dict(options or {}))
    sampler_for(recipe, setup.examples.train.ids, 0)
    return dataclasses.replace(setup, recipe=recipe)


def with_everything(setup: Setup) -> Setup:
    """The same data and recipe, on everything in every epoch."""
    return dataclasses.replace(setup, recipe=without_dynamic(setup.recipe))


def twin_of(setup: Setup, run: Run) -> Setup:
    """The setup of a run's random twin: every epoch has as many examples as the run's, drawn anew when it chose anew.

    So both take as many steps on as many examples; passes that only score are on the run's bill alone. A twin belongs
    to one run: where sizes depend on what was learnt, each seed has a twin of its own.

    Args:
        setup: of the run, dynamic.
        run: a finished one of this setup.
    """
    assert run.result is not None
    schedule = schedule_of(setup.recipe, run.num_examples)
    options = {
        "sizes": list(run.result["ledger"]["epoch_sizes"]),
        "warmup": schedule.warmup,
        "every": schedule.every,
        "full_tail": schedule.full_tail,
    }
    return with_dynamic(with_everything(setup), "random", options)


def trained_share(run: Run) -> float:
    """Examples that a finished run went backward on, as a share of what all data takes in the same epochs."""
    assert run.result is not None
    ledger = run.result["ledger"]
    whole = run.result["epochs"] * run.num_examples
    return float(ledger["backwarded"] / whole)


def compare_dynamic(setup: Setup, *, seeds: Seeds, seed: int = 0, tolerance: float = 0.5) -> Comparison:
    """Train full data, the recipe's selector, and chance with epochs of the same sizes, with the same seeds.

    Seed by seed, one after the other, so that a machine that becomes slower does so for all three; until both are
    decided, where seeds are not fixed.

    Args:
        setup: with a dynamic recipe.
        seeds: how many trainings of each.
        seed: base seed.
        tolerance: percentage points that may be lost.

    Returns:
        A `Comparison` whose arms have as `n` and `keep` what an epoch was trained on, on average.

    Raises:
        RunFailedError: a training broke off; the finished ones are kept.
    """
    name = str(setup.recipe.dynamic)
    whole, total = with_everything(setup), len(setup.examples.train)
    length = setup.recipe.total_steps(total)
    arms = [
        Arm("full", "all", 1.0, total, lambda index: None),
        Arm(name if name != "random" else "random cycles", RULE, 1.0, total, lambda index: None),
        Arm("random", f"twin of {name}", 1.0, total, lambda index: None),
    ]
    full, selector, twin = arms
    race = Race(arms, seeds, tolerance, () if seeds.fixed else (seeds.most,))

    def train(arm: Arm, setup: Setup, index: int, called: str) -> None:
        run = train_run(
            setup, seed + FRESH_SEEDS + index, label=f"{called}, seed {index + 1} of {seeds.most}"
        )
        if not run.trained:
            setup.display.skip(length)
        arm.runs.append(run)

    for index in range(seeds.most):
        before = time.monotonic()
        if index in (0, seeds.fewest):
            setup.display.plan(3 * length * (seeds.fewest if index == 0 else seeds.most - index), "training")
        train(full, whole, index, "full data")
        train(selector, setup, index, name)
        train(twin, twin_of(setup, selector.runs[index]), index, f"random twin of {name}")
        share = round(float(np.mean([trained_share(run) for run in selector.runs])), 4)
        for arm in (selector, twin):
            arm.keep, arm.n = share, round(share * total)
        if index + 1 < seeds.fewest:
            continue
        race.look()
        if not seeds.fixed and not race.fronts():
            race.stopped = "decided"
            break
        now = time.monotonic()
        if seeds.until is not None and setup.agreed(now + (now - before) > seeds.until):
            race.stopped = "time"
            break
    else:
        race.stopped = "fixed" if seeds.fixed else "seeds"
    recipe = dataclasses.replace(setup.recipe, budget="epochs")
    return Comparison(dataclasses.replace(setup, recipe=recipe), arms, race)


def dynamic_verdict(
    setup: Setup, comparison: Comparison, *, command: str | None = None, price_per_hour: float | None = None
) -> dict[str, Any]:
    """`verdict.json` of a dynamic comparison: `datadiet.jobs.verdict.decide`, and what was dynamic under "dynamic"."""
    data = decide(comparison, command=command, price_per_hour=price_per_hour)
    data["notes"] = setup.notes
    recipe = setup.recipe
    schedule = schedule_of(recipe, len(setup.examples.train))
    sizes = [result["ledger"]["epoch_sizes"] for result in comparison.arms[1].results]
    data["dynamic"] = {
        "selector": recipe.dynamic,
        "options": dict(recipe.dynamic_options),
        "schedule": dataclasses.asdict(schedule),
        "source": selector_card(str(recipe.dynamic)).source,
        "epoch_sizes": sizes,
        "title": setup.examples.name,
        "notes": list(setup.examples.notes),
        "recipe": recipe.to_dict(),
        "command": command,
    }
    return data


def write_dynamic_report(data: Mapping[str, Any], folder: Path) -> Path:
    """The page of a dynamic comparison, which needs nothing but its verdict."""
    about = data["dynamic"]
    note = (
        f"Nothing is left out for good: {about['selector']} chooses anew while training, and 'kept' is the share of "
        "the examples that an epoch was trained on, on average. The random twin has epochs of the same sizes, drawn "
        "at random."
    )
    shown = [
        "selector",
        "source",
        "options",
        "schedule",
        "recipe",
        *(["command"] if about.get("command") else []),
    ]
    provenance = {key: about[key] for key in shown}
    contents = ReportContents(
        title=about["title"], verdict=data, provenance=provenance, notes=[*about["notes"], note]
    )
    return write_report(contents, folder)
