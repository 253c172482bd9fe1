"""How often a model fails at each question, from repeated attempts, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError


@dataclass(frozen=True)
class Attempts:
    """Attempts at each question, counted.

    Attributes:
        ids: the questions, in the order in which they occur first.
        n_correct: right attempts at each, shape [N].
        n_trials: all attempts at each, shape [N].
    """

    ids: list[Any]
    n_correct: NDArray[np.int64]
    n_trials: NDArray[np.int64]


def count_attempts(ids: Sequence[Any] | ArrayLike, correct: ArrayLike) -> Attempts:
    """Count the attempts at each question in a log with one row an attempt.

    Args:
        ids: the question of each attempt: numbers or text, none missing, shape [R].
        correct: whether the attempt was right, booleans or numbers 0 and 1, shape [R].

    Returns:
        The counts; the cost grows with R alone.

    Raises:
        InputError: unequal lengths, no attempt, a missing id, or a value other than 0 and 1 (its
            row is named).

    >>> attempts = count_attempts(["b", "a", "b", "b"], [1, 0, 0, 1])
    >>> attempts.ids, attempts.n_correct.tolist(), attempts.n_trials.tolist()
    (['b', 'a'], [2, 0], [3, 1])
    """
    import pandas as pd

    right = _row("correct", correct)
    names = np.asarray(ids)
    check_same_length(ids=names, correct=right)
    if names.ndim != 1 or not len(right):
        raise InputError(f"ids: expected at least one attempt in one row, got {list(names.shape)}")
    odd = np.flatnonzero((right != 0) & (right != 1))
    if len(odd):
        raise InputError(f"correct: expected booleans, got {right[odd[0]]:g} at row {odd[0]}")
    code, found = pd.factorize(names)
    missing = np.flatnonzero(code < 0)
    if len(missing):
        raise InputError(f"ids: expected an id for every attempt, got none at row {missing[0]}")
    size = len(found)
    return Attempts(
        found.tolist(),
        np.bincount(code, weights=right, minlength=size).astype(np.int64),
        np.bincount(code, minlength=size).astype(np.int64),
    )


def fail_rate(
    n_correct: ArrayLike, n_trials: ArrayLike, prior: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float64]:
    r"""The share of attempts that fail.

    .. math:: d_i = 1 - \frac{c_i + a}{m_i + a + b}

    With a prior this is the mean of the posterior Beta(m - c + b, c + a); with (1, 1) a question
    that was never solved in 4 attempts gets 5/6 rather than 1.

    Args:
        n_correct: c, right attempts, whole numbers, shape [N].
        n_trials: m, all attempts, shape [N].
        prior: a and b, right and wrong attempts that count as made before the first.

    Returns:
        Difficulty of each question in [0, 1], shape [N].

    Raises:
        InputError: counts that are not whole, negative or above the attempts (the row is named),
            a negative prior, or a question without attempts if there is no prior.

    Source: Tong et al. 2024, arXiv 2407.13690, section 3 (without prior).

    >>> fail_rate([3], [16]).tolist(), (1 - fail_rate([3], [16], prior=(1, 1)) == 4 / 18).tolist()
    ([0.8125], [True])
    """
    right, trials = _counts(n_correct, n_trials)
    a, b = _prior(prior, 0.0)
    unknown = np.flatnonzero(trials + a + b == 0)
    if len(unknown):
        raise InputError(f"n_trials: expected at least 1, or a prior, got 0 at row {unknown[0]}")
    return np.asarray(1.0 - (right + a) / (trials + a + b))


def fail_rate_interval(
    n_correct: ArrayLike,
    n_trials: ArrayLike,
    prior: tuple[float, float] = (1.0, 1.0),
    confidence: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Where the true fail rate lies, by its posterior: equal tails of a Beta distribution.

    .. math:: 1 - p_i \sim \mathrm{Beta}(m_i - c_i + b, \; c_i + a)

    Args:
        n_correct: c, right attempts, shape [N].
        n_trials: m, all attempts, shape [N]; without any the prior alone speaks.
        prior: a and b, both above 0; (1, 1) is uniform, (0.5, 0.5) is Jeffreys'.
        confidence: covered probability, in (0, 1).

    Returns:
        Lower and upper bounds, each of shape [N].

    Raises:
        InputError: as in :func:`fail_rate`, or a prior that is not above 0.

    >>> low, high = fail_rate_interval([0, 16], [16, 16])
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.805, 0.001], [0.999, 0.195])
    """
    right, trials = _counts(n_correct, n_trials)
    a, b = _prior(prior, 0.0, open_low=True)
    check_range("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
    tail = (1.0 - confidence) / 2.0
    shape = (trials - right + b, right + a)
    low, high = (special.betaincinv(*shape, level) for level in (tail, 1.0 - tail))
    return np.asarray(low), np.asarray(high)


def _counts(
    n_correct: ArrayLike, n_trials: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    right, trials = _row("n_correct", n_correct), _row("n_trials", n_trials)
    check_same_length(n_correct=right, n_trials=trials)
    for name, values, most in (("n_trials", trials, np.inf), ("n_correct", right, trials)):
        bad = np.flatnonzero((values < 0) | (values > most) | (values != np.floor(values)))
        if len(bad):
            row = bad[0]
            upper = "up" if name == "n_trials" else f"to the {trials[row]:g} attempts"
            raise InputError(
                f"{name}: expected a whole number from 0 {upper}, got {values[row]:g} at row {row}"
            )
    return right, trials


def _row(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"{name}: expected shape [N], got {list(array.shape)}")
    check_finite(name, array)
    return array


def _prior(
    prior: tuple[float, float], low: float, *, open_low: bool = False
) -> tuple[float, float]:
    a, b = prior
    check_range("prior[0]", a, low, open_low=open_low)
    check_range("prior[1]", b, low, open_low=open_low)
    return a, b
