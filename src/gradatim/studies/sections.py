"""What a page shows of one paper's outcome: claims, figures, tables, warnings and facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.studies.numbers import seconds_text
from gradatim.studies.outcomes import Outcome
from gradatim.studies.plots import Figure, caption, default_figures, draw, panels
from gradatim.studies.prose import to_html
from gradatim.studies.seed_lists import format_seeds
from gradatim.studies.tables import (
    MARKS,
    Table,
    arm_tables,
    details_text,
    estimate_text,
)
from gradatim.studies.verdict_plot import draw_verdict
from gradatim.studies.verdicts import Verdict


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
class Section:
    """A paper as the template shows it."""

    outcome: Outcome
    claims: Sequence[_Claim]
    figures: Sequence[_Picture]
    tables: Sequence[Table]
    warnings: Sequence[str]
    description: Any
    command: str
    facts: Sequence[tuple[str, str]]


def figures_of(outcome: Outcome) -> Sequence[Figure]:
    """A study's own figures, or those that its measurements suggest, one a panel."""
    if not outcome.ledger.measurements:
        return []
    declared = outcome.study.figures or default_figures(outcome.summaries)
    return [panel for figure in declared for panel in panels(figure, outcome.summaries)]


def section_of(outcome: Outcome) -> Section:
    """Set an outcome's words, and draw its figures."""
    from markupsafe import Markup

    return Section(
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
