"""Mine hard negatives: documents that a model ranks high for a query and that do not answer it."""

import os
import time
from typing import Any, Literal

from gradatim.core.errors import InputError
from gradatim.mining.negative_choice import NegativeRules, Sampling
from gradatim.workflows.mine_false_negatives import PriorCounts
from gradatim.workflows.mine_formats import resolve_format
from gradatim.workflows.mine_inputs import load_pairs
from gradatim.workflows.mine_job import MineJob, MineSettings, Progress, cache_folder
from gradatim.workflows.mine_result import MineResult


def mine(
    pairs: Any,
    *,
    corpus: Any = None,
    queries: Any = None,
    model: Any = None,
    query_vectors: Any = None,
    document_vectors: Any = None,
    query: str | None = None,
    positive: str | None = None,
    missing_positives: Literal["error", "add"] = "error",
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    cross_encoder: Any = None,
    negatives: int = 3,
    range_min: int = 0,
    range_max: int | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    duplicate_similarity: float | None = None,
    equal_texts: bool = True,
    sampling: Sampling = "top",
    temperature: float = 0.05,
    similarity: Literal["cosine", "dot"] = "cosine",
    search: Literal["exact", "approximate"] = "exact",
    target_recall: float = 0.95,
    false_negatives: bool = True,
    relevant_per_query: float | None = None,
    judged_per_query: float = 10.0,
    output_format: str = "triplet",
    output_scores: bool = False,
    require_all: bool = False,
    batch_size: int = 64,
    dtype: Literal["float16", "float32"] = "float16",
    device: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> MineResult:
    """Find hard negatives for pairs of queries and positives.

    Candidates are the best documents by a sentence-transformers model or by ready vectors, less
    the query's positives. Margins, caps and near-duplicates take some away; the window of ranks is
    counted among the rest, as in ``sentence_transformers.util.mine_hard_negatives``, whose
    negatives come out with the same options (and ``equal_texts=False``).

    Args:
        pairs: a table (pandas, datasets, pyarrow, a mapping, or the path of Parquet, CSV or JSON
            Lines) with a query and a positive in each row, or a list of positives.
        corpus: a table of documents with texts, and ids if the pairs hold ids; None for the
            positives of all queries.
        queries: a table of queries with ids and texts, if the pairs hold ids.
        model: a ``SentenceTransformer``, its directory, or a short name ("minilm").
        query_vectors: ready vectors instead: an array, a tensor or a ``.npy`` file, a row for each
            row of the queries' table (of ``pairs``, if there is none) or each different text.
        document_vectors: the same for documents, in the order of ``corpus`` or of ``pairs``.
        query: the column with the query; None for the first.
        positive: the column with the positive; None for the second.
        missing_positives: "add" puts positives that the corpus lacks into it.
        query_prompt: what the model reads before each query; None for its own prompt.
        document_prompt: the same for documents.
        cross_encoder: a ``CrossEncoder`` or its directory, which scores candidates anew; margins
            and caps are then of its scores.
        negatives: of a query, at most.
        range_min: how many of the best candidates are passed over.
        range_max: rank at which the window ends; None for wide enough.
        absolute_margin: how much lower than the lowest positive a negative must score.
        relative_margin: the same, as a share of the positive's score.
        max_score: the highest score of a negative.
        min_score: the lowest.
        duplicate_similarity: cosine from which on a document is as good as a positive, or as a
            negative that was taken.
        equal_texts: whether documents count as equal that differ in case and blanks alone.
        sampling: "top", "random", or "softmax" (by ``exp(score / temperature)``).
        temperature: of that.
        similarity: what a score is; vectors of a model have unit length.
        search: "exact", or "approximate" (FAISS).
        target_recall: that an approximate search shall have; it is measured on a sample.
        false_negatives: whether to estimate how likely each negative is relevant all the same,
            see :func:`~gradatim.workflows.mine_false_negatives.suspect_negatives`.
        relevant_per_query: documents assumed to be relevant; None for twice as many as labelled.
        judged_per_query: documents assumed to have been looked at.
        output_format: "triplet", "n-tuple", "labeled-pair", "labeled-list", or "n-tuple-scores".
        output_scores: whether the rows hold scores.
        require_all: whether a query with fewer negatives is an error.
        batch_size: texts at a time.
        dtype: of the vectors on the disk.
        device: where models compute and, if it is a GPU, the exact search.
        cache: folder for vectors and for what is done; by default that of ``GRADATIM_CACHE``, or
            the user's cache folder. What a kill leaves there is taken up again.
        seed: of all that is drawn.
        progress: called as work goes on.

    Returns:
        Rows to train on, weights beside them, what was passed over and why.

    Raises:
        InputError: as the functions named here say; no negative for any query; or neither a model
            nor both kinds of vectors.
        MissingPackageError: sentence-transformers or FAISS is needed and not installed.

    Source: Zhan et al. 2021, arXiv 2104.08051 (hard negatives by retrieval); Moreira et al. 2024,
    arXiv 2407.15831 (margins); Cai et al. 2022, arXiv 2209.05072 (false negatives).

    >>> pairs = {"query": ["red fruit", "blue sea"], "answer": ["apple", "ocean"]}
    >>> result = mine(pairs, query_vectors=[[1, 0.1], [0, 1]], document_vectors=[[1, 0], [0.1, 1]],
    ...               negatives=1, false_negatives=False)
    >>> result.table.to_pylist()[0]
    {'query': 'red fruit', 'answer': 'apple', 'negative': 'ocean'}
    """
    started = time.monotonic()
    known, scores = resolve_format(output_format, output_scores)
    settings = MineSettings(
        rules=NegativeRules(
            negatives,
            range_min,
            range_max,
            absolute_margin,
            relative_margin,
            max_score,
            min_score,
            sampling,
            temperature,
            duplicate_similarity,
        ),
        similarity=similarity,
        search=search,
        target_recall=target_recall,
        equal_texts=equal_texts,
        prior=PriorCounts(relevant_per_query, judged_per_query) if false_negatives else None,
        output_format=known,
        output_scores=scores,
        require_all=require_all,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        cache=cache_folder(cache),
        seed=seed,
    )
    data = load_pairs(
        pairs,
        query=query,
        positive=positive,
        corpus=corpus,
        queries=queries,
        missing_positives=missing_positives,
    )
    job = MineJob(data, settings, progress or (lambda what, done, size: None))
    if model is not None:
        if query_vectors is not None or document_vectors is not None:
            raise InputError("model: expected a model or ready vectors, got both")
        job.encode(model, query_prompt, document_prompt)
    else:
        job.take_vectors(query_vectors, document_vectors)
    if cross_encoder is not None:
        job.rescore_with(cross_encoder)
    return job.run(started)
