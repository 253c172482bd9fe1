"""Choosing one of several sampled answers: majority, weighted vote, best of N.

All three rules are one computation on integer codes of answers, :func:`chosen_positions`; the
functions on lists call it.
"""

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_choice, check_finite, check_same_length
from gradatim.core.errors import InputError

RULES = ("majority", "weighted", "best_of_n")

UNPARSABLE = -1
"""The code of a candidate whose answer could not be read: it counts as one, and never wins."""

PADDING = -2
"""The code of a place that holds no candidate, where problems have unequally many."""

_CELLS = 2**22

Answer = TypeVar("Answer", bound=Hashable)


def majority_vote(answers: Sequence[Answer | None]) -> Answer | None:
    r"""The answer that most candidates give.

    .. math:: \arg\max_a \sum_j 1[a_j = a]

    Args:
        answers: one answer a candidate, hashable; None is one that could not be read.

    Returns:
        The answer; of several the one that occurs first; None if all are None or there is none.

    Source: Wang et al. 2023, arXiv 2203.11171 (self-consistency).

    >>> majority_vote(["1", None, "2", None, "2"])
    '2'
    """
    return _chosen(answers, None, "majority")


def weighted_vote(answers: Sequence[Answer | None], scores: ArrayLike) -> Answer | None:
    r"""The answer whose candidates have the largest sum of scores.

    .. math:: \arg\max_a \sum_j r_j\, 1[a_j = a]

    Args:
        answers: one answer a candidate, hashable; None is one that could not be read.
        scores: r, shape [N], finite and at least 0.

    Returns:
        The answer; of several the one that occurs first; None if all are None or there is none.

    Raises:
        InputError: unequal lengths, or a score that is negative or not finite.

    Source: Sun et al. 2024, arXiv 2403.09472, section 3.

    >>> weighted_vote(["1", "2", "2"], [0.9, 0.3, 0.4])
    '1'
    """
    return _chosen(answers, scores, "weighted")


def best_of_n(answers: Sequence[Answer | None], scores: ArrayLike) -> Answer | None:
    r"""The answer of the candidate with the highest score.

    .. math:: a_{\arg\max_j r_j}

    Args:
        answers: one answer a candidate, hashable; None is one that could not be read.
        scores: r, shape [N], finite.

    Returns:
        The answer; of several the one that occurs first; None if all are None or there is none.

    Raises:
        InputError: unequal lengths, or a score that is not finite.

    Source: Sun et al. 2024, arXiv 2403.09472, section 3.

    >>> best_of_n(["1", "2", None], [0.3, 0.4, 0.9])
    '2'
    """
    return _chosen(answers, scores, "best_of_n")


def chosen_positions(
    codes: ArrayLike, scores: ArrayLike | None = None, *, rule: str = "majority"
) -> NDArray[np.intp]:
    r"""Apply a rule to many problems at once.

    With the value :math:`v_j` of candidate j its score (best of N), the sum of the scores of all
    candidates with its answer (weighted) or their number (majority), the position is
    :math:`\min \arg\max_j v_j`: ties go to the answer that occurs first.

    Args:
        codes: integers, shape [P, N]: within a row, equal answers have equal codes >= 0; negative
            codes never win (:data:`UNPARSABLE`, :data:`PADDING`).
        scores: shape [P, N]; not needed for the majority. Those of negative codes are ignored.
        rule: "majority", "weighted" or "best_of_n".

    Returns:
        The position of the winner's first candidate in each row, shape [P]; -1 if all codes are
        negative.

    Raises:
        InputError: another rule, other shapes, codes that are no integers, scores that are not
            finite or, for the weighted vote, negative.

    Source: Sun et al. 2024, arXiv 2403.09472, section 3.

    >>> chosen_positions([[0, 1, 1], [-1, 0, -2]]).tolist()
    [1, 1]
    >>> chosen_positions([[0, 1, 1]], [[0.9, 0.3, 0.4]], rule="weighted").tolist()
    [0]
    """
    check_choice("rule", rule, RULES)
    answers = np.asarray(codes)
    if answers.ndim != 2 or answers.dtype.kind not in "iu":
        raise InputError(
            f"codes: expected integers of shape [P, N], got {answers.dtype} "
            f"of shape {list(answers.shape)}"
        )
    parsed = answers >= 0
    weights = parsed.astype(np.float64) if rule == "majority" else _scores(scores, parsed, rule)
    chosen = np.full(len(answers), -1, dtype=np.intp)
    if not answers.size:
        return chosen
    step = max(1, _CELLS // answers.shape[1])
    for start in range(0, len(answers), step):
        part = slice(start, start + step)
        values = weights[part]
        if rule != "best_of_n":
            values = _answer_totals(answers[part], parsed[part], values)
        chosen[part] = np.where(parsed[part], values, -np.inf).argmax(axis=1)
    chosen[~parsed.any(axis=1)] = -1
    return chosen


def _answer_totals(
    codes: NDArray[np.integer], parsed: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For each candidate the sum of the weights of those with its answer, shape [P, N]."""
    rows, columns = codes.shape
    width = int(codes.max()) + 1
    cells = np.arange(rows)[:, None] * max(width, 1) + np.where(parsed, codes, 0)
    if width > 2 * columns:
        cells = np.unique(cells, return_inverse=True)[1].reshape(codes.shape)
    totals = np.bincount(cells.ravel(), (weights * parsed).ravel())
    return np.asarray(totals[cells])


def _scores(scores: ArrayLike | None, parsed: NDArray[np.bool_], rule: str) -> NDArray[np.float64]:
    """The scores of candidates that can win, 0 elsewhere."""
    if scores is None:
        raise InputError(f"scores: expected an array for the rule {rule!r}, got None")
    given = np.asarray(scores, dtype=np.float64)
    if given.shape != parsed.shape:
        raise InputError(
            f"scores: expected the shape of codes {list(parsed.shape)}, got {list(given.shape)}"
        )
    values = np.where(parsed, given, 0.0)
    _check_scores(values, rule)
    return values


def _check_scores(scores: NDArray[np.float64], rule: str) -> None:
    check_finite("scores", scores)
    if rule == "weighted" and (scores < 0).any():
        first = tuple(np.argwhere(scores < 0)[0])
        row = ", ".join(str(int(i)) for i in first)
        raise InputError(
            "scores: expected numbers of at least 0 for a weighted vote, got "
            f"{scores[first]} at row {row}"
        )


def _chosen(answers: Sequence[Answer | None], scores: ArrayLike | None, rule: str) -> Answer | None:
    if scores is not None:
        scores = np.asarray(scores, dtype=np.float64)
        check_same_length(answers=answers, scores=scores)
        _check_scores(scores, rule)
        scores = scores[None]
    known: dict[Answer, int] = {}
    codes = [
        UNPARSABLE if answer is None else known.setdefault(answer, len(known)) for answer in answers
    ]
    position = int(chosen_positions(np.array([codes], dtype=np.int64), scores, rule=rule)[0])
    return None if position < 0 else answers[position]
