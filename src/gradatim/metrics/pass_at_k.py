"""Whether at least one of k sampled candidates is right."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.errors import InputError


def pass_at_k(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> NDArray[np.float64]:
    r"""Unbiased estimate of the probability that one of k candidates is right.

    .. math:: 1 - \binom{n - c}{k} \Big/ \binom{n}{k} = 1 - \prod_{j=0}^{c-1} \frac{n-k-j}{n-j}

    The product of ratios needs no large numbers, and is zero as soon as ``k > n - c``.

    Args:
        n: number of candidates that were sampled, integers, any shape.
        c: number of them that are right, integers in [0, n]; broadcast with ``n``.
        k: number of candidates of which one must be right, integers in [1, n]; broadcast too.

    Returns:
        The estimates in [0, 1], in the shape that ``n``, ``c`` and ``k`` have together.

    Raises:
        InputError: something other than integers, c outside [0, n], k below 1 or above n.

    Source: Chen et al. 2021, arXiv 2107.03374, equation 1.

    >>> float(pass_at_k(4, 1, 2))
    0.5
    >>> pass_at_k([10, 10], [0, 3], 5).round(4).tolist()
    [0.0, 0.9167]
    """
    sampled, right, wanted = np.broadcast_arrays(
        _integers("n", n), _integers("c", c), _integers("k", k)
    )
    _check("c", right, (right < 0) | (right > sampled), "from 0 to n", sampled)
    _check("k", wanted, (wanted < 1) | (wanted > sampled), "from 1 to n", sampled)
    missed = np.ones(sampled.shape)
    for j in range(int(right.max(initial=0))):
        ratio = (sampled - wanted - j) / np.maximum(sampled - j, 1)
        missed = np.where(j < right, missed * np.maximum(ratio, 0.0), missed)
    return 1.0 - missed


def _integers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" and array.size:
        raise InputError(f"{name}: expected integers, got {array.dtype}")
    return array.astype(np.int64)


def _check(
    name: str,
    values: NDArray[np.int64],
    bad: NDArray[np.bool_],
    expected: str,
    sampled: NDArray[np.int64],
) -> None:
    if bad.any():
        place = tuple(np.argwhere(bad)[0])
        where = f" at row {', '.join(str(int(i)) for i in place)}" if place else ""
        raise InputError(
            f"{name}: expected integers {expected}, got {values[place]} with n = "
            f"{sampled[place]}{where}"
        )
