"""Approximate nearest neighbours by FAISS, with the recall measured against exact search."""

import math
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.lazy import require
from gradatim.core.search import TopK, top_k
from gradatim.core.search_tiles import Embeddings
from gradatim.core.seeds import numpy_generator

IndexKind: TypeAlias = Literal["auto", "hnsw", "ivf"]

LARGEST_HNSW = 200_000
"""Up to so many documents "auto" takes a graph, whose links take memory and time to build."""

_ADDED = 1 << 16  # documents given to FAISS at a time
_NEIGHBOURS, _CONSTRUCTION = 32, 80
_TRAINED_ON = 40  # documents a cell


class ApproximateIndex:
    """An index of documents that finds most of the best k, much faster than all comparisons.

    "hnsw" is a graph (Malkov and Yashunin, arXiv 1603.09320); "ivf" sorts documents into
    :math:`4 \\sqrt{N}` cells, of which a search looks at some, and holds them in half precision.

    Args:
        documents: [N, D]; they are read part by part.
        metric: "cosine" or "dot".
        kind: "hnsw", "ivf" or "auto" (a graph up to :data:`LARGEST_HNSW` documents).
        seed: of the sample that cells are made from.

    Attributes:
        effort: cells or nodes that a search looks at; :meth:`reach` chooses it.

    Raises:
        InputError: no documents, or an unknown kind or metric.
        MissingPackageError: FAISS is not installed.
    """

    def __init__(
        self,
        documents: Embeddings,
        *,
        metric: str = "cosine",
        kind: IndexKind = "auto",
        seed: int = 0,
    ) -> None:
        check_choice("metric", metric, ("cosine", "dot"))
        check_choice("kind", kind, get_args(IndexKind))
        if documents.ndim != 2 or not len(documents):
            raise InputError(f"documents: expected shape [N, D], got {list(documents.shape)}")
        self._faiss: Any = require("faiss", extra="retrieval", why="for approximate search")
        self.documents, self.metric = documents, metric
        if kind == "auto":
            kind = "hnsw" if len(documents) <= LARGEST_HNSW else "ivf"
        self.kind: IndexKind = kind
        self.effort = 16 if kind == "ivf" else 64
        self._index = self._ivf(seed) if kind == "ivf" else self._hnsw()
        for start in range(0, len(documents), _ADDED):
            self._index.add(self._rows(documents, slice(start, start + _ADDED)))

    def search(self, queries: Embeddings, k: int) -> TopK:
        """The best k documents of each query, most of them.

        Args:
            queries: [Q, D].
            k: how many, at most N.

        Returns:
            Scores (minus infinity where nothing was found) and positions (-1), each [Q, k].

        Raises:
            InputError: another width than the documents', or k out of range.
        """
        check_range("k", k, 1, len(self.documents))
        if queries.shape[1] != self.documents.shape[1]:
            raise InputError(
                f"queries: expected {self.documents.shape[1]} numbers a vector as the documents "
                f"have, got {queries.shape[1]}"
            )
        if self.kind == "ivf":
            self._index.nprobe = min(self.effort, self._index.nlist)
        else:
            self._index.hnsw.efSearch = max(self.effort, k)
        scores, index = self._index.search(self._rows(queries, slice(None)), k)
        found = torch.from_numpy(index)
        return TopK(torch.from_numpy(scores).masked_fill(found < 0, -torch.inf), found)

    def recall(self, queries: Embeddings, k: int) -> float:
        """Share of the best k of some queries that a search finds, counted by exact search.

        Args:
            queries: [Q, D], a sample.
            k: how many.
        """
        return self._recall(queries, top_k(queries, self.documents, k, metric=self._metric()).index)

    def reach(self, queries: Embeddings, k: int, target: float = 0.95) -> float:
        """Double the effort until the recall on a sample is high enough, or all is looked at.

        Args:
            queries: [Q, D], a sample.
            k: how many.
            target: the recall wanted, in (0, 1].

        Returns:
            The recall that was reached.

        Raises:
            InputError: a target out of range.
        """
        check_range("target", target, 0.0, 1.0, open_low=True)
        exact = top_k(queries, self.documents, k, metric=self._metric()).index
        most = self._index.nlist if self.kind == "ivf" else len(self.documents)
        while (found := self._recall(queries, exact)) < target and self.effort < most:
            self.effort = min(2 * self.effort, most)
        return found

    def _recall(self, queries: Embeddings, exact: torch.Tensor) -> float:
        found = self.search(queries, exact.shape[1]).index
        hits = (exact.cpu()[:, :, None] == found[:, None, :]).any(2)
        return float(hits.double().mean())

    def _metric(self) -> Literal["cosine", "dot"]:
        return "cosine" if self.metric == "cosine" else "dot"

    def _rows(self, source: Embeddings, where: Any) -> np.ndarray:
        rows = source[where]
        rows = rows.float().cpu().numpy() if isinstance(rows, torch.Tensor) else rows
        rows = np.array(rows, dtype=np.float32, order="C")
        if self.metric == "cosine":
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            rows /= np.maximum(norms, np.finfo(np.float32).tiny)
        return rows

    def _hnsw(self) -> Any:
        index = self._faiss.IndexHNSWFlat(
            self.documents.shape[1], _NEIGHBOURS, self._faiss.METRIC_INNER_PRODUCT
        )
        index.hnsw.efConstruction = _CONSTRUCTION
        return index

    def _ivf(self, seed: int) -> Any:
        size, width = self.documents.shape
        cells = max(1, min(4 * math.isqrt(size), size // _TRAINED_ON))
        index = self._faiss.index_factory(
            width, f"IVF{cells},SQfp16", self._faiss.METRIC_INNER_PRODUCT
        )
        index.cp.seed = seed
        sample = numpy_generator(seed, "cells").permutation(size)[: cells * _TRAINED_ON]
        index.train(self._rows(self.documents, np.sort(sample)))
        return index
