"""A search task with known truth and a pool that a lexical search filled: who is ever judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gradatim.core.checks import check_range
from gradatim.core.lexical_search import BM25, words
from gradatim.core.positions import is_among, pad_positions
from gradatim.core.search import TopK
from gradatim.language.sentence_encoder import embed_texts
from gradatim.studies.data.answer_ranking import piece_vectors, word_pieces
from gradatim.studies.data.docstring_pairs import docstring_pairs

_WORDS = 40
_DEPTH = 100


@dataclass(frozen=True)
class PooledDocstrings:
    """Summaries as queries on docstrings, relevant if they come from the same package.

    Attributes:
        queries: N texts.
        documents: N texts; the one at a query's own position follows it in the docstring.
        relevant: positions of all that is relevant to each query, -1 for none, shape [N, E].
        full_run: BM25's ranking of the whole corpus for each query, shape [N, N].
        query_vectors: embeddings of unit length, shape [N, D].
        vectors: those of the documents, shape [N, D].
    """

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    relevant: Tensor
    full_run: TopK
    query_vectors: Tensor
    vectors: Tensor

    @property
    def run(self) -> TopK:
        """BM25's first 100 documents."""
        return TopK(self.full_run.scores[:, :_DEPTH], self.full_run.index[:, :_DEPTH])

    def labelled(self, depth: int) -> Tensor:
        """What is relevant among BM25's first documents, -1 for what is not, shape [N, depth]."""
        pool = self.run.index[:, :depth]
        return pool.masked_fill(~is_among(pool, self.relevant), -1)

    def lexical(self, query: Tensor, document: Tensor) -> Tensor:
        """What a lexical pool goes by: BM25's score, its share of the best, rank, lengths.

        Args:
            query: positions, shape [B].
            document: positions, shape [B].

        Returns:
            Shape [B, 5].
        """
        scores, ranks = self._by_position
        lengths = self._lengths
        score = scores[query, document]
        best = scores[query].amax(1).clamp(min=1e-6)
        columns = (
            score / 10,
            score / best,
            1.0 / ranks[query, document],
            lengths[0][query],
            lengths[1][document],
        )
        return torch.stack(columns, dim=1)

    @cached_property
    def _by_position(self) -> tuple[Tensor, Tensor]:
        """BM25's scores and ranks by position of the document."""
        scores, index = self.full_run.scores, self.full_run.index
        ranks = torch.arange(1, index.shape[1] + 1, dtype=scores.dtype).expand_as(scores)
        return tuple(  # type: ignore[return-value]
            torch.empty_like(scores).scatter_(1, index, value) for value in (scores, ranks)
        )

    @cached_property
    def _lengths(self) -> tuple[Tensor, Tensor]:
        """Logarithms of lengths in words, less their mean."""
        found = []
        for texts in (self.queries, self.documents):
            length = torch.tensor([1.0 + len(words(text)) for text in texts]).log()
            found.append(length - length.mean())
        return found[0], found[1]


def pooled_docstrings(size: int = 2500, *, encoder: str | None = "minilm") -> PooledDocstrings:
    """Evenly spaced pairs of the docstrings of six packages, documents cut to 40 words.

    Args:
        size: N, pairs; above 100.
        encoder: of the embeddings, kept in the cache; None for the mean vector of the first word
            pieces, for a quick look.

    Returns:
        The task; queries and documents have the same positions.

    Raises:
        InputError: fewer pairs than 100, or more than there are.
        MissingPackageError: a package with texts or with the encoder is not installed.
    """
    pairs = docstring_pairs() if encoder is not None else docstring_pairs(most_files=20)
    check_range("size", size, _DEPTH, len(pairs))
    rows = np.linspace(0, len(pairs) - 1, size).astype(int)
    queries = tuple(pairs.queries[row] for row in rows)
    documents = tuple(" ".join(pairs.documents[row].split()[:_WORDS]) for row in rows)
    packages = [pairs.scopes[row].split("/")[0] for row in rows]
    members = {
        name: [place for place, other in enumerate(packages) if other == name]
        for name in dict.fromkeys(packages)
    }
    return PooledDocstrings(
        queries,
        documents,
        pad_positions([members[name] for name in packages]),
        BM25().fit(documents).search(queries, size),
        _embedded(queries, encoder),
        _embedded(documents, encoder),
    )


def _embedded(texts: Sequence[str], encoder: str | None) -> Tensor:
    if encoder is None:
        return functional.normalize(piece_vectors(32)[word_pieces(texts, 32)].sum(1), dim=1)
    return torch.from_numpy(np.array(embed_texts(texts, encoder)))
