"""`datadiet export`: the smaller data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from datadiet.cli.options import (
    AsJson,
    Data,
    Machine,
    Source,
    command,
    data_options,
    machine_options,
    size_in_bytes,
)
from datadiet.cli.output import display, is_main_process, print_json


@command
def export(
    source: Source,
    to: Annotated[Path, typer.Option(help="The folder that is made.")],
    kept: Annotated[Path | None, typer.Option(help="Ids that stay, from `datadiet keep`.")] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="Decisions of the review page: what leaves, what is relabelled.")
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help="same (the source's own), imagefolder, parquet, jsonl, csv, datasets, webdataset; or for other "
            "tools: ids, files, indices, fiftyone, cleanlab."
        ),
    ] = "same",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a target that is not empty, as a whole.")
    ] = False,
    no_test: Annotated[bool, typer.Option("--no-test", help="Leave the test part out.")] = False,
    shard_size: Annotated[str, typer.Option(help="Largest shard of webdataset.")] = "1GB",
    keep_formulas: Annotated[
        bool,
        typer.Option("--keep-formulas", help="Leave texts in CSV as they are that a spreadsheet would run."),
    ] = False,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="The score table: its hash is noted, and cleanlab takes its models' probabilities."
        ),
    ] = None,
    as_json: AsJson = False,
    *,
    data: Data,
    machine: Machine,
) -> None:
    """Write what stays of a data set, with a manifest; the source is only read."""
    from datadiet.jobs.export import export as export_examples

    options = machine_options(machine)
    with display() as shown:
        exported = export_examples(
            source,
            to,
            kept=kept,
            decisions=decisions,
            format=format,
            overwrite=overwrite,
            include_test=not no_test,
            shard_size=size_in_bytes(shard_size),
            keep_formulas=keep_formulas,
            scores=scores,
            workspace=options.pop("workspace", None),
            load_options=data_options(data),
            machine=options,
            command=sys.argv,
            display=shown,
        )
    if not is_main_process():
        return
    if as_json:
        print_json(exported.as_dict())
    else:
        typer.echo(str(exported))
