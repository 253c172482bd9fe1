"""The report: one self-contained HTML page with the verdicts first, and what they stand on."""

import os
from collections.abc import Sequence
from pathlib import Path

from gradatim.core.errors import InputError
from gradatim.core.files import atomic_write
from gradatim.studies.ledger import Ledger, file_stem
from gradatim.studies.outcomes import Outcome, judge
from gradatim.studies.pages import is_page_of, render
from gradatim.studies.sections import section_of
from gradatim.studies.tables import count_text

GENERATOR = "gradatim"
"""What a report's page names as its maker."""


def write_report(
    results: Outcome | Ledger | Sequence[Outcome | Ledger], path: str | os.PathLike[str]
) -> Path:
    """Write a self-contained HTML report: no scripts, nothing fetched, same ledgers same bytes.

    Args:
        results: one outcome or ledger, or several: then an overview comes first.
        path: where to write; never over one of the ledgers.

    Returns:
        The path.

    Raises:
        InputError: nothing to report, or the path is one of the ledgers.
        StorageError: the file cannot be written; what stood there is unchanged.
    """
    several = [results] if isinstance(results, Outcome | Ledger) else list(results)
    outcomes = [judge(one) if isinstance(one, Ledger) else one for one in several]
    target = Path(path)
    with atomic_write(target, inputs=[one.ledger.path for one in outcomes]) as file:
        file.write(render_report(outcomes))
    return target


def is_report(path: Path) -> bool:
    """Whether a file is a report that :func:`write_report` wrote."""
    return is_page_of(GENERATOR, path)


def render_report(outcomes: Sequence[Outcome]) -> str:
    """The report's HTML; see :func:`write_report`.

    Raises:
        InputError: there is nothing to report.
    """
    if not outcomes:
        raise InputError("report: there are no results yet; make some with: gradatim run SLUG")
    several = len(outcomes) > 1
    return render(
        "report.html.j2",
        title="The papers' claims, put to the test" if several else outcomes[0].paper.title,
        summary=count_text(outcomes),
        generator=GENERATOR,
        level=2 if several else 1,
        sections=[section_of(outcome) for outcome in outcomes],
    )


def report_path(folder: Path, outcomes: Sequence[Outcome]) -> Path:
    """Where a report stands if nothing else is wanted: in ``report/`` of a folder."""
    ledger = outcomes[0].ledger
    name = file_stem(ledger.slug, ledger.budget) if len(outcomes) == 1 else "index"
    return folder / "report" / f"{name}.html"
