"""Dynamic trainings side by side: a selector, and chance with epochs of the same sizes as the selector's twin."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from datadiet.runs import Run
from datadiet.setup import Setup
from datadiet.training.dynamic_plan import sampler_for, schedule_of, without_dynamic


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
