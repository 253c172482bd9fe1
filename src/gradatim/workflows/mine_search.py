"""The search for negatives, block by block of queries; what a kill leaves is taken up again."""

import hashlib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from gradatim.core.cache import FeatureCache, content_hash
from gradatim.core.search import TopK, top_k
from gradatim.core.search_tiles import Embeddings
from gradatim.core.seeds import numpy_generator, torch_generator
from gradatim.mining.approximate_search import ApproximateIndex
from gradatim.mining.negative_choice import REASONS, NegativeRules, choose_negatives
from gradatim.mining.pair_scores import pair_scores
from gradatim.workflows.mine_encoders import Predict
from gradatim.workflows.mine_inputs import MiningPairs

BLOCK = 16_384
"""Queries searched for at a time; with a cross-encoder fewer, since that takes much longer."""

RESCORED_BLOCK = 256
SAMPLED_QUERIES = 256


@dataclass(frozen=True)
class SearchSettings:
    """How candidates are searched for, and chosen from.

    Attributes:
        rules: what may be a negative; ``range_max`` is set.
        metric: "cosine" or "dot".
        search: "exact" or "approximate".
        target_recall: of an approximate search.
        equal_texts: whether texts that are equal but for case and blanks count as one.
        seed: of what is drawn.
        device: where to compute.
    """

    rules: NegativeRules
    metric: Literal["cosine", "dot"]
    search: str
    target_recall: float
    equal_texts: bool
    seed: int
    device: str | None


class MiningSearch:
    """Candidates, tests and choice for all queries of a job.

    Args:
        data: queries, documents, positives.
        queries: vectors, [Q, D].
        documents: vectors, [N, D].
        settings: how to search.
        predict: a cross-encoder, or None.
        folder: where blocks are kept until all are done; None keeps them in memory.
        identity: what tells models and vectors from others.
    """

    def __init__(
        self,
        data: MiningPairs,
        queries: Embeddings,
        documents: Embeddings,
        settings: SearchSettings,
        predict: Predict | None,
        folder: Path | None,
        identity: str,
    ) -> None:
        self.data, self.queries, self.documents = data, queries, documents
        self.settings, self.predict = settings, predict
        end = settings.rules.range_max or 0
        self.k = min(end + data.most_positives, len(documents))
        self.block = BLOCK if predict is None else RESCORED_BLOCK
        self.recall: float | None = None
        self._index: ApproximateIndex | None = None
        self._groups = text_groups(data) if settings.equal_texts else None
        self._cache: FeatureCache | None = None
        self._content = [identity]
        if folder is not None and len(queries) > self.block:
            self._content += [
                content_hash(data.positives),
                content_hash(pa.table({"text": data.queries})),
                content_hash(pa.table({"text": data.documents})),
                repr(settings),
                f"{self.k} {self.block} {REASONS}",
            ]
            name = hashlib.sha256("".join(self._content).encode()).hexdigest()[:32]
            self._cache = FeatureCache(folder / name)

    def run(self, progress: Callable[[int, int], None]) -> dict[str, NDArray[Any]]:
        """All queries: their negatives' index, scores and rank, skipped, scores of positives."""
        found = []
        for start in range(0, len(self.queries), self.block):
            found.append(self._block(start))
            progress(min(start + self.block, len(self.queries)), len(self.queries))
        names = found[0].dtype.names or ()
        whole = {name: np.concatenate([part[name] for part in found]) for name in names}
        if self._cache is not None:
            found.clear()
            self._cache.clear()
            self._cache.folder.rmdir()
        return whole

    def score(self, rows: NDArray[np.int64], index: Tensor) -> NDArray[np.float64]:
        """Scores of given documents as candidates are scored, minus infinity for none, [n, m]."""
        if self.predict is not None:
            found = np.full(index.shape, -np.inf)
            found[index.numpy() >= 0] = self.predict(self._pairs(rows, index))
            return found
        queries = self.queries[torch.from_numpy(rows) if _is_tensor(self.queries) else rows]
        given = pair_scores(queries, self.documents, index, metric=self.settings.metric)
        return given.numpy().astype(np.float64)

    def _block(self, start: int) -> NDArray[Any]:
        if self._cache is None:
            return self._compute(self._content, "", start=start)
        return self._cache.get_or_compute(self._content, "mine", self._compute, start=start)

    def _compute(self, content: Any, model: Any, *, start: int) -> NDArray[Any]:
        part = slice(start, start + self.block)
        positives = self.data.positives[part]
        rows = np.arange(start, start + len(positives))
        found = self._candidates(part)
        right = torch.from_numpy(self.score(rows, positives)).float()
        scores = found.scores
        if self.predict is not None:
            known = (found.index[:, :, None] == positives[:, None, :]).any(2)
            asked = found.index.masked_fill(known, -1)
            scores = torch.from_numpy(self.score(rows, asked)).float()
        rules = self.settings.rules
        chosen = choose_negatives(
            scores,
            found.index,
            positives,
            right,
            rules,
            groups=None if self._groups is None else self._groups[1],
            query_groups=None if self._groups is None else self._groups[0][part],
            vectors=None if rules.duplicate_similarity is None else self.documents,
            generator=torch_generator(self.settings.seed, "negatives", start),
        )
        record = np.empty(len(positives), dtype=_record(rules.count, positives.shape[1]))
        record["index"], record["scores"] = chosen.index.numpy(), chosen.scores.numpy()
        record["rank"], record["skipped"] = chosen.rank.numpy(), chosen.skipped.numpy()
        record["positive"] = right.numpy()
        return record

    def _candidates(self, part: slice) -> TopK:
        if self.settings.search == "exact":
            found = top_k(
                self.queries[part],
                self.documents,
                self.k,
                metric=self.settings.metric,
                device=self.settings.device,
            )
            return TopK(found.scores.cpu(), found.index.cpu())
        if self._index is None:
            self._index = ApproximateIndex(
                self.documents, metric=self.settings.metric, seed=self.settings.seed
            )
            order = numpy_generator(self.settings.seed, "recall").permutation(len(self.queries))
            rows = np.sort(order[:SAMPLED_QUERIES])
            sample = self.queries[torch.from_numpy(rows) if _is_tensor(self.queries) else rows]
            self.recall = self._index.reach(sample, self.k, self.settings.target_recall)
        return self._index.search(self.queries[part], self.k)

    def _pairs(self, rows: NDArray[np.int64], index: Tensor) -> list[tuple[str, str]]:
        query, place = np.nonzero(index.numpy() >= 0)
        asked = self.data.queries.take(pa.array(rows[query])).to_pylist()
        held = self.data.documents.take(pa.array(index.numpy()[query, place])).to_pylist()
        return list(zip(asked, held, strict=True))


def text_groups(data: MiningPairs) -> tuple[Tensor, Tensor]:
    """A number a query and a document, equal where texts are but for case and blanks."""

    def numbers(texts: pa.Array) -> Tensor:
        found = np.empty(len(texts), dtype=np.int64)
        for start in range(0, len(texts), BLOCK):
            part = texts[start : start + BLOCK].to_pylist()
            found[start : start + len(part)] = [_hash(text) for text in part]
        return torch.from_numpy(found)

    return numbers(data.queries), numbers(data.documents)


def _hash(text: str) -> int:
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return xxhash.xxh3_64_intdigest(plain.encode("utf-8", "surrogatepass")) >> 1


def _record(count: int, positives: int) -> np.dtype[Any]:
    return np.dtype(
        [
            ("index", "<i8", (count,)),
            ("scores", "<f4", (count,)),
            ("rank", "<i4", (count,)),
            ("skipped", "<i4", (len(REASONS),)),
            ("positive", "<f4", (positives,)),
        ]
    )


def _is_tensor(vectors: Embeddings) -> bool:
    return isinstance(vectors, Tensor)
