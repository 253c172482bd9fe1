"""How complex a request to a model with tools is, before any model has seen it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError


def tool_complexity(
    tool_lists: Sequence[Sequence[str]],
    calls: ArrayLike,
    *,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> NDArray[np.float64]:
    r"""Mean rank by number of candidate tools, length of their list, and number of calls.

    With the ranks :math:`r_k(i) \in [0, 1]` of example i by the three criteria, equal values
    sharing their mean rank,

    .. math:: d_i = \frac{\sum_k w_k r_k(i)}{\sum_k w_k}

    Args:
        tool_lists: of each example, the texts that describe its candidate tools.
        calls: how many calls its answer takes, shape [N].
        weights: w, of the three criteria in this order, at least 0 and not all 0.

    Returns:
        In [0, 1], higher = harder, shape [N]; 0.5 where all are alike.

    Raises:
        InputError: unequal lengths, a number of calls below 0 or not finite, or weights out of
            range.

    Source: Zeng et al. 2025, arXiv 2501.09766 (the three criteria of the warm-up). How they are
    put together is this library's: the authors' code has no warm-up.

    >>> tool_complexity([["book(day)"], ["book(day)", "mail(who)"], ["a(b)"]], [1, 3, 1])
    array([0.33333333, 1.        , 0.16666667])
    """
    count = np.asarray(calls, dtype=np.float64)
    if count.ndim != 1:
        raise InputError(f"calls: expected shape [N], got {list(count.shape)}")
    check_same_length(tool_lists=tool_lists, calls=count)
    check_finite("calls", count)
    if len(count):
        check_range("calls", float(count.min()), 0)
    if len(weights) != 3 or min(weights) < 0 or not 0 < sum(weights) < np.inf:
        raise InputError(f"weights: expected three numbers from 0, not all 0, got {weights}")
    criteria = [
        np.array([len(tools) for tools in tool_lists], dtype=np.float64),
        np.array([sum(map(len, tools)) for tools in tool_lists], dtype=np.float64),
        count,
    ]
    ranks = np.stack([(rankdata(one) - 1) / max(1, len(one) - 1) for one in criteria])
    mean: NDArray[np.float64] = np.average(ranks, axis=0, weights=weights)
    return mean
