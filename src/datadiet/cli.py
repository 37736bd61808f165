"""The command line: each command is a thin call of one public function."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from datadiet import __version__
from datadiet.errors import BadInputError
from datadiet.options import (
    DATA,
    MACHINE,
    RECIPE,
    command,
    data_options,
    machine_options,
    names,
    numbers,
    recipe_overrides,
)

app = typer.Typer(
    name="datadiet",
    help="Find out which of your training examples matter.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

Source = Annotated[
    str,
    typer.Argument(
        help="A built-in name (digits), an image folder, a Parquet, CSV or JSON lines file or folder, a folder "
        "saved by datasets, or a hub id."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Seed = Annotated[int, typer.Option(help="Base of all seeds.")]
Rule = Annotated[str, typer.Option(help="How scores become a subset; 'help' explains each.")]
PerClass = Annotated[bool, typer.Option("--per-class", help="Keep the same fraction of every class.")]
Start = Annotated[
    float | None, typer.Option(help="Window: share of the hardest examples that is left out first.")
]
End = Annotated[float | None, typer.Option(help="Window: where it ends, as a share from the hardest.")]
Tolerance = Annotated[float, typer.Option(help="Percentage points of accuracy that may be lost.")]
Data = Annotated[dict[str, Any], DATA]
RecipeFlags = Annotated[dict[str, Any], RECIPE]
Machine = Annotated[dict[str, Any], MACHINE]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"datadiet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Score training examples, keep those that matter, and see what it costs."""


@app.command(epilog="Example: datadiet run digits --keep 0.7,0.5 --out runs/digits")
@command
def run(
    source: Source,
    scores: Annotated[list[str], typer.Option(help="Scores to choose subsets by.")] = ["el2n"],  # noqa: B006
    keep: Annotated[list[str], typer.Option(help="Fractions that stay.")] = ["0.7,0.5,0.3"],  # noqa: B006
    rule: Rule = "hardest",
    start: Start = None,
    end: End = None,
    per_class: PerClass = False,
    seeds: Annotated[int, typer.Option(help="Retrainings of each subset.")] = 3,
    score_seeds: Annotated[
        int | None, typer.Option(help="Models that scores are averaged over [as --seeds].")
    ] = None,
    seed: Seed = 0,
    at_epoch: Annotated[
        float | None, typer.Option(help="Epoch of the scores [two fifths of the run].")
    ] = None,
    grand_parameters: Annotated[
        str, typer.Option(help="GraNd over all, head, or the parameters that a pattern matches.")
    ] = "all",
    tolerance: Tolerance = 0.5,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
    as_json: AsJson = False,
    *,
    data: Data,
    recipe: RecipeFlags,
    machine: Machine,
) -> None:
    """Score, keep, retrain, compare, decide and report."""
    if rule == "help":
        _explain_rules()
        return
    from datadiet.diet import run as run_diet

    with _display(as_json) as display:
        verdict = run_diet(
            source,
            scores=names(scores),
            keep=numbers(keep, "keep"),
            rule=rule,
            rule_options=_rule_options(start, end),
            per_class=per_class,
            seeds=seeds,
            score_seeds=score_seeds,
            seed=seed,
            at_epoch=at_epoch,
            grand_parameters=grand_parameters,
            tolerance=tolerance,
            out=out,
            load_options=data_options(data),
            command=shlex.join(["datadiet", *sys.argv[1:]]),
            display=display,
            **_preparing(recipe, machine),
        )
    _print_verdict(verdict, as_json)


@app.command(
    epilog="Example: datadiet score digits --scores el2n,forgetting --at-epoch 5,10 --out scores.parquet"
)
@command
def score(
    source: Annotated[str | None, typer.Argument(help="As for run; not with --from-logits.")] = None,
    scores: Annotated[
        list[str] | None, typer.Option(help="Scores [all that come for free; grand has to be asked for].")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Models that scores are averaged over.")] = 3,
    seed: Seed = 0,
    at_epoch: Annotated[
        str | None, typer.Option(help="Epochs of the scores, separated by commas [two fifths of the run].")
    ] = None,
    grand_parameters: Annotated[
        str, typer.Option(help="GraNd over all, head, or the parameters that a pattern matches.")
    ] = "all",
    from_logits: Annotated[
        list[Path] | None,
        typer.Option(
            help="Logits as .npy instead of training: (n, classes), (epochs, n, classes), or a file an epoch."
        ),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels as .npy, with --from-logits.")] = None,
    out: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("scores.parquet"),
    as_json: AsJson = False,
    *,
    data: Data,
    recipe: RecipeFlags,
    machine: Machine,
) -> None:
    """Write a table with a score for every training example."""
    if (source is None) == (not from_logits):
        raise BadInputError("Give either a source to train on, or --from-logits with --labels.")
    from datadiet.diet import check_folder

    check_folder(out.parent)
    if from_logits:
        from datadiet.scores.stream import score_logits

        if labels is None:
            raise BadInputError("--from-logits needs --labels, a .npy file with one label a row.")
        paths = list(from_logits)
        table = score_logits(
            paths[0] if len(paths) == 1 else paths,
            labels,
            scores=names(scores) if scores else _scores_of_logits(paths),
            at_epoch=_whole_epochs(at_epoch) if at_epoch else None,
        )
    else:
        from datadiet.data import load
        from datadiet.reloading import loading_facts
        from datadiet.scoring import score as score_examples

        examples = load(source, **data_options(data))
        with _display(as_json) as display:
            table = score_examples(
                examples,
                scores=names(scores) if scores else None,
                seeds=seeds,
                seed=seed,
                at_epoch=numbers(at_epoch, "at-epoch") if at_epoch else None,
                grand_parameters=grand_parameters,
                display=display,
                **_preparing(recipe, machine),
            )
        facts = {**table.provenance, **loading_facts(examples, data_options(data))}
        table = dataclasses.replace(table, provenance=facts)
    if not _is_main_process():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    table.write(out)
    if as_json:
        _print_json(
            {"out": str(out), "n": len(table), "scores": list(table.names), "provenance": table.provenance}
        )
    else:
        typer.echo(f"{len(table):,} examples, {len(table.names)} scores ({', '.join(table.names)}): {out}")


@app.command(epilog="Example: datadiet keep scores.parquet --by el2n --keep 0.5 --out kept.parquet")
@command
def keep(
    scores: Annotated[Path | None, typer.Argument(help="A score table.")] = None,
    by: Annotated[str | None, typer.Option(help="The score; may be left out when there is one.")] = None,
    keep: Annotated[float, typer.Option(help="Fraction that stays.")] = 0.5,
    rule: Rule = "hardest",
    start: Start = None,
    end: End = None,
    per_class: PerClass = False,
    balance: Annotated[str | None, typer.Option(help="'class' for as many of every class.")] = None,
    source: Annotated[
        str | None, typer.Option(help="The data, to check that the table was made from it.")
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Where the ids go (.parquet, or .txt).")] = Path("kept.parquet"),
    as_json: AsJson = False,
    *,
    data: Data,
) -> None:
    """Choose the examples that stay."""
    if rule == "help":
        _explain_rules()
        return
    if scores is None:
        raise BadInputError("Give the score table to keep by.")
    import hashlib

    from datadiet.keeping import Kept
    from datadiet.keeping import keep as keep_ids
    from datadiet.scores import ScoreTable

    table = ScoreTable.read(scores)
    if source is not None:
        from datadiet.data import load

        table.check_data(load(source, **data_options(data)).fingerprint)
    more = _rule_options(start, end) | ({"balance": balance} if balance else {})
    ids = keep_ids(table, keep, by=by, rule=rule, per_class=per_class, seed=seed, **more)
    about = {
        "fingerprint": table.provenance.get("fingerprint"),
        "source": table.provenance.get("source"),
        "score": by or (table.names[0] if len(table.names) == 1 else None),
        "rule": rule,
        "keep": keep,
        "options": more,
        "seed": seed,
        "n_from": len(table),
        "scores_sha256": hashlib.sha256(scores.read_bytes()).hexdigest(),
    }
    Kept(ids, about).write(out)
    if as_json:
        _print_json({"out": str(out), "n": len(ids), **about})
    else:
        typer.echo(f"{len(ids):,} of {len(table):,} examples stay: {out}")


@app.command(epilog="Example: datadiet compare digits --kept el2n=kept.parquet --seeds 3")
@command
def compare(
    source: Source,
    kept: Annotated[
        list[str], typer.Option(help="A file of kept ids, as FILE or NAME=FILE; may be repeated.")
    ],
    seeds: Annotated[int, typer.Option(help="Retrainings of each subset.")] = 3,
    seed: Seed = 0,
    tolerance: Tolerance = 0.5,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
    as_json: AsJson = False,
    *,
    data: Data,
    recipe: RecipeFlags,
    machine: Machine,
) -> None:
    """Retrain on subsets beside full data and matched random."""
    from datadiet.data import load
    from datadiet.diet import compare as compare_subsets
    from datadiet.keeping import Kept

    files = {}
    for item in kept:
        name, equals, path = item.partition("=")
        name, path = (name, path) if equals else (Path(item).stem, item)
        if name in files:
            raise BadInputError(f"Two kept files are named {name!r}; name them apart, as --kept NAME=FILE.")
        files[name] = Kept.read(path)
    examples = load(source, **data_options(data))
    for file in files.values():
        file.check_data(examples.fingerprint)
    with _display(as_json) as display:
        verdict = compare_subsets(
            examples,
            {name: file.ids for name, file in files.items()},
            seeds=seeds,
            seed=seed,
            tolerance=tolerance,
            out=out,
            display=display,
            **_preparing(recipe, machine),
        )
    _print_verdict(verdict, as_json)


@app.command(epilog="Example: datadiet report runs/digits")
@command
def report(
    folder: Annotated[Path, typer.Argument(help="The folder that `datadiet run` wrote.")],
    source: Annotated[str | None, typer.Option(help="The data, when it has moved.")] = None,
    as_json: AsJson = False,
    *,
    data: Data,
) -> None:
    """Write the HTML page of a finished run again."""
    from datadiet.reporting import rewrite_report

    page = rewrite_report(folder, source, data_options(data))
    if as_json:
        _print_json({"report": str(page)})
    else:
        typer.echo(str(page))


@app.command(epilog="Example: datadiet verify runs/digits/scores.parquet --sample 100")
@command
def verify(
    scores: Annotated[Path, typer.Argument(help="A score table.")],
    source: Annotated[str | None, typer.Option(help="The data, when it has moved.")] = None,
    sample: Annotated[int, typer.Option(help="Examples that are computed again.")] = 100,
    seed: Seed = 0,
    as_json: AsJson = False,
    *,
    data: Data,
    machine: Machine,
) -> None:
    """Compute a sample of a score table again from its checkpoints and compare."""
    from datadiet.verifying import verify as verify_table

    outcome = verify_table(
        scores,
        source=source,
        sample=sample,
        seed=seed,
        load_options=data_options(data),
        **machine_options(machine),
    )
    if as_json:
        _print_json(outcome.as_dict())
    else:
        typer.echo(str(outcome))
    if not outcome.agrees:
        raise typer.Exit(1)


def _scores_of_logits(paths: list[Path]) -> list[str]:
    """All scores that such files give: of one epoch those of the outputs, of several also the dynamics."""
    import numpy as np

    from datadiet.scores import cards

    several = len(paths) > 1
    if not several and paths[0].is_file():
        with contextlib.suppress(ValueError, OSError, EOFError):  # `score_logits` says what is wrong with it
            several = getattr(np.load(paths[0], mmap_mode="r"), "ndim", 2) == 3
    return [c.name for c in cards() if c.needs == "outputs" or (several and c.needs == "trace")]


def _whole_epochs(text: str) -> list[int]:
    epochs = numbers(text, "at-epoch")
    if not all(epoch.is_integer() for epoch in epochs):
        raise BadInputError(
            f"--at-epoch is {text}; with --from-logits an epoch is a whole number, from 1 on."
        )
    return [int(epoch) for epoch in epochs]


def _rule_options(start: float | None, end: float | None) -> dict[str, Any]:
    return {key: value for key, value in (("start", start), ("end", end)) if value is not None}


def _preparing(recipe: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    return {"recipe": recipe["recipe"], "overrides": recipe_overrides(recipe), **machine_options(machine)}


def _display(as_json: bool) -> Any:
    from datadiet.progress import ProgressDisplay

    return ProgressDisplay(enabled=None if _is_main_process() else False)


def _is_main_process() -> bool:
    import os

    return os.environ.get("RANK", "0") == "0"


def _print_json(data: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(data, ensure_ascii=True) + "\n")


def _print_verdict(verdict: Any, as_json: bool) -> None:
    if not _is_main_process():
        return
    if as_json:
        folder = None if verdict.folder is None else str(verdict.folder)
        _print_json({**verdict.data, "folder": folder})
        return
    from rich.console import Console

    from datadiet.report import verdict_table

    console = Console()
    console.print(verdict_table(verdict.data))
    console.print(str(verdict), markup=False, highlight=False, soft_wrap=True)
    if verdict.folder is not None:
        page = verdict.folder / "report.html"
        console.print(
            str(page if page.exists() else verdict.folder), markup=False, highlight=False, soft_wrap=True
        )


def _explain_rules() -> None:
    from datadiet.selection import rule_cards

    for card in rule_cards():
        typer.echo(f"{card.name}\n  use:   {card.when}\n  fails: {card.fails}")


def main() -> None:
    """Entry point of `datadiet`; a model may be a `package.module:factory` of the current folder."""
    sys.path.append(str(Path.cwd()))  # at the end, so that no file there hides an installed package
    app()


if __name__ == "__main__":
    main()
