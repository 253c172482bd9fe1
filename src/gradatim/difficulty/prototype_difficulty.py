"""Prototype difficulty: how far an example lies from the nearest of the data's typical ones."""

import math
from typing import Literal, TypeAlias

import numpy as np
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch import Tensor
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.search import top_k
from gradatim.core.search_tiles import Embeddings

PrototypeMetric: TypeAlias = Literal["cosine", "euclidean"]


class PrototypeDifficulty:
    r"""Distance to the nearest prototype, the prototypes being the centres of k-means clusters.

    .. math:: d(x) = \min_j \bigl( 1 - \cos(x, c_j) \bigr)
        \quad \text{or} \quad d(x) = \min_j \lVert x - c_j \rVert

    Clusters are found by Euclidean k-means: for "cosine" among rows scaled to unit length, whose
    centres then count by their direction alone. A centre of length 0 has no direction and is at
    distance 1 from everything.

    Args:
        n_clusters: k; None takes :math:`\sqrt{N}`, rounded.
        metric: "cosine" or "euclidean".
        batch_size: rows at a time for mini-batch k-means, where all rows at once would take too
            long; None for exact steps over all of them.
        seed: what the first centres depend on.

    Raises:
        InputError: fewer than one cluster, another metric, or a batch size below 1.

    Attributes:
        prototypes: the centres, of unit length for "cosine", shape [k, D]; set by :meth:`fit`.

    Source: Sorscher et al. 2022, arXiv 2206.14486 (images); Zhou, Jiang and Bansal 2023, arXiv
    2311.04420, section 5 (sentences). The default number of clusters is a choice made here.

    >>> rows = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [1.0, 1.0]])
    >>> difficulty = PrototypeDifficulty(2).fit(rows)
    >>> difficulty.score(rows).argmax()
    tensor(4)
    """

    def __init__(
        self,
        n_clusters: int | None = None,
        metric: PrototypeMetric = "cosine",
        *,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        check_choice("metric", metric, ("cosine", "euclidean"))
        for name, value in (("n_clusters", n_clusters), ("batch_size", batch_size)):
            if value is not None:
                check_range(name, value, 1)
        self.n_clusters, self.metric = n_clusters, metric
        self.batch_size, self.seed = batch_size, seed
        self.prototypes: Tensor | None = None

    def fit(self, embeddings: Embeddings) -> "PrototypeDifficulty":
        """Find the prototypes.

        Args:
            embeddings: tensor or array of numbers, shape [N, D].

        Returns:
            Itself.

        Raises:
            InputError: another shape, no rows, numbers that are not finite, a zero vector where
                the metric is "cosine", or more clusters than rows.
        """
        rows = self._rows(embeddings)
        k = self.n_clusters or max(1, round(math.sqrt(len(rows))))
        if k > len(rows):
            raise InputError(f"n_clusters: expected at most {len(rows)} rows, got {k}")
        array = rows.cpu().numpy()
        options = {"n_clusters": k, "n_init": 1, "random_state": self.seed % 2**32}
        means = (
            KMeans(**options)
            if self.batch_size is None
            else MiniBatchKMeans(**options, batch_size=self.batch_size)
        )
        centres = torch.from_numpy(np.array(means.fit(array).cluster_centers_))
        cosine = self.metric == "cosine"
        self.prototypes = functional.normalize(centres, dim=1) if cosine else centres
        return self

    def score(self, embeddings: Embeddings) -> Tensor:
        """Distance to the nearest prototype, higher = harder.

        Args:
            embeddings: those that were fitted or others, shape [N, D].

        Returns:
            Distances, in [0, 2] for "cosine", float32, on the embeddings' device, shape [N].

        Raises:
            InputError: :meth:`fit` was not called, or rows that it would not take, or of another
                width.
        """
        if self.prototypes is None:
            raise InputError("prototypes: expected fit() to be called before score()")
        rows = self._rows(embeddings)
        if rows.shape[1] != self.prototypes.shape[1]:
            raise InputError(
                f"embeddings: expected {self.prototypes.shape[1]} columns as fitted, "
                f"got {rows.shape[1]}"
            )
        if self.metric == "cosine":
            nearest = top_k(rows, self.prototypes.to(rows.device), 1, metric="cosine").scores[:, 0]
            return (1.0 - nearest).clamp(0.0, 2.0)
        nearest = top_k(rows, self.prototypes.to(rows.device), 1, metric="l2").scores[:, 0]
        return (-nearest).clamp(min=0.0).sqrt()

    def _rows(self, embeddings: Embeddings) -> Tensor:
        """Checked rows as a tensor of floats, of unit length for "cosine"."""
        rows = torch.as_tensor(embeddings).detach()
        if rows.ndim != 2 or 0 in rows.shape:
            raise InputError(f"embeddings: expected shape [N, D], got {list(rows.shape)}")
        rows = rows if rows.dtype in (torch.float32, torch.float64) else rows.float()
        bad = ~rows.isfinite().all(dim=1)
        if bad.any():
            row = int(bad.nonzero()[0])
            raise InputError(
                f"embeddings: expected finite numbers, got nan or infinity at row {row} "
                f"({int(bad.sum())} of {len(rows)})"
            )
        if self.metric == "euclidean":
            return rows
        scaled = rows / rows.abs().amax(dim=1, keepdim=True)
        zero = scaled.isnan().any(dim=1)
        if zero.any():
            row = int(zero.nonzero()[0])
            raise InputError(
                f"embeddings: expected vectors with a direction, got zeros at row {row} "
                f"({int(zero.sum())} of {len(rows)})"
            )
        return functional.normalize(scaled, dim=1)
