"""The best window of a data set: chosen on a validation part, confirmed once on the test part."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.data import Examples
from datadiet.data.fingerprint import fingerprint
from datadiet.data.load import hold_out
from datadiet.engine.reloading import loading_facts, read_examples
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.atomic import atomic_file, atomic_path, write_json
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.statistics import difference_interval
from datadiet.jobs.checks import check_folder, check_seeds, check_tolerance
from datadiet.jobs.compare import Arm, Comparison, compare_arms, subset_arm
from datadiet.jobs.keep import Kept, checked_seed
from datadiet.jobs.keep import keep as keep_ids
from datadiet.jobs.run import Verdict
from datadiet.jobs.score import DEFAULT_SEEDS, Scoring, score_with
from datadiet.jobs.tune.search_space import Bounds, ranges_of, refuse_bad_bounds
from datadiet.jobs.tune.trials import NARROWEST, Trial, best_trial, import_optuna, try_windows
from datadiet.jobs.verdict import DEFAULT_TOLERANCE, decide
from datadiet.pages.report import safe_name
from datadiet.scores import card
from datadiet.selection import kept_size


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
    parts = [examples.train.take(positions) for positions in (rest, held)]
    return dataclasses.replace(
        examples,
        name=f"{examples.name} without its test part",
        train=parts[0],
        test=parts[1],
        fingerprint=fingerprint(examples.class_names, parts),
        holdout_seed=None,
        left_out_test=(),
        notes=(),
    )


DEFAULT_TRIALS = 20
DEFAULT_VALIDATION = 0.1


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


def tune(
    source: Any,
    *,
    score: str = "el2n",
    keep: float = 0.5,
    rule: str = "window",
    ranges: Mapping[str, Bounds] | None = None,
    tune_end: bool = False,
    trials: int = DEFAULT_TRIALS,
    trial_seeds: int = 1,
    validation_fraction: float = DEFAULT_VALIDATION,
    seeds: int = DEFAULT_SEEDS,
    score_seeds: int | None = None,
    seed: int = 0,
    at_epoch: float | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    recipe: str | Recipe = "fast",
    workspace: str | Path = "runs",
    out: str | Path | None = None,
    load_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Tuned:
    """Find where the kept window should begin, and confirm it with fresh seeds.

    A stratified validation part is carved out of the training part. The rest is scored, and windows of its
    order from hardest to easiest are tried: trained on, judged on the validation part, stopped early when
    they are worse than half of those before. The test part takes no part in this. Then the whole training
    part is scored, the chosen window is taken of it, and trained beside full data, matched random and plain
    hardest, with seeds that nothing was chosen by; these trainings are measured on the test part.

    Args:
        source: anything that `datadiet.load` takes, or `Examples`.
        score: the score to order by.
        keep: share that stays; with `tune_end`, the least that may.
        rule: "window", or another rule that needs scores alone: then its options are tuned instead of a start, and
            the confirmation stands beside the rule with its defaults instead of plain hardest.
        ranges: of another rule, option -> (least, greatest) value to try; None for `beta` of "stratified", the share
            of the hardest that it drops.
        tune_end: look for the end too; of equally accurate windows the smaller wins. As more data is seldom
            worse, that often ends near the easiest example unless these harm.
        trials: windows to try.
        trial_seeds: trainings of each.
        validation_fraction: share of the training part that validates.
        seeds: trainings of each arm of the confirmation.
        score_seeds: models that scores are averaged over; None for as many as `seeds`.
        seed: base of all seeds.
        at_epoch: epoch of the scores; None for the recipe's.
        tolerance: percentage points of accuracy that may be lost, for the verdict.
        recipe: "fast", "paper", "finetune", a YAML file, or a `Recipe`.
        workspace: where trainings live; the same call goes on where a killed one stopped.
        out: folder of the results; None for `workspace/<name of the data>-tuning`.
        load_options: further arguments of `datadiet.load`.
        options: further arguments of `datadiet.engine.setup.prepare`.

    Raises:
        BadInputError: what cannot be used, before anything is trained; Optuna is not installed.
        RunFailedError: a training broke off.
    """
    import_optuna()
    _check(score, keep, rule, ranges, tune_end, trials, trial_seeds)
    tuned_ranges = [] if rule == "window" else ranges_of(rule, keep, ranges)
    check_tolerance(tolerance)
    score_seeds = seeds if score_seeds is None else score_seeds
    check_seeds(min(seeds, score_seeds))
    checked_seed(seed)
    examples = read_examples(source, load_options, options.get("display"))
    kept_size(len(examples.train), float(keep))
    folder = Path(out) if out is not None else Path(workspace) / f"{safe_name(examples.name)}-tuning"
    check_folder(folder)
    carved = carve_validation(examples, fraction=validation_fraction, seed=seed)
    if tuned_ranges:
        refuse_bad_bounds(examples, rule, keep, tuned_ranges)
        refuse_bad_bounds(carved, rule, keep, tuned_ranges)
    resolved = _resolved(examples, recipe, workspace, options)
    most = 2 * score_seeds + trials * trial_seeds + 4 * seeds
    options = {**options, "overrides": None}

    setup = prepare(carved, resolved, workspace=workspace, **options)
    setup.display.say(
        f"At most {most} trainings: {score_seeds} to score without the validation part, {trials * trial_seeds} to "
        f"try windows (bad ones are stopped early), {score_seeds} to score all, {4 * seeds} to confirm."
    )
    scored_with = {"seeds": score_seeds, "seed": seed, "at_epoch": at_epoch}
    try:
        table = score_with(setup, [score], **scored_with).table  # type: ignore[arg-type]
        size = len(setup.examples.train)
        setup.display.plan(
            trials * trial_seeds * setup.recipe.total_steps(kept_size(size, keep), size), "trials"
        )
        tried = try_windows(
            setup, table, score=score, keep=keep, tune_end=tune_end, trials=trials, trial_seeds=trial_seeds,
            seed=seed, rule=rule, ranges=tuned_ranges,
        )  # fmt: skip
    finally:
        setup.close()
    best = best_trial(tried)

    setup = prepare(examples, resolved, workspace=workspace, **options)
    try:
        scoring = score_with(
            setup, [score], **scored_with, provenance=loading_facts(examples, load_options)  # type: ignore[arg-type]
        )  # fmt: skip
        arms = _arms(scoring, score, rule, best, seed)
        comparison = compare_arms(setup, arms, seeds=seeds, seed=seed)
        verdict = decide(
            comparison,
            tolerance=tolerance,
            scoring_seconds=scoring.seconds,
            scoring_processor_seconds=scoring.processor_seconds,
        )
        ids = arms[0].ids_for(0)
        assert ids is not None
        data = {
            "source": examples.source,
            "fingerprint": examples.fingerprint,
            "score": score,
            "rule": rule,
            "options": _options(best),
            "window": {
                **({} if best.options else {"start": best.start, "end": best.end}),
                "keep": best.keep,
                "n": len(ids),
            },
            "tune_end": tune_end,
            "seed": seed,
            "most_trainings": most,
            "validation": {
                "fraction": validation_fraction,
                "n": len(carved.test),
                "n_train": len(carved.train),
                "accuracy": best.accuracy,
                "accuracy_of_first" if best.options else "accuracy_of_hardest": tried[0].accuracy
                if not tried[0].pruned
                else None,
                "trials": len(tried),
                "pruned": sum(trial.pruned for trial in tried),
                "trial_seeds": trial_seeds,
                "note": "The best of many trials: optimistic. The confirmation is what the window is worth.",
            },
            "trials": [trial.as_row() for trial in tried],
            "confirmation": verdict,
            "minus_default" if best.options else "minus_hardest": _minus_plain(comparison, arms),
            "test_part": {
                "n": len(examples.test),
                "note": "Looked at once, after the window was chosen, by trainings with seeds of their own.",
            },
        }
        tuned = Tuned(data, tried, Verdict(verdict, folder), ids, folder)
        if setup.accelerator.is_main_process:
            _write(folder, setup, scoring, comparison, tuned)
    finally:
        setup.close()
    return tuned


def _check(
    score: str,
    keep: float,
    rule: str,
    ranges: Mapping[str, Bounds] | None,
    tune_end: bool,
    trials: int,
    trial_seeds: int,
) -> None:
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
    if not (isinstance(keep, float) and 0 < keep < 1):
        raise BadInputError(f"keep is {keep}; it is the fraction that stays and must be above 0 and below 1.")
    if tune_end and keep < NARROWEST:
        raise BadInputError(f"keep is {keep:g}; windows whose end is tuned too hold at least {NARROWEST:g}.")
    if trials < 1 or trial_seeds < 1:
        raise BadInputError(f"There are {trials} trials of {trial_seeds} seeds; both must be 1 or more.")


def _resolved(
    examples: Examples, recipe: str | Recipe, workspace: str | Path, options: Mapping[str, Any]
) -> Recipe:
    """The recipe as the whole training part decides it, so that windows are tried with what they are judged by."""
    setup = prepare(examples, recipe, workspace=workspace, **options)
    setup.close()
    return setup.recipe


def _options(best: Trial) -> dict[str, Any]:
    """What the rule is told to keep what was chosen."""
    return dict(best.options) if best.options else {"start": best.start}


def _arms(scoring: Scoring, score: str, rule: str, best: Trial, seed: int) -> list[Arm]:
    """What was chosen, and beside it plain hardest, or the rule with its defaults, where that is another choice."""
    table = scoring.table
    ids = keep_ids(table, best.keep, by=score, rule=rule, seed=seed, **_options(best))
    beside = "hardest" if rule == "window" else rule
    plain = keep_ids(table, best.keep, by=score, rule=beside, seed=seed)
    arms = [subset_arm(score, rule if rule == "window" else f"{rule} tuned", best.keep, ids)]
    return arms if np.array_equal(ids, plain) else [*arms, subset_arm(score, beside, best.keep, plain)]


def _minus_plain(comparison: Comparison, arms: list[Arm]) -> list[float] | None:
    """Test accuracy of what was chosen less that of what stands beside it, with its interval; None if the same."""
    if len(arms) < 2 or not all(arm.runs for arm in arms):
        return None
    return difference_interval(arms[0].correct(), arms[1].correct()).as_list()


def _write(folder: Path, setup: Setup, scoring: Scoring, comparison: Comparison, tuned: Tuned) -> None:
    from datadiet.jobs.tune.figure import draw_tuning
    from datadiet.pages.report.canvas import as_png, as_svg

    rows = [trial.as_row() for trial in tuned.trials]
    figure = draw_tuning(tuned.data)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        comparison.write(folder / "results.parquet")
        setup.recipe.to_yaml(folder / "recipe.yaml")
        scoring.table.write(folder / "scores.parquet")
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
        window, score = tuned.data["window"], tuned.data["score"]
        about = {
            "fingerprint": setup.examples.fingerprint,
            "source": setup.examples.source,
            "score": score,
            "rule": tuned.data["rule"],
            "keep": window["keep"],
            "options": tuned.options,
            "n_from": len(setup.examples.train),
            "scores_sha256": hashlib.sha256((folder / "scores.parquet").read_bytes()).hexdigest(),
        }
        told = " ".join(f"{name} {value:g}" for name, value in tuned.options.items())
        name = (
            f"{score} window {window['start']:g} to {window['end']:g}"
            if "start" in window
            else (f"{score} {tuned.data['rule']} {told}")
        )
        name = safe_name(name)
        Kept(tuned.ids, about).write(folder / "kept" / f"{name}.parquet")
        write_json(folder / "verdict.json", tuned.verdict.data)
        write_json(folder / "tuning.json", tuned.data)
    except OSError as error:
        raise BadInputError(f"The folder {str(folder)!r} cannot be written to: {error.strerror}.") from error
