"""What a set of responses covers: which questions have any, and how they lie over difficulty."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError


@dataclass(frozen=True, slots=True)
class CoverageBin:
    """Questions of like difficulty.

    Attributes:
        low: the smallest difficulty among them.
        high: the largest.
        questions: how many.
        covered: share of them with at least one response.
        responses: responses to all of them.
        trials: trials of all of them; None if not given.
    """

    low: float
    high: float
    questions: int
    covered: float
    responses: int
    trials: int | None


def coverage(
    counts: ArrayLike, difficulty: ArrayLike, *, bins: int = 10, trials: ArrayLike | None = None
) -> list[CoverageBin]:
    """The share of questions that have a response at all, by difficulty.

    Args:
        counts: responses to each question, whole numbers, shape [N].
        difficulty: of each, finite, higher = harder, shape [N].
        bins: how many at most. With no more different difficulties than that each is a bin, else
            bounds are quantiles; equal difficulties always share a bin.
        trials: of each question, shape [N].

    Returns:
        The bins, from easy to hard.

    Raises:
        InputError: unequal lengths, no question, or a value that is not finite.

    Source: Tong et al. 2024, arXiv 2407.13690, section 2.

    >>> [(one.low, one.covered) for one in coverage([4, 2, 0, 1], [1, 1, 2, 2])]
    [(1.0, 1.0), (2.0, 0.5)]
    """
    check_range("bins", bins, 1)
    found, level = _both(counts, difficulty)
    tried = None if trials is None else _both(trials, difficulty, "trials")[0]
    values = np.unique(level)
    if len(values) <= bins:
        place = np.searchsorted(values, level)
    else:
        edges = np.unique(np.quantile(level, np.arange(1, bins) / bins, method="lower"))
        place = np.searchsorted(edges, level, side="left")
    parts = []
    for one in np.unique(place):
        chosen = place == one
        parts.append(
            CoverageBin(
                low=float(level[chosen].min()),
                high=float(level[chosen].max()),
                questions=int(chosen.sum()),
                covered=float((found[chosen] > 0).mean()),
                responses=int(found[chosen].sum()),
                trials=None if tried is None else int(tried[chosen].sum()),
            )
        )
    return parts


def lorenz_curve(
    counts: ArrayLike, difficulty: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Share of the responses that go to the easiest questions, as their share grows.

    .. math:: L(k / N) = \sum_{i \le k} n_{(i)} \Big/ \sum_i n_i, \qquad
        d_{(1)} \le d_{(2)} \le \dots

    Above the diagonal the set leans to easy questions, below it to hard ones; equal difficulties
    share their responses.

    Args:
        counts: n, responses to each question, not all 0, shape [N].
        difficulty: d, of each, shape [N].

    Returns:
        Shares of questions and of responses, both from 0 to 1, shape [N + 1].

    Raises:
        InputError: as in :func:`coverage`, or no response at all.

    >>> lorenz_curve([3, 1], [0.1, 0.9])[1].tolist()
    [0.0, 0.75, 1.0]
    """
    found, level = _both(counts, difficulty)
    if not found.sum() > 0:
        raise InputError("counts: expected at least one response, got none")
    order = np.argsort(level, kind="stable")
    _, first, sizes = np.unique(level[order], return_index=True, return_counts=True)
    even = np.repeat(np.add.reduceat(found[order], first) / sizes, sizes)
    share = np.concatenate([[0.0], even.cumsum()]) / even.sum()
    return np.arange(len(found) + 1) / len(found), share


def easy_lean(counts: ArrayLike, difficulty: ArrayLike) -> float:
    r"""How far a set leans to easy questions: twice the area between Lorenz curve and diagonal.

    .. math:: 2 \int_0^1 L(x) \, dx - 1

    Args:
        counts: as in :func:`lorenz_curve`.
        difficulty: as in :func:`lorenz_curve`.

    Returns:
        Between -1 and 1: 0 if all questions have equally many, above 0 if easy ones have more.

    >>> round(easy_lean([3, 1], [0.1, 0.9]), 3), easy_lean([2, 2], [0.1, 0.9])
    (0.25, 0.0)
    """
    x, share = lorenz_curve(counts, difficulty)
    return float(2.0 * np.trapezoid(share, x) - 1.0)


def _both(
    counts: ArrayLike, difficulty: ArrayLike, name: str = "counts"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = np.asarray(counts, dtype=np.float64)
    level = np.asarray(difficulty, dtype=np.float64)
    check_same_length(**{name: found, "difficulty": level})
    if found.ndim != 1 or not len(found):
        raise InputError(
            f"{name}: expected shape [N] with N of at least 1, got {list(found.shape)}"
        )
    check_finite("difficulty", level)
    check_finite(name, found)
    negative = np.flatnonzero(found < 0)
    if len(negative):
        row = negative[0]
        raise InputError(f"{name}: expected numbers of at least 0, got {found[row]:g} at row {row}")
    return found, level
