"""Search by words: BM25 over a corpus, as a product of sparse matrices."""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.search import TopK

_WORD = re.compile(r"\w+")
_BLOCK = 1 << 24  # scores held at a time


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores in lower case, without stemming or stop words.

    >>> words("Don't panic: 42!")
    ['don', 't', 'panic', '42']
    """
    return _WORD.findall(text.lower())


class BM25:
    r"""Okapi BM25: the words that a query and a document share, rare ones first.

    .. math::
        s(q, d) = \sum_{w \in q} \log \Bigl( 1 + \frac{N - n_w + \frac12}{n_w + \frac12} \Bigr)
        \frac{f_{wd}}{f_{wd} + k_1 (1 - b + b \, |d| / \overline{|d|})}

    over the words of the query as often as they stand there, with :math:`n_w` the documents that
    hold the word, :math:`f_{wd}` how often it stands in the document, and lengths in words. The
    inverse frequency is Lucene's, never below 0; as in Lucene since version 8 there is no constant
    factor :math:`k_1 + 1`. The weights are computed once, so that a search is one sparse product.

    Args:
        k1: how slowly a repeated word saturates, at least 0.
        b: how much long documents are held back, in [0, 1].
        tokenize: makes the words of a text.

    Raises:
        InputError: a parameter outside its range.

    Source: Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond",
    section 3.

    >>> index = BM25().fit(["the cat sat", "the dog sat down", "a cat and a dog"])
    >>> index.search(["cat and dog"], k=2).index
    tensor([[2, 0]])
    """

    def __init__(
        self, k1: float = 0.9, b: float = 0.4, *, tokenize: Callable[[str], Iterable[str]] = words
    ) -> None:
        check_range("k1", k1, 0.0)
        check_range("b", b, 0.0, 1.0)
        self.k1, self.b, self.tokenize = k1, b, tokenize
        self.vocabulary: dict[str, int] = {}
        self._weights: Any = None

    def fit(self, documents: Sequence[str]) -> "BM25":
        """Index a corpus.

        Args:
            documents: N texts; those without words are found by no query.

        Returns:
            The index itself.

        Raises:
            InputError: no documents, or no words in any.
        """
        self.vocabulary = {}
        counts = self._counts(documents, grow=True)
        if not counts.nnz:
            raise InputError(f"documents: expected texts with words, got {len(documents)} without")
        length = np.asarray(counts.sum(axis=1)).ravel()
        held = np.bincount(counts.indices, minlength=counts.shape[1])
        inverse = np.log1p((len(documents) - held + 0.5) / (held + 0.5))
        slowed = self.k1 * (1.0 - self.b + self.b * length / length.mean())
        rows = np.repeat(slowed, np.diff(counts.indptr))
        counts.data = inverse[counts.indices] * counts.data / (counts.data + rows)
        self._weights = counts.T.tocsr().astype(np.float32)
        return self

    def search(self, queries: Sequence[str], k: int) -> TopK:
        """The k documents of highest score for every query.

        Equal scores are in the order of the corpus; where fewer than k documents share a word
        with the query, others follow with the score 0.

        Args:
            queries: Q texts.
            k: how many to return, at most N.

        Returns:
            Scores and positions, each [Q, k].

        Raises:
            InputError: nothing was indexed, or k is below 1 or above N.
        """
        weights = self._fitted()
        size = weights.shape[1]
        if not 1 <= k <= size:
            raise InputError(f"k: expected a number from 1 to {size}, the documents, got {k}")
        scores = np.zeros((len(queries), k), dtype=np.float32)
        index = np.zeros((len(queries), k), dtype=np.int64)
        step = max(1, _BLOCK // size)
        for start in range(0, len(queries), step):
            part = self._counts(queries[start : start + step]) @ weights
            for row, (low, high) in enumerate(zip(part.indptr, part.indptr[1:], strict=False)):
                found = _best(part.data[low:high], part.indices[low:high], k, size)
                scores[start + row], index[start + row] = found
        return TopK(torch.from_numpy(scores), torch.from_numpy(index))

    def scores(self, queries: Sequence[str], index: NDArray[np.int64] | torch.Tensor) -> TopK:
        """Scores of given documents, of positives that a search may have missed, for instance.

        Args:
            queries: Q texts.
            index: positions of the documents to score for each query, shape [Q, E].

        Returns:
            Scores and the positions as they were given, each [Q, E].

        Raises:
            InputError: nothing was indexed, or positions of another shape or outside the corpus.
        """
        weights = self._fitted()
        places = np.asarray(index)
        if places.ndim != 2 or len(places) != len(queries) or places.dtype.kind not in "iu":
            raise InputError(
                f"index: expected integers of shape [{len(queries)}, E], "
                f"got {places.dtype} of shape {list(places.shape)}"
            )
        if places.size and not 0 <= places.min() <= places.max() < weights.shape[1]:
            raise InputError(
                f"index: expected positions from 0 to {weights.shape[1] - 1}, "
                f"got {places.min()} to {places.max()}"
            )
        found = np.zeros(places.shape, dtype=np.float32)
        step = max(1, _BLOCK // weights.shape[1])
        for start in range(0, len(queries), step):
            part = (self._counts(queries[start : start + step]) @ weights).tocsr()
            rows = np.arange(part.shape[0]).repeat(places.shape[1])
            taken = np.asarray(part[rows, places[start : start + step].ravel()])
            found[start : start + step] = taken.reshape(-1, places.shape[1])
        return TopK(torch.from_numpy(found), torch.from_numpy(places.astype(np.int64)))

    def _fitted(self) -> Any:
        if self._weights is None:
            raise InputError("documents: expected fit(documents) before a search")
        return self._weights

    def _counts(self, texts: Sequence[str], *, grow: bool = False) -> Any:
        """How often each known word stands in each text, a sparse matrix [texts, words]."""
        if isinstance(texts, str):
            raise InputError("documents and queries: expected a list of texts, got one text")
        vocabulary = self.vocabulary
        starts, columns, values = array("q", [0]), array("i"), array("i")
        for text in texts:
            for word, count in Counter(self.tokenize(text)).items():
                place = (
                    vocabulary.setdefault(word, len(vocabulary)) if grow else vocabulary.get(word)
                )
                if place is not None:
                    columns.append(place)
                    values.append(count)
            starts.append(len(columns))
        shape = (len(texts), len(vocabulary))
        held = np.array(values, dtype=np.float64 if grow else np.float32)
        return sparse.csr_matrix((held, np.array(columns), np.array(starts)), shape=shape)


def _best(
    scores: NDArray[np.float32], index: NDArray[np.int32], k: int, size: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of one query's scored documents, filled up with the first of the others."""
    if len(scores) > k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = scores >= least
        scores, index = scores[kept], index[kept]
    order = np.lexsort((index, -scores))[:k]
    scores, places = scores[order], index[order].astype(np.int64)
    if len(places) < k:
        others = np.setdiff1d(np.arange(min(size, k + len(places))), places)[: k - len(places)]
        places = np.concatenate([places, others])
        scores = np.pad(scores, (0, len(others)))
    return scores, places
