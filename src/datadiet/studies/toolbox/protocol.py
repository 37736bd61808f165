"""What every study is: a plan of runs and its cost, rows measured one by one, and what it concludes from them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from typing_extensions import Unpack

from datadiet.data.leaks import leak_warning
from datadiet.engine.estimates import seconds_of_a_step
from datadiet.engine.options import TrainingOptions
from datadiet.engine.reloading import read_examples
from datadiet.engine.setup import prepare
from datadiet.engine.training.dynamic import refuse_dynamic
from datadiet.foundation.atomic import atomic_file, atomic_path, write_json
from datadiet.foundation.errors import BadInputError, DataDietError
from datadiet.foundation.options import picked, with_options
from datadiet.foundation.outputs import ResultsFolder
from datadiet.foundation.registry import Registry
from datadiet.jobs.export.rows import neutralised
from datadiet.jobs.options import ContextOptions, StudyOptions
from datadiet.jobs.outputs import Results, check_out, inputs_of, question, results_of
from datadiet.pages.report.canvas import as_png, as_svg, drawing_style
from datadiet.studies.toolbox.claims import Claim, Finding, judge
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.scale import SCALES

Row = dict[str, Any]
WRITTEN = (
    "study.json",
    "claims.json",
    "results.parquet",
    "results.csv",
    "*.parquet",
    "*.csv",
    "*.png",
    "*.svg",
)


@dataclass(frozen=True)
class Planned:
    """A group of runs of the same length that a study needs.

    Args:
        what: in words, such as "retrainings on 0.7 by el2n".
        runs: how many.
        steps: of each.
    """

    what: str
    runs: int
    steps: int


@dataclass
class Conclusion:
    """What a study makes of its rows.

    Args:
        claims: what is judged, each with its measurement.
        figures: name -> figure; written as PNG and SVG.
        tables: name -> rows; written as Parquet and CSV, beside the study's own rows.
    """

    claims: Sequence[Claim] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)


Plan = Callable[[StudyContext], Sequence[Planned]]
Measure = Callable[[StudyContext, dict[Any, Any]], Iterator[Row]]
Conclude = Callable[[StudyContext, Sequence[Row], Mapping[Any, Any]], Conclusion]


@dataclass(frozen=True)
class Study:
    """A named experiment of a paper, on anybody's data.

    Args:
        name: on the command line.
        title: one line: what it shows.
        source: paper and section.
        plan: the runs it needs, before any is started.
        measure: yields one row after the other; runs that are there already are not trained again. What `conclude`
            needs beside the rows, such as which test examples each arm is right on, goes into the dictionary.
        conclude: claims, figures and tables of the rows; also called with the rows so far of a study that was
            interrupted.
        kinds: kinds of data that it can be done on.
        tasks: tasks that it can be done on.
    """

    name: str
    title: str
    source: str
    plan: Plan
    measure: Measure
    conclude: Conclude
    kinds: tuple[str, ...] = ("image", "text", "vector")
    tasks: tuple[str, ...] = ("classification",)


@dataclass(frozen=True)
class StudyResult:
    """A finished study: what it found and where it lies.

    Args:
        name: of the study.
        folder: tables, figures, `claims.json`, `study.json`.
        rows: what was measured.
        findings: the claims with their evidence.
        trained: how many runs were trained for it.
        reused: how many were there already.
    """

    name: str
    folder: Path
    rows: Sequence[Row]
    findings: Sequence[Finding]
    trained: int
    reused: int


STUDIES: Registry[Study] = Registry("study")


def study(
    name: str, title: str, source: str, *, plan: Plan, measure: Measure, **further: tuple[str, ...]
) -> Callable[[Conclude], Conclude]:
    """Register a study by a decorator on the function that concludes; the arguments are those of `Study`."""

    def register(conclude: Conclude) -> Conclude:
        STUDIES.add(name, Study(name, title, source, plan, measure, conclude, **further))
        return conclude

    return register


def retraining_plan(
    context: StudyContext, subsets: Mapping[float, int], *, models: int | None = None, times: int = 1
) -> list[Planned]:
    """The runs of a study that retrains on subsets: scoring runs, full data, and every subset with every seed.

    Args:
        context: what the study works with.
        subsets: kept fraction -> how many subsets of that size, random ones included.
        models: scoring runs; the scale's by default.
        times: over how many data sets or models all of it is done.
    """
    seeds = times * context.scale.retrain_seeds
    return [
        Planned("scoring runs", times * (models or context.scale.score_seeds), context.total_steps),
        Planned("trainings on full data", seeds, context.planned_steps()),
        *(
            Planned(f"retrainings on {keep:g}", count * seeds, context.planned_steps(keep))
            for keep, count in subsets.items()
        ),
    ]


@with_options(recipe=None)
def open_context(source: Any, **options: Unpack[ContextOptions]) -> StudyContext:
    """Everything a study works with; studies share the runs of a workspace.

    The recipe is "paper" at the scale of that name and "fast" at any other, unless given.

    Args:
        source: anything that `datadiet.load` takes, or `Examples`.
    """
    chosen = SCALES[options["scale"]]
    examples = read_examples(source, options["load_options"], options["display"])
    options["recipe"] = options["recipe"] or ("paper" if options["scale"] == "paper" else "fast")
    setup = prepare(examples, on_leak=options["on_leak"], **picked(TrainingOptions, options))
    refuse_dynamic(setup.recipe, "Studies begin with")
    machine = {"memory_limit": options["memory_limit"], "num_workers": options["num_workers"]}
    context = StudyContext(setup, chosen, options["seed"], machine=machine)
    if not chosen.decides:
        setup.display.say(
            f"{chosen.name}: nothing is decided; this scale is for trying that everything runs."
        )
    warning = leak_warning(examples, setup.tested)
    if warning is not None:
        context.note(warning)
        setup.display.say(f"Warning: {warning}")
    return context


@with_options(recipe=None)
def run_study(name: str, source: Any, **options: Unpack[StudyOptions]) -> StudyResult:
    """Carry out a study: plan, train what is missing, measure, draw, judge the claims.

    Args:
        name: of the study, see `STUDIES`.
        source: anything that `datadiet.load` takes, or `Examples`.

    Raises:
        BadInputError: no such study, or data that it cannot be done on.
        KeyboardInterrupt: passed on after what was measured so far was written, marked as partial.
    """
    chosen = STUDIES[name]
    inputs = inputs_of(options, source)
    check_out(options, inputs, WRITTEN)
    with closing(open_context(source, **picked(ContextOptions, options))) as context:
        plan_of(chosen, context)
        asked = question("study", options, context.setup, study=name)
        display = context.setup.display
        results = results_of(asked, options, inputs, WRITTEN, default=f"studies/{name}", display=display)
        return carry_out(chosen, context, results, options["command"])


def plan_of(study: Study, context: StudyContext) -> list[Planned]:
    """The runs of a study, those of no length left out.

    Raises:
        BadInputError: the study cannot be done on this kind of data or this task.
    """
    examples = context.setup.examples
    if examples.kind not in study.kinds:
        raise BadInputError(
            f"The study {study.name!r} needs {' or '.join(study.kinds)} data, not {examples.kind} data."
        )
    if examples.task not in study.tasks:
        raise BadInputError(
            f"The study {study.name!r} is for {' or '.join(study.tasks)}, and '{examples.name}' is of "
            f"the task '{examples.task}'."
        )
    return [planned for planned in study.plan(context) if planned.runs]


def carry_out(
    study: Study, context: StudyContext, to: Results | Path, command: str | None = None
) -> StudyResult:
    """Measure and write a study in a context that is open already; see `run_study`.

    Args:
        study: what to carry out.
        context: data and recipe.
        to: where the results go; those that are in a folder are replaced.
        command: the command line that asked for it, for the record.
    """
    results = to if isinstance(to, Results) else _results_in(to, study, context)
    planned = plan_of(study, context)
    context.trained.clear()
    context.reused.clear()
    context.setup.display.plan(sum(item.runs * item.steps for item in planned), study.name)
    before = time.perf_counter()
    rows: list[Row] = []
    kept: dict[Any, Any] = {}

    def conclude_and_write(*, partial: bool) -> list[Finding]:
        if not context.setup.accelerator.is_main_process:
            return []
        about = {"seconds": time.perf_counter() - before, "partial": partial}
        try:
            with drawing_style():
                conclusion = study.conclude(context, rows, kept)
        except (LookupError, ValueError):
            if not partial:
                raise
            conclusion = Conclusion()  # too little was measured to conclude anything
        findings = [] if partial else judge(conclusion.claims, decides=context.scale.decides)
        notes = list(dict.fromkeys([*context.setup.examples.notes, *context.notes]))
        record = _about(study, context) | about | {"notes": notes, "command": command}
        with results.written() as folder:
            write_table(folder / "results", rows)
            for name, table in conclusion.tables.items():
                write_table(folder / name, table)
            for name, figure in conclusion.figures.items():
                _write_figure(folder / name, figure, partial)
            write_json(folder / "study.json", record)
            write_json(folder / "claims.json", [finding.as_dict() for finding in findings])
        return findings

    try:
        for row in study.measure(context, kept):
            rows.append(row)
    except (KeyboardInterrupt, DataDietError):
        if rows:
            conclude_and_write(partial=True)
        raise
    findings = conclude_and_write(partial=False)
    return StudyResult(study.name, results.path, rows, findings, len(context.trained), len(context.reused))


def _results_in(folder: Path, study: Study, context: StudyContext) -> Results:
    told = {"scale": context.scale.name, "seed": context.seed}
    asked = question("study", told, context.setup, study=study.name)
    return Results(ResultsFolder(folder), asked, overwrite=True)


def _about(study: Study, context: StudyContext) -> dict[str, Any]:
    examples, recipe, scale = context.setup.examples, context.setup.recipe, context.scale
    return {
        "study": study.name,
        "title": study.title,
        "source_paper": study.source,
        "data": examples.source,
        "fingerprint": examples.fingerprint,
        "n_train": len(examples.train),
        "n_test": context.setup.n_test,
        "scale": scale.name,
        "score_seeds": scale.score_seeds,
        "retrain_seeds": scale.retrain_seeds,
        "seed": context.seed,
        "recipe": recipe.to_dict(),
        "budget": f"same {recipe.budget}",
        "runs_trained": len(context.trained),
        "runs_reused": len(context.reused),
    }


def _write_figure(path: Path, figure: Figure, partial: bool) -> None:
    """A figure as PNG and SVG, with a mark where it is of an interrupted study."""
    if partial:
        figure.text(0.99, 0.01, "partial: interrupted", ha="right", va="bottom", color="#b00020", fontsize=9)
    for suffix, data in ((".png", as_png(figure)), (".svg", as_svg(figure))):
        with atomic_file(path.with_name(f"{path.name}{suffix}")) as file:
            file.write(data)


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Rows as `<path>.parquet` and `<path>.csv`; cells of CSV that begin like a formula are kept from being one."""
    listed = list(rows)
    if not listed:
        return
    names = list(dict.fromkeys(name for row in listed for name in row))
    table = pa.table({name: [row.get(name) for row in listed] for name in names})
    with atomic_path(path.with_suffix(".parquet")) as temporary:
        pq.write_table(table, temporary)
    plain = pa.table({name: [_plain(row.get(name)) for row in listed] for name in names})
    with atomic_path(path.with_suffix(".csv")) as temporary:
        pa_csv.write_csv(plain, temporary)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | dict):
        value = json.dumps(value)
    return neutralised(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Costed:
    """A group of planned runs and the seconds that they will take at most, were none there already.

    Args:
        planned: the runs.
        seconds: of all of them.
    """

    planned: Planned
    seconds: float


def with_cost(planned: Sequence[Planned], context: StudyContext) -> list[Costed]:
    """Each group with its estimated seconds; the estimate knows nothing of runs that are there already."""
    each = seconds_of_a_step(context.setup)
    return [Costed(item, item.runs * item.steps * each) for item in planned]
