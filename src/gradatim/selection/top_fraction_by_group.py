"""The hardest share of every group."""

from collections.abc import Sequence

import numpy as np

from gradatim.core.checks import check_range, check_same_length
from gradatim.curriculum.orders import Order, Values, as_values, group_codes, lexicographic_order


def top_fraction_by_group(
    score: Values,
    group: Values | Sequence[str] | None = None,
    *,
    ratio: float = 0.3,
    seed: int = 0,
) -> Order:
    r"""The examples with the highest scores, the same share of every group.

    .. math:: \{ i : \text{fewer than } \lfloor r \, n_{g(i)} \rfloor
        \text{ members of } g(i) \text{ stand above } i \}

    Args:
        score: s, finite, higher = harder, shape [n].
        group: each example's group, shape [n]; None is one group.
        ratio: r, in (0, 1].
        seed: which of equally hard examples are taken depends on it.

    Returns:
        Positions, ascending, int64. A group with fewer than 1 / r examples gives none.

    Raises:
        InputError: a score that is not finite, unequal lengths, or a ratio out of range.

    Source: the authors' code of Zeng et al. 2025, arXiv 2501.09766 (the top 30 % by perplexity,
    apart for examples with and without a tool call).

    >>> top_fraction_by_group([5, 1, 9, 2, 3], ["a", "a", "b", "b", "b"], ratio=0.5).tolist()
    [0, 2]
    """
    check_range("ratio", ratio, 0, 1, open_low=True)
    values = as_values("score", score)
    codes = np.zeros(len(values), dtype=np.int64) if group is None else group_codes("group", group)
    check_same_length(score=values, group=codes)
    order = lexicographic_order(codes, -values.astype(np.float64), seed=seed)
    sizes = np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(len(values)) - starts[codes[order]]
    kept = np.floor(ratio * sizes + 1e-9)[codes[order]]
    return np.sort(order[rank < kept])
