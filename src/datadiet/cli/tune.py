"""`datadiet tune`: the best window, found on a validation part and confirmed on the test part."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from datadiet.cli.command import AsJson, Source, command
from datadiet.cli.printing import display, say, show
from datadiet.jobs.options import TuneOptions


@command(
    "tune digits --score el2n --keep 0.5 --trials 20",
    order="score keep rule ranges tune_end trials trial_seeds validation_fraction seeds max_seeds time score_seeds "
    "seed at_epoch tolerance price_per_hour on_leak",
)
def tune(source: Source, as_json: AsJson = False, **options: Unpack[TuneOptions]) -> None:
    """Find where the kept window should start, and confirm it with fresh seeds."""
    from datadiet.jobs.tune.job import tune as tune_window

    with display(options) as shown:
        tuned = tune_window(source, **options)
    show(as_json, {**tuned.data, "folder": str(tuned.folder)}, lambda: _print(tuned), said=shown.said)


def _print(tuned: Any) -> None:
    from datadiet.pages.report import first_warnings, verdict_table

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
    say(
        f"{best}, {100 * validation['accuracy']:.1f} % right on the validation part "
        f"({validation['trials']} {tried} tried, {validation['pruned']} stopped early). Confirmed on the test part, "
        "which was not looked at before:",
        wrap=True,
    )
    for shown in (verdict_table(tuned.verdict.data), *first_warnings(tuned.verdict.data)):
        say(f"Warning: {shown}" if isinstance(shown, str) else shown, wrap=True)
    minus = tuned.data["minus_hardest" if windowed else "minus_default"]
    if minus is not None:
        mean, low, high = (100 * value for value in minus)
        say(f"{beside}: {mean:+.1f} points [{low:+.1f}, {high:+.1f}].", wrap=True)
    say(str(tuned.folder))
