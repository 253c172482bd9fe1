"""Verdicts and arms as tables for people, and as records for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.studies.catalogue import Paper, is_implemented
from gradatim.studies.claims import Claim
from gradatim.studies.labels import in_words
from gradatim.studies.numbers import (
    UNKNOWN,
    decimals_for,
    finite_or_none,
    fixed_interval,
    fixed_short,
    interval_text,
    p_value_text,
)
from gradatim.studies.summaries import Summaries, by_numbers, parse_group

if TYPE_CHECKING:
    from gradatim.studies.outcomes import Outcome
    from gradatim.studies.verdicts import Verdict

MARKS = {"shown": "✓", "contradicted": "✗", "equivalent": "≈", "inconclusive": "?"}
"""A sign for each status of a verdict, so that it is never told by colour alone."""

MOST_COLUMNS = 8
"""A metric measured in more groups than this is a curve: drawn, and in the records, not tabled."""


@dataclass(frozen=True)
class Table:
    """A table of words, ready to be set.

    Attributes:
        title: what it shows.
        columns: the heads.
        rows: one tuple a row, as long as ``columns``.
        numeric: which columns hold numbers and are set flush right.
        yielding: the column that gives way where there is not room for all.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    yielding: int = 0


def estimate_text(verdict: Verdict) -> str:
    """A verdict's estimate with its interval, as "+0.152 [+0.140, +0.164]"."""
    threshold = verdict.claim.threshold
    return interval_text(
        verdict.estimate,
        verdict.low,
        verdict.high,
        threshold=threshold,
        sign=threshold == 0.0 and verdict.claim.kind == "statistical",
    )


def details_text(verdict: Verdict) -> str:
    """What a verdict was decided by: "95% interval, 10 seeds · threshold 0 · p < 0.001"."""
    claim = verdict.claim
    interval = "range over seeds" if claim.kind == "cost" else "95% interval"
    details = [f"{interval}, {_plural(len(verdict.values), 'seed')}"]
    details.append(f"threshold {fixed_short(claim.threshold)}")
    if claim.smallest_effect is not None:
        details.append(f"smallest effect {fixed_short(claim.smallest_effect)}")
    if not math.isnan(verdict.p_value):
        details.append(f"p {p_value_text(verdict.p_value, equals='= ')}")
    return " · ".join(details)


def verdict_table(outcomes: Sequence[Outcome]) -> Table:
    """One row a claim of these papers: paper, claim, verdict, estimate, p value, population.

    Paper and population stand in a paper's first row. The p value is corrected by Holm's method if
    the outcomes are those of a whole catalogue.
    """
    corrected = all(outcome.adjusted for outcome in outcomes)
    rows = tuple(
        (
            "" if place else outcome.paper.slug,
            verdict.claim.statement,
            f"{MARKS[verdict.status]} {verdict.status}",
            f"{estimate_text(verdict)} {verdict.claim.unit}".rstrip(),
            p_value_text(outcome.adjusted[place] if corrected else verdict.p_value),
            "" if place else outcome.study.population,
        )
        for outcome in outcomes
        for place, verdict in enumerate(outcome.verdicts)
    )
    p_head = "p (Holm)" if corrected else "p"
    return Table(
        "Verdicts",
        ("Paper", "Claim", "Verdict", "Estimate [95% interval]", p_head, "Tested on"),
        rows,
        frozenset({3, 4}),
    )


def paper_table(outcomes: Sequence[Outcome]) -> Table:
    """One row a paper: its first claim with verdict and estimate, and all its verdicts counted."""
    rows = tuple(
        (
            outcome.paper.slug,
            outcome.verdicts[0].claim.statement,
            f"{MARKS[outcome.verdicts[0].status]} {outcome.verdicts[0].status}",
            f"{estimate_text(outcome.verdicts[0])} {outcome.verdicts[0].claim.unit}".rstrip(),
            _counted(status_counts([outcome]), words=False),
        )
        for outcome in outcomes
    )
    columns = ("Paper", "First claim", "Verdict", "Estimate [95% interval]", "All its claims")
    return Table("Papers", columns, rows, frozenset({3}))


def status_counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many claims have each verdict, in the order of :data:`MARKS`."""
    found: list[str] = [verdict.status for outcome in outcomes for verdict in outcome.verdicts]
    return {status: found.count(status) for status in MARKS}


def count_text(outcomes: Sequence[Outcome]) -> str:
    """The verdicts counted, and how many of them stand after Holm's correction, if it was made."""
    counts = status_counts(outcomes)
    told = _counted(counts)
    head = f"{_plural(sum(counts.values()), 'claim')} of {_plural(len(outcomes), 'paper')}"
    return f"{head}: {told}{_holm_text(outcomes)}" if told else "No results yet"


def _counted(counts: Mapping[str, int], words: bool = True) -> str:
    told = (f"{MARKS[s]} {n}" + (f" {s}" if words else "") for s, n in counts.items() if n)
    return (", " if words else " ").join(told)


def _holm_text(outcomes: Sequence[Outcome]) -> str:
    from gradatim.studies.verdicts import CONFIDENCE

    decided = [
        p_value
        for outcome in outcomes
        for verdict, p_value in zip(outcome.verdicts, outcome.adjusted, strict=False)
        if verdict.status in ("shown", "contradicted") and not math.isnan(p_value)
    ]
    if not decided:
        return ""
    standing = sum(p_value < 1 - CONFIDENCE for p_value in decided)
    told = f"{standing} of {len(decided)} decided by a test"
    return f"; with Holm's correction for their number, {told} stand"


def arm_tables(summaries: Summaries) -> tuple[Table, ...]:
    """Arms by metrics, then one table for each metric that was measured in a few groups.

    >>> rows = [(s, a, "loss", "", s + 0.5) for a in ("elr", "ce") for s in (0, 1)]
    >>> table = arm_tables(Summaries.of(rows))[0]
    >>> table.columns, table.rows[0]
    (('Arm', 'loss'), ('elr', '1 ± 6'))
    """
    plain = [metric for metric in summaries.metrics if "" in summaries.groups(metric)]
    tables = []
    if plain:
        tables.append(
            _arm_table("Arms", summaries, [(in_words(metric), metric, "") for metric in plain])
        )
    for metric in summaries.metrics:
        for keys in summaries.keys(metric):
            groups = [g for g in summaries.groups(metric) if tuple(parse_group(g)) == keys]
            if keys and len(groups) <= MOST_COLUMNS:
                columns = [(in_words(group), metric, group) for group in by_numbers(groups)]
                title = in_words(f"{metric} by {' and '.join(keys)}")
                tables.append(_arm_table(title, summaries, columns))
    return tuple(tables)


def verdict_records(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One record a claim with all that is known of it, for CSV and JSON."""
    return [
        {
            "slug": outcome.paper.slug,
            **record,
            "population": outcome.study.population,
            "budget": str(outcome.ledger.budget),
            "freshness": outcome.freshness,
        }
        for outcome in outcomes
        for record in outcome_records(outcome)
    ]


def outcome_records(outcome: Outcome) -> list[dict[str, Any]]:
    """One record a claim of one paper; numbers that are not known are None."""
    adjusted = outcome.adjusted or (math.nan,) * len(outcome.verdicts)
    return [
        {**verdict_record(verdict), "p_holm": finite_or_none(p_value)}
        for verdict, p_value in zip(outcome.verdicts, adjusted, strict=True)
    ]


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """One verdict as a record of plain values."""
    return {
        "claim": verdict.claim.statement,
        "status": verdict.status,
        "estimate": finite_or_none(verdict.estimate),
        "low": finite_or_none(verdict.low),
        "high": finite_or_none(verdict.high),
        "p_value": finite_or_none(verdict.p_value),
        **claim_record(verdict.claim),
        "seeds": len(verdict.values),
        "note": verdict.note,
    }


def claim_record(claim: Claim) -> dict[str, Any]:
    """One claim as a record of plain values."""
    return {
        "claim": claim.statement,
        "threshold": claim.threshold,
        "smallest_effect": claim.smallest_effect,
        "direction": claim.direction,
        "kind": claim.kind,
        "unit": claim.unit,
    }


def arm_records(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """One record for each paper, arm, metric and group, curves included."""
    return [
        {
            "slug": outcome.paper.slug,
            "arm": arm,
            "metric": metric,
            "group": group,
            "mean": cell.mean,
            "low": finite_or_none(cell.low),
            "high": finite_or_none(cell.high),
            "seeds": len(cell.values),
        }
        for outcome in outcomes
        for (arm, metric, group), cell in outcome.summaries.cells.items()
    ]


def paper_record(paper: Paper, outcome: Outcome | None) -> dict[str, Any]:
    """A paper as the listings' JSON gives it, with its verdicts if it was run."""
    return {
        "slug": paper.slug,
        "of": paper.of,
        "number": paper.number,
        "title": paper.title,
        "authors": list(paper.authors),
        "year": paper.year,
        "arxiv": paper.arxiv,
        "code": paper.code,
        "sentence": paper.sentence,
        "kinds": list(paper.kinds),
        "implemented": is_implemented(paper.slug),
        "budget": str(outcome.ledger.budget) if outcome else None,
        "seeds": list(outcome.ledger.seeds) if outcome else [],
        "freshness": outcome.freshness if outcome else None,
        "verdicts": outcome_records(outcome) if outcome else [],
    }


def _arm_table(title: str, summaries: Summaries, columns: Sequence[tuple[str, str, str]]) -> Table:
    """A row an arm; columns are (head, metric, group)."""
    arms = [
        arm
        for arm in summaries.arms
        if any((arm, metric, group) in summaries.cells for _, metric, group in columns)
    ]
    rows = [[arm] for arm in arms]
    for _, metric, group in columns:
        cells = [summaries.cells.get((arm, metric, group)) for arm in arms]
        decimals = decimals_for(cell.half_width for cell in cells if cell)
        for row, cell in zip(rows, cells, strict=True):
            row.append(fixed_interval(cell.mean, cell.half_width, decimals) if cell else UNKNOWN)
    return Table(
        title,
        ("Arm", *(head for head, _, _ in columns)),
        tuple(tuple(row) for row in rows),
        frozenset(range(1, len(columns) + 1)),
    )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
