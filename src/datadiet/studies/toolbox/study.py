"""What every study is: a plan of runs and its cost, rows measured one by one, and what it concludes from them."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from datadiet.engine.reloading import read_examples
from datadiet.engine.setup import prepare
from datadiet.engine.training.dynamic import refuse_dynamic
from datadiet.engine.training.loop import TrainingLoop
from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.atomic import atomic_file, atomic_path, write_json
from datadiet.foundation.errors import BadInputError, DataDietError
from datadiet.jobs.checks import check_folder
from datadiet.jobs.export.rows import neutralised
from datadiet.pages.report.canvas import as_png, as_svg, drawing_style
from datadiet.studies.toolbox.claims import Claim, Finding, Measured, judge
from datadiet.studies.toolbox.context import Workbench
from datadiet.studies.toolbox.scale import scale_named

Row = dict[str, Any]


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
        claims: each claim with its measurement, None where it could not be taken.
        figures: name -> figure; written as PNG and SVG.
        tables: name -> rows; written as Parquet and CSV, beside the study's own rows.
    """

    claims: Sequence[tuple[Claim, Measured | None]] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A named experiment of a paper, on anybody's data.

    Args:
        name: on the command line.
        title: one line: what it shows.
        source: paper and section.
        plan: the runs it needs, before any is started.
        measure: yields one row after the other; runs that are there already are not trained again. May keep
            arrays that are no table rows in the dictionary it is given.
        conclude: claims, figures and tables of the rows; also called with the rows so far of a study that was
            interrupted.
        kinds: kinds of data that it can be done on.
        tasks: tasks that it can be done on.
    """

    name: str
    title: str
    source: str
    plan: Callable[[Workbench], Sequence[Planned]]
    measure: Callable[[Workbench, dict[str, Any]], Iterator[Row]]
    conclude: Callable[[Workbench, Sequence[Row], Mapping[str, Any]], Conclusion]
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
        partial: whether it was interrupted.
    """

    name: str
    folder: Path
    rows: Sequence[Row]
    findings: Sequence[Finding]
    trained: int
    reused: int
    partial: bool = False


_STUDIES: dict[str, Study] = {}


def add_study(study: Study) -> Study:
    """Register a study by its name; returns it."""
    _STUDIES[study.name] = study
    return study


def studies() -> tuple[Study, ...]:
    """All studies, in the order of registration."""
    return tuple(_STUDIES.values())


def study_named(name: str) -> Study:
    """The study of that name.

    Raises:
        BadInputError: there is none; the nearest is suggested.
    """
    if name not in _STUDIES:
        near = difflib.get_close_matches(name, _STUDIES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_STUDIES)}."
        raise BadInputError(f"There is no study {name!r}; {hint}")
    return _STUDIES[name]


def open_bench(
    source: Any,
    *,
    scale: str = "fast",
    seed: int = 0,
    recipe: str | Recipe | None = None,
    workspace: str | Path = "runs",
    load_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Workbench:
    """Everything a study works with.

    Args:
        source: anything that `datadiet.load` takes, or `Examples`.
        scale: "smoke", "fast" or "paper"; the recipe is "paper" with the last and "fast" otherwise, unless given.
        seed: base of all seeds.
        recipe: another recipe.
        workspace: where runs live; studies share them.
        load_options: further arguments of `datadiet.load`.
        options: further arguments of `datadiet.engine.setup.prepare`.
    """
    chosen = scale_named(scale)
    examples = read_examples(source, load_options, options.get("display"))
    named = recipe if recipe is not None else ("paper" if scale == "paper" else "fast")
    machine: dict[str, Any] = {key: options[key] for key in ("memory_limit", "num_workers") if key in options}
    setup = prepare(examples, named, workspace=workspace, **options)
    refuse_dynamic(setup.recipe, "Studies begin with")
    return Workbench(setup, chosen, seed, machine=machine)


def run_study(
    name: str,
    source: Any,
    *,
    out: str | Path | None = None,
    workspace: str | Path = "runs",
    command: str | None = None,
    **options: Any,
) -> StudyResult:
    """Carry out a study: plan, train what is missing, measure, draw, judge the claims.

    Args:
        name: of the study, see `studies`.
        source: anything that `datadiet.load` takes, or `Examples`.
        out: folder of the results; None for `workspace/studies/<name>`.
        workspace: where runs live.
        command: the command line that asked for it, for the record.
        options: further arguments of `open_bench`.

    Raises:
        BadInputError: no such study, or data that it cannot be done on.
        KeyboardInterrupt: passed on after what was measured so far was written, marked as partial.
    """
    study = study_named(name)
    folder = Path(out) if out is not None else Path(workspace) / "studies" / name
    check_folder(folder)
    bench = open_bench(source, workspace=workspace, **options)
    try:
        return carry_out(study, bench, folder, command)
    finally:
        bench.close()


def plan_of(study: Study, bench: Workbench) -> list[Planned]:
    """The runs of a study, those of no length left out."""
    if bench.setup.examples.kind not in study.kinds:
        raise BadInputError(
            f"The study {study.name!r} needs {' or '.join(study.kinds)} data, not {bench.setup.examples.kind} data."
        )
    if bench.setup.examples.task not in study.tasks:
        raise BadInputError(
            f"The study {study.name!r} is for {' or '.join(study.tasks)}, and '{bench.setup.examples.name}' is of "
            f"the task '{bench.setup.examples.task}'."
        )
    return [planned for planned in study.plan(bench) if planned.runs]


def carry_out(study: Study, bench: Workbench, folder: Path, command: str | None = None) -> StudyResult:
    """Measure and write a study on a bench that is open already; see `run_study`."""
    planned = plan_of(study, bench)
    bench.trained.clear()
    bench.reused.clear()
    bench.setup.display.plan(sum(item.runs * item.steps for item in planned), study.name)
    before = time.perf_counter()
    rows: list[Row] = []
    kept: dict[str, Any] = {}
    try:
        for row in study.measure(bench, kept):
            rows.append(row)
    except (KeyboardInterrupt, DataDietError):
        if rows and bench.setup.accelerator.is_main_process:
            _write(study, bench, folder, rows, kept, time.perf_counter() - before, command, partial=True)
        raise
    findings: list[Finding] = []
    if bench.setup.accelerator.is_main_process:
        findings = _write(
            study, bench, folder, rows, kept, time.perf_counter() - before, command, partial=False
        )
    return StudyResult(study.name, folder, rows, findings, len(bench.trained), len(bench.reused))


def _write(
    study: Study,
    bench: Workbench,
    folder: Path,
    rows: Sequence[Row],
    kept: Mapping[str, Any],
    seconds: float,
    command: str | None,
    *,
    partial: bool,
) -> list[Finding]:
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "results", rows)
    try:
        with drawing_style():
            conclusion = study.conclude(bench, rows, kept)
    except (LookupError, ValueError):
        if not partial:
            raise
        conclusion = Conclusion()  # too little was measured to conclude anything
    findings = [] if partial else judge(conclusion.claims)
    for name, table in conclusion.tables.items():
        write_table(folder / name, table)
    for name, figure in conclusion.figures.items():
        if partial:
            figure.text(
                0.99, 0.01, "partial: interrupted", ha="right", va="bottom", color="#b00020", fontsize=9
            )
        for suffix, data in ((".png", as_png(figure)), (".svg", as_svg(figure))):
            with atomic_file(folder / f"{name}{suffix}") as file:
                file.write(data)
    examples = bench.setup.examples
    about = {
        "study": study.name,
        "title": study.title,
        "source_paper": study.source,
        "data": examples.source,
        "fingerprint": examples.fingerprint,
        "n_train": len(examples.train),
        "n_test": len(examples.test),
        "scale": bench.scale.name,
        "score_seeds": bench.scale.score_seeds,
        "retrain_seeds": bench.scale.retrain_seeds,
        "seed": bench.seed,
        "recipe": bench.setup.recipe.to_dict(),
        "budget": f"same {bench.setup.recipe.budget}",
        "runs_trained": len(bench.trained),
        "runs_reused": len(bench.reused),
        "seconds": seconds,
        "partial": partial,
        "notes": bench.notes,
        "command": command,
    }
    write_json(folder / "study.json", about)
    write_json(folder / "claims.json", [finding.as_dict() for finding in findings])
    return findings


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


TRIED_STEPS = 5


@dataclass(frozen=True)
class Costed:
    """A group of planned runs and the seconds that they will take at most, were none there already.

    Args:
        planned: the runs.
        seconds: of all of them.
    """

    planned: Planned
    seconds: float


def with_cost(planned: Sequence[Planned], bench: Workbench) -> list[Costed]:
    """Each group with its estimated seconds; the estimate knows nothing of runs that are there already."""
    each = seconds_of_a_step(bench)
    return [Costed(item, item.runs * item.steps * each) for item in planned]


def seconds_of_a_step(bench: Workbench) -> float:
    """The median over a few steps of the first run, on a model that is thrown away."""
    setup = bench.setup
    loop = TrainingLoop(
        setup.recipe,
        setup.build(0),
        setup.task,
        setup.train,
        ids=None,
        seed=0,
        total_steps=bench.total_steps,
        accelerator=setup.accelerator,
        augmentation=setup.augmentation,
    )
    times = []
    for step in range(1, min(TRIED_STEPS, bench.total_steps) + 1):
        before = time.perf_counter()
        loop.run(step)
        times.append(time.perf_counter() - before)
    return float(np.median(times))
