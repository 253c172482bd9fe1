"""``gradatim run``: run studies, and print what became of their claims."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradatim.cli.options import AsJson
from gradatim.core.errors import GradatimError, InputError

if TYPE_CHECKING:
    from gradatim.studies.ledger import Ledger
    from gradatim.studies.outcomes import Outcome
    from gradatim.studies.runner import Event
    from gradatim.studies.tables import Table


def run(
    slugs: Annotated[list[str], typer.Argument(metavar="SLUG...", help="Papers to run.")],
    seeds: Annotated[str, typer.Option(metavar="SEEDS", help="As 10-19, or 0,3,5-7.")] = "10-19",
    budget: Annotated[str, typer.Option(metavar="smoke|demo|full", help="How large.")] = "full",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Results folder.")] = Path("results"),
    jobs: Annotated[
        int | None, typer.Option(metavar="N", help="Seeds at once; by default one a core.")
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Set older results aside and begin anew.")] = False,
    recheck: Annotated[
        bool, typer.Option(help="Run one seed of older results again; keep them if it agrees.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run studies and judge their claims.

    Each finished seed is kept at once; running again goes on from there.
    """
    from gradatim.cli.output import end_with
    from gradatim.studies.claims import Budget
    from gradatim.studies.registry import load_study
    from gradatim.studies.runner import recheck as recheck_study
    from gradatim.studies.runner import run_study
    from gradatim.studies.seed_lists import parse_seeds

    if fresh and recheck:
        raise InputError("--fresh and --recheck: expected one of them, got both")
    wanted, size = parse_seeds(seeds), Budget(budget)
    papers = list(dict.fromkeys(load_study(slug).paper.slug for slug in slugs))

    def work(slug: str) -> "Ledger":
        if recheck:
            return recheck_study(slug, out, size)
        tell = progress_of(slug)
        return run_study(slug, wanted, size, out, jobs=jobs, fresh=fresh, on_event=tell)

    outcomes, problems = [], []
    for slug in papers:
        try:
            outcomes.append(finish(work(slug)))
        except KeyboardInterrupt:
            typer.echo(f"\n{interrupted_text(slug, size, out)}", err=True)
            raise typer.Exit(130) from None
        except GradatimError as problem:
            problems.append(problem)
    present(outcomes, as_json)
    end_with(problems)


def progress_of(slug: str) -> Callable[["Event"], None]:
    """What tells, on the error stream, how a study's seeds are coming along."""

    def tell(event: "Event") -> None:
        from gradatim.studies.numbers import seconds_text

        words = {
            "kept": "was there already",
            "finished": f"finished in {seconds_text(event.seconds)}",
            "failed": f"failed: {event.reason}",
        }
        line = f"{slug} [{event.done}/{event.total}] seed {event.seed} {words[event.kind]}"
        typer.echo(line, err=True)

    return tell


def finish(ledger: "Ledger") -> "Outcome":
    """Judge a ledger and write its report."""
    from gradatim.studies.outcomes import judge
    from gradatim.studies.report import report_path, write_report

    outcome = judge(ledger)
    write_report(outcome, report_path(ledger.path.parent, [outcome]))
    return outcome


def present(outcomes: Sequence["Outcome"], as_json: bool) -> None:
    """Print the verdicts, and where the reports are."""
    from gradatim.cli.output import print_json, print_table
    from gradatim.studies.report import report_path
    from gradatim.studies.tables import paper_record

    paths = [report_path(outcome.ledger.path.parent, [outcome]) for outcome in outcomes]
    if as_json:
        print_json(
            [
                {**paper_record(outcome.paper, outcome), "report": str(path)}
                for outcome, path in zip(outcomes, paths, strict=True)
            ]
        )
        return
    for outcome, path in zip(outcomes, paths, strict=True):
        typer.echo(outcome.paper.slug)
        print_table(short_table(outcome))
        if (budget := outcome.ledger.budget) != "full":
            typer.echo(f"(a {budget} run shows that the study works; full runs give verdicts)")
        typer.echo(f"report: {path}")


def short_table(outcome: "Outcome") -> "Table":
    """A paper's verdicts, narrow enough for a terminal."""
    from gradatim.studies.tables import MARKS, Table, estimate_text

    rows = tuple(
        (
            f"{MARKS[verdict.status]} {verdict.status}",
            verdict.claim.statement,
            f"{estimate_text(verdict)}\n{verdict.claim.unit}".rstrip(),
        )
        for verdict in outcome.verdicts
    )
    return Table("Verdicts", ("Verdict", "Claim", "Estimate [95% interval]"), rows, yielding=1)


def interrupted_text(slug: str, budget: str, out: Path) -> str:
    """What an interrupted run kept."""
    from gradatim.studies.ledger import Ledger, ledger_path
    from gradatim.studies.seed_lists import format_seeds

    path = ledger_path(slug, budget, out)
    seeds = format_seeds(Ledger.read(path).seeds) if path.exists() else ""
    kept = f"seeds {seeds} are kept in {path}" if seeds else "no seed was finished"
    return f"interrupted: {kept}; the same command goes on from there"
