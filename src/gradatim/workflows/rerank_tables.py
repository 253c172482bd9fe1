"""Accuracies, pass@k and curves of re-ranking as tables with intervals over problems."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.statistics import mean_interval, paired_interval, proportion_interval
from gradatim.metrics.pass_at_k import pass_at_k
from gradatim.workflows.candidate_pools import CandidatePool

if TYPE_CHECKING:
    import pandas as pd

ALL_LEVELS = "all"


def groups(pool: CandidatePool) -> Iterator[tuple[Any, NDArray[np.bool_]]]:
    """All problems, then each level, numbers before text, with the problems of it."""
    yield ALL_LEVELS, np.ones(len(pool.problems), dtype=bool)
    levels = pool.levels or []
    for level in sorted(set(levels), key=lambda one: (isinstance(one, str), one)):
        yield level, np.array([one == level for one in levels])


def accuracy_table(pool: CandidatePool, chosen: Mapping[str, NDArray[np.intp]]) -> "pd.DataFrame":
    """A row for each level and rule, and for the oracle, which is right if any candidate is.

    Args:
        pool: the candidates; correctness must be known.
        chosen: rule -> chosen position in each problem, -1 for none, shape [P].

    Returns:
        Columns level, rule, problems, correct, accuracy with Wilson's 95% interval (low, high), and
        the paired difference to the majority with its 95% t interval (difference, difference_low,
        difference_high). These are NaN for the majority itself and for fewer than two problems; the
        ends are NaN too where all problems have the same difference, which no t interval can judge.
    """
    import pandas as pd

    assert pool.correct is not None
    everyone = np.arange(len(pool.problems))
    right: dict[str, NDArray[np.bool_]] = {
        name: pool.correct[everyone, position] & (position >= 0)
        for name, position in chosen.items()
    }
    right["oracle"] = np.any(pool.correct & (pool.codes >= 0), axis=1)
    rows = []
    for level, members in groups(pool):
        for name, hits in right.items():
            successes, trials = int(hits[members].sum()), int(members.sum())
            interval = proportion_interval(successes, trials)
            difference = (math.nan, math.nan, math.nan)
            if "majority" in right and name != "majority" and trials > 1:
                pair = paired_interval(hits[members], right["majority"][members])
                spread = pair.standard_error > 0.0
                ends = (pair.low, pair.high) if spread else (math.nan, math.nan)
                difference = (pair.estimate, *ends)
            rows.append(
                (
                    *(level, name, trials, successes),
                    *(interval.estimate, interval.low, interval.high),
                    *difference,
                )
            )
    return pd.DataFrame(
        rows,
        columns=[
            *("level", "rule", "problems", "correct", "accuracy", "low", "high"),
            *("difference", "difference_low", "difference_high"),
        ],
    )


def pass_at_k_table(pool: CandidatePool, ks: Sequence[int]) -> "pd.DataFrame":
    """A row for each level and k: unbiased pass@k over the problems with at least k candidates."""
    import pandas as pd

    assert pool.correct is not None
    right = (pool.correct & (pool.codes >= 0)).sum(axis=1)
    rows = []
    for level, members in groups(pool):
        for k in ks:
            there = members & (pool.sizes >= k)
            rows.append((level, k, *_mean(pass_at_k(pool.sizes[there], right[there], k))))
    return pd.DataFrame(rows, columns=["level", "k", "pass_at_k", "low", "high", "problems"])


def curve_table(
    pool: CandidatePool, ns: Sequence[int], curves: Mapping[str, NDArray[np.float64]]
) -> "pd.DataFrame":
    """A row for each level, rule and number of candidates.

    Args:
        pool: the candidates.
        ns: the numbers of candidates, K of them.
        curves: rule -> accuracy, shape [P, K], NaN where a problem has too few candidates.
    """
    import pandas as pd

    rows = []
    for level, members in groups(pool):
        for name, curve in curves.items():
            for column, n in enumerate(ns):
                values = curve[members, column]
                rows.append((level, name, n, *_mean(values[~np.isnan(values)])))
    return pd.DataFrame(rows, columns=["level", "rule", "n", "accuracy", "low", "high", "problems"])


def _mean(values: NDArray[np.float64]) -> tuple[float, float, float, int]:
    """Mean and its 95% t interval over problems, and their number."""
    if len(values) < 2:
        return (float(values[0]) if len(values) else math.nan), math.nan, math.nan, len(values)
    interval = mean_interval(values)
    return interval.estimate, max(interval.low, 0.0), min(interval.high, 1.0), len(values)
