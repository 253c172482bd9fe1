"""How well answers are ranked: reciprocal rank, precision, recall and discounted gain by query.

Scores of all queries come in one list, each with its query. Where scores are equal, what is less
relevant ranks first: a ranker that gives all answers one score gains nothing from their order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError


def reciprocal_rank(
    scores: ArrayLike, relevance: ArrayLike, query_ids: ArrayLike, *, k: int | None = None
) -> NDArray[np.float64]:
    r"""Reciprocal rank of each query's first relevant answer; their mean is MRR@k.

    .. math:: \frac{1}{\min \{ r : y_r > 0 \}} \text{ if that rank is at most k, else } 0

    Args:
        scores: of the answers, higher = ranked earlier, shape [N].
        relevance: y, grades, above 0 = relevant, shape [N].
        query_ids: the query of each answer, in any order, shape [N].
        k: ranks that count; None for all.

    Returns:
        One number a query, by rising id, shape [Q]; 0 for a query without relevant answers.

    Raises:
        InputError: unequal lengths, nothing at all, a number that is not finite, a relevance
            below 0, or k below 1.

    >>> reciprocal_rank([0.9, 0.5, 0.1, 0.3], [0, 1, 0, 1], [7, 7, 7, 8]).tolist()
    [0.5, 1.0]
    """
    ranked = _ranked(scores, relevance, query_ids, k)
    hits = np.where(ranked.relevance > 0, 1.0 / ranked.rank, 0.0) * ranked.within(k)
    found = np.zeros(ranked.queries)
    np.maximum.at(found, ranked.query, hits)
    return found


def precision_at(
    scores: ArrayLike, relevance: ArrayLike, query_ids: ArrayLike, *, k: int = 1
) -> NDArray[np.float64]:
    """Share of relevant answers among each query's first k; a shorter list counts as if filled up.

    Args:
        scores: of the answers, higher = ranked earlier, shape [N].
        relevance: grades, above 0 = relevant, shape [N].
        query_ids: the query of each answer, in any order, shape [N].
        k: ranks that count.

    Returns:
        One number a query, by rising id, shape [Q].

    Raises:
        InputError: as for :func:`reciprocal_rank`.

    >>> precision_at([0.9, 0.5, 0.1, 0.3], [0, 1, 0, 1], [7, 7, 7, 8]).tolist()
    [0.0, 1.0]
    """
    ranked = _ranked(scores, relevance, query_ids, k)
    return ranked.total((ranked.relevance > 0) & ranked.within(k)) / k


def recall_at(
    scores: ArrayLike,
    relevance: ArrayLike,
    query_ids: ArrayLike,
    *,
    k: int,
    total: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Share of each query's relevant answers that are among its first k.

    Args:
        scores: of the answers, higher = ranked earlier, shape [N].
        relevance: grades, above 0 = relevant, shape [N].
        query_ids: the query of each answer, in any order, shape [N].
        k: ranks that count.
        total: how many relevant answers each query has, those that were not retrieved too, by
            rising id, shape [Q]; by default those in the list.

    Returns:
        One number a query, by rising id, shape [Q]; 0 for a query without relevant answers.

    Raises:
        InputError: as for :func:`reciprocal_rank`; totals of another shape, or smaller than what
            the list holds.

    >>> recall_at([0.9, 0.5, 0.1], [1, 0, 1], [7, 7, 7], k=2, total=[4]).tolist()
    [0.25]
    """
    ranked = _ranked(scores, relevance, query_ids, k)
    held = ranked.total(ranked.relevance > 0)
    wanted = held if total is None else np.asarray(total, dtype=np.float64)
    if wanted.shape != held.shape or (wanted < held).any():
        raise InputError(
            f"total: expected shape [{ranked.queries}] and no fewer relevant answers than the list "
            f"holds, got {wanted.tolist() if wanted.size < 9 else list(wanted.shape)}"
        )
    found = ranked.total((ranked.relevance > 0) & ranked.within(k))
    return found / np.maximum(wanted, 1.0)


def ndcg_at(
    scores: ArrayLike,
    relevance: ArrayLike,
    query_ids: ArrayLike,
    *,
    k: int | None = None,
    exponential: bool = False,
) -> NDArray[np.float64]:
    r"""Normalized discounted cumulative gain of each query's first k answers.

    .. math:: \frac{1}{Z} \sum_{r \le k} \frac{g(y_r)}{\log_2 (1 + r)}

    with Z the same sum for the best order of the query's answers in the list.

    Args:
        scores: of the answers, higher = ranked earlier, shape [N].
        relevance: y, grades from 0, shape [N].
        query_ids: the query of each answer, in any order, shape [N].
        k: ranks that count; None for all.
        exponential: gain :math:`2^y - 1` instead of y.

    Returns:
        One number a query, by rising id, shape [Q]; 0 for a query without relevant answers.

    Raises:
        InputError: as for :func:`reciprocal_rank`.

    Source: Järvelin and Kekäläinen 2002; exponential gain: Burges et al. 2005.

    >>> ndcg_at([0.9, 0.5, 0.1], [0, 2, 1], [7, 7, 7]).round(4).tolist()
    [0.6697]
    """
    grades = np.asarray(relevance, dtype=np.float64)
    found = [
        ranked.total(
            (np.exp2(ranked.relevance) - 1.0 if exponential else ranked.relevance)
            / np.log2(1.0 + ranked.rank)
            * ranked.within(k)
        )
        for ranked in (
            _ranked(scores, grades, query_ids, k),
            _ranked(grades, grades, query_ids, k),
        )
    ]
    return found[0] / np.where(found[1] > 0, found[1], 1.0)


@dataclass(frozen=True)
class _Ranked:
    """Answers by query and then by rank: grade, rank from 1, and number of the query."""

    relevance: NDArray[np.float64]
    rank: NDArray[np.int64]
    query: NDArray[np.int64]
    queries: int

    def within(self, k: int | None) -> NDArray[np.bool_]:
        return np.ones(len(self.rank), dtype=bool) if k is None else self.rank <= k

    def total(self, values: ArrayLike) -> NDArray[np.float64]:
        found = np.zeros(self.queries)
        np.add.at(found, self.query, np.asarray(values, dtype=np.float64))
        return found


def _ranked(
    scores: ArrayLike, relevance: ArrayLike, query_ids: ArrayLike, k: int | None
) -> _Ranked:
    values, grades = (np.asarray(a, dtype=np.float64) for a in (scores, relevance))
    names = np.asarray(query_ids)
    for name, array in (("scores", values), ("relevance", grades), ("query_ids", names)):
        if array.ndim != 1 or not len(array):
            raise InputError(f"{name}: expected shape [N], got {list(array.shape)}")
    check_same_length(scores=values, relevance=grades, query_ids=names)
    check_finite("scores", values)
    check_finite("relevance", grades)
    if grades.min() < 0:
        raise InputError(f"relevance: expected grades from 0, got {grades.min()}")
    if k is not None:
        check_range("k", k, 1)
    _, query, sizes = np.unique(names, return_inverse=True, return_counts=True)
    order = np.lexsort((grades, -values, query))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1
    return _Ranked(grades[order], rank, query[order], len(sizes))
