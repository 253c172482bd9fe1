"""``gradatim report``: verdicts and arms as a page, a table, or records."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradatim.cli.options import BudgetName, Results, check_option, results_folder
from gradatim.core.errors import GradatimError, InputError

if TYPE_CHECKING:
    from gradatim.studies.outcomes import Outcome

FORMATS = ("html", "markdown", "csv", "latex", "bibtex", "json")
TABLES = ("verdicts", "papers", "arms")


def report(
    slugs: Annotated[
        list[str] | None, typer.Argument(metavar="[SLUG...]", help="Papers; by default all run.")
    ] = None,
    results: Results = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write; by default HTML goes to report/ beside the results, and all else "
            "is printed. Markdown goes between the markers of a file that is there already.",
        ),
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar="|".join(FORMATS))] = "html",
    table: Annotated[
        str,
        typer.Option(
            metavar="|".join(TABLES),
            help="Which table, where a format has one: every claim, a row a paper, or the arms.",
        ),
    ] = "verdicts",
    budget: BudgetName = "full",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that stands at --out.")
    ] = False,
    site: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the atlas: a site of all papers, to search and filter in a browser.",
        ),
    ] = None,
) -> None:
    """Write results as a page, a table or records.

    HTML is a page to read, Markdown and LaTeX are tables, CSV and JSON are records.
    """
    from gradatim.cli.output import end_with
    from gradatim.studies.report import report_path, write_report

    check_option("--format", form, FORMATS)
    check_option("--table", table, TABLES)
    if site is not None:
        if slugs or out or form != "html":
            raise InputError("--site: holds all papers as HTML; leave out SLUG, --out and --format")
        end_with(write_atlas(site, results_folder(results), budget))
        return
    if out is not None and not overwrite:
        check_replaceable(out, form)
    if form == "bibtex":
        deliver(bibtex(slugs or ()), out, form)
        return
    folder = results_folder(results)
    outcomes, problems = load(folder, slugs or (), budget)
    if not outcomes:
        end_with(problems or [InputError(f"{folder}: there are no results with budget {budget}")])
    if form == "html":
        shipped = results is None and folder != Path("results")
        target = out or report_path(Path() if shipped else folder, outcomes)
        typer.echo(f"report: {write_report(outcomes, target)}")
    else:
        deliver(render(outcomes, form, table), out, form, [one.ledger.path for one in outcomes])
    end_with(problems)


def write_atlas(site: Path, folder: Path, budget: str) -> list[GradatimError]:
    """Write the site of all papers; return what is wrong with ledgers that could not be read."""
    from gradatim.studies.site import write_site

    outcomes, problems = load(folder, (), budget)
    typer.echo(f"atlas: {write_site(outcomes, site)}")
    return problems


def check_replaceable(out: Path, form: str) -> None:
    """Refuse to write over a file that may be somebody's work.

    Reports of this library are replaced, and Markdown files change only between their markers.

    Raises:
        InputError: another file stands there.
    """
    from gradatim.studies.report import is_report

    if out.is_file() and form != "markdown" and not (form == "html" and is_report(out)):
        raise InputError(f"{out}: exists already; --overwrite replaces it")


def load(
    folder: Path, slugs: Sequence[str], budget: str
) -> tuple[list["Outcome"], list[GradatimError]]:
    """The outcomes of these papers, or of all that have results."""
    from gradatim.studies.claims import Budget
    from gradatim.studies.outcomes import load_outcome, load_outcomes

    size = Budget(budget)
    if not slugs:
        return load_outcomes(folder, size)
    return [load_outcome(slug, folder, size) for slug in dict.fromkeys(slugs)], []


def render(outcomes: Sequence["Outcome"], form: str, table: str) -> str:
    """The verdicts or the arms in a text format."""
    from gradatim.studies import exports, tables

    if form == "csv":
        make = tables.arm_records if table == "arms" else tables.verdict_records
        return exports.to_csv(make(outcomes))
    if form == "json":
        if table == "arms":
            return exports.to_json(tables.arm_records(outcomes))
        return exports.to_json([tables.paper_record(one.paper, one) for one in outcomes])
    set_table = exports.to_latex if form == "latex" else exports.to_markdown
    if table == "arms":
        return "\n\n".join(
            titled(f"{one.paper.slug}: {arms.title}", set_table(arms), form)
            for one in outcomes
            for arms in tables.arm_tables(one.summaries)
        )
    if form == "latex":
        make_table = tables.paper_table if table == "papers" else tables.verdict_table
        return exports.to_latex(make_table(outcomes))
    make_text = exports.paper_markdown if table == "papers" else exports.verdict_markdown
    return make_text(outcomes)


def titled(title: str, text: str, form: str) -> str:
    """A table below its title, which LaTeX takes as a comment."""
    return f"% {title}\n{text}" if form == "latex" else f"**{title}**\n\n{text}"


def bibtex(slugs: Sequence[str]) -> str:
    """BibTeX entries of these papers, or of the whole catalogue."""
    from gradatim.studies.catalogue import catalogue, find_paper

    return "\n".join(find_paper(slug).bibtex() for slug in slugs or catalogue()).rstrip()


def deliver(text: str, out: Path | None, form: str, inputs: Sequence[Path] = ()) -> None:
    """Print a text, or write it; an existing Markdown file is written between its markers only."""
    from gradatim.core.files import atomic_write
    from gradatim.studies.exports import replace_between_markers

    if out is None:
        typer.echo(text)
        return
    if form == "markdown" and out.exists():
        replace_between_markers(out, text)
    else:
        with atomic_write(out, inputs=inputs) as file:
            file.write(f"{text}\n")
    typer.echo(f"written: {out}", err=True)
