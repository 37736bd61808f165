"""Options of the verbs, in groups: what several have is written once, and each verb's own beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from typing_extensions import Required, TypedDict

from datadiet.engine.options import (
    DisplayOption,
    MachineOptions,
    RecipeOption,
    SetupOptions,
    TrainingOptions,
    WorkspaceOption,
)
from datadiet.foundation.defaults import DEFAULT_RULE, DEFAULT_SCORE
from datadiet.foundation.durations import seconds_of
from datadiet.foundation.errors import BadInputError
from datadiet.foundation.options import REQUIRED, Option, finite, key_values, names, numbers
from datadiet.foundation.parsing import shown


def _columns(text: str, flag: str) -> str | list[str]:
    """One column, or several."""
    found = names(text)
    return found[0] if len(found) == 1 else found


def count_or_fraction(text: str, flag: str) -> int | float:
    """A whole number is a count, one with a point a fraction of the group.

    Raises:
        BadInputError: it is neither.

    Example:
        >>> count_or_fraction("20", "floor"), count_or_fraction("0.1", "floor")
        (20, 0.1)
    """
    try:
        return int(text) if text.strip().lstrip("+-").isdigit() else finite(text)
    except ValueError as error:
        raise BadInputError(
            f"--{flag} is {shown(text)}; give a count of examples such as 20, or a fraction such as 0.1."
        ) from error


def weights(text: str) -> str | dict[str, float]:
    """One score, or several with their weights.

    Raises:
        BadInputError: a weight is no number.

    Example:
        >>> weights("el2n"), weights("el2n=2,forgetting")
        ('el2n', {'el2n': 2.0, 'forgetting': 1.0})
    """
    if not any(mark in text for mark in ",="):
        return text
    pairs = [name.partition("=") for name in names(text)]
    try:
        return {name.strip(): finite(weight) if equals else 1.0 for name, equals, weight in pairs}
    except ValueError as error:
        raise BadInputError(
            f"--by is {text!r}; it takes a score, or several with weights, such as el2n=2,forgetting=1."
        ) from error


def bounds(given: Sequence[str], flag: str) -> dict[str, tuple[float, float]]:
    """Ranges by option from NAME=LOW:HIGH.

    Example:
        >>> bounds(["beta=0:0.4"], "range")
        {'beta': (0.0, 0.4)}
    """
    found = {}
    for text in given:
        name, _, limits = text.partition("=")
        low, _, high = limits.partition(":")
        try:
            found[name] = (finite(low), finite(high))
        except ValueError as error:
            raise BadInputError(
                f"--{flag} {text!r} is not NAME=LOW:HIGH with two numbers, such as beta=0:0.4."
            ) from error
    return found


class DataOptions(TypedDict, total=False):
    """What `datadiet.load` takes.

    Args:
        input: Input column or columns, separated by commas; found when not given.
        label: Label column; found when not given.
        task: classification, intent_slots, token_classification, multilabel or regression; found when not given, but
            for regression.
        tags: Column with a tag for each word; found when not given.
        test: Another source that holds the test part.
        test_fraction: Share that is held out when there is no test part [0.2].
        holdout_seed: Seed of the held-out part [0].
        on_bad_example: What a corrupt example does: error or skip [error].
        image_size: Side in pixels that images are brought to.
        encoding: Of CSV and JSON files, such as cp1252; found when not given.
        delimiter: Between the values of CSV files, such as ';'; found when not given.
    """

    input: Annotated[str | Sequence[str] | None, Option(read=_columns)]
    label: str | None
    task: str | None
    tags: str | None
    test: str | None
    test_fraction: float | None
    holdout_seed: int | None
    on_bad_example: str | None
    image_size: int | None
    encoding: str | None
    delimiter: str | None


class LoadOption(TypedDict, total=False):
    """How the data is read.

    Args:
        load_options: Further arguments of `datadiet.load`.
    """

    load_options: Annotated[Mapping[str, Any] | None, Option(flag=None, flags=DataOptions, panel="Data")]


class SourceOption(LoadOption, total=False):
    """The data of something that was made from data.

    Args:
        source: The data, when it has moved.
    """

    source: Any


class OverwriteOption(TypedDict, total=False):
    """What is done where results are already.

    Args:
        overwrite: Replace what another question came to there.
    """

    overwrite: Annotated[bool, Option(False)]


class ReportOptions(SourceOption, DisplayOption, OverwriteOption, total=False):
    """Options of `datadiet.jobs.report.rewrite_report`.

    Args:
        overwrite: Replace a page that was changed since it was written.
    """


class SeedOption(TypedDict, total=False):
    """Where all randomness begins.

    Args:
        seed: Base of all seeds.
    """

    seed: Annotated[int, Option(0, least=0)]


class OutOption(OverwriteOption, total=False):
    """Where results go.

    Args:
        out: Folder of the results.
    """

    out: str | Path | None


class SeedsOption(TypedDict, total=False):
    """How often something is trained.

    Args:
        seeds: Retrainings of each subset.
    """

    seeds: Annotated[int, Option(3, least=1, most=1000, must="it must be 1 or more, and at most 1000")]


class LeakOption(TypedDict, total=False):
    """What is done about a test part that shares rows with the training part.

    Args:
        on_leak: Test rows that are also in the training part: error, drop (no verdict is of them) or keep.
    """

    on_leak: Annotated[Literal["error", "drop", "keep"], Option("drop")]


def seeds_or_auto(text: str, flag: str) -> int | str:
    """A number of seeds, or "auto".

    Raises:
        BadInputError: it is neither.

    Example:
        >>> seeds_or_auto("5", "seeds"), seeds_or_auto("auto", "seeds")
        (5, 'auto')
    """
    if text.strip() == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError as error:
        raise BadInputError(f"--{flag} is {shown(text)}; give a number such as 5, or auto.") from error


class RetrainingOptions(TypedDict, total=False):
    """How often subsets are retrained.

    Args:
        seeds: Retrainings of each subset, or auto: as many as decide, at least 3.
        max_seeds: Most retrainings of a subset with --seeds auto [8].
        time: What there is time for with --seeds auto, such as 30m; scoring counts.
    """

    seeds: Annotated[int | str, Option("auto", read=seeds_or_auto)]
    max_seeds: Annotated[
        int | None, Option(least=3, most=1000, must="it must be 3 or more, and at most 1000")
    ]
    time: Annotated[float | str | None, Option(read=seconds_of)]


class JudgingOptions(RetrainingOptions, SeedOption, OutOption, LeakOption, LoadOption, total=False):
    """How subsets are retrained and judged.

    Args:
        tolerance: Percentage points of accuracy that may be lost.
        price_per_hour: What an hour of this machine costs, for costs in money.
    """

    price_per_hour: Annotated[float | None, Option(least=0, below=math.inf, must="it is a price, 0 or more")]
    tolerance: Annotated[
        float,
        Option(0.5, least=0, most=100, must="it is in percentage points of accuracy, from 0 to 100"),
    ]


class WholeJobOptions(JudgingOptions, TrainingOptions, total=False):
    """What scores first and retrains then.

    Args:
        score_seeds: Models that scores are averaged over [1 for the training pass; else as --seeds, 3 with auto].
        at_epoch: Epoch of the scores [two fifths of the run].
    """

    score_seeds: Annotated[
        int | None, Option(least=1, most=1000, must="it must be 1 or more, and at most 1000")
    ]
    at_epoch: float | None


class GroupsOption(TypedDict, total=False):
    """By what results are told apart.

    Args:
        groups: Column by which to say who is left out; several with commas, a+b for both at once. Classes always are.
    """

    groups: Annotated[Sequence[str], Option((), flag="--group", read=names)]


class WindowFlags(TypedDict, total=False):
    """Options of the rule `window` by flags of their own.

    Args:
        start: Window: share of the hardest examples that is left out first.
        end: Window: where it ends, as a share from the hardest.
    """

    start: float | None
    end: float | None


class RuleOption(TypedDict, total=False):
    """How examples are chosen.

    Args:
        rule: How scores become a subset; 'help' explains each.
        per_class: Keep the same fraction of every class.
    """

    rule: Annotated[str, Option(DEFAULT_RULE)]
    per_class: Annotated[bool, Option(False)]


class SelectionOptions(RuleOption, GroupsOption, total=False):
    """How examples are chosen, and what every group of them is owed.

    Args:
        rule_options: An option of the rule, as key=value, such as beta=0.1; may be repeated.
        balance: class or group: equal counts of every class, or of every group of --group.
        floor: Fewest examples to stay of each group (class without --group): 20, or 0.1 for a tenth of the group.
        allow_empty_class: Let classes lose all their examples [each keeps 5, or its share where that is fewer].
    """

    rule_options: Annotated[
        Mapping[str, Any] | None,
        Option(flag="--rule-option", read=partial(key_values, example="beta=0.1"), flags=WindowFlags),
    ]
    balance: str | None
    floor: Annotated[int | float | None, Option(read=count_or_fraction)]
    allow_empty_class: Annotated[bool, Option(False)]


class ScoringOptions(TypedDict, total=False):
    """How some scores are taken.

    Args:
        grand_parameters: GraNd over all, head, or the parameters that a pattern matches [all; of a pre-trained model,
            head].
        encoder: Folder or hub id of transformers that gives embeddings, for what needs them [the trained model].
    """

    grand_parameters: str | None
    encoder: str | None


class RunOptions(SelectionOptions, ScoringOptions, WholeJobOptions, total=False):
    """Options of `datadiet.run`.

    Args:
        scores: Scores to choose subsets by [mean_el2n; before an epoch is whole, el2n].
        keep: Fractions that stay.
        dynamic: Choose anew while training, beside full data and chance: a selector such as infobatch; 'help'
            explains each.
        dynamic_options: An option of --dynamic or its schedule, such as keep=0.5; may be repeated.
        quick: A first answer in about five minutes, on a sample of the training part where that takes longer.
        sparsity: Also train networks with this share of weights removed, on the same examples.
        allow_empty_layer: Go on where --sparsity leaves no weight of a layer.
        command: The command line that asked for this, for the report.
    """

    scores: Annotated[Sequence[str] | None, Option(read=names)]
    keep: Annotated[Sequence[float], Option((0.7, 0.5, 0.3), read=numbers)]
    quick: Annotated[bool, Option(False)]
    dynamic: str | None
    dynamic_options: Annotated[
        Mapping[str, Any] | None,
        Option(flag="--dynamic-option", read=partial(key_values, example="keep=0.5")),
    ]
    sparsity: float | None
    allow_empty_layer: Annotated[bool, Option(False, flag="--allow-empty-layer/--no-allow-empty-layer")]
    command: Annotated[str | None, Option(flag=None)]


class CompareOptions(GroupsOption, JudgingOptions, WorkspaceOption, SetupOptions, total=False):
    """Options of `datadiet.compare`.

    Args:
        command: The command line that asked for this, for what it says is next.
    """

    command: Annotated[str | None, Option(flag=None)]


class TakenOptions(SeedsOption, SeedOption, ScoringOptions, total=False):
    """How scores are taken, over how many models and when.

    Args:
        seeds: Models that scores are averaged over.
        at_epoch: Epochs of the scores, separated by commas [two fifths of the run].
    """

    at_epoch: Annotated[float | Sequence[float] | None, Option(read=numbers)]


class ScoreOptions(TakenOptions, OutOption, LoadOption, WorkspaceOption, SetupOptions, total=False):
    """Options of `datadiet.score`.

    Args:
        out: Where the table goes [of the command, scores.parquet].
        embeddings: Also write every example's embedding here, for rules of `keep` that need them.
    """

    embeddings: str | Path | None


class CompareFlags(RecipeOption, CompareOptions, total=False):
    """Flags of `datadiet compare`."""


class ScoreFlags(RecipeOption, ScoreOptions, total=False):
    """Flags of `datadiet score`.

    Args:
        scores: Scores [all of the training pass; before an epoch is whole, all of a forward pass].
    """

    scores: Annotated[Sequence[str] | None, Option(read=names)]


class KeepOptions(SelectionOptions, SeedOption, OutOption, SourceOption, DisplayOption, total=False):
    """Options of `datadiet.jobs.keep.keep_from`.

    Args:
        out: Where the ids go, .parquet or .txt [of the command, kept.parquet].
        by: The score, or several mixed by rank, as el2n,forgetting or el2n=2,forgetting=1 [mean_el2n, or the only one].
        keep: Fraction that stays.
        embeddings: For rules that need them: a file of `score --embeddings`, or .npy in id order.
        source: The data, to check that the table was made from it [for --group, the table's own].
    """

    by: str | Mapping[str, float] | None
    keep: Annotated[float, Option(0.5)]
    embeddings: str | Path | None


class TrialOptions(SeedOption, total=False):
    """How windows are tried.

    Args:
        score: The score to order examples by.
        keep: Fraction that stays; with --tune-end the least that may.
        rule: window, or a rule whose options are tuned instead, such as stratified.
        tune_end: Find the end of the window too.
        trials: Windows to try.
        trial_seeds: Trainings of each.
    """

    score: Annotated[str, Option(DEFAULT_SCORE)]
    keep: Annotated[
        float,
        Option(0.5, above=0, below=1, must="it is the fraction that stays and must be above 0 and below 1"),
    ]
    rule: Annotated[str, Option("window")]
    tune_end: Annotated[bool, Option(False)]
    trials: Annotated[int, Option(20, least=1)]
    trial_seeds: Annotated[int, Option(1, least=1)]


class TuneOptions(TrialOptions, WholeJobOptions, total=False):
    """Options of `datadiet.tune`.

    Args:
        ranges: NAME=LOW:HIGH, an option of the rule and what to try; repeatable.
        validation_fraction: Share of the training part that windows are judged on.
        seeds: Trainings of each arm of the confirmation, or auto: as many as decide, at least 3.
        time: What there is time for in the confirmation with --seeds auto, such as 30m.
    """

    ranges: Annotated[Mapping[str, tuple[float, float]] | None, Option(flag="--range", read=bounds)]
    validation_fraction: Annotated[float, Option(0.1)]


class PoolOptions(SeedsOption, SeedOption, OutOption, LoadOption, TrainingOptions, total=False):
    """Options of `datadiet.pool`.

    Args:
        pick: How many rows to pick, exactly.
        by: entropy, el2n, margin, logit_margin, least_confidence, or random; labels do not count.
        end: hardest: what the models are least sure of; easiest: what they are surest of.
        window: Share of the least sure rows that is passed over first.
        min_confidence: Leave out less confident rows, by the pool's column, else by the models.
        hypothesis: The pool's column of hypotheses [BASE's label column, or 'hypothesis'].
        hypothesis_tags: The pool's column of hypothesised tags [BASE's].
        confidence: The pool's column of confidences ['confidence' if there].
        defect: A column of the pool; rows where it is true are left out.
        unlabelled: Do not read hypotheses: list what to label next.
        seeds: Models that scores are averaged over.
        command: The command line that asked for this, for the record.
    """

    pick: Required[Annotated[int, Option(REQUIRED, least=1, must="pick at least one row")]]
    by: Annotated[str, Option("entropy")]
    end: Annotated[Literal["hardest", "easiest"], Option("hardest")]
    window: Annotated[
        float | None,
        Option(least=0, below=1, must="it is the share of the least sure rows to pass over, in [0, 1)"),
    ]
    min_confidence: Annotated[float | None, Option(least=0, most=1, must="it is a probability, from 0 to 1")]
    hypothesis: str | None
    hypothesis_tags: str | None
    confidence: str | None
    defect: str | None
    unlabelled: Annotated[bool, Option(False)]
    command: Annotated[Sequence[str] | None, Option(flag=None)]


Method = Literal["combination", "late_el2n", "aum", "aum_threshold", "probability", "forgetting", "cleanlab"]


class ModelOption(TypedDict, total=False):
    """What is said of the model that a score table names.

    Args:
        model: The model factory that the table names, whose code is then run; or where its model folder is now.
    """

    model: str | None


class SuspectsOptions(
    SourceOption,
    SeedOption,
    OutOption,
    ModelOption,
    WorkspaceOption,
    MachineOptions,
    DisplayOption,
    total=False,
):
    """Options of `datadiet.find_suspects`.

    Args:
        out: Where the suspects go [of the command, suspects.parquet].
        method: combination, late_el2n, aum, aum_threshold, probability, forgetting, or cleanlab (if installed).
        folds: Predict by cross-validation with so many folds: one training each.
        second_pass: Train once more for each scoring run, without its suspects and a random part (combination only).
        parts: all, or train to leave the labels of the test part out.
    """

    method: Annotated[Method, Option("combination")]
    folds: int | None
    second_pass: Annotated[bool, Option(True)]
    parts: Annotated[Literal["all", "train"], Option("all")]


class VerifyOptions(
    SourceOption, SeedOption, ModelOption, WorkspaceOption, MachineOptions, DisplayOption, total=False
):
    """Options of `datadiet.verify`.

    Args:
        sample: Examples that are computed again.
    """

    sample: Annotated[int, Option(100, least=1)]


class ReviewOptions(OutOption, SourceOption, DisplayOption, total=False):
    """Options of `datadiet.review`.

    Args:
        by: The score that a score table is ranked by; may be left out for one.
        limit: How many, the most suspicious first [as many as are wrong, from 20 to 5000; 100 where that cannot be
            told].
        out: The page [review.html beside the suspects].
    """

    by: str | None
    limit: Annotated[int | None, Option(least=1)]


class ExportOptions(LoadOption, ModelOption, WorkspaceOption, DisplayOption, total=False):
    """Options of `datadiet.export`.

    Args:
        kept: Ids that stay, from `datadiet keep`.
        decisions: Decisions of the review page: what leaves, what is relabelled.
        format: same (the source's own), imagefolder, parquet, jsonl, csv, datasets, webdataset; or for other tools:
            ids, files, indices, fiftyone, cleanlab.
        overwrite: Replace an earlier export, as a whole.
        include_test: Write the test part, too, so that the export loads as a whole data set.
        shard_size: Bytes that a shard of webdataset may have.
        keep_formulas: Leave texts in CSV as they are that a spreadsheet would run.
        scores: The score table: its hash is noted, and cleanlab takes its models' probabilities.
        machine: What models run on, for cleanlab.
        command: What to note in the manifest as how this was made.
    """

    kept: Path | Any
    decisions: Path | Any
    format: Annotated[str, Option("same")]
    overwrite: Annotated[bool, Option(False)]
    include_test: Annotated[bool, Option(True, flag=None)]
    shard_size: Annotated[
        int, Option(1 << 30, least=1 << 16, must="a shard needs at least 65,536 bytes", flag=None)
    ]
    keep_formulas: Annotated[bool, Option(False)]
    scores: str | Path | None
    machine: Annotated[Mapping[str, Any] | None, Option(flag=None, flags=MachineOptions, panel="Machine")]
    command: Annotated[Sequence[str] | None, Option(flag=None)]


class AgreeOptions(RuleOption, WindowFlags, SeedOption, OutOption, total=False):
    """Options of `datadiet.agree`.

    Args:
        out: Folder of the tables and figures [of the command, agreement].
        scores: Scores [all].
        rule: How scores become the subsets that are compared; 'help' explains each.
        keep: Fractions to compare the choices at [0.1,0.2, ... 0.9].
        any_data: Compare tables of different data, by id alone.
    """

    scores: Annotated[Sequence[str] | None, Option(flag="--scores --by", read=names)]
    rule: Annotated[str, Option("hardest")]
    keep: Annotated[Sequence[float], Option(read=numbers)]
    any_data: Annotated[bool, Option(False)]


class ContextOptions(SeedOption, LeakOption, LoadOption, TrainingOptions, total=False):
    """Options of a study's context.

    Args:
        scale: smoke, fast or paper: seeds, epochs and sizes.
    """

    scale: Annotated[str, Option("fast")]


class StudyOptions(ContextOptions, OutOption, total=False):
    """Options of `datadiet.run_study`.

    Args:
        out: Folder of the results [WORKSPACE/studies/NAME].
        command: The command line that asked for it, for the record.
    """

    command: Annotated[str | None, Option(flag=None)]
