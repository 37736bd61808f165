"""The best window of a data set: chosen on a validation part, confirmed once on the test part."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import Unpack

from datadiet.data import Examples
from datadiet.data.leaks import OnLeak
from datadiet.data.load import hold_out
from datadiet.data.parts import with_parts
from datadiet.engine.options import TrainingOptions
from datadiet.engine.reloading import loading_facts, read_examples
from datadiet.engine.setup import Setup, prepare
from datadiet.foundation.atomic import atomic_file, atomic_path, write_json
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import picked, with_options
from datadiet.foundation.statistics import difference_interval
from datadiet.jobs.arms import Arm, subset_arm
from datadiet.jobs.compare import Comparison, compare_arms
from datadiet.jobs.keep import Kept
from datadiet.jobs.keep import keep as keep_ids
from datadiet.jobs.options import TakenOptions, TrialOptions, TuneOptions
from datadiet.jobs.outputs import check_out, inputs_of, question, results_of
from datadiet.jobs.run import Verdict, models_of, retrainings_of
from datadiet.jobs.score import score_with
from datadiet.jobs.tune.trials import (
    NARROWEST,
    Bounds,
    Trial,
    best_trial,
    import_optuna,
    ranges_of,
    refuse_bad_bounds,
    try_windows,
)
from datadiet.jobs.verdict import decide
from datadiet.pages.report import safe_name
from datadiet.scores import ScoreTable, card
from datadiet.selection import kept_size

TUNED = (
    "results.parquet", "recipe.yaml", "scores.parquet", "trials.parquet", "trials.csv", "tuning.png", "tuning.svg",
    "verdict.json", "tuning.json", "kept/*",
)  # fmt: skip


def carve_validation(examples: Examples, *, fraction: float = 0.1, seed: int = 0) -> Examples:
    """The training part in two: what is left of it, and a stratified validation part in the test part's place.

    The test part of the data is not in the result, in no form; example ids stay what they are.

    Args:
        examples: the data.
        fraction: share of the training part that validates, between 0 and 1.
        seed: of the draw.

    Returns:
        `Examples` whose `train` is the rest and whose `test` is the validation part; with a fingerprint of its own.

    Raises:
        BadInputError: no such fraction, or a class with a single training example.

    Example:
        >>> import datadiet as dd
        >>> carved = carve_validation(dd.load("digits"), fraction=0.1)
        >>> len(carved.train), len(carved.test)
        (1294, 144)
    """
    if not 0 < fraction < 1:
        raise BadInputError(f"validation_fraction is {fraction:g}; it must lie between 0 and 1.")
    rest, held = hold_out(examples.train.labels, examples.class_names, fraction=fraction, seed=seed)
    train, test = (examples.train.take(positions) for positions in (rest, held))
    return with_parts(examples, train, test, name=f"{examples.name} without its test part")


@dataclass(frozen=True)
class Tuned:
    """The window, or the options of another rule, that were chosen, how, and what they came to on the test part.

    Args:
        data: the content of `tuning.json`: `rule`, `options`, `window` (`start`, `end`, `keep`, `n`; for other rules
            `keep` and `n` alone), `validation`, `trials`, `confirmation`, `minus_hardest` or for other rules
            `minus_default` (with intervals), `test_part`.
        trials: every window that was tried.
        verdict: the window and plain hardest against full data and matched random, with fresh seeds.
        ids: the ids of the training part that the chosen window keeps.
        folder: where it is written.
    """

    data: Mapping[str, Any]
    trials: list[Trial]
    verdict: Verdict
    ids: np.ndarray
    folder: Path | None = None

    @property
    def start(self) -> float:
        """Share of the hardest examples that the chosen window drops."""
        return float(self.data["window"]["start"])

    @property
    def options(self) -> dict[str, float]:
        """What to tell the rule to keep what was chosen."""
        return dict(self.data["options"])

    @property
    def end(self) -> float:
        """Where the chosen window ends, as a share from the hardest."""
        return float(self.data["window"]["end"])


@with_options()
def tune(source: Any, **options: Unpack[TuneOptions]) -> Tuned:
    """Find where the kept window should begin, and confirm it with fresh seeds.

    A stratified validation part is carved out of the training part. The rest is scored, and windows of its
    order from hardest to easiest are tried: trained on, judged on the validation part, stopped early when
    they are worse than half of those before. The test part takes no part in this. Then the whole training
    part is scored, the chosen window is taken of it, and trained beside full data, matched random and plain
    hardest, with seeds that nothing was chosen by; these trainings are measured on the test part.

    Of another rule than "window" the options in `ranges` are tuned instead of a start (of "stratified" its `beta`,
    if none are named), and the confirmation stands beside the rule with its defaults instead of plain hardest. With
    `tune_end` the smaller of equally accurate windows wins; as more data is seldom worse, its end is often near the
    easiest example unless these harm. The same call goes on where a killed one stopped.

    Args:
        source: anything that `datadiet.load` takes, or `Examples`.

    Raises:
        BadInputError: what cannot be used, before anything is trained; Optuna is not installed.
        RunFailedError: a training broke off.
    """
    import_optuna()
    score, keep, rule, ranges = options["score"], options["keep"], options["rule"], options["ranges"]
    trials, trial_seeds, seed = options["trials"], options["trial_seeds"], options["seed"]
    _check(score, keep, rule, ranges, options["tune_end"])
    tuned_ranges = [] if rule == "window" else ranges_of(rule, keep, ranges)
    models = models_of(options)
    wanted = retrainings_of(options)
    taken = {**picked(TakenOptions, options), "seeds": models}
    inputs = inputs_of(options, source)
    check_out(options, inputs, TUNED)
    examples = read_examples(source, options["load_options"], options["display"])
    kept_size(len(examples.train), float(keep))
    carved = carve_validation(examples, fraction=options["validation_fraction"], seed=seed)
    # That rows of the training part repeat each other is no fault of the test part, and no reason to refuse it.
    validate_on: OnLeak = "keep" if options["on_leak"] == "keep" else "drop"
    left = len(carved.test) - len(carved.repeats.leaked)
    if validate_on == "drop" and left < 2:
        raise BadInputError(
            f"Only {left} of the {len(carved.test)} rows of the validation part do not repeat a row that is trained "
            "on; remove repeated rows from the training part, or count them all the same with --on-leak keep."
        )
    if tuned_ranges:
        refuse_bad_bounds(examples, rule, keep, tuned_ranges)
        refuse_bad_bounds(carved, rule, keep, tuned_ranges)
    on_leak = options["on_leak"]
    # The recipe as the whole training part decides it, so that windows are tried with what they are judged by.
    with closing(prepare(examples, on_leak=on_leak, **picked(TrainingOptions, options))) as setup:
        options |= {"recipe": setup.recipe, "overrides": None}
        asked = question("tune", options, setup, score_seeds=models)
        default = f"{safe_name(examples.name)}-tuning"
        results = results_of(asked, options, inputs, TUNED, default=default, display=setup.display)
    most = 2 * models + trials * trial_seeds + 4 * wanted.most

    with closing(prepare(carved, on_leak=validate_on, **picked(TrainingOptions, options))) as setup:
        setup.display.say(
            f"At most {most} trainings: {models} to score without the validation part, {trials * trial_seeds} to "
            f"try windows (bad ones are stopped early), {models} to score all, {4 * wanted.most} to confirm."
        )
        table = score_with(setup, [score], **taken).table
        size = len(setup.examples.train)
        steps = setup.recipe.total_steps(kept_size(size, keep), size)
        setup.display.plan(trials * trial_seeds * steps, "trials")
        tried = try_windows(setup, table, tuned_ranges, **picked(TrialOptions, options))
        validated = setup.n_test
    best = best_trial(tried)

    with closing(prepare(examples, on_leak=on_leak, **picked(TrainingOptions, options))) as setup:
        facts = loading_facts(examples, options["load_options"])
        scoring = score_with(setup, [score], provenance=facts, **taken)
        arms = _arms(scoring.table, score, rule, best, seed)
        wanted = retrainings_of(options)  # again, as a time is that of the confirmation
        comparison = compare_arms(setup, arms, seeds=wanted, seed=seed, tolerance=options["tolerance"])
        verdict = decide(
            comparison,
            price_per_hour=options["price_per_hour"],
            scoring_seconds=scoring.seconds,
            scoring_processor_seconds=scoring.processor_seconds,
        )
        verdict["notes"] = setup.notes
        ids = arms[0].ids_for(0)
        assert ids is not None
        windowed, first = not best.options, tried[0]
        ends = {"start": best.start, "end": best.end} if windowed else {}
        data = {
            "source": examples.source,
            "fingerprint": examples.fingerprint,
            "score": score,
            "rule": rule,
            "options": best.rule_options,
            "window": {**ends, "keep": best.keep, "n": len(ids)},
            "tune_end": options["tune_end"],
            "seed": seed,
            "most_trainings": most,
            "validation": {
                "fraction": options["validation_fraction"],
                "n": validated,
                "n_train": len(carved.train),
                "accuracy": best.accuracy,
                f"accuracy_of_{'hardest' if windowed else 'first'}": None if first.pruned else first.accuracy,
                "trials": len(tried),
                "pruned": sum(trial.pruned for trial in tried),
                "trial_seeds": trial_seeds,
                "note": "The best of many trials: optimistic. The confirmation is what the window is worth.",
            },
            "trials": [trial.as_row() for trial in tried],
            "confirmation": verdict,
            f"minus_{'hardest' if windowed else 'default'}": _minus_plain(
                arms, [arm.correct() for arm in comparison.arms if arm.runs]
            ),
            "test_part": {
                "n": setup.n_test,
                "note": "Looked at once, after the window was chosen, by trainings with seeds of their own.",
            },
        }
        tuned = Tuned(data, tried, Verdict(verdict, results.path), ids, results.path)
        if setup.accelerator.is_main_process:
            with results.written() as new:
                _write(new, setup, scoring.table, comparison, tuned)
    return tuned


def _check(score: str, keep: float, rule: str, ranges: Mapping[str, Bounds] | None, tune_end: bool) -> None:
    if rule == "window" and ranges:
        raise BadInputError(
            "A window is tuned over all its starts; ranges are for the options of other rules."
        )
    if rule != "window" and tune_end:
        raise BadInputError(f"tune_end is for windows, which have an end; the rule is {rule!r}.")
    if card(score).name == "random":
        raise BadInputError(
            "A window of random scores is a random choice; name a score that orders examples."
        )
    if tune_end and keep < NARROWEST:
        raise BadInputError(f"keep is {keep:g}; windows whose end is tuned too hold at least {NARROWEST:g}.")


def _arms(table: ScoreTable, score: str, rule: str, best: Trial, seed: int) -> list[Arm]:
    """What was chosen, and beside it plain hardest, or the rule with its defaults, where that is another choice."""
    ids = keep_ids(table, best.keep, by=score, rule=rule, seed=seed, **best.rule_options)
    beside = "hardest" if rule == "window" else rule
    plain = keep_ids(table, best.keep, by=score, rule=beside, seed=seed)
    arms = [subset_arm(score, rule if rule == "window" else f"{rule} tuned", best.keep, ids)]
    return arms if np.array_equal(ids, plain) else [*arms, subset_arm(score, beside, best.keep, plain)]


def _minus_plain(arms: list[Arm], among: list[np.ndarray]) -> list[float | None] | None:
    """Test accuracy of what was chosen less that of what stands beside it, with its interval; None if the same."""
    if len(arms) < 2 or not all(arm.runs for arm in arms):
        return None
    return difference_interval(arms[0].correct(), arms[1].correct(), among=among).as_list()


def _write(folder: Path, setup: Setup, table: ScoreTable, comparison: Comparison, tuned: Tuned) -> None:
    from datadiet.jobs.tune.figures import draw_tuning
    from datadiet.pages.report.canvas import as_png, as_svg

    rows = [trial.as_row() for trial in tuned.trials]
    figure = draw_tuning(tuned.data)
    comparison.write(folder / "results.parquet")
    setup.recipe.to_yaml(folder / "recipe.yaml")
    table.write(folder / "scores.parquet")
    with atomic_path(folder / "trials.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
    with (
        atomic_path(folder / "trials.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as text,
    ):
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for name, content in (("tuning.png", as_png(figure)), ("tuning.svg", as_svg(figure))):
        with atomic_file(folder / name) as file:
            file.write(content)
    window, score, rule = tuned.data["window"], tuned.data["score"], tuned.data["rule"]
    told = " ".join(f"{name} {value:g}" for name, value in tuned.options.items())
    if "start" in window:
        told = f"{window['start']:g} to {window['end']:g}"
    choice = {"score": score, "rule": rule, "keep": window["keep"], "options": tuned.options}
    kept = Kept.of_table(tuned.ids, table, folder / "scores.parquet", **choice)
    kept.write(folder / "kept" / f"{safe_name(f'{score} {rule} {told}')}.parquet")
    write_json(folder / "verdict.json", tuned.verdict.data)
    write_json(folder / "tuning.json", tuned.data)
