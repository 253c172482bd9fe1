"""Ways to choose rows of a pool: positions, with what probability, and why, in words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.core.io.columns import count
from gradatim.core.seeds import numpy_generator
from gradatim.curriculum.response_budget import round_shares
from gradatim.selection.k_center import k_center
from gradatim.selection.query_selectors import QueryPool, TopKSelector, wrong_labels
from gradatim.selection.robust_queries import (
    draw_queries,
    inclusion_probabilities,
    robust_query_distribution,
)
from gradatim.workflows.select_pool import Pool, Strata


@dataclass(frozen=True)
class Wishes:
    """What was asked for.

    Attributes:
        budget: how many rows.
        shares: stratum -> its share of the budget, in any unit; None for equal ones.
        num_wrong: labels of the pool that the teacher has wrong; None if unknown.
        teacher_accuracy: how often it is right; None if unknown.
        seed: what draws depend on.
    """

    budget: int
    shares: Mapping[str, float] | None = None
    num_wrong: int | None = None
    teacher_accuracy: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        rows: positions; hardest or farthest first where there is an order, else ascending.
        probability: with which each of them was in the choice, shape [B].
        reasons: why, for each of them.
        notes: what the user should know.
    """

    rows: NDArray[np.int64]
    probability: NDArray[np.float64]
    reasons: list[str]
    notes: list[str] = field(default_factory=list)


def uniform(pool: Pool, wishes: Wishes) -> Choice:
    """Every row is as likely as any other."""
    random = numpy_generator(wishes.seed, "select", "uniform")
    rows = np.sort(random.permutation(pool.size)[: wishes.budget])
    share = wishes.budget / pool.size
    reason = f"drawn at random: every row had the probability {share:.3g}"
    return Choice(rows, np.full(len(rows), share), [reason] * len(rows))


def top(pool: Pool, wishes: Wishes) -> Choice:
    """The hardest rows; ties at the end of the budget are drawn among."""
    difficulty = _difficulty(pool, "top")
    shifted = QueryPool(difficulty - difficulty.min())
    random = numpy_generator(wishes.seed, "select", "top")
    rows = TopKSelector()(shifted, wishes.budget, random)
    last = difficulty[rows[-1]]
    above, tied = int((difficulty > last).sum()), int((difficulty == last).sum())
    share = (wishes.budget - above) / tied
    probability = np.where(difficulty[rows] > last, 1.0, share)
    notes = []
    if share < 1.0:
        notes.append(
            f"{tied:,} rows tie at {pool.by} {last:g}; {wishes.budget - above:,} of them were "
            "drawn at random"
        )
    harder = len(difficulty) - np.sort(difficulty).searchsorted(difficulty[rows], side="right")
    reasons = [
        f"{pool.by} {difficulty[row]:g}, rank {before + 1:,} of {pool.size:,}"
        + (" (drawn among ties)" if one < 1.0 else "")
        for row, before, one in zip(rows, harder, probability, strict=True)
    ]
    return Choice(rows, probability, reasons, notes)


def stratified(pool: Pool, wishes: Wishes) -> Choice:
    """So many rows of each stratum, drawn at random within it."""
    strata = pool.strata
    if strata is None:
        raise InputError("stratified: expected a difficulty (by) or a column of strata, got none")
    wanted, notes = allot(strata, wishes.budget, wishes.shares)
    random = numpy_generator(wishes.seed, "select", "stratified")
    rows = np.concatenate(
        [
            random.permutation(np.flatnonzero(strata.code == number))[:some]
            for number, some in enumerate(wanted)
        ]
    )
    rows = np.sort(rows).astype(np.int64)
    sizes = strata.sizes
    shares = wanted / sizes
    told = [
        f"stratum {name} ({what}): {some:,} of its {size:,} rows drawn at random"
        for name, what, some, size in zip(strata.names, strata.told, wanted, sizes, strict=True)
    ]
    code = strata.code[rows]
    return Choice(rows, shares[code], [told[one] for one in code], notes)


def prop2diff(pool: Pool, wishes: Wishes) -> Choice:
    """Rows are drawn with a probability in proportion to their difficulty."""
    difficulty = _difficulty(pool, "prop2diff", at_least_zero=True)
    positive = int((difficulty > 0).sum())
    if positive < wishes.budget:
        raise InputError(
            f"prop2diff: expected a budget of at most {positive:,}, the rows whose {pool.by} is "
            f"above 0, got {wishes.budget:,}"
        )
    included = inclusion_probabilities(difficulty, wishes.budget)
    random = numpy_generator(wishes.seed, "select", "prop2diff")
    rows = draw_queries(difficulty, wishes.budget, random)
    reasons = [
        f"drawn in proportion to {pool.by} {difficulty[row]:g}: probability {included[row]:.3g}"
        for row in rows
    ]
    return Choice(rows, included[rows], reasons)


def robust(pool: Pool, wishes: Wishes) -> Choice:
    """Rows that are worth most although the labels of some will be wrong."""
    gains = _difficulty(pool, "robust", at_least_zero=True)
    if (wishes.num_wrong is None) == (wishes.teacher_accuracy is None):
        raise InputError(
            "robust: expected either num_wrong, how many labels of the pool will be wrong, or "
            "teacher_accuracy"
        )
    wrong = wishes.num_wrong
    if wishes.teacher_accuracy is not None:
        wrong = wrong_labels(wishes.teacher_accuracy, pool.size)
    assert wrong is not None
    found = robust_query_distribution(gains, wrong, min_support=wishes.budget)
    asked = int((found.probabilities > 0).sum())
    included = inclusion_probabilities(found.probabilities, wishes.budget)
    random = numpy_generator(wishes.seed, "select", "robust")
    rows = draw_queries(found.probabilities, wishes.budget, random)
    reasons = [
        f"{pool.by} {gains[row]:g}: one of {asked:,} rows worth asking for although "
        f"{count(wrong, 'label')} may be wrong, drawn with probability {included[row]:.3g}"
        for row in rows
    ]
    note = (
        f"{count(wrong, 'label')} of the pool {'is' if wrong == 1 else 'are'} taken to be wrong: "
        f"{asked:,} rows are asked for, and a label gains {found.value:.3g} on average at least"
    )
    return Choice(rows, included[rows], reasons, [note])


def k_centers(pool: Pool, wishes: Wishes) -> Choice:
    """Rows that lie far from one another, so that all of the pool has a chosen one nearby."""
    if pool.features is None:
        raise InputError("k-center: expected features (columns or an array), got none")
    rows, distances = k_center(pool.features, wishes.budget)
    reasons = ["the row nearest to the mean"]
    reasons += [
        f"choice {place:,}: the farthest from all chosen before it (distance {away:.3g})"
        for place, away in enumerate(distances[1:], start=2)
    ]
    return Choice(rows, np.ones(len(rows)), reasons)


METHODS: dict[str, Callable[[Pool, Wishes], Choice]] = {
    "top": top,
    "uniform": uniform,
    "stratified": stratified,
    "prop2diff": prop2diff,
    "robust": robust,
    "k-center": k_centers,
}


def allot(
    strata: Strata, budget: int, shares: Mapping[str, float] | None
) -> tuple[NDArray[np.int64], list[str]]:
    """How many rows each stratum gives.

    Args:
        strata: the strata.
        budget: rows in all.
        shares: stratum -> share, in any unit; None gives all the same, and what a small stratum
            cannot give is given by the others.

    Returns:
        Rows of each stratum, and notes.

    Raises:
        InputError: an unknown stratum, a share that is negative or not finite, or a stratum with
            fewer rows than its share.
    """
    sizes = strata.sizes
    if shares is None:
        wanted = _level(sizes, budget)
        short = [strata.names[one] for one in np.flatnonzero(wanted == sizes)]
        even = budget / len(sizes)
        notes = [
            f"stratum {name} has {sizes[strata.names.index(name)]:,} rows, less than an equal "
            f"share of {even:,.1f}: all are taken, and the others give more"
            for name in short
            if sizes[strata.names.index(name)] < even
        ]
        return wanted, notes
    for name, share in shares.items():
        if name not in strata.names:
            raise InputError(
                f"shares: expected strata of {', '.join(strata.names)}, got {name!r}, which is "
                "empty"
            )
        if not 0 <= share < np.inf:
            raise InputError(f"shares[{name!r}]: expected a number of at least 0, got {share}")
    weights = np.array([shares.get(name, 0.0) for name in strata.names])
    if not weights.sum() > 0:
        raise InputError("shares: expected one above 0, got none")
    wanted = round_shares(budget * weights / weights.sum(), budget)
    for number in np.flatnonzero(wanted > sizes):
        raise InputError(
            f"shares: expected {wanted[number]:,} rows of stratum {strata.names[number]!r} for its "
            f"share of the budget, got {sizes[number]:,}"
        )
    return wanted, []


def _level(sizes: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """The same number of each, as far as there are so many."""
    low, high = 0, int(sizes.max()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if np.minimum(sizes, middle).sum() <= budget else (low, middle)
    wanted = np.minimum(sizes, low)
    more = np.flatnonzero(sizes > low)[: budget - int(wanted.sum())]
    wanted[more] += 1
    return wanted


def _difficulty(pool: Pool, method: str, *, at_least_zero: bool = False) -> NDArray[np.float64]:
    if pool.difficulty is None:
        raise InputError(f"{method}: expected a column with the difficulty (by), got none")
    negative = np.flatnonzero(pool.difficulty < 0)
    if at_least_zero and len(negative):
        row = negative[0]
        raise InputError(
            f"{pool.source}, row {row}, column {pool.by!r}: expected a number of at least 0 for "
            f"{method}, got {pool.difficulty[row]:g}"
        )
    return pool.difficulty
