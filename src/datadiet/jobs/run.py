"""The whole job: score, keep, retrain, compare, decide, report."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from datadiet.data import Examples
from datadiet.data.examples import CLASS_TASKS
from datadiet.engine.embedding import embeddings_of
from datadiet.engine.estimates import measured_costs
from datadiet.engine.options import TrainingOptions
from datadiet.engine.reloading import loading_facts, read_examples
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.defaults import DEFAULT_SCORE
from datadiet.foundation.durations import seconds_of
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import picked, with_options
from datadiet.foundation.statistics import FEWEST_SEEDS
from datadiet.jobs.arms import Arm, as_arms, random_arm, subset_arm
from datadiet.jobs.checks import checked_fractions, try_rule
from datadiet.jobs.compare import compare_arms
from datadiet.jobs.dynamic_run import compare_dynamic, dynamic_verdict, write_dynamic_report
from datadiet.jobs.groups import groupings_of, say_notes, subset_forms
from datadiet.jobs.keep import Kept, keep_chosen, kind_for_auto
from datadiet.jobs.options import CompareOptions, RunOptions, TakenOptions
from datadiet.jobs.outputs import check_out, digest, inputs_of, question, read_results, results_of
from datadiet.jobs.plan import RunPlan, expected_arms, plan_line, plan_run, refuse_too_little_time
from datadiet.jobs.quick import rows_for_time, sampled
from datadiet.jobs.race import MAX_SEEDS, Seeds
from datadiet.jobs.run_folder import RESULTS, RUN, write_results, write_run
from datadiet.jobs.score import default_epoch, default_scores, score_with, take_a_pass
from datadiet.jobs.sparse_arms import moments, sparse_results
from datadiet.jobs.verdict import decide
from datadiet.jobs.wrong_labels import wrong_labels_of
from datadiet.pages.numbers import duration
from datadiet.pages.report import safe_name, verdict_sentence
from datadiet.scores import ScoreTable, card
from datadiet.selection import explain_auto, kept_size, rule_card
from datadiet.sparse.masks import check_sparsity

MOST_SEEDS = 1000
QUICK = "5m"
QUICK_SHARE = (
    0.75  # of the time, for what is planned; the rest is for reading, writing and what was estimated short
)


@dataclass(frozen=True)
class Verdict:
    """What a run came to: the content of `verdict.json`, and the folder that holds everything else.

    Args:
        data: see `datadiet.jobs.verdict.decide`; `notes` are the sentences that were said of the data and the job.
        folder: `verdict.json`, `results.parquet`, `groups.parquet`, `recipe.yaml`, and after `run` also
            `scores.parquet`, `kept/*.parquet` and `report.html`; None when nothing was asked to be written.
    """

    data: Mapping[str, Any]
    folder: Path | None = None

    @property
    def recommended(self) -> Mapping[str, Any] | None:
        """The smallest subset that holds; None when there is none, and `data["reason"]` says why."""
        return self.data["recommended"]  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return verdict_sentence(self.data)


@with_options()
def run(source: Any, **options: Unpack[RunOptions]) -> Verdict:
    """Score the data, keep subsets, retrain on them beside full and random, and decide.

    With a `dynamic` recipe nothing is scored beforehand: full data, the selector, and chance with epochs of the same
    sizes are trained and compared, and what concerns scores, subsets and groups is left aside. With `sparsity` a
    second network an arm and seed is trained with that share of its weights removed
    (`datadiet.jobs.sparse_arms.sparse_results`); the verdict stays that of the dense networks.

    Args:
        source: anything that `datadiet.load` takes, or `Examples`.

    Raises:
        BadInputError: what cannot be used, before anything is trained.
        RunFailedError: a training broke off; what was finished is found again by the next call.
    """
    rule, rule_options = options["rule"], dict(options["rule_options"] or {})
    seed, sparsity = options["seed"], options["sparsity"]
    _apply_quick(options)
    retrainings, models = retrainings_of(options), models_of(options)
    fractions = checked_fractions(options["keep"])
    card_of_rule = rule_card(rule)
    for name in options["scores"] or ():
        card(name)
    if sparsity is not None:
        check_sparsity(sparsity)
    inputs = inputs_of(options, source)
    check_out(options, inputs, RUN)
    examples = whole = read_examples(source, options["load_options"], options["display"])
    if options["quick"]:
        examples = _sample_for(whole, retrainings, models, fractions, options)
    groupings = groupings_of(examples, options["groups"])
    # Random subsets keep to the same quotas, so that the score is all that the others differ in.
    quotas = _quotas(examples, options)
    try_rule(examples, fractions, rule, rule_options, seed, quotas)
    dynamic = {name: options[name] for name in ("dynamic", "dynamic_options") if options[name]}
    options["overrides"] = {**(options["overrides"] or {}), **dynamic}
    on_leak = options["on_leak"]
    with closing(prepare(examples, on_leak=on_leak, **picked(TrainingOptions, options))) as setup:
        say_notes(groupings, setup.display)
        asked = question("run", options, setup, keep=fractions, score_seeds=models)
        results = results_of(
            asked, options, inputs, RUN, default=safe_name(examples.name), display=setup.display
        )
        if setup.recipe.dynamic is not None:
            if sparsity is not None:
                raise BadInputError(
                    "A run is either --dynamic or has --sparsity: what a dynamic run trains on changes while it trains."
                )
            comparison = compare_dynamic(setup, seeds=retrainings, seed=seed, tolerance=options["tolerance"])
            data = dynamic_verdict(
                setup, comparison, command=options["command"], price_per_hour=options["price_per_hour"]
            )
            if setup.accelerator.is_main_process:
                with results.written() as new:
                    write_results(new, setup, comparison, data)
                    write_dynamic_report(data, new)
            return Verdict(data, results.path)
        scores, rules = _scores_of(setup, options), _rules_at(examples, fractions, rule, setup.display.say)
        planned = _planned(setup, retrainings, models, rules, quotas, options)
        setup.display.say(plan_line(planned), passing=True)
        if retrainings.until is not None:
            if not options["quick"]:
                refuse_too_little_time(planned)
            retrainings = dataclasses.replace(retrainings, planned=planned.fitting()[1])
        facts = loading_facts(examples, options["load_options"])
        if options["command"]:
            facts["command"] = options["command"]
        taken = {**picked(TakenOptions, options), "seeds": models}
        beside = (*card_of_rule.extra, *card_of_rule.scores_named_in(rule_options))
        scoring = score_with(setup, (*scores, *beside), also_free=True, provenance=facts, **taken)
        if "embeddings" in card_of_rule.needs:
            step = setup.step_of(_epoch_of(setup, options))
            found = embeddings_of(setup, scoring.runs[0], step, options["encoder"])
            rule_options["embeddings"] = found.values
        arms = _arms(setup, scoring.table, scores, rules, rule_options, quotas, seed)
        kept_weights = {} if sparsity is None else {"weights_at": moments}
        comparison = compare_arms(
            setup,
            arms,
            seeds=retrainings,
            seed=seed,
            tolerance=options["tolerance"],
            forms=quotas,
            step_seconds=planned.step_seconds,
            **kept_weights,
        )
        data = decide(
            comparison,
            scoring_seconds=scoring.seconds,
            scoring_processor_seconds=scoring.processor_seconds,
            groupings=groupings,
            price_per_hour=options["price_per_hour"],
            command=options["command"],
            quick=None if examples is whole else {"rows": len(examples.train), "of": len(whole.train)},
        )
        data["notes"] = setup.notes
        data |= wrong_labels_of(setup, scoring, results.path, options, of_sample=examples is not whole)
        if setup.accelerator.is_main_process:
            with results.written() as new:
                write_run(new, setup, scoring, comparison, data, scores)
        if sparsity is not None:
            # Now that the dense results are safe: a sparsity may turn out to empty a layer.
            data["sparse"] = sparse_results(
                comparison, sparsity, allow_empty_layer=options["allow_empty_layer"]
            )
            if setup.accelerator.is_main_process:
                with results.written() as new:
                    write_run(new, setup, scoring, comparison, data, scores)
    return Verdict(data, results.path)


@with_options()
def plan(source: Any, **options: Unpack[RunOptions]) -> RunPlan:
    """What `run` would train, how long that takes on this machine, and how likely it decides; nothing is trained.

    Args:
        source: anything that `datadiet.load` takes, or `Examples`.

    Raises:
        BadInputError: what cannot be used.
    """
    _apply_quick(options)
    retrainings, models = retrainings_of(options), models_of(options)
    fractions = checked_fractions(options["keep"])
    if options["dynamic"]:
        raise BadInputError("A dynamic run has no plan: how long its epochs are is decided while it trains.")
    examples = read_examples(source, options["load_options"], options["display"])
    if options["quick"]:
        examples = _sample_for(examples, retrainings, models, fractions, options)
    quotas = _quotas(examples, options)
    with closing(prepare(examples, on_leak=options["on_leak"], **picked(TrainingOptions, options))) as setup:
        rules = _rules_at(examples, fractions, options["rule"])
        return _planned(setup, retrainings, models, rules, quotas, options)


def retrainings_of(options: Mapping[str, Any]) -> Seeds:
    """How many trainings every arm gets, from `seeds`, `max_seeds` and `time`; the clock of the time runs from now.

    Raises:
        BadInputError: they contradict each other.
    """
    seeds, most, seconds = options["seeds"], options["max_seeds"], options["time"]
    if seeds == "auto":
        until = None if seconds is None else time.monotonic() + seconds_of(seconds)
        return Seeds(most=MAX_SEEDS if most is None else most, until=until)
    if isinstance(seeds, str) or not 1 <= seeds <= MOST_SEEDS:
        raise BadInputError(f"seeds is {seeds!r}; it must be auto, or 1 or more, and at most {MOST_SEEDS}.")
    for name in ("max_seeds", "time"):
        if options[name] is not None:
            raise BadInputError(
                f"seeds={seeds} fixes how often subsets are retrained, so {name}='...' would do nothing; leave one out."
            )
    return Seeds(most=seeds, fixed=True)


def models_of(options: Mapping[str, Any]) -> int:
    """How many models scores are taken from: `score_seeds`, else one for scores of the training pass alone.

    One model's training pass agrees as well with other models as the checkpoints of two; for a checkpoint it is as many
    as retrainings, three of which are fewest.
    """
    if options["score_seeds"] is not None:
        return int(options["score_seeds"])
    scores = options["scores"] if "scores" in options else (options["score"],)
    if not take_a_pass(scores or (DEFAULT_SCORE,)):
        return 1
    return FEWEST_SEEDS if options["seeds"] == "auto" else int(options["seeds"])


def _apply_quick(options: RunOptions) -> None:
    """A first answer has a time, and what would take longer than it is left out."""
    if not options["quick"]:
        return
    if options["seeds"] != "auto":
        raise BadInputError(
            f"seeds is {options['seeds']}; it must be auto with quick='...', which takes as many as there is time for."
        )
    options["time"] = QUICK if options["time"] is None else options["time"]


def _sample_for(
    whole: Examples, retrainings: Seeds, models: int, fractions: Sequence[float], options: Mapping[str, Any]
) -> Examples:
    """As many of the training rows as there is time for, with three seeds of every arm."""
    seconds = seconds_of(options["time"])
    training = {**picked(TrainingOptions, options), "display": None}
    scores = options["scores"] or (DEFAULT_SCORE,)
    arms = [1.0, *(keep for keep in fractions for _ in range(len({*scores, "random"})))]

    def ready(examples: Examples) -> Setup:
        return prepare(examples, on_leak=options["on_leak"], **training)

    rows = rows_for_time(
        whole,
        ready,
        QUICK_SHARE * seconds,
        arms,
        models,
        retrainings.fewest,
        at_epoch=options["at_epoch"],
        seed=options["seed"],
        costs_of=partial(measured_costs, scoring_pass=take_a_pass(scores)),
    )
    examples = sampled(whole, rows, options["seed"])
    if examples is not whole and options["display"] is not None:
        options["display"].say(
            f"Quick: {len(examples.train):,} of {len(whole.train):,} training rows, drawn at random in every class, as "
            f"more would take longer than {duration(seconds)}."
        )
    return examples


def _epoch_of(setup: Setup, options: Mapping[str, Any]) -> float:
    asked: float | None = options["at_epoch"]
    return default_epoch(setup.recipe, len(setup.examples.train)) if asked is None else asked


def _rules_at(
    examples: Examples,
    fractions: Sequence[float],
    rule: str,
    say: Callable[[str], None] = lambda reason: None,
) -> dict[float, str]:
    """The rule of each fraction that leaves something out; of `auto` what it takes, which is said with its reason."""
    train = examples.train
    cut = [fraction for fraction in fractions if kept_size(len(train), fraction) < len(train)]
    if rule != "auto":
        return dict.fromkeys(cut, rule)
    kind, classes = kind_for_auto(examples.kind, examples.task), len(np.unique(train.labels))
    choices = {fraction: explain_auto(len(train), fraction, classes, kind) for fraction in cut}
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for choice in choices.values():
        alike[choice.rule, choice.why].append(choice.facts)
    for (taken, why), facts in alike.items():
        say(f"auto takes {taken}: {'; '.join(facts)}: {why}.")
    return {fraction: choice.rule for fraction, choice in choices.items()}


def _scores_of(setup: Setup, options: Mapping[str, Any]) -> tuple[str, ...]:
    return default_scores(options["scores"], _epoch_of(setup, options))


def _planned(
    setup: Setup,
    retrainings: Seeds,
    models: int,
    rules: Mapping[float, str],
    quotas: Mapping[str, Any],
    options: Mapping[str, Any],
) -> RunPlan:
    scores, epoch = _scores_of(setup, options), _epoch_of(setup, options)
    titles = {keep: rule if rule == "random" else _rule_title(rule, quotas) for keep, rule in rules.items()}
    arms = expected_arms(setup, scores, titles, seed=options["seed"], forms=quotas)
    grand = "grand" if "grand" in scores else None
    until = retrainings.until
    return plan_run(
        setup,
        arms,
        costs=measured_costs(
            setup,
            scoring_pass=take_a_pass(scores),
            grand=None if grand is None else options["grand_parameters"] or "all",
        ),
        models=models,
        model_steps=setup.step_of(epoch),
        seeds=retrainings.fewest,
        max_seeds=retrainings.most,
        fixed=retrainings.fixed,
        seed=options["seed"],
        tolerance=options["tolerance"],
        time=None if until is None else setup.agreed(max(0.0, until - time.monotonic())),
    )


@with_options()
def compare(
    examples: Any,
    kept: Mapping[str, Any],
    recipe: str | Recipe = "fast",
    **options: Unpack[CompareOptions],
) -> Verdict:
    """Retrain on given subsets beside full data and matched random, and decide.

    Without `out` nothing is written.

    Args:
        examples: the data: `Examples`, or anything that `datadiet.load` takes.
        kept: name -> ids that stay, or the file that has them.
        recipe: "fast", "paper", "finetune", a YAML file, or a `Recipe`.

    Raises:
        BadInputError: unknown or repeated ids, no subset at all.
    """
    retrainings = retrainings_of(options)
    inputs = inputs_of(options, examples, files=kept.values())
    check_out(options, inputs, RESULTS)
    if not kept:
        raise BadInputError("There is nothing to compare; give at least one set of kept ids.")
    given = {
        name: Kept.read(read_results(ids)) if isinstance(ids, str | Path) else ids
        for name, ids in kept.items()
    }
    data = read_examples(examples, options["load_options"], options["display"])
    for ids in given.values():
        if isinstance(ids, Kept):
            ids.check_data(data.fingerprint)
    kept = {name: ids.ids if isinstance(ids, Kept) else ids for name, ids in given.items()}
    groupings = groupings_of(data, options["groups"])
    on_leak = options["on_leak"]
    with closing(prepare(data, recipe, on_leak=on_leak, **picked(TrainingOptions, options))) as setup:
        say_notes(groupings, setup.display)
        for ids in given.values():
            if isinstance(ids, Kept) and ids.unchecked is not None:
                setup.display.say(ids.unchecked)
        arms = as_arms(setup, kept)
        results = None
        if options["out"] is not None:
            chosen = {arm.score: digest(arm.ids_for(0)) for arm in arms}
            results = results_of(question("compare", options, setup, kept=chosen), options, inputs, RESULTS)
        comparison = compare_arms(
            setup,
            arms,
            seeds=retrainings,
            seed=options["seed"],
            tolerance=options["tolerance"],
        )
        verdict = decide(
            comparison,
            groupings=groupings,
            price_per_hour=options["price_per_hour"],
            command=options["command"],
        )
        verdict["notes"] = setup.notes
        if results is not None and setup.accelerator.is_main_process:
            with results.written() as new:
                write_results(new, setup, comparison, verdict)
    return Verdict(verdict, None if results is None else results.path)


def _arms(
    setup: Setup,
    table: ScoreTable,
    scores: Sequence[str],
    rules: Mapping[float, str],
    rule_options: Mapping[str, Any],
    quotas: Mapping[str, Any],
    seed: int,
) -> list[Arm]:
    arms = []
    told = {key: value for key, value in {**rule_options, **quotas}.items() if key != "keep_classes"}
    for fraction, rule in rules.items():
        for name in ("random",) if rule == "random" else dict.fromkeys(scores):
            if name == "random":
                arms.append(random_arm(setup, fraction, kept_size(len(table), fraction), seed, quotas))
                continue
            title = _rule_title(rule, quotas)
            chosen = keep_chosen(table, fraction, by=name, rule=rule, seed=seed, **told)
            if chosen.by_floor:
                setup.display.say(f"{title} {fraction:g}: {chosen.named(table.class_names)}")
            arms.append(subset_arm(name, title, fraction, chosen.ids))
    return arms


def _quotas(examples: Examples, options: Mapping[str, Any]) -> dict[str, Any]:
    """What every subset owes classes and groups, as `select` takes it."""
    return {
        **subset_forms(examples, options["groups"], options["balance"], options["floor"]),
        "allow_empty_class": options["allow_empty_class"],
        "keep_classes": examples.task in CLASS_TASKS and not options["allow_empty_class"],
        "per_class": options["per_class"],
    }


def _rule_title(rule: str, quotas: Mapping[str, Any]) -> str:
    """The rule with what every rule can be told, as it stands in tables and file names."""
    title = rule + (" per class" if quotas["per_class"] else "")
    if quotas.get("balance") is not None:
        title += f" balanced by {quotas['balance']}"
    return title if quotas.get("floor") is None else f"{title} floor {quotas['floor']:g}"
