"""`datadiet compare`: subsets beside full data and matched random."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, Source, command
from datadiet.cli.printing import display, print_verdict
from datadiet.foundation.options import named_files
from datadiet.jobs.options import CompareFlags


@command(
    "compare digits --kept el2n=kept.parquet --seeds 3",
    order="kept groups seeds max_seeds time seed tolerance price_per_hour on_leak",
)
def compare(
    source: Source,
    kept: Annotated[
        list[str], typer.Option(help="A file of kept ids, as FILE or NAME=FILE; may be repeated.")
    ],
    as_json: AsJson = False,
    **options: Unpack[CompareFlags],
) -> None:
    """Retrain on subsets beside full data and matched random."""
    from datadiet.jobs.run import compare as compare_subsets

    options["command"] = shlex.join(["datadiet", *sys.argv[1:]])
    with display(options) as shown:
        verdict = compare_subsets(source, named_files(kept), **options)
    print_verdict(verdict, as_json, shown.said)
