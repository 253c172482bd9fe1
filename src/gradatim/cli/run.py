"""``gradatim run``: run studies and print what became of their claims, or run a real model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradatim.cli import real_model
from gradatim.cli.options import AsJson
from gradatim.core.errors import GradatimError, InputError

if TYPE_CHECKING:
    from gradatim.studies.ledger import Ledger
    from gradatim.studies.outcomes import Outcome
    from gradatim.studies.runner import Event
    from gradatim.studies.tables import Table


def run(
    context: typer.Context,
    slugs: Annotated[list[str], typer.Argument(metavar="SLUG...", help="Papers to run.")],
    seeds: Annotated[str, typer.Option(metavar="SEEDS", help="As 10-19, or 0,3,5-7.")] = "10-19",
    budget: Annotated[str, typer.Option(metavar="smoke|demo|full", help="How large.")] = "full",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Results folder; by default results, with --model runs/SLUG."
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", help="Seeds at once; by default one a core.")
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Set older results aside and begin anew.")] = False,
    recheck: Annotated[
        bool, typer.Option(help="Run one seed of older results again; keep them if it agrees.")
    ] = False,
    as_json: AsJson = False,
    model: real_model.Model = None,
    task: real_model.Task = None,
    candidates: real_model.Candidates = 8,
    train_problems: real_model.TrainProblems = 100,
    per_level: real_model.PerLevel = 25,
    easy: real_model.Easy = None,
    hard: real_model.Hard = None,
    longest: real_model.Longest = 256,
    temperature: real_model.Temperature = 0.7,
    continuations: real_model.Continuations = 0,
    separator: real_model.Separator = "\\n",
    chat: real_model.Chat = None,
    device: real_model.Device = None,
    allow_download: real_model.AllowDownload = False,
    seed: real_model.Seed = 0,
    overwrite: real_model.Overwrite = False,
) -> None:
    """Run studies and judge their claims; with --model and --task, run on real problems.

    Each finished seed, or batch of solutions, is kept at once; running again goes on from there.
    """
    if real_model.wants_model(context, slugs):
        assert model is not None and task is not None
        options = real_model.options_of(context)
        real_model.run_model(slugs[0], model, task, out, options, as_json)
    else:
        if fresh and recheck:
            raise InputError("--fresh and --recheck: expected one of them, got both")
        folder = Path("results") if out is None else out
        run_studies(slugs, seeds, budget, folder, jobs, fresh, recheck, as_json)


def run_studies(
    slugs: Sequence[str],
    seeds: str,
    budget: str,
    out: Path,
    jobs: int | None,
    fresh: bool,
    recheck: bool,
    as_json: bool,
) -> None:
    """Run studies one after the other, and print what became of their claims.

    Raises:
        InputError: seeds or a budget that cannot be read, or a paper without a study.
    """
    from gradatim.cli.output import end_with
    from gradatim.studies.claims import Budget
    from gradatim.studies.registry import load_study
    from gradatim.studies.runner import recheck as recheck_study
    from gradatim.studies.runner import run_study
    from gradatim.studies.seed_lists import parse_seeds

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
