"""From runs to a score table: several seeds, one pass each, every score with where it came from."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from typing_extensions import Unpack

from datadiet.engine.embedding import Embeddings, embeddings_of, encoder_identity
from datadiet.engine.options import TrainingOptions
from datadiet.engine.points import (
    Points,
    measure_grand,
    measure_points,
    parameters_of_grand,
    refuse_scores,
    try_grand,
)
from datadiet.engine.reloading import loading_facts, read_examples
from datadiet.engine.runs import Run, train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.dynamic import refuse_dynamic
from datadiet.engine.training.ledger import Ledger, method_cost
from datadiet.engine.training.randomness import derive_seed
from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.defaults import DEFAULT_AT_A_CHECKPOINT, DEFAULT_SCORE
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import picked, with_options
from datadiet.foundation.outputs import Question, check_file, usable_name
from datadiet.jobs.options import ScoreOptions, TakenOptions
from datadiet.jobs.outputs import answers, check_out, check_output, inputs_of, question, write_file
from datadiet.scores import ScoreTable, card, cards
from datadiet.scores.inputs import random
from datadiet.scores.passes import FIRST_EPOCH, mean_over_the_pass
from datadiet.tracking import scores_from_trace
from datadiet.tracking.further import further_columns
from datadiet.tracking.trace import scores_possible

_OF_A_FORWARD_PASS = ("outputs", "features", "inputs")


@dataclass(frozen=True)
class Scoring:
    """A score table, the runs it was made from, and their ledgers: of training to the scores, and of every pass."""

    table: ScoreTable
    runs: list[Run]
    ledgers: list[Mapping[str, Any]]

    @property
    def seconds(self) -> float:
        """What the scores cost on the wall's clock."""
        return sum(method_cost(ledger) for ledger in self.ledgers)

    @property
    def processor_seconds(self) -> float | None:
        """The same on the processor's clock; None where a run or a pass is older than ledgers."""
        if any("processor_seconds" not in ledger for ledger in self.ledgers):
            return None
        return sum(method_cost(ledger, "processor_seconds") for ledger in self.ledgers)


def default_epoch(recipe: Recipe, num_examples: int) -> float:
    """The epoch that point scores are taken at when none is asked for: two fifths of the run, at least one."""
    if recipe.score_epoch is not None:
        return recipe.score_epoch
    epochs = recipe.total_steps(num_examples) / recipe.steps_per_epoch(num_examples)
    return float(max(1, round(0.4 * epochs))) if epochs >= 1 else epochs


def default_scores(scores: Sequence[str] | None, epoch: float | Sequence[float]) -> tuple[str, ...]:
    """The scores asked for, each once; where none is, the one of the training pass, or before an epoch is whole, EL2N.

    Example:
        >>> default_scores(None, 4.0), default_scores(None, 0.5), default_scores(["aum", "aum"], 4.0)
        (('mean_el2n',), ('el2n',), ('aum',))
    """
    if scores:
        return tuple(dict.fromkeys(scores))
    return (DEFAULT_SCORE if np.min(epoch) >= 1 else DEFAULT_AT_A_CHECKPOINT,)


def take_a_pass(scores: Sequence[str]) -> bool:
    """Whether one of the scores takes a pass of its own over the training part, with the weights of a checkpoint."""
    return any(card(name).needs in _OF_A_FORWARD_PASS or card(name).needs == "gradients" for name in scores)


def free_scores(asked: Sequence[str]) -> tuple[str, ...]:
    """What comes along with the scores asked for: all of the training pass, and of a forward pass where there is one.

    Example:
        >>> "aum" in free_scores(["mean_el2n"]), "el2n" in free_scores(["mean_el2n"]), "el2n" in free_scores(["margin"])
        (True, False, True)
    """
    forward = any(card(name).needs in _OF_A_FORWARD_PASS for name in asked)
    needs = {"trace", "ids", *(_OF_A_FORWARD_PASS if forward else ())}
    return tuple(one.name for one in cards() if one.needs in needs)


@with_options()
def score(
    examples: Any,
    recipe: str | Recipe = "fast",
    scores: Sequence[str] | None = None,
    **options: Unpack[ScoreOptions],
) -> ScoreTable:
    """Score every training example, averaged over several seeds.

    By default it is EL2N over the training pass (`mean_el2n`), which agrees better with later and with other models
    than EL2N at a checkpoint and costs nothing beside the training. Point scores (`el2n`, `grand`, `margin`, ...) are
    taken in evaluation mode with the weights at the end of `at_epoch`, 0 being initialisation; scores of the training
    pass (`mean_el2n`, `forgetting`, `aum`, ...) cover the epochs up to it. `grand` is taken over the head of a
    pre-trained model, whose encoder is the same in all runs, and over all parameters of any other, unless
    `grand_parameters` says so.

    Args:
        examples: the data: `Examples`, or anything that `datadiet.load` takes.
        recipe: "fast", "paper", "finetune", a YAML file, or a `Recipe`.
        scores: names; None for `mean_el2n` and all others that the training pass gives (before an epoch is whole,
            `el2n` and all others of a forward pass). `grand` has to be asked for.

    Returns:
        A `ScoreTable` with one row an example of the training part; it is also written where `out` is given.

    Raises:
        BadInputError: unknown score, an epoch outside the recipe's, a score that this model cannot give.
        RunFailedError: a training broke off.
    """
    inputs, overwrite = inputs_of({**options, "recipe": recipe}, examples), options["overwrite"]
    check_out(options, inputs)
    vectors = None
    if options["embeddings"] is not None:
        vectors = check_output(
            options["embeddings"], inputs, workspace=options["workspace"], flag="--embeddings"
        )
        if options["out"] is not None and Path(options["out"]).resolve() == vectors.resolve():
            raise BadInputError(f"'{vectors}' is to be the table and the embeddings; give two names.")
    data = read_examples(examples, options["load_options"], options["display"])
    with closing(prepare(data, recipe, **picked(TrainingOptions, options))) as setup:
        asked = question("score", options, setup, scores=scores)
        one_run = dict.fromkeys(("scores", "seeds", "grand_parameters"))
        asked_vectors = question("score --embeddings", options, setup, **one_run)
        if options["out"] is not None:
            check_file(options["out"], "score table", overwrite=overwrite, same=answers(asked))
        if vectors is not None:
            check_file(vectors, "embeddings", overwrite=overwrite, same=_embedded(asked_vectors))
        scoring = score_with(setup, scores, **picked(TakenOptions, options))
        is_main = setup.accelerator.is_main_process
        if vectors is not None:
            step = setup.step_of(_checked_epochs(setup, options["at_epoch"])[0])
            found = embeddings_of(setup, scoring.runs[0], step, options["encoder"])
            found = replace(found, about={**found.about, "question": asked_vectors.as_dict()})
            if is_main:
                same = _embedded(asked_vectors)
                write_file(vectors, "embeddings", found.write, overwrite=overwrite, same=same)
    loaded = {} if data is examples else loading_facts(data, options["load_options"])
    facts = {**scoring.table.provenance, **loaded, "question": asked.as_dict()}
    table = replace(scoring.table, provenance=facts)
    if options["out"] is not None and is_main:
        path, same = usable_name(options["out"]), answers(asked)
        write_file(path, "score table", table.write, overwrite=overwrite, same=same)
    return table


def _embedded(asked: Question) -> Callable[[Path], bool]:
    """Whether a file of embeddings says that it answers the question."""

    def same(there: Path) -> bool:
        try:
            return bool(Embeddings.read(there).about.get("question") == asked.as_dict())
        except BadInputError:
            return False

    return same


@with_options()
def score_with(
    setup: Setup,
    scores: Sequence[str] | None = None,
    *,
    also_free: bool | None = None,
    provenance: Mapping[str, Any] | None = None,
    **options: Unpack[TakenOptions],
) -> Scoring:
    """`score` with everything made ready; also says what it cost and which runs were used.

    Args:
        setup: data, recipe, machine.
        scores: names; None for the default (`default_scores`).
        also_free: add to the scores asked for those that cost nothing more; None to do so where none is asked for.
        provenance: what is written into the table beside what is known.

    Raises:
        BadInputError: as for `score`.
    """
    refuse_dynamic(setup.recipe, "Scores are taken from")
    seeds, encoder, parameters = options["seeds"], options["encoder"], options["grand_parameters"]
    also_free = not scores if also_free is None else also_free
    epochs = _checked_epochs(setup, options["at_epoch"])
    asked, early = default_scores(scores, epochs), min(epochs) < 1
    for name in asked:
        if card(name).needs == "trace" and early:
            raise BadInputError(
                f"{name} is taken from whole epochs of training, and at_epoch is {min(epochs):g}; "
                "ask for epoch 1 or later, or leave that score out."
            )
    free = [n for n in free_scores(asked) if not (early and card(n).needs == "trace")] if also_free else []
    names = tuple(dict.fromkeys([*asked, *free]))
    refuse_scores(setup, asked)
    if "grand" in names:
        parameters = parameters_of_grand(setup, parameters)
        try_grand(setup, parameters)
    steps = [setup.step_of(epoch) for epoch in epochs]
    runs: list[Run] = []
    columns: list[dict[str, np.ndarray]] = []
    ledgers: list[Mapping[str, Any]] = []
    hashes: dict[str, list[str]] = {}
    setup.display.plan(seeds * max(steps), "scoring runs")
    for index in range(seeds):
        label = f"scoring run {index + 1} of {seeds}"
        run = train_run(
            setup,
            options["seed"] + index,
            record=further_columns(asked) or True,
            until=max(steps),
            weights_at=steps,
            label=label,
        )
        if not run.trained:
            setup.display.skip(max(steps))
        runs.append(run)
        found, costs, weights = _scores_of(setup, run, names, epochs, parameters, encoder)
        columns.append(found)
        ledgers += costs
        for name, value in weights.items():
            hashes.setdefault(name, []).append(value)
    missing = [n for n in asked if not any(column.partition("@")[0] == n for column in columns[0])]
    if missing:
        raise BadInputError(
            f"The score {missing[0]!r} cannot be had from the model {setup.recipe.model!r} on {_called(setup)}; "
            "ask for another."
        )
    seeds_used = [run.seed for run in runs]
    known = _provenance(setup, seeds_used, epochs, columns[0], hashes, parameters, encoder)
    train = setup.examples.train
    table = ScoreTable.from_seeds(
        train.ids,
        train.labels,
        columns,
        class_names=setup.examples.class_names,
        provenance={**known, **(provenance or {})},
    )
    return Scoring(table, runs, ledgers)


def _called(setup: Setup) -> str:
    """The data in words, as sentences about it go on."""
    task = setup.examples.task
    return f"{setup.examples.kind} data" if task == "classification" else f"data of the task '{task}'"


def _checked_epochs(setup: Setup, at_epoch: float | Sequence[float] | None) -> list[float]:
    size = len(setup.examples.train)
    if at_epoch is None:
        at_epoch = default_epoch(setup.recipe, size)
    given = [at_epoch] if isinstance(at_epoch, int | float) else list(at_epoch)
    epochs = sorted({float(epoch) for epoch in given})
    total = setup.recipe.total_steps(size)
    length = total / setup.steps_per_epoch
    if not epochs:
        raise BadInputError("at_epoch is empty; name at least one epoch.")
    for epoch in epochs:
        if not (epoch >= 0 and setup.step_of(epoch) <= total):
            raise BadInputError(
                f"at_epoch is {epoch:g}, but the recipe {setup.recipe.name!r} trains for {length:g} epochs; choose "
                f"from 0 to {length:g}, or train longer with --epochs."
            )
    return epochs


def _scores_of(
    setup: Setup,
    run: Run,
    names: Sequence[str],
    epochs: Sequence[float],
    grand_parameters: str | None,
    encoder: str | None,
) -> tuple[dict[str, np.ndarray], list[Mapping[str, Any]], dict[str, str]]:
    """One seed's columns, the ledgers of what they cost, and the hash of the weights behind each column."""
    found: dict[str, np.ndarray] = {}
    hashes: dict[str, str] = {}
    wanted: dict[str, list[str]] = defaultdict(list)
    for name in names:
        wanted[card(name).needs].append(name)
    per_epoch = [name for name in names if card(name).needs in ("outputs", "features")]
    ledgers: list[Mapping[str, Any]] = [run.weights(setup.step_of(max(epochs)))[1]["ledger"]]

    def take(points: Points, names: Sequence[str], suffix: str) -> None:
        there = [name for name in names if name in points.columns]
        found.update({name + suffix: points.columns[name] for name in there})
        hashes.update({name + suffix: points.weights for name in there})

    for epoch in epochs:
        step = setup.step_of(epoch)
        suffix = "" if len(epochs) == 1 else f"@{epoch:g}"
        inputs = wanted["inputs"] if epoch == epochs[-1] else []
        if per_epoch or inputs:
            points = measure_points(setup, run, step, per_epoch)
            ledgers.append(points.ledger)
            take(points, per_epoch, suffix)
            take(points, inputs, "")
        if "grand" in names:
            grand = measure_grand(setup, run, step, grand_parameters or "all")
            ledgers.append(grand.ledger)
            take(grand, ["grand"], suffix)
        if wanted["embeddings"]:
            geometry = Ledger()
            places = embeddings_of(setup, run, step, encoder)
            for name in wanted["embeddings"]:
                function = card(name).function
                assert function is not None
                found[name + suffix] = function(places.values, setup.examples.train.labels, seed=run.seed)
                if "weights" in places.about:
                    hashes[name + suffix] = places.about["weights"]
            geometry.lap("scoring")
            ledgers.append(geometry.as_dict())
        if wanted["trace"]:
            trace = run.trace()
            there = scores_possible(trace.columns)
            given = [name for name in wanted["trace"] if name in there]  # a task need not have every measure
            values = scores_from_trace(trace, given, through_epoch=int(epoch))
            found |= {name + suffix: values[name] for name in given}
    if "random" in names:
        found["random"] = random(setup.examples.train.ids, derive_seed(run.seed, "random score") % 2**32)
    return found, ledgers, hashes


def _provenance(
    setup: Setup,
    seeds: list[int],
    epochs: Sequence[float],
    columns: dict[str, np.ndarray],
    hashes: dict[str, list[str]],
    grand_parameters: str | None,
    encoder: str | None,
) -> dict[str, Any]:
    scores: dict[str, dict[str, Any]] = {}
    for column in columns:
        name, _, at = column.partition("@")
        entry: dict[str, Any] = {"higher_is_harder": card(name).higher_is_harder}
        if card(name).needs not in ("ids", "inputs"):
            epoch = float(at) if at else max(epochs)
            entry |= {"epoch": epoch, "step": setup.step_of(epoch)}
        if column in hashes:
            entry |= {"weights": hashes[column], "taken": "evaluation"}
        elif card(name).needs == "trace":
            entry["taken"] = "training pass"
            if card(name).function is mean_over_the_pass:
                entry["from_epoch"] = min(FIRST_EPOCH, int(entry["epoch"]))
        if card(name).needs == "embeddings":
            entry["embeddings"] = encoder or "input of the last linear layer"
            if encoder:
                entry["encoder_identity"] = encoder_identity(setup, encoder)
        if name == "grand":
            entry["parameters"] = grand_parameters
        scores[column] = entry
    return {
        "fingerprint": setup.examples.fingerprint,
        "source": setup.examples.source,
        "kind": setup.examples.kind,
        **({"task": setup.examples.task} if setup.examples.task != "classification" else {}),
        "holdout_seed": setup.examples.holdout_seed,
        "left_out": list(setup.examples.left_out),
        "recipe": setup.recipe.to_dict(),
        **({"model_identity": setup.identity} if setup.identity else {}),
        "encoding": setup.encoding.describe(),
        **({"texts_cut": setup.cut_texts} if setup.cut_texts else {}),
        "seeds": seeds,
        "workspace": str(setup.workspace.path),
        "scores": scores,
        "machine": {
            "device": setup.accelerator.device.type,
            "processes": setup.accelerator.num_processes,
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "platform": platform.platform(),
            "python": platform.python_version(),
        },
    }
