"""`datadiet tune`: the best window, found on a validation part and confirmed on the test part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from datadiet.cli.options import (
    AsJson,
    Data,
    Machine,
    RecipeFlags,
    Seed,
    Source,
    Tolerance,
    command,
    data_options,
    preparing,
)
from datadiet.cli.output import display, is_main_process, print_json


@command
def tune(
    source: Source,
    score: Annotated[str, typer.Option(help="The score to order examples by.")] = "el2n",
    keep: Annotated[
        float, typer.Option(help="Fraction that stays; with --tune-end the least that may.")
    ] = 0.5,
    rule: Annotated[
        str, typer.Option(help="window, or a rule whose options are tuned instead, such as stratified.")
    ] = "window",
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", help="NAME=LOW:HIGH, an option of the rule and what to try; repeatable."),
    ] = None,
    tune_end: Annotated[bool, typer.Option("--tune-end", help="Find the end of the window too.")] = False,
    trials: Annotated[int, typer.Option(help="Windows to try.")] = 20,
    trial_seeds: Annotated[int, typer.Option(help="Trainings of each.")] = 1,
    validation_fraction: Annotated[
        float, typer.Option(help="Share of the training part that windows are judged on.")
    ] = 0.1,
    seeds: Annotated[int, typer.Option(help="Trainings of each arm of the confirmation.")] = 3,
    score_seeds: Annotated[
        int | None, typer.Option(help="Models that scores are averaged over [as --seeds].")
    ] = None,
    seed: Seed = 0,
    at_epoch: Annotated[
        float | None, typer.Option(help="Epoch of the scores [two fifths of the run].")
    ] = None,
    tolerance: Tolerance = 0.5,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
    as_json: AsJson = False,
    *,
    data: Data,
    recipe: RecipeFlags,
    machine: Machine,
) -> None:
    """Find where the kept window should start, and confirm it with fresh seeds."""
    from datadiet.jobs.tune import tune as tune_window

    with display() as shown:
        tuned = tune_window(
            source,
            score=score,
            keep=keep,
            rule=rule,
            ranges=_ranges(ranges),
            tune_end=tune_end,
            trials=trials,
            trial_seeds=trial_seeds,
            validation_fraction=validation_fraction,
            seeds=seeds,
            score_seeds=score_seeds,
            seed=seed,
            at_epoch=at_epoch,
            tolerance=tolerance,
            out=out,
            load_options=data_options(data),
            display=shown,
            **preparing(recipe, machine),
        )
    if not is_main_process():
        return
    if as_json:
        print_json({**tuned.data, "folder": str(tuned.folder)})
    else:
        _print(tuned)


def _ranges(given: list[str] | None) -> dict[str, tuple[float, float]]:
    """Ranges by option from NAME=LOW:HIGH.

    Example:
        >>> _ranges(["beta=0:0.4"])
        {'beta': (0.0, 0.4)}
    """
    from datadiet.foundation.errors import BadInputError

    found = {}
    for text in given or []:
        name, _, bounds = text.partition("=")
        low, _, high = bounds.partition(":")
        try:
            found[name] = (float(low), float(high))
        except ValueError as error:
            raise BadInputError(
                f"--range {text!r} is not NAME=LOW:HIGH with two numbers, such as beta=0:0.4."
            ) from error
    return found


def _print(tuned: Any) -> None:
    from rich.console import Console

    from datadiet.pages.report import verdict_table

    console = Console()
    window, validation = tuned.data["window"], tuned.data["validation"]
    windowed = tuned.data["rule"] == "window"
    if windowed:
        tried, beside = "windows", "The window minus plain hardest"
        best = (
            f"Best window by {tuned.data['score']}: from {100 * window['start']:g} % to {100 * window['end']:g} % "
            "of the order from hardest to easiest"
        )
    else:
        tried, beside = "settings", "Tuned minus default options"
        told = ", ".join(f"{name} {value:g}" for name, value in tuned.options.items())
        best = f"Best options of {tuned.data['rule']} by {tuned.data['score']}: {told}"
    sentence = (
        f"{best}, {100 * validation['accuracy']:.1f} % right on the validation part "
        f"({validation['trials']} {tried} tried, {validation['pruned']} stopped early). Confirmed on the test part, "
        "which was not looked at before:"
    )
    console.print(sentence, markup=False, highlight=False)
    console.print(verdict_table(tuned.verdict.data))
    minus = tuned.data["minus_hardest" if windowed else "minus_default"]
    if minus is not None:
        mean, low, high = (100 * value for value in minus)
        console.print(
            f"{beside}: {mean:+.1f} points [{low:+.1f}, {high:+.1f}].", markup=False, highlight=False
        )
    console.print(str(tuned.folder), markup=False, highlight=False, soft_wrap=True)
