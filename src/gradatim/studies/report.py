"""The report: one self-contained HTML page with the verdicts first, and what they stand on."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.core.errors import InputError
from gradatim.core.files import atomic_write
from gradatim.studies.ledger import Ledger, file_stem
from gradatim.studies.numbers import seconds_text
from gradatim.studies.outcomes import Outcome, judge
from gradatim.studies.plots import Figure, caption, default_figures, draw, panels
from gradatim.studies.prose import to_html
from gradatim.studies.seed_lists import format_seeds
from gradatim.studies.tables import (
    MARKS,
    Table,
    arm_tables,
    count_text,
    details_text,
    estimate_text,
)
from gradatim.studies.verdict_plot import draw_verdict
from gradatim.studies.verdicts import Verdict

GENERATOR = '<meta name="generator" content="gradatim">'


@dataclass(frozen=True)
class _Claim:
    """A claim as the template shows it."""

    statement: str
    status: str
    mark: str
    estimate: str
    unit: str
    details: str
    note: str
    svg: Any


@dataclass(frozen=True)
class _Picture:
    """A figure as the template shows it."""

    caption: str
    svg: Any


@dataclass(frozen=True)
class _Section:
    """A paper as the template shows it."""

    outcome: Outcome
    claims: Sequence[_Claim]
    figures: Sequence[_Picture]
    tables: Sequence[Table]
    warnings: Sequence[str]
    description: Any
    command: str
    facts: Sequence[tuple[str, str]]


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
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(1000)


def render_report(outcomes: Sequence[Outcome]) -> str:
    """The report's HTML; see :func:`write_report`.

    Raises:
        InputError: there is nothing to report.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    if not outcomes:
        raise InputError("report: there are no results yet; make some with: gradatim run SLUG")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    several = len(outcomes) > 1
    return environment.get_template("report.html.j2").render(
        title="The papers' claims, put to the test" if several else outcomes[0].paper.title,
        summary=count_text(outcomes),
        generator=Markup(GENERATOR),
        level=2 if several else 1,
        sections=[_section(outcome) for outcome in outcomes],
    )


def report_path(folder: Path, outcomes: Sequence[Outcome]) -> Path:
    """Where a report stands if nothing else is wanted: in ``report/`` of a folder."""
    ledger = outcomes[0].ledger
    name = file_stem(ledger.slug, ledger.budget) if len(outcomes) == 1 else "index"
    return folder / "report" / f"{name}.html"


def figures_of(outcome: Outcome) -> Sequence[Figure]:
    """A study's own figures, or those that its measurements suggest, one a panel."""
    if not outcome.ledger.measurements:
        return []
    declared = outcome.study.figures or default_figures(outcome.summaries)
    return [panel for figure in declared for panel in panels(figure, outcome.summaries)]


def _section(outcome: Outcome) -> _Section:
    from markupsafe import Markup

    return _Section(
        outcome,
        [_claim(verdict) for verdict in outcome.verdicts],
        [
            _Picture(caption(figure), Markup(draw(figure, outcome.summaries)))
            for figure in figures_of(outcome)
        ],
        arm_tables(outcome.summaries),
        _warnings(outcome),
        Markup(to_html(outcome.study.description)),
        outcome.command,
        _facts(outcome),
    )


def _claim(verdict: Verdict) -> _Claim:
    from markupsafe import Markup

    claim = verdict.claim
    return _Claim(
        claim.statement,
        verdict.status,
        MARKS[verdict.status],
        estimate_text(verdict),
        claim.unit,
        details_text(verdict),
        verdict.note[:1].upper() + verdict.note[1:],
        Markup(draw_verdict(verdict)),
    )


def _warnings(outcome: Outcome) -> list[str]:
    warnings = []
    if outcome.ledger.budget != "full":
        warnings.append(
            f"this is a {outcome.ledger.budget} run, which shows that the study works; "
            "verdicts are read from full runs."
        )
    if outcome.freshness != "fresh":
        warnings.append(
            f"the code has changed since these numbers were made ({outcome.freshness})."
        )
    return warnings


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    ledger = outcome.ledger
    facts = [
        ("Seeds", format_seeds(ledger.seeds) or "none"),
        ("Budget", str(ledger.budget)),
        ("Fingerprint", f"{ledger.fingerprint.digest} ({outcome.freshness})"),
    ]
    runs = list(ledger.runs.values())
    if runs:
        total = sum(run.seconds for run in runs)
        each = seconds_text(total / len(runs))
        facts.append(("Time", f"{seconds_text(total)} in all, {each} a seed"))
        facts.append(("Hardware", _each_once(_machine_text(run.machine) for run in runs)))
        facts.append(("Versions", _each_once(_version_text(run.versions) for run in runs)))
    return facts


def _machine_text(machine: Mapping[str, str | int]) -> str:
    words = {"cores": "{} cores", "threads": "{} thread(s) a seed"}
    return ", ".join(words.get(key, "{}").format(value) for key, value in machine.items())


def _version_text(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{package} {version}" for package, version in versions.items())


def _each_once(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))
