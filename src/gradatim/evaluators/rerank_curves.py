"""Accuracy of a selection rule as a function of the number of candidates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.evaluators.voting import PADDING, RULES, chosen_positions
from gradatim.metrics.pass_at_k import pass_at_k

CURVE_RULES = (*RULES, "oracle")

_CELLS = 2**20


@dataclass(frozen=True)
class RerankCurve:
    """What a rule reaches with 1, 2, 4, ... candidates.

    Attributes:
        rule: "majority", "weighted", "best_of_n" or "oracle".
        ns: the numbers of candidates, K of them.
        accuracy: the probability that the rule chooses a right answer, shape [P, K], a row a
            problem; NaN where the problem has fewer candidates.
        problems: how many problems have so many candidates, shape [K].
    """

    rule: str
    ns: tuple[int, ...]
    accuracy: NDArray[np.float64]
    problems: NDArray[np.int64]

    def mean(self) -> NDArray[np.float64]:
        """The accuracy over the problems that have so many candidates, shape [K]; NaN if none."""
        totals = np.nansum(self.accuracy, axis=0)
        return np.where(self.problems > 0, totals / np.maximum(self.problems, 1), np.nan)


def rerank_curve(
    answers_codes: ArrayLike,
    scores: ArrayLike | None,
    correct: ArrayLike,
    ns: Sequence[int],
    n_subsets: int = 50,
    seed: int = 0,
    *,
    rule: str = "weighted",
) -> RerankCurve:
    r"""Accuracy of a rule with N candidates, averaged over subsets of a larger pool.

    .. math:: A_p(N) = \mathbb{E}_{S \subseteq \{1..n_p\},\ |S| = N}\ 1[\mathrm{rule}(S)
        \text{ is right}]

    For the votes the mean runs over random subsets without replacement; the subsets of a smaller N
    are parts of those of a larger one, and keep the pool's order, so that the whole pool gives what
    :func:`~gradatim.evaluators.voting.chosen_positions` gives. Best of N and the oracle are exact:
    the candidate at place r of the pool sorted by score (from 0) is the best of N with probability
    :math:`\binom{n_p - 1 - r}{N - 1} / \binom{n_p}{N}`, and the oracle is pass@N.

    Args:
        answers_codes: integers, shape [P, N_max]: within a row, equal answers have equal codes
            >= 0; -1 is a candidate whose answer could not be read (it counts, and never wins), -2
            a place without a candidate.
        scores: shape [P, N_max], finite; for the weighted vote at least 0. None for the majority
            and the oracle.
        correct: whether each candidate's answer is right, booleans, shape [P, N_max].
        ns: the numbers of candidates, each at least 1.
        n_subsets: how many subsets are drawn for a vote.
        seed: what the subsets depend on.
        rule: "majority", "weighted", "best_of_n" or "oracle" (right if any candidate is).

    Returns:
        The curve with a row a problem, so that callers can group by level. Problems with fewer
        than N candidates are left out at that N (NaN), and ``problems`` counts the others.

    Raises:
        InputError: another rule, other shapes, an N below 1, a bad score.

    Source: Sun et al. 2024, arXiv 2403.09472, section 3.

    >>> curve = rerank_curve([[0, 1, 1]], None, [[True, False, False]], [1, 3], rule="majority")
    >>> curve.mean().round(3).tolist()
    [0.333, 0.0]
    """
    check_choice("rule", rule, CURVE_RULES)
    check_range("n_subsets", n_subsets, 1)
    sizes = tuple(int(n) for n in ns)
    if not sizes or min(sizes) < 1:
        raise InputError(f"ns: expected numbers of at least 1, got {list(ns)}")
    codes, right = np.asarray(answers_codes), np.asarray(correct)
    if codes.ndim != 2 or codes.dtype.kind not in "iu" or right.shape != codes.shape:
        raise InputError(
            f"answers_codes and correct: expected integers and booleans of one shape [P, N], got "
            f"{codes.dtype} {list(codes.shape)} and {right.dtype} {list(right.shape)}"
        )
    right = right.astype(bool) & (codes >= 0)
    pool = _Pool.compact(codes, right, _values(scores, codes, rule))
    accuracy = np.full((len(codes), len(sizes)), np.nan)
    for column, n in enumerate(sizes):
        rows = pool.sizes >= n
        if rule == "oracle" or n == 1:
            accuracy[rows, column] = pass_at_k(pool.sizes[rows], right[rows].sum(axis=1), n)
        elif rule == "best_of_n":
            accuracy[rows, column] = _best_of_n(pool, rows, n)
    if rule in ("majority", "weighted"):
        _vote(pool, accuracy, sizes, rule, n_subsets, seed)
    return RerankCurve(rule, sizes, accuracy, (~np.isnan(accuracy)).sum(axis=0))


@dataclass(frozen=True)
class _Pool:
    """The candidates of each problem, without gaps, in the first ``sizes`` places of its row."""

    codes: NDArray[np.integer]
    right: NDArray[np.bool_]
    scores: NDArray[np.float64] | None
    sizes: NDArray[np.int64]

    @classmethod
    def compact(
        cls,
        codes: NDArray[np.integer],
        right: NDArray[np.bool_],
        scores: NDArray[np.float64] | None,
    ) -> "_Pool":
        """Move the candidates of each row to its start, in their order."""
        padding = codes <= PADDING
        sizes = (~padding).sum(axis=1)
        if (padding[:, :-1] & ~padding[:, 1:]).any():
            order = np.argsort(padding, axis=1, kind="stable")
            codes = np.take_along_axis(codes, order, axis=1)
            right = np.take_along_axis(right, order, axis=1)
            scores = None if scores is None else np.take_along_axis(scores, order, axis=1)
        return cls(codes, right, scores, sizes)


def _values(
    scores: ArrayLike | None, codes: NDArray[np.integer], rule: str
) -> NDArray[np.float64] | None:
    """The scores that a rule needs, checked; 0 where a candidate cannot win."""
    if rule in ("majority", "oracle"):
        return None
    if scores is None:
        raise InputError(f"scores: expected an array for the rule {rule!r}, got None")
    chosen_positions(codes, scores, rule=rule)
    return np.where(codes >= 0, np.asarray(scores, dtype=np.float64), 0.0)


def _best_of_n(pool: _Pool, rows: NDArray[np.bool_], n: int) -> NDArray[np.float64]:
    """Exact expectation: the chance of each place in the order of scores to be the best of n."""
    assert pool.scores is not None
    value = np.where(pool.codes[rows] >= 0, pool.scores[rows], -np.inf)
    order = np.argsort(-value, axis=1, kind="stable")
    right = np.take_along_axis(pool.right[rows], order, axis=1)
    sizes = pool.sizes[rows][:, None]
    place = np.arange(right.shape[1] - 1)[None]
    ratio = np.maximum(sizes - n - place, 0) / np.maximum(sizes - 1 - place, 1)
    chance = np.cumprod(np.concatenate([n / sizes, ratio], axis=1), axis=1)
    return np.asarray((chance * right).sum(axis=1))


def _vote(
    pool: _Pool,
    accuracy: NDArray[np.float64],
    ns: tuple[int, ...],
    rule: str,
    n_subsets: int,
    seed: int,
) -> None:
    """Fill in the mean over random subsets, a block of problems at a time."""
    wanted = [(column, n) for column, n in enumerate(ns) if 1 < n <= pool.codes.shape[1]]
    step = max(1, _CELLS // max(pool.codes.shape[1], 1))
    for start in range(0, len(pool.codes) if wanted else 0, step):
        block = slice(start, start + step)
        codes, right, sizes = pool.codes[block], pool.right[block], pool.sizes[block]
        scores = None if pool.scores is None else pool.scores[block]
        hits = np.zeros((len(codes), len(ns)))
        varied = {n for _, n in wanted if (sizes > n).any()}
        for draw, order in enumerate(_orders(sizes, codes.shape[1], n_subsets, (seed, start))):
            for column, n in wanted:
                rows = np.flatnonzero(sizes >= n)
                if not len(rows) or (draw and n not in varied):
                    continue
                taken = np.sort(order[rows, :n], axis=1)
                part = None if scores is None else np.take_along_axis(scores[rows], taken, axis=1)
                subset = np.take_along_axis(codes[rows], taken, axis=1)
                position = chosen_positions(subset, part, rule=rule)
                place = taken[np.arange(len(rows)), np.maximum(position, 0)]
                hits[rows, column] += right[rows, place] & (position >= 0)
        for column, n in wanted:
            there = sizes >= n
            draws = n_subsets if n in varied else 1
            accuracy[block][there, column] = hits[there, column] / draws


def _orders(
    sizes: NDArray[np.int64], width: int, n_subsets: int, key: tuple[int, int]
) -> Iterator[NDArray[np.int32]]:
    """Random orders of each problem's candidates; the places without one come last."""
    absent = np.arange(width)[None] >= sizes[:, None]
    for draw in range(n_subsets):
        generator = numpy_generator(key[0], "rerank-curve", key[1], draw)
        keys = generator.random(absent.shape, dtype=np.float32)
        keys[absent] = 2.0
        yield np.argsort(keys, axis=1).astype(np.int32)
