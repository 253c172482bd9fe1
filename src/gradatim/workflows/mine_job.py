"""One job of mining: vectors, search, doubts, and the tables of the result."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.core.cache import content_hash, model_hash
from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.io.columns import count
from gradatim.core.search_tiles import Embeddings
from gradatim.core.vector_store import VectorStore
from gradatim.mining.negative_choice import NegativeRules
from gradatim.workflows.mine_encoders import MiningEncoder, Predict, cross_encoder_scores
from gradatim.workflows.mine_false_negatives import PriorCounts, suspect_negatives
from gradatim.workflows.mine_formats import Mined, lay_out
from gradatim.workflows.mine_inputs import MiningPairs, check_vectors, load_vectors
from gradatim.workflows.mine_result import MineCounts, MineResult
from gradatim.workflows.mine_search import MiningSearch, SearchSettings
from gradatim.workflows.mine_tables import (
    reasons_of,
    sample_table,
    score_table,
    short_table,
    skipped_table,
)

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True)
class MineSettings:
    """Settings of a job; see :func:`gradatim.workflows.mine.mine`.

    Raises:
        InputError: an unknown choice, or a number outside its range.
    """

    rules: NegativeRules
    similarity: Literal["cosine", "dot"]
    search: str
    target_recall: float
    equal_texts: bool
    prior: PriorCounts | None
    output_format: str
    output_scores: bool
    require_all: bool
    batch_size: int
    dtype: Literal["float16", "float32"]
    device: str | None
    cache: Path
    seed: int

    def __post_init__(self) -> None:
        check_choice("similarity", self.similarity, ("cosine", "dot"))
        check_choice("search", self.search, ("exact", "approximate"))
        check_range("target_recall", self.target_recall, 0.0, 1.0, open_low=True)
        check_range("batch_size", self.batch_size, 1)


def cache_folder(given: str | os.PathLike[str] | None) -> Path:
    """Where vectors and what is done of a search are kept."""
    if given is not None:
        return Path(given)
    base = os.environ.get("GRADATIM_CACHE")
    return Path(base or platformdirs.user_cache_dir("gradatim", appauthor=False))


class MineJob:
    """Mining, once its pairs are read.

    Args:
        data: queries, documents, positives.
        settings: the settings.
        progress: called as work goes on.

    Raises:
        InputError: fewer documents than negatives are wanted.
    """

    def __init__(self, data: MiningPairs, settings: MineSettings, progress: Progress) -> None:
        self.data, self.settings, self.progress = data, settings, progress
        self.notes = list(data.notes)
        self._queries: Embeddings
        self._documents: Embeddings
        self._identity: list[str] = []
        self._predict: Predict | None = None
        needed = settings.rules.range_min + settings.rules.count + 1
        if len(data.documents) < needed:
            raise InputError(
                f"corpus: expected at least {needed:,} different documents (a positive, range_min "
                f"and {count(settings.rules.count, 'negative')}), got {len(data.documents):,}"
            )

    def encode(self, model: Any, query_prompt: str | None, document_prompt: str | None) -> None:
        """Vectors by a model, from the cache as far as they are there."""
        settings = self.settings
        encoder = MiningEncoder(
            model,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            batch_size=settings.batch_size,
            device=settings.device,
        )
        store = VectorStore(settings.cache / "vectors")
        stored = []
        for role, texts in (("document", self.data.documents), ("query", self.data.queries)):
            what = {"document": "documents encoded", "query": "queries encoded"}[role]
            found = encoder.vectors(
                role,
                texts,
                store,
                settings.dtype,
                lambda done, size, what=what: self.progress(what, done, size),  # type: ignore[misc]
            )
            if found.damaged:
                self.notes.append(
                    f"{count(found.damaged, f'stored {role} vector')} were damaged and encoded anew"
                )
            reused = len(texts) - found.encoded
            if reused:
                self.notes.append(f"{count(reused, f'{role} vector')} taken from {store.folder}")
            stored.append(found)
        self._documents, self._queries = (found.array for found in stored)
        self._identity = [found.path.stem for found in stored]
        self._check_vectors()

    def take_vectors(self, queries: Any, documents: Any) -> None:
        """Ready vectors.

        Raises:
            InputError: one of them is missing, has another number of rows or another width, or
                holds what is no number.
        """
        if queries is None or documents is None:
            raise InputError(
                "model: expected a model, or both query_vectors and document_vectors, got "
                + ("neither" if queries is documents else "vectors of one kind alone")
            )
        data = self.data
        self._queries = load_vectors(queries, "query vectors", data.query_rows, data.rows[0])
        self._documents = load_vectors(
            documents, "document vectors", data.document_rows, data.rows[1]
        )
        if self._queries.shape[1] != self._documents.shape[1]:
            raise InputError(
                f"query vectors: expected {self._documents.shape[1]} numbers a vector as the "
                f"document vectors have, got {self._queries.shape[1]}"
            )
        self._check_vectors()
        self._identity = [content_hash(_plain(one)) for one in (self._queries, self._documents)]

    def rescore_with(self, cross_encoder: Any) -> None:
        """Let a cross-encoder score candidates anew."""
        settings = self.settings
        self._predict = cross_encoder_scores(cross_encoder, settings.batch_size, settings.device)
        known = getattr(cross_encoder, "model", cross_encoder)
        loaded = isinstance(known, torch.nn.Module | str | os.PathLike)
        self._identity.append(model_hash(known) if loaded else f"object {id(cross_encoder)}")

    def run(self, started: float) -> MineResult:
        """Search, choose, and set out what was found.

        Args:
            started: when the job began, by ``time.monotonic``.

        Raises:
            InputError: no query has a negative left, or one has too few and all must have enough.
        """
        search = self._search()
        found = search.run(
            lambda done, size: self.progress("queries searched for", done, size),
        )
        self._check_found(found)
        if search.recall is not None:
            self.notes.append(
                f"approximate search: {search.recall:.1%} of the best {search.k} were found for a "
                "sample of queries"
            )
        mined = Mined(
            self.data.positives.numpy(),
            found["positive"],
            found["index"],
            found["scores"],
            self._suspicion(search, found),
        )
        data, settings = self.data, self.settings
        layout = lay_out(
            mined,
            data.queries,
            data.documents,
            data.columns,
            output_format=settings.output_format,
            scores=settings.output_scores,
        )
        if not len(layout.table):
            raise InputError(
                f"n-tuple: expected a query with all {count(settings.rules.count, 'negative')}, "
                "got none; ask for fewer, widen the window (range_max) or loosen the tests"
            )
        return MineResult(
            table=layout.table,
            beside=layout.beside,
            output_format=settings.output_format,
            scores=score_table(mined),
            skipped=skipped_table(found["skipped"]),
            short=short_table(data, found),
            sample=sample_table(data, mined, settings.seed),
            counts=MineCounts(
                queries=len(data.queries),
                documents=len(data.documents),
                positives=data.links,
                negatives=int((mined.negatives >= 0).sum()),
                rows=len(layout.table),
                lost_rows=layout.lost,
                candidates=search.k,
            ),
            mined=mined,
            ranks=found["rank"],
            notes=tuple(self.notes),
            recall=search.recall,
            seconds=time.monotonic() - started,
            source=data.source,
            files=data.files,
        )

    def _search(self) -> MiningSearch:
        settings, data = self.settings, self.data
        rescored = self._predict is not None and settings.rules.min_score is not None
        end = settings.rules.window_end(data.most_positives, wide=settings.equal_texts or rescored)
        device = settings.device
        place = None if device is None or torch.device(device).type == "cpu" else device
        return MiningSearch(
            data,
            self._queries,
            self._documents,
            SearchSettings(
                replace(settings.rules, range_max=end),
                settings.similarity,
                settings.search,
                settings.target_recall,
                settings.equal_texts,
                settings.seed,
                place,
            ),
            self._predict,
            settings.cache / "mining",
            " ".join(self._identity),
        )

    def _suspicion(
        self, search: MiningSearch, found: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.float64] | None:
        if self.settings.prior is None:
            return None
        size = len(self.data.queries)
        self.progress("negatives doubted", 0, size)
        estimate = suspect_negatives(
            self.data.queries,
            self.data.documents,
            self.data.positives,
            torch.from_numpy(found["index"]),
            found["scores"].astype(np.float64),
            search.score,
            prior=self.settings.prior,
            seed=self.settings.seed,
        )
        self.notes += estimate.notes
        self.progress("negatives doubted", size, size)
        return estimate.probability

    def _check_vectors(self) -> None:
        may_be_zero = self.settings.similarity == "dot"
        check_vectors("query vectors", self._queries, may_be_zero=may_be_zero)
        check_vectors("document vectors", self._documents, may_be_zero=may_be_zero)

    def _check_found(self, found: Mapping[str, NDArray[Any]]) -> None:
        wanted = self.settings.rules.count
        have = (found["index"] >= 0).sum(axis=1)
        lacking = int((have < wanted).sum())
        if have.any() and not (self.settings.require_all and lacking):
            if lacking:
                self.notes.append(
                    f"queries with fewer than {count(wanted, 'negative')}: {lacking:,}, with none: "
                    f"{int((have == 0).sum()):,}"
                )
            return
        row = int(np.flatnonzero(have < wanted)[0])
        also = f" (of {lacking:,} such queries the first)" if lacking > 1 else ""
        raise InputError(
            f"query {self.data.queries[row].as_py()[:60]!r}: expected "
            f"{count(wanted, 'valid negative')}, got {have[row]}: "
            f"{reasons_of(found['skipped'][row])}{also}; widen the window (range_max) or loosen "
            "the tests"
        )


def _plain(vectors: Embeddings) -> Any:
    return vectors if isinstance(vectors, Tensor) else np.asarray(vectors)
