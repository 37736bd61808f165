"""`datadiet suspects`: likely label errors, ranked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typing_extensions import Unpack

from datadiet.cli.command import AsJson, command
from datadiet.cli.printing import display, say, show
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.options import SuspectsOptions


@command(
    "suspects scores.parquet --top 20 --out suspects.parquet",
    order="source method folds second_pass parts top seed out overwrite",
)
def suspects(
    scores: Annotated[Path, typer.Argument(help="A score table.")],
    top: Annotated[int, typer.Option(help="How many are printed; the file has all.")] = 20,
    as_json: AsJson = False,
    **options: Unpack[SuspectsOptions],
) -> None:
    """Rank likely label errors, and say how many there are."""
    from datadiet.jobs.commands import command_line
    from datadiet.jobs.suspects.held_out import wrong_in_test
    from datadiet.jobs.suspects.job import find_suspects

    if top < 0:
        raise BadInputError(f"--top is {top}; it must be 0 or above.")
    out = options.setdefault("out", "suspects.parquet")
    with display(options) as shown:
        found = find_suspects(scores, **options)
    first = found.first(top)
    following = None if found.provenance.get("source") is None else command_line("review", str(out))
    answer = {
        "out": str(out),
        "n": len(found),
        "n_test": len(found.of("test")),
        "method": found.provenance["method"],
        "conflicting_duplicates": int(found.conflicting.sum()),
        "noise_rate": found.noise_rate.as_dict(),
        "test_noise_rate": None if found.test_noise_rate is None else found.test_noise_rate.as_dict(),
        "about_wrong": found.about_wrong,
        "test_looks_wrong": wrong_in_test(found),
        "next": following,
        "more_trainings": found.provenance["more_trainings"],
        "top": first,
    }
    show(
        as_json,
        answer,
        lambda: _print(first, int(found.conflicting.sum()), str(found.noise_rate), out),
        *([f"Look at them next: {following}"] if following else []),
        said=shown.said,
    )


def _print(first: list[dict[str, Any]], conflicting: int, noise_rate: str, out: Any) -> None:
    printed = Table("part", "id", "given", "proposed", "probability wrong", title="Likely label errors")
    for row in first:
        proposed = "–" if row["proposed"] is None else escape(row["proposed"])
        wrong = "–" if row["probability_wrong"] is None else f"{row['probability_wrong']:.3f}"
        printed.add_row(row["part"], str(row["id"]), escape(row["label"]), proposed, wrong)
    say(printed)
    if conflicting:
        say(
            f"The first {conflicting:,} are exact duplicates with different labels: not all of them can be right."
        )
    say(f"{noise_rate[0].upper()}{noise_rate[1:]}: {out}")
