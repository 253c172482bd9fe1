"""Which points a teacher shall label, when an adversary decides where the teacher is wrong."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import GradatimError, InputError

_NOTHING = 1e-12
"""Gains below this share of the largest count as zero: their reciprocals would drown the others."""

_TIE = 1e-9


class SolverError(GradatimError, ArithmeticError):
    """A linear program could not be solved."""


@dataclass(frozen=True)
class QueryDistribution:
    """How often each point is to be asked for.

    Attributes:
        probabilities: q, shape [n].
        value: what a query gains on average at least, wherever the teacher is wrong.
    """

    probabilities: NDArray[np.float64]
    value: float


def robust_query_distribution(
    gains: ArrayLike, num_wrong: int, *, min_support: int = 1
) -> QueryDistribution:
    r"""Probabilities that gain most where the teacher is wrong on the worst m points.

    A wrong label gains nothing, a right one :math:`g_i`; with :math:`g_{(1)} \ge g_{(2)} \ge \dots`

    .. math:: \max_q \min_{|W| = m} \sum_{i \notin W} q_i g_i = v_{k^*}, \qquad
        v_k = \frac{k - m}{\sum_{j \le k} 1 / g_{(j)}}, \qquad
        q_{(i)} = \frac{1 / g_{(i)}}{\sum_{j \le k^*} 1 / g_{(j)}} \text{ for } i \le k^*

    So :math:`q_i g_i` is the same for all points that are asked for: the less hard ones are asked
    for more often, and those with :math:`g_i < v_{k^*}` not at all. With m = 0 only the largest
    gain is left (points that tie share it), with m = n - 1 all points are, the easy ones most.

    Args:
        gains: g, how much the right label of each point is worth, at least 0, shape [n]; such as
            1 - margin of the student.
        num_wrong: m, labels of these points that the teacher has wrong, from 0 to n - 1.
        min_support: how many points must have a probability above 0, for a batch of queries; the
            next largest gains, with all that tie, are taken in as that needs.

    Returns:
        The distribution. If no more than m gains are above 0, or fewer than ``min_support``, all
        points are equally likely. The cost is that of sorting.

    Raises:
        InputError: no point, a gain that is negative or not finite (its row is named), or a number
            out of range.

    Source: Baykal et al. 2022, arXiv 2210.01213, section 3; ``min_support`` is this library's.

    >>> found = robust_query_distribution([1.0, 0.5, 0.25], num_wrong=1)
    >>> found.probabilities.round(4).tolist(), round(found.value, 4)
    ([0.3333, 0.6667, 0.0], 0.3333)
    """
    values = _gains("gains", gains)
    count = len(values)
    check_range("num_wrong", num_wrong, 0, count - 1)
    check_range("min_support", min_support, 1, count)
    scaled = values / (values.max() or 1.0)
    ordered = np.sort(scaled)[::-1]
    useful = int((ordered > _NOTHING).sum())
    if useful <= num_wrong or useful < min_support:
        probabilities = np.full(count, 1.0 / count)
    else:
        pace = (np.arange(1, useful + 1) - num_wrong) / (1.0 / ordered[:useful]).cumsum()
        # The best support is all that gains more than its value. What ties with the last of it is
        # taken in too, or the order of the rows would decide.
        cutoff = min(pace.max() * (1.0 - _TIE), ordered[min_support - 1])
        asked = scaled >= cutoff
        probabilities = np.zeros(count)
        probabilities[asked] = 1.0 / scaled[asked]
        probabilities /= probabilities.sum()
    return QueryDistribution(probabilities, guaranteed_gain(probabilities, values, num_wrong))


def robust_query_lp(gains: ArrayLike, losses: ArrayLike, num_wrong: int) -> QueryDistribution:
    r"""The same where a wrong label also costs something, by a linear program.

    .. math:: \max_q \Bigl( \sum_i q_i g_i - \max_{|W| = m} \sum_{i \in W} q_i (g_i + l_i) \Bigr)

    solved as :math:`\min -q \cdot g + m \lambda + \sum_i u_i` with :math:`u_i \ge q_i (g_i + l_i)
    - \lambda`, :math:`u, \lambda \ge 0` and q a distribution.

    Args:
        gains: g, what the right label of each point is worth, at least 0, shape [n].
        losses: l, what a wrong one costs, at least 0, shape [n].
        num_wrong: m, from 0 to n - 1.

    Returns:
        A best distribution; the value may be below 0. It has 2n + 1 variables: 10,000 points take
        seconds.

    Raises:
        InputError: as in :func:`robust_query_distribution`, or unequal lengths.
        SolverError: the solver gives up.

    Source: Baykal et al. 2022, arXiv 2210.01213, the game in its general form.

    >>> found = robust_query_lp([1.0, 0.5, 0.25], [0.0, 0.0, 0.0], num_wrong=1)
    >>> found.probabilities.round(4).tolist(), round(found.value, 4)
    ([0.3333, 0.6667, 0.0], 0.3333)
    """
    from scipy import optimize, sparse  # slow to import, and only needed here

    values, costs = _gains("gains", gains), _gains("losses", losses)
    count = check_same_length(gains=values, losses=costs)
    check_range("num_wrong", num_wrong, 0, count - 1)
    scale = max(float(values.max()), float(costs.max())) or 1.0
    values, costs = values / scale, costs / scale
    one = sparse.identity(count, format="csr")
    bounded = sparse.hstack(
        [sparse.diags(values + costs), -one, -np.ones((count, 1))], format="csr"
    )
    total = sparse.csr_matrix(np.concatenate([np.ones(count), np.zeros(count + 1)])[None])
    found = optimize.linprog(
        np.concatenate([-values, np.ones(count), [float(num_wrong)]]),
        A_ub=bounded,
        b_ub=np.zeros(count),
        A_eq=total,
        b_eq=[1.0],
        bounds=(0, None),
        method="highs",
    )
    if found.x is None:
        raise SolverError(f"the linear program for {count} points was not solved: {found.message}")
    probabilities = np.maximum(found.x[:count], 0.0)
    probabilities /= probabilities.sum()
    value = guaranteed_gain(probabilities, values, num_wrong, losses=costs) * scale
    return QueryDistribution(probabilities, value)


def guaranteed_gain(
    probabilities: ArrayLike, gains: ArrayLike, num_wrong: int, *, losses: ArrayLike | None = None
) -> float:
    r"""What a query gains on average if the m wrong labels are where they hurt most.

    .. math:: \sum_i q_i g_i - \max_{|W| = m} \sum_{i \in W} q_i (g_i + l_i)

    Args:
        probabilities: q, any distribution, shape [n].
        gains: g, shape [n].
        num_wrong: m, from 0 to n.
        losses: l, shape [n]; None for none.

    Returns:
        The guaranteed gain.

    Raises:
        InputError: unequal lengths, or a value that is negative or not finite.

    >>> guaranteed_gain([0.5, 0.5], [1.0, 0.5], 1)
    0.25
    """
    q, values = _gains("probabilities", probabilities), _gains("gains", gains)
    costs = np.zeros(len(values)) if losses is None else _gains("losses", losses)
    count = check_same_length(probabilities=q, gains=values, losses=costs)
    check_range("num_wrong", num_wrong, 0, count)
    if losses is None:  # summed without differences, so that small values stay exact
        return float(np.sort(q * values)[: count - num_wrong].sum())
    hurt = np.sort(q * (values + costs))[count - num_wrong :]
    return float((q * values).sum() - hurt.sum())


def inclusion_probabilities(probabilities: ArrayLike, budget: int) -> NDArray[np.float64]:
    r"""With what probability each point is in a batch of b different ones.

    .. math:: \pi_i = \min(1, c \, q_i), \qquad \sum_i \pi_i = b

    Args:
        probabilities: q, at least 0, not all 0, shape [n].
        budget: b, at most the number of points with a probability above 0.

    Returns:
        pi, shape [n]; the cost is that of sorting.

    Raises:
        InputError: a probability that is negative or not finite, or a budget out of range.

    >>> inclusion_probabilities([0.8, 0.1, 0.1], 2).tolist()
    [1.0, 0.5, 0.5]
    """
    q = _gains("probabilities", probabilities)
    possible = int((q > 0).sum())
    check_range("budget", budget, 1)
    if budget > possible:
        raise InputError(
            f"budget: expected at most {possible:,}, the points with a probability above 0, "
            f"got {budget:,}"
        )
    ordered = np.sort(q)[::-1]
    rest = ordered[::-1].cumsum()[::-1][:budget]
    left = budget - np.arange(budget)
    sure = int((left * ordered[:budget] <= rest * (1.0 + _TIE)).argmax())
    return np.asarray(np.minimum(np.minimum(q, rest[sure]) / rest[sure] * left[sure], 1.0))


def draw_queries(
    probabilities: ArrayLike, budget: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw different points, each with its exact inclusion probability.

    Drawing one after the other without replacement would distort the probabilities; here each
    point is in the batch with that of :func:`inclusion_probabilities` (systematic sampling in
    random order).

    Args:
        probabilities: q, at least 0, shape [n].
        budget: how many points.
        generator: where randomness comes from.

    Returns:
        Positions, ascending, shape [budget].

    Raises:
        InputError: as in :func:`inclusion_probabilities`.

    >>> draw_queries([0.6, 0.4, 0.0], 2, np.random.default_rng(0)).tolist()
    [0, 1]
    """
    included = inclusion_probabilities(probabilities, budget)
    certain = included >= 1.0 - _TIE
    others = generator.permutation(np.flatnonzero(~certain & (included > 0)))
    left = budget - int(certain.sum())
    chosen = [np.flatnonzero(certain)]
    if left:
        bounds = included[others].cumsum()
        places = (generator.random() + np.arange(left)) * (bounds[-1] / left)
        chosen.append(others[bounds.searchsorted(places, side="right")])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _gains(name: str, given: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(given, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise InputError(
            f"{name}: expected shape [n] with n of at least 1, got {list(values.shape)}"
        )
    check_finite(name, values)
    negative = np.flatnonzero(values < 0)
    if len(negative):
        row = negative[0]
        raise InputError(
            f"{name}: expected numbers of at least 0, got {values[row]:g} at row {row}"
        )
    return values
