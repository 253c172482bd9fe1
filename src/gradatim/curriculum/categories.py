"""Categories for examples that have none: clusters of their embeddings."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed
from gradatim.curriculum.orders import Order

Floats = npt.NDArray[np.floating]

_WEAK = 0.05  # membership below which an example counts as outside of all clusters
_PENALTY = 0.2  # for a number of clusters outside of the wanted range
_MOST = 2**32


def cluster_categories(
    embeddings: npt.ArrayLike,
    n_clusters: int | None = None,
    *,
    between: tuple[int, int] = (6, 20),
    sizes: tuple[int, ...] = (5, 10, 15, 20, 25, 30, 34),
    scale: Literal["none", "columns", "rows"] = "none",
    seed: int = 0,
) -> Order:
    r"""Group examples by their embeddings, so that orders by category can be used.

    With ``n_clusters`` this is k-means (the best of ten starts). Without, clusters are regions of
    high density (HDBSCAN), whose smallest size m is the one of ``sizes`` with the least

    .. math:: \tfrac1n \sum_i 1[p_i(m) < 0.05] + 0.2 \cdot 1[k(m) \notin \text{between}]

    where :math:`p_i` is the strength of membership and k the number of clusters, the larger m
    among equals; examples outside of all clusters then join the one with the nearest mean.
    HDBSCAN compares neighbours in full space, so reduce wide embeddings first (the paper takes
    them to 3 to 14 dimensions).

    Args:
        embeddings: finite, shape [n, D].
        n_clusters: how many categories; None lets density tell.
        between: the fewest and the most clusters wanted without ``n_clusters``.
        sizes: smallest sizes of a cluster that are tried, each from 2 to n.
        scale: "columns" gives each column mean 0 and deviation 1, "rows" gives each row length 1.
        seed: what the starts of k-means depend on.

    Returns:
        Category of each example from 0, numbered from the largest to the smallest, int64, shape
        [n].

    Raises:
        InputError: embeddings that are not a finite matrix, more clusters than examples, no size
            that fits, or no region dense enough for any size.

    Source: Yang et al. 2024, arXiv 2408.07888 (clusters of question embeddings as categories; the
    measure that is made small).

    >>> cluster_categories([[0.0], [5.0], [0.1], [5.1], [0.2]], 2).tolist()
    [0, 1, 0, 1, 0]
    """
    points = _scaled(_matrix(embeddings), scale)
    if n_clusters is not None:
        check_range("n_clusters", n_clusters, 1, len(points))
        from sklearn.cluster import KMeans

        start = derive_seed(seed, "categories") % _MOST
        labels = KMeans(n_clusters, n_init=10, random_state=start).fit(points).labels_
        return _by_size(labels)
    return _by_size(_join_nearest(points, _dense(points, between, sizes)))


def _matrix(embeddings: npt.ArrayLike) -> Floats:
    """Embeddings as a finite matrix of floating-point numbers."""
    points = np.asarray(embeddings)
    if points.ndim != 2 or 0 in points.shape or points.dtype.kind not in "biuf":
        raise InputError(
            "embeddings: expected numbers of shape [n, D] with at least one row and one column, "
            f"got {points.dtype} of shape {list(points.shape)}"
        )
    points = points if points.dtype == np.float32 else points.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise InputError(f"embeddings: expected finite numbers, got others at row {bad[0]}")
    return points


def _scaled(points: Floats, scale: str) -> Floats:
    check_choice("scale", scale, ("none", "columns", "rows"))
    if scale == "columns":
        deviation = points.std(axis=0)
        return np.asarray((points - points.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0))
    if scale == "rows":
        length = np.linalg.norm(points, axis=1, keepdims=True)
        return np.asarray(points / np.where(length > 0, length, 1.0))
    return points


def _dense(points: Floats, between: tuple[int, int], sizes: tuple[int, ...]) -> Order:
    """Clusters by density, -1 outside of all, at the size that leaves the fewest outside."""
    from sklearn.cluster import HDBSCAN

    fewest, most = between
    check_range("between", fewest, 1, most)
    fitting = sorted(size for size in set(sizes) if 2 <= size <= len(points))
    if not fitting:
        raise InputError(f"sizes: expected one from 2 to n = {len(points)}, got {list(sizes)}")
    best: Order | None = None
    least = np.inf
    for size in fitting:
        found = HDBSCAN(min_cluster_size=size, copy=True).fit(points)
        clusters = int(found.labels_.max()) + 1
        outside = float((found.probabilities_ < _WEAK).mean())
        cost = outside + (0.0 if fewest <= clusters <= most else _PENALTY)
        if clusters and cost <= least:
            best, least = found.labels_.astype(np.int64), cost
    if best is None:
        raise InputError(
            f"embeddings: no region is dense enough for clusters of {fitting[0]} examples; "
            "give n_clusters, or smaller sizes"
        )
    return best


def _join_nearest(points: Floats, labels: Order) -> Order:
    """Give what is outside of all clusters to the one with the nearest mean."""
    means = np.stack([points[labels == k].mean(axis=0) for k in range(labels.max() + 1)])
    outside = np.flatnonzero(labels < 0)
    rest = points[outside]
    squares = (means**2).sum(axis=1) - 2 * rest @ means.T
    joined = labels.copy()
    joined[outside] = squares.argmin(axis=1)
    return joined


def _by_size(labels: npt.NDArray[np.integer]) -> Order:
    """Number the clusters anew, the largest first; equally large ones by their first example."""
    _, first, codes, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.lexsort((first, -counts))] = np.arange(len(counts))
    numbered: Order = np.asarray(rank[codes])
    return numbered
