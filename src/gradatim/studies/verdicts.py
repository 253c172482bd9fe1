"""From the seeds' numbers to a verdict, by a paired t interval whose errors are known."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gradatim.core.errors import InputError
from gradatim.core.statistics import Interval, holm, mean_interval
from gradatim.studies.claims import Claim, SeedTable, as_measured

Status = Literal["shown", "contradicted", "equivalent", "inconclusive"]

STATUSES: tuple[Status, ...] = ("shown", "contradicted", "equivalent", "inconclusive")
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Verdict:
    """What the seeds say of a claim.

    Attributes:
        claim: the claim.
        status: "shown" (interval wholly beyond the threshold), "contradicted" (wholly on the
            other side), "equivalent" (wholly within the smallest effect), or "inconclusive".
        estimate: mean of the estimand over seeds; for a cost claim the median.
        low: lower end of the interval; for a cost claim the smallest value.
        high: upper end of the interval; for a cost claim the largest value.
        p_value: two-sided, against the threshold; NaN where there is none, as for a cost claim.
        values: the estimand of each seed.
        note: what else must be said, or "".
    """

    claim: Claim
    status: Status
    estimate: float
    low: float
    high: float
    p_value: float
    values: dict[int, float]
    note: str = ""


def decide(claim: Claim, tables: Mapping[int, SeedTable], *, partial: bool = False) -> Verdict:
    """Judge a claim by its estimand over seeds.

    ``shown`` if the 95% t interval of the estimand, which pairs the arms within each seed, lies
    wholly beyond the threshold in the claim's direction, ``contradicted`` if wholly on the other
    side, else ``equivalent`` if wholly within ``threshold ± smallest_effect``. With k alternatives
    each interval has confidence ``1 - 0.05 / k``: one beyond the threshold shows the claim, all on
    the other side contradict it, and the verdict reports the most favourable one.

    Args:
        claim: the claim.
        tables: seed -> its measurements.
        partial: whether a small budget may have left out what the estimand asks for; the claim is
            then inconclusive.

    Returns:
        The verdict; "inconclusive" with a note if fewer than two seeds were run or an estimand is
        not a finite number.

    Raises:
        InputError: an estimand asks for what was not measured, unless ``partial``.

    >>> from gradatim.studies.claims import Measurement
    >>> tables = {seed: SeedTable([Measurement("a", "accuracy", 0.9 + seed / 100)])
    ...           for seed in range(5)}
    >>> verdict = decide(Claim("A is right.", lambda t: t["a"].accuracy, threshold=0.8), tables)
    >>> verdict.status, round(verdict.estimate, 2), round(verdict.low, 3), round(verdict.high, 3)
    ('shown', 0.92, 0.9, 0.94)
    """
    alternatives = [
        {seed: _estimate(claim, estimand, seed, tables[seed], partial) for seed in sorted(tables)}
        for estimand in claim.alternatives
    ]
    undefined = sorted(
        {seed for values in alternatives for seed, x in values.items() if not math.isfinite(x)}
    )
    if undefined:
        told = ", ".join(map(str, undefined))
        note = f"not measured, or not a finite number, for seed {told}"
        return _undecided(claim, alternatives[0], note)
    needed = 1 if claim.kind == "cost" else 2
    if len(tables) < needed:
        note = f"{len(tables)} seed was run; an interval needs at least 2" if tables else "not run"
        return _undecided(claim, alternatives[0], note)
    if claim.kind == "cost":
        return _decide_cost(claim, alternatives)
    return _decide_mean(claim, alternatives)


def summary(verdicts: Sequence[Verdict]) -> list[float]:
    """P values adjusted by Holm's method for all statistical claims that were judged.

    Args:
        verdicts: those of all ledgers of the catalogue.

    Returns:
        One adjusted p value a verdict, in the given order; NaN for cost claims and for verdicts
        without a p value.
    """
    adjusted = [math.nan] * len(verdicts)
    judged = [
        place
        for place, verdict in enumerate(verdicts)
        if verdict.claim.kind == "statistical" and not math.isnan(verdict.p_value)
    ]
    for place, p_value in zip(judged, holm([verdicts[i].p_value for i in judged]), strict=True):
        adjusted[place] = float(p_value)
    return adjusted


def _estimate(
    claim: Claim,
    estimand: Callable[[SeedTable], float],
    seed: int,
    table: SeedTable,
    partial: bool,
) -> float:
    """One seed's number; a division by zero is an undefined estimand, not an error."""
    try:
        return as_measured(estimand(table))
    except ZeroDivisionError:
        return math.nan
    except InputError as error:
        if partial:
            return math.nan
        raise InputError(f"claim {claim.statement!r}, seed {seed}: {error}") from error


def _undecided(claim: Claim, values: dict[int, float], note: str) -> Verdict:
    known = [value for value in values.values() if math.isfinite(value)]
    estimate = statistics.fmean(known) if known else math.nan
    return Verdict(claim, "inconclusive", estimate, math.nan, math.nan, math.nan, values, note)


def _decide_mean(claim: Claim, alternatives: Sequence[dict[int, float]]) -> Verdict:
    count = len(alternatives)
    confidence = 1 - (1 - CONFIDENCE) / count
    intervals = [mean_interval(list(values.values()), confidence) for values in alternatives]
    best = _best(claim, [(interval.low, interval.high) for interval in intervals])
    chosen = intervals[best]
    status = _status(claim, [(interval.low, interval.high) for interval in intervals], best)
    margin = claim.smallest_effect
    if status == "inconclusive" and margin is not None:
        low, high = claim.threshold - margin, claim.threshold + margin
        if all(interval.inside(low, high) for interval in intervals):
            status = "equivalent"
    return Verdict(
        claim,
        status,
        chosen.estimate,
        chosen.low,
        chosen.high,
        min(1.0, count * chosen.p_value(claim.threshold)),
        alternatives[best],
        _note(claim, status, chosen, best),
    )


def _decide_cost(claim: Claim, alternatives: Sequence[dict[int, float]]) -> Verdict:
    ranges = [(min(values.values()), max(values.values())) for values in alternatives]
    best = _best(claim, ranges)
    return Verdict(
        claim,
        _status(claim, ranges, best),
        statistics.median(alternatives[best].values()),
        *ranges[best],
        math.nan,
        alternatives[best],
        _which(claim, best),
    )


def _best(claim: Claim, ranges: Sequence[tuple[float, float]]) -> int:
    """The alternative whose less favourable end lies furthest in the claim's direction."""
    if claim.direction == "greater":
        return max(range(len(ranges)), key=lambda i: ranges[i][0])
    return min(range(len(ranges)), key=lambda i: ranges[i][1])


def _status(claim: Claim, ranges: Sequence[tuple[float, float]], best: int) -> Status:
    """Beyond the threshold (the best one), wholly on the other side (all), or neither."""
    above = [low > claim.threshold for low, _ in ranges]
    below = [high < claim.threshold for _, high in ranges]
    beyond, against = (above, below) if claim.direction == "greater" else (below, above)
    if beyond[best]:
        return "shown"
    return "contradicted" if all(against) else "inconclusive"


def _which(claim: Claim, best: int) -> str:
    count = len(claim.alternatives)
    return f"alternative {best + 1} of {count}" if count > 1 else ""


def _note(claim: Claim, status: Status, interval: Interval, best: int) -> str:
    notes = [_which(claim, best)]
    margin = claim.smallest_effect
    if margin is not None and interval.inside(claim.threshold - margin, claim.threshold + margin):
        if status == "shown":
            notes.append("beyond the threshold, but smaller than the smallest effect declared")
        elif status == "contradicted":
            notes.append("on the other side, but by less than the smallest effect declared")
    if interval.low == interval.high:
        notes.append("every seed gave the same value, so the interval has no width")
    return "; ".join(filter(None, notes))
