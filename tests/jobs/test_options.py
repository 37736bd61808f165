"""Options are the same in Python, on the command line and in the docs."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import typer.main

import datadiet as dd
from datadiet.cli import app
from datadiet.engine.options import MachineOptions, SetupOptions, WorkspaceOption
from datadiet.foundation.options import group_of, options_of, options_table
from datadiet.jobs import options as groups

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
FUNCTIONS = {
    "run": dd.run,
    "score": dd.score,
    "compare": dd.compare,
    "tune": dd.tune,
    "pool": dd.pool,
    "suspects": dd.find_suspects,
    "verify": dd.verify,
    "review": dd.review,
    "export": dd.export,
    "study": dd.run_study,
}
TABLES = {
    "run": groups.RunOptions,
    "score": groups.ScoreOptions,
    "keep": groups.KeepOptions,
    "compare": groups.CompareOptions,
    "tune": groups.TuneOptions,
    "pool": groups.PoolOptions,
    "suspects": groups.SuspectsOptions,
    "verify": groups.VerifyOptions,
    "review": groups.ReviewOptions,
    "export": groups.ExportOptions,
    "study": groups.StudyOptions,
}


@pytest.mark.parametrize("verb", FUNCTIONS)
def test_the_signature_and_the_docstring_say_every_option(verb: str) -> None:
    function = FUNCTIONS[verb]
    parameters = inspect.signature(function).parameters
    section = (inspect.getdoc(function) or "").partition("Args:\n")[2].partition("\n\n")[0]
    group = group_of(inspect.unwrap(function))
    assert group is not None
    for name, option in options_of(group).items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert option.sentence and f"    {name}: {option.sentence}" in section.splitlines()


@pytest.mark.parametrize("verb", FUNCTIONS)
def test_the_default_in_python_is_that_in_the_help(verb: str) -> None:
    parameters = inspect.signature(FUNCTIONS[verb]).parameters
    for flag in COMMANDS[verb].params:
        if flag.default is None or flag.name not in parameters or flag.name == "recipe":
            continue
        default = parameters[flag.name].default
        said = [",".join(map(str, default))] if isinstance(default, tuple) else default
        assert flag.default == said, flag.name


@pytest.mark.parametrize("verb", FUNCTIONS)
def test_an_unknown_keyword_is_refused_with_the_nearest_one(verb: str) -> None:
    first, *more = [
        name for name in inspect.signature(FUNCTIONS[verb]).parameters if name in options_of(TABLES[verb])
    ]
    for name in (first, *more):
        with pytest.raises(dd.BadInputError, match=r"There is no option of .* Did you mean"):
            FUNCTIONS[verb](**{f"{name}x": 1})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("seeds", 0, "seeds is 0; it must be auto, or 1 or more"),
        ("score_seeds", 0, "score_seeds is 0"),
        ("seed", -1, "seed is -1; it must be 0 or above"),
        ("tolerance", 101, "percentage points"),
        ("tolerance", -1.0, "tolerance is -1; it is in percentage points"),
        ("tolerance", float("nan"), "percentage points"),
        ("num_workers", -1, "num_workers is -1"),
        ("checkpoint_every", -1.0, "checkpoint_every"),
    ],
)
def test_a_value_outside_the_range_is_refused_before_anything_else(
    name: str, value: float, words: str
) -> None:
    with pytest.raises(dd.BadInputError, match=words):
        dd.run("no such data", **{name: value})  # type: ignore[arg-type]


def test_a_required_option_that_is_missing_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="pick"):
        dd.pool("base", "pool")  # type: ignore[call-arg]


def test_what_is_no_choice_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(dd.BadInputError, match=r"There is no method 'aun'\. Did you mean 'aum'"):
        dd.find_suspects("scores.parquet", method="aun")  # type: ignore[arg-type]
    with pytest.raises(dd.BadInputError, match="There is no end 'midle'"):
        dd.pool("base", "pool", pick=1, end="midle")  # type: ignore[arg-type]


def page() -> str:
    """The page of all options."""
    own = "\n\n".join(f"## {verb}\n\n{options_table(group)}" for verb, group in TABLES.items())
    shared = "\n\n".join(
        f"## {title}\n\n" + "\n".join(f"- `--{n.replace('_', '-')}`: {words}" for n, words in found)
        for title, found in (
            ("Data", sentences(groups.DataOptions)),
            ("Recipe", [("recipe", "fast, paper, finetune, or a YAML file [fast]."), *sentences(dd.Recipe)]),
            ("Machine", [*sentences(WorkspaceOption), *sentences(MachineOptions)]),
        )
    )
    return f"{HEAD}\n\n{own}\n\n{shared}\n"


HEAD = """# All options

Each option is written down once, in `datadiet.jobs.options`; this page, `--help`, the signatures and the checks come
from there. The last three parts hold for every command that reads data, trains, or runs on a machine; in Python those
of the data are the keys of `load_options`, those of the recipe the keys of `overrides`."""


def sentences(group: type) -> list[tuple[str, str]]:
    found = options_of(group).items()
    return [
        ((option.flag or name).lstrip("-"), option.sentence)
        for name, option in found
        if option.flag is not None
    ]


def test_the_page_of_options_is_what_the_options_say() -> None:
    assert (DOCS / "options.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("path", [*DOCS.glob("*.md"), DOCS.parent / "README.md"], ids=lambda path: path.name)
def test_pages_name_only_flags_that_there_are(path: Path) -> None:
    lines = re.findall(
        r"^\s*(?:\$ )?datadiet (\w+) (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    for command, rest in lines:
        if command not in COMMANDS:
            continue  # a sentence about the package
        there = {flag for p in COMMANDS[command].params for flag in (*p.opts, *p.secondary_opts)}
        named = set(re.findall(r"(?<=\s)--[a-z][a-z-]*", " " + rest.partition(" #")[0]))
        assert named <= there | {"--help"}, (command, named - there)


def test_setup_options_of_all_verbs_are_those_of_prepare() -> None:
    from datadiet.engine.setup import prepare

    assert set(options_of(SetupOptions)) < set(inspect.signature(prepare).parameters)
