"""One number that makes the probabilities of a chooser as sure as it is right."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError


def fit_temperature(
    scores: ArrayLike, answers: ArrayLike, *, low: float = 0.05, high: float = 100.0
) -> float:
    r"""The temperature under which right answers are likeliest.

    .. math:: \tau = \operatorname*{arg\,min}_{\tau \in [l, h]}
        - \sum_i \log \frac{e^{s_{i y_i} / \tau}}{\sum_a e^{s_{ia} / \tau}}

    Dividing scores by it changes no choice. Log-likelihoods of whole options need it: a language
    model that is right half of the time is sure of almost every option that it likes best. The
    problem is convex in :math:`1 / \tau`.

    Args:
        scores: of the options of each question, shape [N, A]; minus infinity where there is none.
        answers: which option is right, integers, shape [N].
        low: the smallest temperature.
        high: the largest; a chooser that is right by chance gets it.

    Returns:
        The temperature; 1, or the nearest that is allowed, without questions.

    Raises:
        InputError: shapes that do not fit, an answer that is no option, or bounds out of order.

    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2.

    >>> scores = np.log([[0.8, 0.2]] * 5)
    >>> round(fit_temperature(scores, [0, 0, 0, 0, 1]), 2)
    1.0
    >>> round(fit_temperature(3 * scores, [0, 0, 0, 0, 1]), 2)
    3.0
    """
    check_range("low", low, 0, open_low=True)
    check_range("high", high, low)
    values, right = np.asarray(scores, dtype=np.float64), np.asarray(answers, dtype=np.int64)
    if values.ndim != 2:
        raise InputError(f"scores: expected shape [N, A], got {list(values.shape)}")
    check_same_length(scores=values, answers=right)
    if not len(values):
        return float(np.clip(1.0, low, high))
    inside = (right >= 0) & (right < values.shape[1])
    own = values[np.arange(len(values)), np.where(inside, right, 0)]
    bad = np.flatnonzero(~inside | ~np.isfinite(own))
    if len(bad):
        raise InputError(
            f"answers: expected options with a finite score, got {right[bad[0]]} in row {bad[0]}"
        )

    def loss(sharpness: float) -> float:
        return float((special.logsumexp(values * sharpness, axis=1) - own * sharpness).sum())

    found = optimize.minimize_scalar(loss, bounds=(1 / high, 1 / low), method="bounded")
    return float(min(high, max(low, 1 / found.x)))
