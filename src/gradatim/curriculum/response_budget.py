"""How many responses to sample for each question: targets by difficulty, and trials under a budget.

Rejection sampling with equally many trials for every question keeps few right responses to hard
ones. Targets say how many right responses each question shall have instead; what they cost follows
from the pass rates; and where trials are limited they are dealt out, round by round, by what is
known so far.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradatim.core.checks import check_choice, check_finite, check_range, check_same_length
from gradatim.core.errors import InputError

STRATEGIES = ("vanilla", "uniform", "prop2diff")

_ROUNDING = 1e-9
"""How far above a whole number a product may come out by rounding alone."""


def response_targets(
    difficulty: ArrayLike, strategy: str = "uniform", k: int = 40
) -> NDArray[np.int64]:
    r"""The number of right responses that each question shall have.

    .. math:: t_i^{\text{uniform}} = k, \qquad
        t_i^{\text{prop2diff}} = \max\Bigl(1, \Bigl\lceil k \, \frac{d_i}{\max_j d_j}
        \Bigr\rceil\Bigr)

    "vanilla" is k as well, for sampling with at most k trials: then every question gets exactly k
    trials, and all right responses are kept.

    Args:
        difficulty: d, at least 0, such as the fail rate, shape [N].
        strategy: "vanilla", "uniform" or "prop2diff".
        k: responses of each question, or of the hardest; trials if vanilla. The paper's are 40
            (uniform), 192 (prop2diff) and 52 (vanilla).

    Returns:
        Targets, shape [N]. Equal difficulties (all 0 too) have equal targets, k.

    Raises:
        InputError: an unknown strategy, k below 1, or a difficulty that is negative or not finite
            (its row is named).

    Source: Tong et al. 2024, arXiv 2407.13690, section 3.

    >>> response_targets([0.0, 0.5, 1.0], "prop2diff", k=4).tolist()
    [1, 2, 4]
    """
    check_choice("strategy", strategy, STRATEGIES)
    check_range("k", k, 1)
    values = _row("difficulty", difficulty)
    _refuse("difficulty", values, values < 0, "numbers of at least 0")
    hardest = values.max(initial=0.0)
    if strategy != "prop2diff" or hardest == 0.0:
        return np.full(len(values), k, dtype=np.int64)
    exact = k * (values / hardest)
    whole = np.maximum(1, np.ceil(exact - _ROUNDING * (1.0 + exact)))
    return np.asarray(whole, dtype=np.int64)


def targets_of_total(
    difficulty: ArrayLike, strategy: str, total: int
) -> tuple[NDArray[np.int64], int]:
    """Targets with the largest k whose sum does not exceed a number of responses.

    Args:
        difficulty: as in :func:`response_targets`.
        strategy: "uniform" or "prop2diff".
        total: how many responses there may be, at least one a question.

    Returns:
        The targets, shape [N], and k.

    Raises:
        InputError: as in :func:`response_targets`, or fewer responses than questions.

    >>> targets, k = targets_of_total([0.0, 0.5, 1.0], "prop2diff", 10)
    >>> targets.tolist(), k
    ([1, 3, 6], 6)
    """
    check_choice("strategy", strategy, ("uniform", "prop2diff"))
    count = len(response_targets(difficulty, strategy, 1))
    if not 0 < count <= total:
        raise InputError(
            f"total: expected at least one response for each of {count} questions, got {total}"
        )
    low, high = 1, total + 1  # k = total gives the hardest question alone the whole
    while high - low > 1:
        middle = (low + high) // 2
        fits = int(response_targets(difficulty, strategy, middle).sum()) <= total
        low, high = (middle, high) if fits else (low, middle)
    return response_targets(difficulty, strategy, low), low


def expected_trials(
    targets: ArrayLike, pass_rate: ArrayLike, max_trials: int | None = None
) -> NDArray[np.float64]:
    r"""The trials that it takes on average until each target is met, or the cap is.

    .. math:: E[T_i] = t_i / p_i, \qquad
        E[\min(T_i, M)] = \frac{t_i}{p_i} P(B_{M+1} > t_i) + M \, P(B_M < t_i)

    with :math:`B_n` binomial of n trials. On average :math:`p_i E[\min(T_i, M)]` of them are right.

    Args:
        targets: t, right responses wanted, whole numbers of at least 0, shape [N].
        pass_rate: p in [0, 1], shape [N].
        max_trials: M; None for no cap, and then infinity where p is 0.

    Returns:
        Shape [N].

    Raises:
        InputError: unequal lengths or values out of range (the row is named).

    >>> expected_trials([2, 2], [0.5, 0.0], max_trials=8).round(3).tolist()
    [3.922, 8.0]
    """
    wanted, rate = _row("targets", targets), _row("pass_rate", pass_rate)
    check_same_length(targets=wanted, pass_rate=rate)
    _refuse("targets", wanted, (wanted < 0) | (wanted != np.floor(wanted)), "whole numbers from 0")
    _refuse("pass_rate", rate, (rate < 0) | (rate > 1), "numbers in [0, 1]")
    safe = np.where(rate > 0, rate, 1.0)
    if max_trials is None:
        return np.where(wanted == 0, 0.0, np.where(rate > 0, wanted / safe, np.inf))
    check_range("max_trials", max_trials, 0)
    most = float(max_trials)
    met = wanted / safe * _reaches(most + 1, wanted + 1, rate)
    return np.where(wanted == 0, 0.0, met + most * (1.0 - _reaches(most, wanted, rate)))


def allocate_trials(
    n_correct: ArrayLike,
    n_trials: ArrayLike,
    targets: ArrayLike,
    trials: int,
    *,
    prior: tuple[float, float] = (1.0, 1.0),
    max_trials: int | None = None,
    lowest_pass_rate: float = 0.0,
) -> NDArray[np.int64]:
    r"""Deal out the next trials, so that all targets come nearer at the same pace.

    With the posterior Beta(a + c, b + m - c) of each pass rate, a question still needs about

    .. math:: r_i = (t_i - c_i)^+ \Big/ \frac{a + c_i}{a + b + m_i}

    trials, and never more than its cap leaves. If the trials do not suffice for all, each gets
    the share :math:`r_i / \sum_j r_j` of them, rounded by largest remainders, so that the shape of
    the targets is kept. Called again after each round, it stops where a target is met.

    Args:
        n_correct: c, right responses so far, shape [N].
        n_trials: m, trials so far, shape [N].
        targets: t, right responses wanted, shape [N].
        trials: how many to deal out at most.
        prior: a and b, both above 0.
        max_trials: trials of one question at most, those made included; None for no cap.
        lowest_pass_rate: a question is given up when its pass rate is below this with a
            posterior probability of 0.95; 0 gives up none.

    Returns:
        Trials of each question, shape [N]; their sum is smaller than ``trials`` where less is
        needed.

    Raises:
        InputError: unequal lengths, counts that are negative or contradict one another, or an
            argument out of range.

    Source: the paper stops each question alone (Tong et al. 2024, arXiv 2407.13690); dealing by
    posteriors under a common budget is this library's.

    >>> allocate_trials([4, 0], [4, 4], [8, 8], trials=12).tolist()
    [1, 11]
    """
    right, made, wanted = (
        _row(name, values)
        for name, values in (("n_correct", n_correct), ("n_trials", n_trials), ("targets", targets))
    )
    check_same_length(n_correct=right, n_trials=made, targets=wanted)
    _refuse("n_correct", right, (right < 0) | (right > made), "numbers from 0 to the trials")
    check_range("trials", trials, 0)
    check_range("lowest_pass_rate", lowest_pass_rate, 0, 1)
    for place in (0, 1):
        check_range(f"prior[{place}]", prior[place], 0, open_low=True)
    a, b = prior[0] + right, prior[1] + made - right
    need = np.ceil(np.maximum(wanted - right, 0) * (a + b) / a - _ROUNDING)
    if max_trials is not None:
        need = np.minimum(need, np.maximum(max_trials - made, 0))
    if lowest_pass_rate > 0:
        need[special.betainc(a, b, lowest_pass_rate) > 0.95] = 0.0
    total = need.sum()
    if total <= trials:
        return need.astype(np.int64)
    return round_shares(need * (trials / total), trials)


def round_shares(shares: ArrayLike, total: int) -> NDArray[np.int64]:
    """Whole numbers that add up to a total, next to real ones that do: the largest remainders.

    Args:
        shares: at least 0, adding up to the total but for rounding, shape [N].
        total: what the whole numbers add up to.

    Returns:
        Shape [N]; each is its share rounded down or up. Of equal remainders the first are rounded
        up.

    >>> round_shares([1.4, 1.4, 2.2], 5).tolist()
    [2, 1, 2]
    """
    exact = np.asarray(shares, dtype=np.float64)
    whole = np.floor(exact)
    left = int(total - whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return np.asarray(whole, dtype=np.int64)


def _reaches(
    trials: float, wanted: NDArray[np.float64], rate: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The probability that at least ``wanted`` of the trials pass."""
    possible = np.maximum(wanted, 1.0)
    missing = np.maximum(trials - possible + 1.0, 1.0)
    found = np.where(wanted > trials, 0.0, special.betainc(possible, missing, rate))
    return np.where(wanted == 0, 1.0, found)


def _row(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"{name}: expected shape [N], got {list(array.shape)}")
    check_finite(name, array)
    return array


def _refuse(name: str, values: NDArray[np.float64], bad: NDArray[np.bool_], expected: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        raise InputError(f"{name}: expected {expected}, got {values[rows[0]]:g} at row {rows[0]}")
