"""From a score table to likely label errors: which trainings that takes, and what is made of them."""

from __future__ import annotations

import importlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata
from typing_extensions import Unpack

from datadiet.data.examples import require_classification
from datadiet.engine.options import TrainingOptions
from datadiet.engine.reloading import (
    data_of_table,
    plain_options,
    recipe_of_table,
    workspace_to_train_in,
)
from datadiet.engine.setup import Setup, prepare
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import picked, with_options
from datadiet.foundation.outputs import check_file, usable_name
from datadiet.foundation.progress import ProgressDisplay
from datadiet.jobs.options import Method, SuspectsOptions
from datadiet.jobs.outputs import (
    Inputs,
    answers,
    check_out,
    data_of,
    digest,
    inputs_of,
    is_main_process,
    question,
    read_results,
)
from datadiet.jobs.suspects.evidence import (
    FirstPass,
    first_pass,
    folds_apart,
    logits_of,
    random_parts,
    second_passes,
    threshold_passes,
)
from datadiet.jobs.suspects.held_out import judge_test_part, sentence_of_test
from datadiet.jobs.suspects.ranking import NO_PROPOSAL, Suspects
from datadiet.jobs.suspects.rows import contradictions_first, joined
from datadiet.noise import (
    Combination,
    along_reference,
    combine,
    log_probabilities,
    mixture_noise_rate,
    mixture_posterior,
)
from datadiet.scores import ScoreTable

# What a table alone offers a method, the best first; and what its suspicions are calibrated by.
_IN_A_TABLE = {
    "combination": ("aum", "confidence", "logit_margin", "el2n", "loss"),
    "late_el2n": ("el2n",),
    "aum": ("aum",),
    "probability": ("confidence",),
    "forgetting": ("forgetting",),
}
_MARGINS = ("aum", "logit_margin", "margin", "loss", "el2n")
_UNBOUNDED = ("aum", "logit_margin")  # where wrong labels can be a group of their own
_CLEANLAB = (
    "The method 'cleanlab' needs the package cleanlab; install it with: pip install 'datadiet[cleanlab]'"
)


@with_options(workspace=None)
def find_suspects(scores: str | Path | ScoreTable, **options: Unpack[SuspectsOptions]) -> Suspects:
    """Likely label errors, ranked, with probabilities, proposals and the noise rate.

    The runs that the table was made from go on to their end. The default method then trains once more for each of
    them without the examples that they suspect, so that predictions for those are out of sample, and combines the
    predictions with the training dynamics of the first pass (`datadiet.noise.combine`). Runs that are there
    already are not trained again. A table that names no runs gives what its columns give.

    The other methods are a single signal: "late_el2n" (EL2N at the last epoch), "aum" (area under the margin),
    "aum_threshold" (AUM against a threshold class, two trainings with disjoint ones), "probability" (low mean
    probability of the label), "forgetting", "cleanlab" (self-confidence by that package). With neither `second_pass`
    nor `folds` the combination uses predictions of models that have seen the labels, and proposes and estimates less
    well.

    The test part is judged by the same models, which have not seen it: a test example is as suspicious as a training
    example that is as probably wrong (`datadiet.jobs.suspects.held_out`). `parts="train"` leaves it out.

    Examples that are exact duplicates but have different labels come first, whatever the method: not all of their
    labels can be right. How probable each is wrong is what `one_truth` makes of the method's probabilities.

    Args:
        scores: a score table or its file. The runs of a table that this process holds go on in the workspace that it
            names, if that is there; those of a file in `workspace`.

    Returns:
        `Suspects`, one row an example: of both parts, but of the training part alone where no runs are named.

    Raises:
        BadInputError: other data than the table's, an unknown method, more folds than examples, cleanlab missing.
        RunFailedError: a training broke off.
    """
    if options["method"] == "cleanlab":
        _cleanlab()
    inputs = inputs_of(options, files=[scores])
    check_out(options, inputs)
    table = scores if isinstance(scores, ScoreTable) else ScoreTable.read(read_results(scores))
    asked = question(
        "suspects",
        options,
        table=digest(table.ids, table.labels, *table.columns.values()),
        columns=list(table.names),
        **{name: table.provenance.get(name) for name in ("recipe", "seeds", "fingerprint")},
    )
    out, same = options["out"], answers(asked)
    if out is not None:
        check_out(options, Inputs(inputs.files, (*inputs.data, *map(Path, data_of(table)))))
        check_file(usable_name(out), "suspects", overwrite=options["overwrite"], same=same)
    found = _found(table, options, own=isinstance(scores, ScoreTable))
    found = replace(found, provenance={**found.provenance, "question": asked.as_dict()})
    if out is not None and is_main_process():
        found.write(usable_name(out), overwrite=options["overwrite"], same=same)
    return found


def _found(table: ScoreTable, options: SuspectsOptions, *, own: bool) -> Suspects:
    method, folds = options["method"], options["folds"]
    display = options["display"] or ProgressDisplay(enabled=False)
    facts = table.provenance
    if "recipe" not in facts:
        if folds is not None:
            raise BadInputError("This score table names no recipe to train folds with; score the data first.")
        display.say("The table names no runs: suspects come from its columns alone, without proposals.")
        found = _from_columns(table, method)
        return replace(found, provenance={**found.provenance, **_place(table, options)})
    recipe = recipe_of_table(facts, options["model"], options["trust_remote_code"])
    examples = data_of_table(table, options["source"], options["load_options"], display)
    require_classification(
        examples, "Finding suspects", "look at its hardest examples instead, in the report of `datadiet run`"
    )
    if folds is not None and not 2 <= folds <= len(examples.train):
        raise BadInputError(
            f"folds is {folds}; it must be from 2 to the {len(examples.train)} examples there are."
        )
    options["workspace"] = workspace_to_train_in(facts, options["workspace"], own=own, display=display)
    with closing(prepare(examples, recipe, **picked(TrainingOptions, options))) as setup:
        return _from_runs(setup, table, options)


def _from_runs(setup: Setup, table: ScoreTable, options: SuspectsOptions) -> Suspects:
    method, folds, seed = options["method"], options["folds"], options["seed"]
    examples, train = setup.examples, setup.examples.train
    seeds = table.seeds_of_runs()
    again = options["second_pass"] and method == "combination"
    more = folds if folds is not None else len(seeds) if again else 0
    more += 2 if method == "aum_threshold" else 0
    setup.display.say(
        f"{len(seeds)} scoring runs go on to their end; {more} more trainings. What is trained already is not "
        "trained again."
    )
    first = first_pass(setup, table, seeds)
    left_out = first.suspected if again else np.zeros(len(table), bool)
    runs, views, unseen = first.runs, first.logits, None
    if folds is not None:
        view, runs = folds_apart(setup, folds, left_out, seed)
        views = [view]
    elif again:
        unseen = random_parts(left_out, train.labels, len(seeds), seed)
        runs = second_passes(setup, seeds, [left_out | part for part in unseen])
        views = [logits_of(setup, run) for run in runs]
    combination = combine(
        views,
        train.labels,
        first.traced.get("late_loss"),
        first.traced.get("aum"),
        held_out=unseen,
        out_of_sample=folds is not None or again,
        seed=seed,
    )
    suspicion, signals = _by_method(setup, method, first, views, combination, seed)
    probability = combination.probability_wrong
    if method != "combination":
        probability = along_reference(suspicion, probability)
    held_out = judge_test_part(setup, runs, seed) if options["parts"] == "all" else None
    rows = joined(
        examples, suspicion, probability, combination.proposed, {**first.signals(), **signals}, held_out
    )
    rows = contradictions_first(rows, examples)
    facts = {
        **{key: value for key, value in table.provenance.items() if key != "scores"},
        **_place(table, options),
        "method": method,
        "folds": folds,
        "second_pass": again,
        "left_out_of_second_pass": int(left_out.sum()),
        "more_trainings": more,
    }
    found = Suspects.ranked(
        rows.ids,
        rows.labels,
        rows.suspicion,
        rows.probability,
        rows.proposed,
        rows.signals,
        combination.noise_rate,
        examples.class_names,
        facts,
        rows.part,
        None if held_out is None else held_out.combination.noise_rate,
        then=rows.signals["late_el2n"],
    )
    if held_out is not None:
        setup.display.say(sentence_of_test(found))
    return found


def _place(table: ScoreTable, options: SuspectsOptions) -> dict[str, Any]:
    """Where the data is and how it is loaded: what the table says, with what was given in its place."""
    source, given = options["source"], options["load_options"]
    remembered = table.provenance.get("load_options") or {}
    return {
        **({"source": str(source)} if isinstance(source, str | Path) else {}),
        **({"load_options": plain_options({**remembered, **given})} if given else {}),
    }


def _by_method(
    setup: Setup,
    method: Method,
    first: FirstPass,
    views: list[np.ndarray],
    combination: Combination,
    seed: int,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The suspicion of the method asked for, and further signals."""
    if method == "combination":
        return combination.suspicion, {"prediction_log_odds": combination.label_model.log_odds_wrong}
    if method == "aum_threshold":
        below = threshold_passes(setup, seed)
        return below, {"below_aum_threshold": below}
    if method == "cleanlab":
        mean = np.mean([np.exp(log_probabilities(view)) for view in views], axis=0)
        quality = _cleanlab()(first.labels, mean, method="self_confidence")
        return 1.0 - np.asarray(quality, dtype=np.float64), {}
    known = first.signals()
    if method not in known:
        raise BadInputError(
            f"The method {method!r} needs whole epochs of training, and the recipe {setup.recipe.name!r} is shorter "
            "than one; train longer, or use late_el2n."
        )
    return known[method], {}


def _cleanlab() -> Any:
    """The function of cleanlab that scores labels.

    Raises:
        BadInputError: cleanlab is not installed.
    """
    try:
        return importlib.import_module("cleanlab.rank").get_label_quality_scores
    except ImportError as error:
        raise BadInputError(f"{_CLEANLAB}.") from error


def _from_columns(table: ScoreTable, method: Method) -> Suspects:
    """Suspects of a table without runs: its own columns, calibrated by a mixture; nothing is proposed."""
    wanted = _IN_A_TABLE.get(method)
    if wanted is None:
        raise BadInputError(
            f"The method {method!r} needs trainings, and this table names none; use combination, or score the data."
        )
    there = {name: _last_epoch(table, name) for name in (*wanted, *_MARGINS)}
    usable = {name: np.asarray(table.hardness(c), np.float64) for name, c in there.items() if c is not None}
    signals = {name: usable[name] for name in wanted if name in usable}
    if not signals:
        raise BadInputError(
            f"The table has no score for the method {method!r}: it needs {' or '.join(wanted)}, and has "
            f"{', '.join(table.names) or 'none'}."
        )
    suspicion = np.mean([_normal_scores(values) for values in signals.values()], axis=0)
    by = next((name for name in _MARGINS if name in usable), "")
    margin = usable[by] if by else suspicion
    rate = mixture_noise_rate(margin, table.labels)
    if by not in _UNBOUNDED:
        rate = replace(rate, low=0.0, high=1.0, identified=False)
    return Suspects.ranked(
        table.ids,
        table.labels,
        suspicion,
        along_reference(suspicion, mixture_posterior(margin)),
        np.full(len(table), NO_PROPOSAL, dtype=np.int64),
        signals,
        rate,
        table.class_names,
        {**table.provenance, "method": method, "second_pass": False, "more_trainings": 0},
    )


def _last_epoch(table: ScoreTable, name: str) -> str | None:
    """The column of a score, at the latest epoch when it was taken at several; None when it is not there."""
    found = [column for column in table.names if column.partition("@")[0] == name]
    return max(found, key=lambda column: float(column.partition("@")[2] or 0), default=None)


def _normal_scores(values: np.ndarray) -> np.ndarray:
    return np.asarray(norm.ppf(rankdata(values) / (len(values) + 1)))
