"""``gradatim papers``: the catalogue with its verdicts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradatim.cli.options import AsJson, Results, check_option, results_folder
from gradatim.core.errors import GradatimError

if TYPE_CHECKING:
    from gradatim.studies.catalogue import Paper
    from gradatim.studies.outcomes import Outcome
    from gradatim.studies.tables import Table
    from gradatim.studies.verdicts import Verdict


def papers(
    search: Annotated[str, typer.Option(metavar="WORDS", help="Papers that hold all words.")] = "",
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Papers that bring parts of this kind.")
    ] = None,
    verdict: Annotated[
        str | None, typer.Option(metavar="VERDICT", help="Papers with a claim so judged.")
    ] = None,
    as_json: AsJson = False,
    results: Results = None,
) -> None:
    """List the papers and their verdicts."""
    from gradatim.cli.output import end_with, print_json, print_table, print_wrapped
    from gradatim.studies.catalogue import search_papers
    from gradatim.studies.tables import MARKS, paper_record

    check_option("--verdict", verdict, tuple(MARKS))
    found = search_papers(search, kind)
    folder = results_folder(results)
    outcomes, problems = outcomes_in(folder)
    known = {outcome.paper.slug: outcome for outcome in outcomes}
    if verdict:
        found = [
            paper
            for paper in found
            if any(one.status == verdict for one in _verdicts(known.get(paper.slug)))
        ]
    if as_json:
        print_json([paper_record(paper, known.get(paper.slug)) for paper in found])
    else:
        if found:
            print_table(paper_table(found, known))
            typer.echo()
        print_wrapped([f"{summary_text(len(found), outcomes)} Results: {folder}"])
    end_with(problems)


def outcomes_in(folder: Path) -> tuple[list["Outcome"], list[GradatimError]]:
    """The outcomes in a folder; what judges them is heavy, and is left alone if there are none."""
    if not any(folder.glob("*.jsonl")):
        return [], []
    from gradatim.studies.outcomes import load_outcomes

    return load_outcomes(folder)


def paper_table(found: Sequence["Paper"], known: Mapping[str, "Outcome"]) -> "Table":
    """The listing: a row a paper."""
    from gradatim.studies.tables import Table

    rows = tuple(
        (paper.slug, str(paper.year), verdict_words(paper, known.get(paper.slug)), paper.title)
        for paper in found
    )
    return Table("Papers", ("Paper", "Year", "Verdict", "Title"), rows, yielding=3)


def verdict_words(paper: "Paper", outcome: "Outcome | None") -> str:
    """What became of a paper's claims, a line for each verdict that occurs."""
    from gradatim.studies.catalogue import is_implemented
    from gradatim.studies.numbers import UNKNOWN
    from gradatim.studies.tables import MARKS, status_counts

    if outcome is None:
        return "not run yet" if is_implemented(paper.slug) else UNKNOWN
    stale = "" if outcome.freshness == "fresh" else " (stale)"
    counts = {status: n for status, n in status_counts([outcome]).items() if n}
    several = sum(counts.values()) > 1
    return ",\n".join(
        f"{MARKS[status]} {f'{n} ' if several else ''}{status}{stale}"
        for status, n in counts.items()
    )


def summary_text(listed: int, outcomes: Sequence["Outcome"]) -> str:
    """The line below the listing."""
    from gradatim.studies.catalogue import catalogue, is_implemented, studies
    from gradatim.studies.tables import count_text

    implemented = sum(map(is_implemented, catalogue()))
    total = len(catalogue())
    head = "" if listed == len(studies()) else f"{listed} listed. "
    return f"{head}{implemented} of {total} papers implemented. {count_text(outcomes)}."


def _verdicts(outcome: "Outcome | None") -> Sequence["Verdict"]:
    return outcome.verdicts if outcome else ()
