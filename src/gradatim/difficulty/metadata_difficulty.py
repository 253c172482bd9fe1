"""Difficulty from what is known of the examples: the level of a question, the year of a subject."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_finite, check_same_length
from gradatim.core.errors import InputError


def metadata_difficulty(*keys: ArrayLike) -> NDArray[np.float64]:
    r"""Rank examples by several keys, the first of them the most significant.

    .. math:: d_i = \frac{\#\{\text{different } k < k_i\}}{\#\{\text{different } k\} - 1}

    with :math:`k_i` the tuple of the keys of example i and < lexicographic: equal tuples are
    equally difficult, and the different ones lie at equal distances in [0, 1].

    Args:
        keys: numbers, ascending with difficulty, such as the level of a question and the stage of
            its subject, each of shape [n].

    Returns:
        Difficulty, shape [n]; 0 where all tuples are equal.

    Raises:
        InputError: no key, keys of different lengths, or something else than finite numbers.

    Source: Lee et al. 2023, arXiv 2310.09518 (stage of school and level of Bloom's taxonomy; which
    of them comes first is not told there).

    >>> metadata_difficulty([0, 1, 0, 1], [1, 0, 0, 0]).tolist()
    [0.5, 1.0, 0.0, 1.0]
    """
    if not keys:
        raise InputError("keys: expected at least one")
    columns = []
    for i, key in enumerate(keys):
        column = np.asarray(key)
        if column.ndim != 1 or (column.dtype.kind not in "biuf" and len(column)):
            raise InputError(
                f"keys[{i}]: expected one number an example, got {column.dtype} of shape "
                f"{list(column.shape)}"
            )
        check_finite(f"keys[{i}]", column)
        columns.append(column)
    n = check_same_length(**{f"keys[{i}]": column for i, column in enumerate(columns)})
    if not n:
        return np.zeros(0)
    order = np.lexsort(columns[::-1])
    rises = np.zeros(n, dtype=np.int64)
    for column in columns:
        ranked = column[order]
        rises[1:] |= ranked[1:] != ranked[:-1]
    rank = np.empty(n)
    rank[order] = np.cumsum(rises)
    return rank / max(1.0, float(rank.max()))
