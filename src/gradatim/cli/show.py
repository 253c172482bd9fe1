"""``gradatim show``: everything on one paper."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradatim.cli.options import AsJson, BudgetName, Results, results_folder

if TYPE_CHECKING:
    from gradatim.studies.catalogue import Paper
    from gradatim.studies.outcomes import Outcome
    from gradatim.studies.registry import Study
    from gradatim.studies.verdicts import Verdict


def show(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="The paper's short name.")],
    as_json: AsJson = False,
    results: Results = None,
    budget: BudgetName = "full",
) -> None:
    """Show all that is known of a paper."""
    from gradatim.cli.output import print_json, print_wrapped
    from gradatim.studies.catalogue import find_paper, is_implemented
    from gradatim.studies.claims import Budget
    from gradatim.studies.ledger import ledger_path

    paper = find_paper(slug)
    path = ledger_path(paper.slug, Budget(budget), results_folder(results))
    study = outcome = None
    if is_implemented(paper.slug):
        from gradatim.studies.registry import load_study

        study = load_study(paper.slug)
        if path.exists():
            from gradatim.studies.outcomes import load_outcome

            outcome = load_outcome(paper.slug, path.parent, budget)
    if as_json:
        print_json(show_record(paper, study, outcome))
    else:
        print_wrapped([*paper_lines(paper), "", *study_lines(paper, study, outcome)])


def show_record(paper: "Paper", study: "Study | None", outcome: "Outcome | None") -> dict[str, Any]:
    """A paper as JSON: its record in the listing, and its study."""
    from gradatim.studies.tables import claim_record, paper_record

    return {
        **paper_record(paper, outcome),
        "module": study.module if study else None,
        "population": study.population if study else None,
        "description": study.description if study else None,
        "claims": [claim_record(claim) for claim in study.claims] if study else [],
        "command": _command(paper, outcome) if study else None,
        "bibtex": paper.bibtex(),
    }


def paper_lines(paper: "Paper") -> Iterator[str]:
    """What the catalogue says."""
    yield paper.title
    yield ", ".join(paper.authors)
    arxiv = f" · arXiv:{paper.arxiv}" if paper.arxiv else ""
    code = f" · code {paper.code}" if paper.code else ""
    yield f"{paper.year}{arxiv}{code}"
    yield ""
    yield paper.sentence
    yield ""
    yield f"Parts      {', '.join(paper.kinds)}"


def study_lines(paper: "Paper", study: "Study | None", outcome: "Outcome | None") -> Iterator[str]:
    """What the study says, and what became of it."""
    from gradatim.studies.seed_lists import format_seeds

    if study is None:
        yield "The study is not implemented yet."
        return
    yield f"Study      {study.module}"
    yield f"Tested on  {study.population}"
    yield f"Run        {_command(paper, outcome)}"
    if outcome:
        seeds = format_seeds(outcome.ledger.seeds)
        yield f"Results    {outcome.ledger.path} (seeds {seeds}, {outcome.freshness})"
        yield f"Report     gradatim report {paper.slug}"
    yield ""
    yield "Claims"
    for place, claim in enumerate(study.claims):
        if outcome:
            yield from verdict_lines(outcome.verdicts[place])
        else:
            yield f"  not run yet: {claim.statement}"
    yield ""
    yield from study.description.splitlines()


def verdict_lines(verdict: "Verdict") -> Iterator[str]:
    """A claim and its verdict."""
    from gradatim.studies.tables import MARKS, details_text, estimate_text

    yield f"  {MARKS[verdict.status]} {verdict.status}: {verdict.claim.statement}"
    yield f"    {estimate_text(verdict)} {verdict.claim.unit}".rstrip()
    yield f"    {details_text(verdict)}"
    if verdict.note:
        yield f"    {verdict.note}"


def _command(paper: "Paper", outcome: "Outcome | None") -> str:
    return outcome.command if outcome else f"gradatim run {paper.slug}"
