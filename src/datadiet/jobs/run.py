"""The whole job: score, keep, retrain, compare, decide, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.data import Examples
from datadiet.engine.embedding import embeddings_of
from datadiet.engine.reloading import loading_facts, read_examples
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.checks import check_folder, check_seeds, check_tolerance, checked_fractions, try_rule
from datadiet.jobs.compare import Arm, as_arms, compare_arms, random_arm, subset_arm
from datadiet.jobs.dynamic_run import compare_dynamic, dynamic_verdict, write_dynamic_report
from datadiet.jobs.groups import groupings_of, subset_forms
from datadiet.jobs.keep import keep as keep_ids
from datadiet.jobs.run_folder import write_results, write_run
from datadiet.jobs.score import DEFAULT_SEEDS, Scoring, default_epoch, score_with
from datadiet.jobs.sparse_arms import moments, sparse_results
from datadiet.jobs.verdict import DEFAULT_TOLERANCE, decide
from datadiet.pages.report import safe_name, verdict_sentence
from datadiet.scores import ScoreTable, card
from datadiet.selection import explain_auto, kept_size, rule_card
from datadiet.sparse.masks import check_sparsity

DEFAULT_KEEP = (0.7, 0.5, 0.3)


@dataclass(frozen=True)
class Verdict:
    """What a run came to: the content of `verdict.json`, and the folder that holds everything else.

    Args:
        data: see `datadiet.jobs.verdict.decide`.
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


def run(
    source: Any,
    *,
    scores: Sequence[str] = ("el2n",),
    keep: Sequence[float] = DEFAULT_KEEP,
    rule: str = "hardest",
    rule_options: Mapping[str, Any] | None = None,
    per_class: bool = False,
    groups: Sequence[str] = (),
    balance: str | None = None,
    floor: int | float | None = None,
    allow_empty_class: bool = False,
    seeds: int = DEFAULT_SEEDS,
    score_seeds: int | None = None,
    seed: int = 0,
    at_epoch: float | None = None,
    grand_parameters: str | None = None,
    encoder: str | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    sparsity: float | None = None,
    allow_empty_layer: bool = False,
    recipe: str | Recipe = "fast",
    workspace: str | Path = "runs",
    out: str | Path | None = None,
    load_options: Mapping[str, Any] | None = None,
    command: str | None = None,
    **options: Any,
) -> Verdict:
    """Score the data, keep subsets, retrain on them beside full and random, and decide.

    With a `dynamic` recipe nothing is scored beforehand: full data, the selector, and chance with epochs of the same
    sizes are trained and compared, and what concerns scores, subsets and groups is left aside.

    Args:
        source: anything that `datadiet.load` takes, or `Examples`.
        scores: the scores to choose subsets by.
        keep: fractions that stay, each in (0, 1].
        rule: how scores become subsets.
        rule_options: options of the rule.
        per_class: the same fraction of every class.
        groups: columns by which to say who is left out, see `datadiet.jobs.groups.groups_of`; classes always are.
        balance: "class" or "group" for equal counts of every class, or of every group of the one in `groups`.
        floor: fewest examples to stay of each group, or class where there is no group: a count or a float fraction.
        allow_empty_class: go on where a subset has no example of a class.
        seeds: retrainings of each subset.
        score_seeds: models that scores are averaged over; None for as many as `seeds`.
        seed: base of all seeds.
        at_epoch: epoch of the scores; None for the recipe's.
        grand_parameters: which parameters `grand` is taken over, as for `score`.
        encoder: a folder or hub id of `transformers` that gives embeddings, where a score or the rule needs
            them; None for those of the first scoring run's model.
        tolerance: percentage points of accuracy that may be lost.
        sparsity: share of the weights that is removed from a second network an arm and seed; None for none, see
            `datadiet.jobs.sparse_arms.sparse_results`. The verdict stays that of the dense networks.
        allow_empty_layer: go on where that leaves no weight of a layer.
        recipe: "fast", "paper", "finetune", a YAML file, or a `Recipe`.
        workspace: where trainings live.
        out: folder of the results; None for `workspace/<name of the data>`.
        load_options: further arguments of `datadiet.load`.
        command: the command line that asked for this, for the report.
        options: further arguments of `datadiet.engine.setup.prepare`.

    Raises:
        BadInputError: what cannot be used, before anything is trained.
        RunFailedError: a training broke off; what was finished is found again by the next call.
    """
    fractions = checked_fractions(keep)
    rule_card(rule)
    check_tolerance(tolerance)
    check_seeds(seeds if score_seeds is None else min(seeds, score_seeds))
    for name in scores:
        card(name)
    if sparsity is not None:
        check_sparsity(sparsity)
    examples = read_examples(source, load_options, options.get("display"))
    groupings = groupings_of(examples, groups)
    forms = subset_forms(examples, groups, balance, floor)
    forms["allow_empty_class"] = allow_empty_class
    try_rule(examples, fractions, rule, dict(rule_options or {}), per_class, seed, forms)
    folder = Path(out) if out is not None else Path(workspace) / safe_name(examples.name)
    check_folder(folder)
    setup = prepare(examples, recipe, workspace=workspace, **options)
    try:
        if setup.recipe.dynamic is not None:
            if sparsity is not None:
                raise BadInputError(
                    "A run is either --dynamic or has --sparsity: what a dynamic run trains on changes while it trains."
                )
            comparison = compare_dynamic(setup, seeds=seeds, seed=seed)
            data = dynamic_verdict(setup, comparison, tolerance=tolerance, command=command)
            if setup.accelerator.is_main_process:
                write_results(folder, setup, comparison, data)
                write_dynamic_report(data, folder)
            return Verdict(data, folder)
        scoring = score_with(
            setup,
            scores,
            seeds=seeds if score_seeds is None else score_seeds,
            seed=seed,
            at_epoch=at_epoch,
            grand_parameters=grand_parameters,
            encoder=encoder,
            also_free=True,
            provenance={
                **loading_facts(examples, load_options),
                **({"command": command} if command else {}),
            },
        )
        more = {**(rule_options or {}), **forms}
        if "embeddings" in rule_card(rule).needs:
            more["embeddings"] = _embeddings(setup, scoring, at_epoch, encoder)
        # Random subsets keep to the same quotas, so that the score is all that the others differ in.
        quotas = {**forms, "per_class": per_class}
        arms = _arms(setup, scoring.table, scores, fractions, rule, more, quotas, seed)
        kept_weights = {} if sparsity is None else {"weights_at": moments}
        comparison = compare_arms(setup, arms, seeds=seeds, seed=seed, forms=quotas, **kept_weights)
        data = decide(
            comparison,
            tolerance=tolerance,
            scoring_seconds=scoring.seconds,
            scoring_processor_seconds=scoring.processor_seconds,
            groupings=groupings,
        )
        if setup.accelerator.is_main_process:
            write_run(folder, setup, scoring, comparison, data, scores)
        if sparsity is not None:
            # Now that the dense results are safe: a sparsity may turn out to empty a layer.
            data["sparse"] = sparse_results(comparison, sparsity, allow_empty_layer=allow_empty_layer)
            if setup.accelerator.is_main_process:
                write_run(folder, setup, scoring, comparison, data, scores)
    finally:
        setup.close()
    return Verdict(data, folder)


def compare(
    examples: Examples,
    kept: Mapping[str, Any],
    recipe: str | Recipe = "fast",
    *,
    groups: Sequence[str] = (),
    seeds: int = DEFAULT_SEEDS,
    seed: int = 0,
    tolerance: float = DEFAULT_TOLERANCE,
    workspace: str | Path = "runs",
    out: str | Path | None = None,
    **options: Any,
) -> Verdict:
    """Retrain on given subsets beside full data and matched random, and decide.

    Args:
        examples: the data.
        kept: name -> ids that stay.
        recipe: as for `run`.
        groups: columns by which to say who is left out, as for `run`.
        seeds: retrainings of each.
        seed: base of all seeds.
        tolerance: percentage points of accuracy that may be lost.
        workspace: where trainings live.
        out: folder for `verdict.json`, `results.parquet` and `groups.parquet`; None to write none.
        options: further arguments of `datadiet.engine.setup.prepare`.

    Raises:
        BadInputError: unknown or repeated ids, no subset at all.
    """
    check_tolerance(tolerance)
    check_seeds(seeds)
    if out is not None:
        check_folder(Path(out))
    if not kept:
        raise BadInputError("There is nothing to compare; give at least one set of kept ids.")
    groupings = groupings_of(examples, groups)
    setup = prepare(examples, recipe, workspace=workspace, **options)
    try:
        comparison = compare_arms(setup, as_arms(setup, kept), seeds=seeds, seed=seed)
        data = decide(comparison, tolerance=tolerance, groupings=groupings)
        folder = Path(out) if out is not None else None
        if folder is not None and setup.accelerator.is_main_process:
            write_results(folder, setup, comparison, data)
    finally:
        setup.close()
    return Verdict(data, folder)


def _embeddings(setup: Setup, scoring: Scoring, at_epoch: float | None, encoder: str | None) -> np.ndarray:
    """The embeddings that a rule chooses by: an encoder's, or of the first scoring run at the score epoch."""
    epoch = default_epoch(setup.recipe, len(setup.examples.train)) if at_epoch is None else at_epoch
    return embeddings_of(setup, scoring.runs[0], setup.step_of(epoch), encoder).values


def _arms(
    setup: Setup,
    table: ScoreTable,
    scores: Sequence[str],
    fractions: Sequence[float],
    rule: str,
    rule_options: Mapping[str, Any],
    quotas: Mapping[str, Any],
    seed: int,
) -> list[Arm]:
    arms = []
    for fraction in fractions:
        if kept_size(len(table), fraction) == len(table):
            continue
        title = _rule_title(rule, quotas["per_class"], rule_options)
        if rule == "auto":
            choice = explain_auto(len(table), fraction, len(np.unique(table.labels)))
            setup.display.say(f"auto takes {choice.rule}: {choice.reason}")
            title = title.replace("auto", f"auto ({choice.rule})")
        for name in dict.fromkeys(scores):
            if name == "random":
                arms.append(random_arm(setup, fraction, kept_size(len(table), fraction), seed, quotas))
                continue
            ids = keep_ids(table, fraction, by=name, rule=rule, seed=seed, **{**rule_options, **quotas})
            arms.append(subset_arm(name, title, fraction, ids))
    return arms


def _rule_title(rule: str, per_class: bool, forms: Mapping[str, Any]) -> str:
    """The rule with what every rule can be told, as it stands in tables and file names."""
    title = rule + (" per class" if per_class else "")
    if forms.get("balance") is not None:
        title += f" balanced by {forms['balance']}"
    return title if forms.get("floor") is None else f"{title} floor {forms['floor']:g}"
