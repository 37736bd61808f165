"""What is tuned, between which values, and the study that looks for it: trials are trainings, bad ones stop early."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from typing_extensions import Unpack

from datadiet.data import Examples
from datadiet.engine.runs import FileAtStep, describe, predict_test_part, train_run
from datadiet.engine.setup import Setup
from datadiet.engine.training.checkpoint import read_tensors
from datadiet.engine.training.loop import TrainingLoop
from datadiet.engine.training.randomness import derive_seed
from datadiet.engine.workspace import content_address, make_folder
from datadiet.foundation.atomic import held, remove
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import with_options
from datadiet.jobs.checks import try_rule
from datadiet.jobs.keep import keep as keep_ids
from datadiet.jobs.options import TrialOptions
from datadiet.scores import ScoreTable
from datadiet.selection import rule_card

if TYPE_CHECKING:
    from optuna.trial import Trial as AskedTrial


NARROWEST = 0.05
STEP = 0.01  # shares are tried in whole percents
REPORTS = (0.25, 0.5, 0.75, 1.0)  # of a training: where its validation accuracy is taken
UNPRUNED = 4  # trials that are trained to their end, whatever they come to
TRIAL_SEEDS = 2_000  # seeds of trials begin here above those of scoring, and above those of confirmation


Bounds = tuple[float, float]


@dataclass(frozen=True)
class Range:
    """The values of one option that are tried.

    Args:
        name: of the option.
        low: the least.
        high: the greatest.
        whole: only whole numbers.
        first: what the first trial has.
    """

    name: str
    low: float
    high: float
    whole: bool
    first: float


def ranges_of(rule: str, keep: float, given: Mapping[str, Bounds] | None = None) -> list[Range]:
    """The ranges that a rule is tuned over: those given, else `beta` of "stratified", from 0 to what `keep` leaves.

    An option whose default is a whole number takes whole numbers; the first trial has the default where that is a
    number in the range, else the lower bound.

    Raises:
        BadInputError: the rule needs more than scores, has no such option, or none that is known how to tune; bounds
            that are no range.

    Example:
        >>> [(found.name, found.low, found.high) for found in ranges_of("stratified", 0.3)]
        [('beta', 0.0, 0.68)]
        >>> ranges_of("stratified", 0.3, {"strata": (10, 100)})[0].whole
        True
    """
    card = rule_card(rule)
    if card.needs != {"scores"}:
        raise BadInputError(f"Only rules that need scores and nothing else are tuned, which {rule!r} is not.")
    if not given:
        if rule != "stratified":
            known = f"; it has {', '.join(card.options)}" if card.options else ", and it has no options"
            raise BadInputError(
                f"Say which option of {rule!r} to tune and between which values, such as option=0:0.5{known}."
            )
        # Two percents short of what would leave just enough, as both shares are rounded to whole examples.
        given = {"beta": (0.0, round(float(np.floor((1 - keep) / STEP + 1e-9) - 2) * STEP, 9))}
    parameters = inspect.signature(card.function).parameters
    found = []
    for name, (low, high) in given.items():
        if name not in card.options:
            raise BadInputError(
                f"The rule {rule!r} has no option {name!r}; it has {', '.join(card.options) or 'none'}."
            )
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise BadInputError(f"{name} from {low:g} to {high:g} is no range; give the lower bound first.")
        default = parameters[name].default
        number = isinstance(default, (int, float)) and not isinstance(default, bool)
        whole = isinstance(default, int) and number
        if whole and not (float(low).is_integer() and float(high).is_integer()):
            raise BadInputError(f"{name} takes whole numbers, not {low:g} to {high:g}.")
        first = float(default) if number and low <= default <= high else float(low)
        found.append(Range(name, float(low), float(high), whole, first))
    return found


def refuse_bad_bounds(examples: Examples, rule: str, keep: float, ranges: list[Range]) -> None:
    """Apply the rule to made-up scores at the ends of the ranges: what it refuses, it refuses before any training.

    Raises:
        BadInputError: the rule refuses an end.
    """
    for end in ("low", "high"):
        options: dict[str, Any] = {
            found.name: int(getattr(found, end)) if found.whole else getattr(found, end) for found in ranges
        }
        try_rule(examples, [keep], rule, options, 0, {})


@dataclass(frozen=True)
class Trial:
    """One window, or one setting of another rule's options, that was tried.

    Args:
        number: from 0, in the order they were tried; 0 is the window that begins with the hardest.
        start: share of the hardest that is dropped; 0 for other rules.
        end: where the window ends, as a share from the hardest; 1 for other rules.
        keep: the share that stays.
        n: how many examples that is of those that tuning trains on.
        pruned: whether it was stopped early.
        accuracies: validation accuracy at the points of `REPORTS` that it reached.
        steps: training steps, of all its seeds.
        options: what other rules than "window" were told.
    """

    number: int
    start: float
    end: float
    keep: float
    n: int
    pruned: bool
    accuracies: tuple[float, ...]
    steps: int
    options: Mapping[str, float] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Validation accuracy where it ended."""
        return self.accuracies[-1]

    @property
    def rule_options(self) -> dict[str, Any]:
        """What the rule is told to keep what was tried."""
        return dict(self.options) if self.options else {"start": self.start}

    def as_row(self) -> dict[str, Any]:
        """Plain data, with one key a point of the training."""
        row = {name: value for name, value in asdict(self).items() if name not in ("accuracies", "options")}
        if self.options:
            del row["start"], row["end"]
            row |= self.options
        reached = dict(zip(REPORTS, self.accuracies, strict=False))
        return row | {"accuracy": self.accuracy} | {f"accuracy@{at:g}": reached.get(at) for at in REPORTS}


def best_trial(trials: list[Trial]) -> Trial:
    """The most accurate trial that was trained to its end.

    A tie goes to the smaller window, then the lower start; of other rules to the lower options.

    Example:
        >>> a = Trial(0, 0.0, 0.5, 0.5, 50, False, (0.8,), 9)
        >>> b = Trial(1, 0.1, 0.4, 0.3, 30, False, (0.8,), 9)
        >>> best_trial([a, b, Trial(2, 0.2, 0.7, 0.5, 50, True, (0.9,), 3)]).number
        1
    """
    finished = [trial for trial in trials if not trial.pruned]
    return min(finished, key=lambda t: (-t.accuracy, t.n, t.start, tuple(t.options.values())))


@with_options()
def try_windows(
    setup: Setup, table: ScoreTable, ranges: Sequence[Range] = (), **options: Unpack[TrialOptions]
) -> list[Trial]:
    """Look for the window of highest validation accuracy: tree-structured Parzen estimator, median pruning.

    The sampler has a seed, and trials are content-addressed trainings: a study that is started again asks for
    the same windows in the same order, and finds those that were trained. It is written as an Optuna journal to
    `studies/` in the workspace, for those who want to look at it with Optuna's own tools.

    Args:
        setup: the data without its test part (see `datadiet.jobs.tune.job`), and the recipe.
        table: scores of its training part.
        ranges: of the options of another rule than "window".

    Returns:
        The trials, in their order.

    Raises:
        BadInputError: Optuna is not installed.

    Source: Akiba et al., "Optuna", 2019; Bergstra et al., "Algorithms for hyper-parameter optimization", 2011.
    """
    optuna = import_optuna()
    score, keep, rule, tune_end = options["score"], options["keep"], options["rule"], options["tune_end"]
    question = {
        "study": rule, "data": setup.examples.fingerprint, "recipe": setup.recipe.to_dict() | setup.identity,
        "score": score,
        "weights": table.provenance.get("scores", {}).get(score, {}).get("weights"), "keep": keep,
        "tune_end": tune_end, "trial_seeds": options["trial_seeds"], "seed": options["seed"],
        **({"ranges": [asdict(found) for found in ranges]} if ranges else {}),
    }  # fmt: skip
    found: list[Trial] = []
    with _quiet(optuna), _storage(optuna, setup, content_address(question)) as storage:
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(
                seed=derive_seed(options["seed"], "window sampler") % 2**32,
                n_startup_trials=min(8, max(2, options["trials"] // 2)),
            ),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED),
            storage=storage,
            study_name=f"{rule} {score} {keep:g}",
        )
        # The window that begins with the hardest is always among those tried.
        hardest = {"start": 0.0} if not tune_end else {"place": 0.0, "keep": keep}
        study.enqueue_trial({found.name: found.first for found in ranges} if ranges else hardest)

        def objective(asked: AskedTrial) -> float:
            if ranges:
                told, width = {found.name: _suggest_option(asked, found) for found in ranges}, keep
            else:
                start, width = _suggest(asked, keep, tune_end)
                told = {"start": start}
            trial = _try(setup, table, asked, told, width, options)
            found.append(trial)
            if trial.pruned:
                raise optuna.TrialPruned
            return trial.accuracy

        study.optimize(objective, n_trials=options["trials"])
    return found


def import_optuna() -> Any:
    """The study library.

    Raises:
        BadInputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise BadInputError(
            "Tuning needs the library optuna, which is not installed; run: pip install 'datadiet[tune]'."
        ) from error
    return optuna


def _suggest(asked: AskedTrial, keep: float, tune_end: bool) -> tuple[float, float]:
    """Start and width of the next window, in whole percents."""
    if not tune_end:
        return round(asked.suggest_float("start", 0.0, _percents(1 - keep), step=STEP), 2), keep
    width = round(asked.suggest_float("keep", keep, keep + _percents(1 - keep), step=STEP), 4)
    place = asked.suggest_float("place", 0.0, 1.0, step=0.05)  # of the room that such a width leaves
    return round(place * _percents(1 - width), 2), width


def _suggest_option(asked: AskedTrial, found: Range) -> float:
    """The next value of an option: a whole number, or in whole percents where those are a step of the range."""
    if found.whole:
        return int(asked.suggest_int(found.name, int(found.low), int(found.high)))
    if found.high - found.low < 10 * STEP:
        return float(asked.suggest_float(found.name, found.low, found.high))
    high = round(found.low + _percents(found.high - found.low), 9)
    return round(float(asked.suggest_float(found.name, found.low, high, step=STEP)), 9)


def _percents(share: float) -> float:
    """Rounded down to whole percents."""
    return float(np.floor(share / STEP + 1e-9) * STEP)


def _try(
    setup: Setup,
    table: ScoreTable,
    asked: AskedTrial,
    told: dict[str, Any],
    width: float,
    options: TrialOptions,
) -> Trial:
    """Train on what the rule chooses with what it is told, as long as it does well."""
    rule, seed, trial_seeds = options["rule"], options["seed"], options["trial_seeds"]
    ids = keep_ids(table, width, by=options["score"], rule=rule, seed=seed, **told)
    windowed = rule == "window"
    shown = f"from {told['start']:.0%}" if windowed else " ".join(f"{k}={v:g}" for k, v in told.items())
    label = f"{rule} {shown}, trial {asked.number + 1} of {options['trials']}"
    total = setup.recipe.total_steps(len(ids), len(setup.examples.train))
    points = sorted({max(1, round(total * share)) for share in REPORTS})
    accuracies: list[float] = []
    pruned = False
    for place, step in enumerate(points):
        since = step - (points[place - 1] if place else 0)
        at_step = [
            _accuracy_at(setup, seed + TRIAL_SEEDS + index, ids, step, since, label)
            for index in range(trial_seeds)
        ]
        accuracies.append(float(np.mean(at_step)))
        asked.report(accuracies[-1], step=place)
        if place + 1 < len(points) and asked.should_prune():
            pruned = True
            setup.display.skip((total - step) * trial_seeds)
            break
    return Trial(
        number=asked.number,
        start=told["start"] if windowed else 0.0,
        end=round(told["start"] + width, 4) if windowed else 1.0,
        keep=width,
        n=len(ids),
        pruned=pruned,
        accuracies=tuple(accuracies),
        steps=points[len(accuracies) - 1] * trial_seeds,
        options={} if windowed else told,
    )


def _accuracy_at(setup: Setup, seed: int, ids: np.ndarray, step: int, since: int, label: str) -> float:
    """Validation accuracy of a training at a step: read back, or trained to and measured on the way.

    The validation part is the `test` part of this setup. No weights are kept for it: those of every point of every
    trial would fill the disk.
    """
    description = describe(setup, seed, ids, False)
    last = step >= int(description["total_steps"])
    rows = slice(None) if setup.tested is None else setup.tested
    what = "validation" if setup.tested is None else "validation without leaks"
    path = setup.workspace.folder(description).points_path(step, what)

    def measure(loop: TrainingLoop) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        correct = predict_test_part(setup, loop.bare_model)[1][rows].sum()
        return {"right": correct.reshape(1)}, {"accuracy": int(correct) / setup.n_test, "step": step}

    also = () if last else (FileAtStep(step, path, measure),)
    run = train_run(setup, seed, ids=ids, until=step, label=label, also=also)
    if not run.trained:
        setup.display.skip(since)
    if last:
        assert run.result is not None
        return float(run.result["accuracy"])
    return float(read_tensors(path)[1]["accuracy"])


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Optuna's own log and its warnings of what is experimental, off inside."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what ends a trial ends the study, and is said once
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def _storage(optuna: Any, setup: Setup, address: str) -> Iterator[Any]:
    """A fresh journal in the workspace, held by this process; None for the processes beside the main one."""
    if not setup.accelerator.is_main_process:
        yield None
        return
    folder = Path(setup.workspace.path) / "studies"
    make_folder(folder)
    path = folder / f"{address}.journal"
    with held(folder / f"{path.name}.lock"):
        # What an earlier, killed study did is found in its trainings, not here: the journal is written anew.
        remove(path)
        journal = optuna.storages.journal
        backend = journal.JournalFileBackend(
            str(path), lock_obj=journal.JournalFileOpenLock(str(path) + ".journal")
        )
        yield optuna.storages.JournalStorage(backend)
