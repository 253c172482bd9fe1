"""Points that cover a pool: the k-center problem, greedily."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError

_ROWS = 65_536


def k_center(
    features: ArrayLike, budget: int, *, covered: ArrayLike | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    r"""Choose points, one after the other, each the farthest from all that came before.

    .. math:: s_{t+1} = \operatorname*{arg\,max}_i \min_{c \in C \cup \{s_1, \dots, s_t\}}
        \lVert x_i - x_c \rVert

    The largest distance of a point to its nearest choice is at most twice the smallest that any
    choice of as many points attains. Without points that are covered already, the first choice is
    the point nearest to the mean. Of equally distant points the first is chosen.

    Args:
        features: x, finite, shape [n, D].
        budget: how many points, at most n.
        covered: C, features of points that are labelled already, shape [L, D].

    Returns:
        Positions in the order of choice, shape [budget], and how far each was from all before it,
        shape [budget]; never increasing, NaN for a first choice that had none before it.

    Raises:
        InputError: shapes that do not fit, a number that is not finite, or a budget out of range.

    Cost: (budget + L) n D products, 16 n bytes beside the features.

    Source: Gonzalez 1985, Theoretical Computer Science 38; as a rule of active learning: Sener and
    Savarese 2018, arXiv 1708.00489.

    >>> rows, distances = k_center([[0.0], [1.0], [9.0], [10.0]], 2, covered=[[0.0]])
    >>> rows.tolist(), distances.tolist()
    ([3, 1], [10.0, 1.0])
    """
    points = _matrix("features", features)
    check_range("budget", budget, 1, len(points))
    nearest = np.full(len(points), np.inf)
    known = np.empty((0, points.shape[1])) if covered is None else _matrix("covered", covered)
    if len(known) and known.shape[1] != points.shape[1]:
        raise InputError(
            f"covered: expected {points.shape[1]} features as the pool has, got {known.shape[1]}"
        )
    for centre in known:
        _approach(nearest, points, centre)
    chosen = np.empty(budget, dtype=np.int64)
    distances = np.empty(budget)
    for place in range(budget):
        if place == 0 and not len(known):
            row, far = _most_central(points), np.nan
        else:
            row = int(nearest.argmax())
            far = float(np.sqrt(max(nearest[row], 0.0)))
        chosen[place], distances[place] = row, far
        _approach(nearest, points, points[row])
        nearest[row] = -1.0  # copies of a chosen point stay at 0 and may come last
    return chosen, distances


def _approach(
    nearest: NDArray[np.float64], points: NDArray[np.floating], centre: NDArray[np.floating]
) -> None:
    """Bring squared distances to the nearest centre up to date with one more."""
    for start in range(0, len(points), _ROWS):
        part = slice(start, start + _ROWS)
        away = points[part] - centre
        np.minimum(nearest[part], np.einsum("nd,nd->n", away, away), out=nearest[part])


def _most_central(points: NDArray[np.floating]) -> int:
    distances = np.full(len(points), np.inf)
    _approach(distances, points, points.mean(axis=0, dtype=np.float64).astype(points.dtype))
    return int(distances.argmin())


def _matrix(name: str, given: ArrayLike) -> NDArray[np.floating]:
    values = np.asarray(given)
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    if values.ndim != 2:
        raise InputError(f"{name}: expected shape [n, D], got {list(values.shape)}")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise InputError(f"{name}: expected finite numbers, got nan or infinity at row {bad[0]}")
    return values
