"""Class margin: how close examples of different classes come to each other."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.search import top_k
from gradatim.core.seeds import numpy_generator
from gradatim.difficulty.points import as_classes, as_points, power_of_two

N_PAIRS = 4_000_000
"""Pairs that the authors draw for the extrapolation."""

N_EXTREMES = 2_000
"""Closest pairs, of those drawn, that the tail is fitted to."""

_DRAWN = 1 << 21  # numbers gathered at a time to compute distances


@dataclass(frozen=True)
class NearestEnemies:
    """The nearest example of another class, of every example.

    Attributes:
        distance: Euclidean distance to it, shape [N]; 0 where an equal row has another class.
        index: its position, shape [N].
    """

    distance: NDArray[np.float64]
    index: NDArray[np.int64]

    @property
    def difficulty(self) -> NDArray[np.float64]:
        """Minus the distance: the closer an enemy, the harder the example."""
        return -self.distance

    @property
    def contradicted(self) -> int:
        """How many rows have an equal row of another class."""
        return int((self.distance == 0.0).sum())


@dataclass(frozen=True)
class ClassMargin:
    """A smallest distance between examples of different classes.

    Attributes:
        distance: the margin.
        method: "exact" or "extrapolated".
        smallest: the smallest distance that was seen; at least the margin.
        tail_index: of the extreme-value distribution; NaN if nothing was extrapolated.
        n_pairs: how many pairs were looked at.
        contradicted: pairs (or, if exact, rows) at distance 0 that were left out.
    """

    distance: float
    method: str
    smallest: float
    tail_index: float
    n_pairs: int
    contradicted: int


def nearest_enemies(X: Any, y: Any) -> NearestEnemies:
    """Find the nearest example of another class for every example, exactly.

    Args:
        X: features, an array, tensor or data frame of numbers, shape [N, ...].
        y: class of each example, shape [N].

    Returns:
        Distances and positions, in O(N² F) time: 20,000 rows of 784 numbers take about a minute
        of one processor core.

    Raises:
        InputError: one class alone, shapes that do not fit, or a number that is not finite.

    Source: as a margin Boopathy et al. 2023, arXiv 2305.01034 (the resolution of a task).

    >>> nearest_enemies([[0.0], [1.0], [3.0]], ["a", "a", "b"]).distance.tolist()
    [3.0, 2.0, 2.0]
    """
    points = as_points("X", X)
    labels, classes = as_classes("y", y, len(points))
    scale = power_of_two(points)
    order = np.argsort(labels, kind="stable")
    ranked = torch.from_numpy(points[order] / points.dtype.type(scale))
    ends = np.cumsum(np.bincount(labels, minlength=len(classes)))
    distance, index = np.full(len(points), np.inf), np.zeros(len(points), dtype=np.int64)
    for start, end in zip((0, *ends[:-1]), ends, strict=True):
        for offset, part in ((0, ranked[:start]), (end, ranked[end:])):
            if not len(part):
                continue
            best = top_k(ranked[start:end], part, 1, metric="l2")
            found = np.sqrt(np.maximum(-best.scores[:, 0].numpy().astype(np.float64), 0.0))
            nearer = found < distance[start:end]
            distance[start:end][nearer] = found[nearer]
            index[start:end][nearer] = best.index[:, 0].numpy()[nearer] + offset
    there = NearestEnemies(np.empty_like(distance), np.empty_like(index))
    there.distance[order], there.index[order] = distance * scale, order[index]
    return there


def class_margin(
    X: Any,
    y: Any,
    *,
    method: Literal["exact", "extrapolated"] = "exact",
    n_rows: int | None = None,
    n_pairs: int = N_PAIRS,
    n_extremes: int = N_EXTREMES,
    seed: int = 0,
) -> ClassMargin:
    r"""The smallest distance between two examples of different classes.

    "exact" looks at all pairs (of ``n_rows`` random rows, if given). "extrapolated" draws N random
    pairs and extends the tail of :math:`u = 1 / \text{distance}` to all P pairs. With
    :math:`u_{(0)}` the largest but k, and over the k larger ones :math:`M_1 = \overline{\ln
    (u / u_{(0)})}` and :math:`M_2 = \overline{\ln^2 (u / u_{(0)})}`,

    .. math:: \gamma = M_1 + 1 - \frac{1}{2 (1 - M_1^2 / M_2)}, \qquad
        \delta = \Bigl( u_{(0)} + u_{(0)} M_1 \frac{(k P / N)^\gamma - 1}{\gamma} \Bigr)^{-1}

    and never more than the smallest distance that was drawn. Where there are no more than N
    pairs all are looked at. Rows at distance 0 are left out and counted: a margin of nothing would
    say that no function fits the data.

    Args:
        X: features, shape [N, ...].
        y: class of each example, shape [N].
        method: "exact" or "extrapolated".
        n_rows: rows, drawn at random, that "exact" looks at; None takes all.
        n_pairs: N, pairs that "extrapolated" draws.
        n_extremes: k, closest pairs that the tail is fitted to.
        seed: what the draws depend on.

    Returns:
        The margin. Exact: O(N² F); extrapolated: O(n_pairs F).

    Raises:
        InputError: one class alone, all enemies at distance 0, or shapes that do not fit.

    Source: Boopathy et al. 2023, arXiv 2305.01034, and its code; the estimator of the tail is that
    of Dekkers, Einmahl and de Haan 1989. P counts each pair once, where the code counts
    :math:`n^2 (1 - 1/C)`; the code also leaves out pairs closer than 1, which depends on the
    scale of the data and is not done here.

    >>> class_margin([[0.0], [1.0], [3.0], [7.0]], [0, 0, 1, 0]).distance
    2.0
    """
    check_choice("method", method, ("exact", "extrapolated"))
    check_range("n_extremes", n_extremes, 2)
    check_range("n_pairs", n_pairs, 2 * n_extremes)
    points = as_points("X", X)
    labels, _ = as_classes("y", y, len(points))
    sizes = np.bincount(labels).astype(np.float64)
    pairs = int((sizes * (len(labels) - sizes)).sum()) // 2
    if method == "extrapolated" and pairs > n_pairs:
        return _extrapolated(points, labels, pairs, n_pairs, n_extremes, seed)
    if n_rows is not None:
        check_range("n_rows", n_rows, 2)
        rows = numpy_generator(seed, "margin", "rows").permutation(len(points))[:n_rows]
        points, labels = points[rows], labels[rows]
        sizes = np.bincount(labels).astype(np.float64)
        pairs = int((sizes * (len(labels) - sizes)).sum()) // 2
    return margin_of(nearest_enemies(points, labels), pairs)


def margin_of(enemies: NearestEnemies, n_pairs: int) -> ClassMargin:
    """The exact margin from the nearest enemies of all rows.

    Args:
        enemies: of all rows.
        n_pairs: how many pairs of different classes there are.

    Raises:
        InputError: all rows have an equal row of another class.

    >>> margin_of(nearest_enemies([[0.0], [0.0], [3.0]], [0, 1, 1]), 2).contradicted
    2
    """
    apart = enemies.distance[enemies.distance > 0.0]
    if not len(apart):
        raise _all_contradicted()
    nearest = float(apart.min())
    return ClassMargin(nearest, "exact", nearest, math.nan, n_pairs, enemies.contradicted)


def extreme_margin(
    distances: Any, pairs: float, *, n_extremes: int = N_EXTREMES
) -> tuple[float, float]:
    """Extrapolate the smallest of many distances from a random sample of them.

    The equation is that of :func:`class_margin`, without its bound by the sample.

    Args:
        distances: positive distances of pairs drawn at random, shape [N].
        pairs: how many pairs there are in all.
        n_extremes: smallest distances that the tail is fitted to, below N.

    Returns:
        The margin, and the tail index.

    Raises:
        InputError: a distance that is not positive, or too few of them.

    >>> drawn = np.random.default_rng(0).random(100_000)
    >>> margin, tail = extreme_margin(drawn, 10**7, n_extremes=1000)
    >>> bool(1e-8 < margin < 1e-6), round(tail)
    (True, 1)
    """
    values = np.asarray(distances, dtype=np.float64)
    check_range("n_extremes", n_extremes, 2, len(values) - 1)
    if not (values > 0).all():
        raise InputError(f"distances: expected positive numbers, got {values.min()}")
    nearest = np.sort(np.partition(values, n_extremes)[: n_extremes + 1])
    threshold = 1.0 / nearest[-1]
    logs = np.log(nearest[-1] / nearest[:-1])
    first, second = float(logs.mean()), float((logs**2).mean())
    if second <= first**2 * (1 + 1e-12):  # all equally far: there is no tail to extend
        return float(nearest[0]), 0.0
    gamma = first + 1.0 - 0.5 / (1.0 - first**2 / second)
    reach = math.log(n_extremes * pairs / len(values))
    growth = math.expm1(gamma * reach) / gamma if gamma else reach
    return 1.0 / (threshold * (1.0 + first * growth)), gamma


def _extrapolated(
    points: NDArray[Any],
    labels: NDArray[np.int64],
    pairs: int,
    n_pairs: int,
    n_extremes: int,
    seed: int,
) -> ClassMargin:
    """Draw pairs, keep the closest, extend their tail."""
    scale = power_of_two(points)
    order = np.argsort(labels, kind="stable")
    ranked = points[order] / points.dtype.type(scale)
    sizes = np.bincount(labels)
    start = np.cumsum(sizes) - sizes
    own = labels[order]
    weight = np.cumsum((len(own) - sizes[own]).astype(np.float64))
    random = numpy_generator(seed, "margin", "pairs")
    step = max(1, _DRAWN // points.shape[1])
    found = []
    for begin in range(0, n_pairs, step):
        count = min(step, n_pairs - begin)
        one = np.searchsorted(weight, random.random(count) * weight[-1], side="right")
        size, first = sizes[own[one]], start[own[one]]
        other = random.integers(0, len(own) - size)
        other += np.where(other >= first, size, 0)  # steps over the own class
        found.append(np.linalg.norm(ranked[one] - ranked[other], axis=1).astype(np.float64))
    distances = np.concatenate(found)
    apart = distances[distances > 0.0]
    if len(apart) <= n_extremes:
        raise _all_contradicted()
    smallest = float(apart.min())
    margin, tail = extreme_margin(apart, pairs * len(apart) / n_pairs, n_extremes=n_extremes)
    return ClassMargin(
        distance=min(margin, smallest) * scale,
        method="extrapolated",
        smallest=smallest * scale,
        tail_index=tail,
        n_pairs=n_pairs,
        contradicted=len(distances) - len(apart),
    )


def _all_contradicted() -> InputError:
    return InputError("X: expected rows of different classes that differ, got equal rows only")
