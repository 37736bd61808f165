"""`datadiet export`: the smaller data set."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, Source, command
from datadiet.cli.printing import display, show
from datadiet.foundation.options import size_in_bytes
from datadiet.jobs.options import ExportOptions


@command(
    "export photos/ --kept kept.parquet --to smaller",
    order="to kept decisions format overwrite no_test shard",
)
def export(
    source: Source,
    to: Annotated[str, typer.Option(metavar="PATH", help="The folder that is made.")],
    no_test: Annotated[bool, typer.Option("--no-test", help="Leave the test part out.")] = False,
    shard: Annotated[str, typer.Option("--shard-size", help="Largest shard of webdataset.")] = "1GB",
    as_json: AsJson = False,
    **options: Unpack[ExportOptions],
) -> None:
    """Write what stays of a data set, with a manifest; the source is only read."""
    from datadiet.jobs.export import export as export_examples

    options |= {"include_test": not no_test, "shard_size": size_in_bytes(shard), "command": sys.argv}
    with display(options) as shown:
        exported = export_examples(source, to, **options)
    show(as_json, exported.as_dict(), str(exported), said=shown.said)
