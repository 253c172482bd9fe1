"""Mined negatives as tables that sentence-transformers' trainers take as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradatim.core.checks import check_choice
from gradatim.core.errors import InputError

Format: TypeAlias = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"]

FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list")
ALIASES = {
    "n-tuple-scores": ("n-tuple", True),
    "labelled-pair": ("labeled-pair", False),
    "labelled-list": ("labeled-list", False),
}
"""Other names: the format, and whether it has scores."""


@dataclass(frozen=True)
class Mined:
    """Negatives as numbers.

    Attributes:
        positives: positions of each query's positives, filled up with -1, [Q, P].
        positive_scores: their scores, [Q, P].
        negatives: positions of each query's negatives, filled up with -1, [Q, n].
        scores: their scores, [Q, n].
        suspicion: probabilities that they are relevant all the same, or None, [Q, n].
    """

    positives: NDArray[np.int64]
    positive_scores: NDArray[np.float32]
    negatives: NDArray[np.int64]
    scores: NDArray[np.float32]
    suspicion: NDArray[np.float64] | None


@dataclass(frozen=True)
class Layout:
    """A table to train on, and the values that stand beside its rows.

    Attributes:
        table: the rows.
        beside: name -> a number for each row.
        lost: rows that there would be if every query had all its negatives, less those there are.
    """

    table: pa.Table
    beside: dict[str, NDArray[Any]]
    lost: int


def resolve_format(name: str, scores: bool) -> tuple[str, bool]:
    """The format and whether it has scores, of a name that may be another for both.

    Raises:
        InputError: there is none of this name.

    >>> resolve_format("n-tuple-scores", False)
    ('n-tuple', True)
    """
    check_choice("output_format", name, (*FORMATS, *ALIASES))
    known, with_scores = ALIASES.get(name, (name, False))
    return known, scores or with_scores


def lay_out(
    mined: Mined,
    queries: pa.Array,
    documents: pa.Array,
    columns: tuple[str, str],
    *,
    output_format: str,
    scores: bool,
) -> Layout:
    """Write negatives out as rows, in the order of queries, their positives, their negatives.

    The layouts are those of ``sentence_transformers.util.mine_hard_negatives``: "triplet", a row a
    negative, in the column ``negative``; "n-tuple", a row a positive whose query has all its
    negatives, in ``negative_1``...; "labeled-pair", a row a document, with ``label`` 1 or 0;
    "labeled-list", a row a positive, documents and ``labels`` as lists. With scores there is a
    column ``scores`` (of the positive first), or ``score`` in the place of ``label``.

    Args:
        mined: negatives as numbers.
        queries: texts, [Q].
        documents: texts, [N].
        columns: names of the query's and the positive's columns.
        output_format: one of :data:`FORMATS`.
        scores: whether the table holds scores.

    Raises:
        InputError: a column is called as one that the format adds.

    >>> mined = Mined(np.array([[0]]), np.array([[0.9]], dtype=np.float32), np.array([[2]]),
    ...               np.array([[0.5]], dtype=np.float32), None)
    >>> texts = pa.array(["a", "b", "c"], pa.large_string())
    >>> lay_out(mined, pa.array(["q"]), texts, ("query", "answer"), output_format="triplet",
    ...         scores=False).table.to_pylist()
    [{'query': 'q', 'answer': 'a', 'negative': 'c'}]
    """
    return _FORMATS[output_format](mined, _Columns(queries, documents, columns), scores)


class _Columns:
    """Makes columns of texts out of positions."""

    def __init__(self, queries: pa.Array, documents: pa.Array, names: tuple[str, str]) -> None:
        self.queries, self.documents, self.names = queries, documents, names

    def table(
        self, queries: NDArray[np.int64], documents: Any, more: Mapping[str, Any]
    ) -> pa.Table:
        """A table of a query's column, a document's, and more."""
        taken = [name for name in more if name in self.names]
        if taken:
            raise InputError(
                f"column {taken[0]!r}: expected another name, since the output has a column "
                "called so"
            )
        if isinstance(documents, np.ndarray):
            documents = self.documents.take(pa.array(documents))
        query, document = self.names
        asked = self.queries.take(pa.array(queries))
        return pa.table({query: asked, document: documents, **more})

    def take(self, documents: NDArray[np.int64]) -> pa.Array:
        """Texts of documents."""
        return self.documents.take(pa.array(documents))


def _triplets(mined: Mined, columns: _Columns, scores: bool) -> Layout:
    there = (mined.positives >= 0)[:, :, None] & (mined.negatives >= 0)[:, None, :]
    query, positive, negative = np.nonzero(there)
    right = mined.positive_scores[query, positive]
    wrong = mined.scores[query, negative]
    more: dict[str, Any] = {"negative": columns.take(mined.negatives[query, negative])}
    if scores:
        more["scores"] = _lists(np.stack([right, wrong], 1))
    table = columns.table(query, mined.positives[query, positive], more)
    beside: dict[str, NDArray[Any]] = {"difficulty": wrong.astype(np.float64) - right}
    if mined.suspicion is not None:
        beside["false_negative"] = mined.suspicion[query, negative]
        beside["weight"] = 1.0 - beside["false_negative"]
    full = int((mined.positives >= 0).sum()) * mined.negatives.shape[1]
    return Layout(table, beside, full - len(query))


def _tuples(mined: Mined, columns: _Columns, scores: bool) -> Layout:
    full = (mined.negatives >= 0).all(axis=1, keepdims=True)
    query, positive = np.nonzero((mined.positives >= 0) & full)
    right, wrong = mined.positive_scores[query, positive], mined.scores[query]
    more: dict[str, Any] = {
        f"negative_{number}": columns.take(mined.negatives[query, number - 1])
        for number in range(1, mined.negatives.shape[1] + 1)
    }
    if scores:
        more["scores"] = _lists(np.concatenate([right[:, None], wrong], 1))
    table = columns.table(query, mined.positives[query, positive], more)
    beside: dict[str, NDArray[Any]] = {"difficulty": wrong.max(axis=1).astype(np.float64) - right}
    if mined.suspicion is not None:
        suspicion = mined.suspicion[query]
        beside |= {
            f"false_negative_{number + 1}": suspicion[:, number]
            for number in range(suspicion.shape[1])
        }
        beside["weight"] = 1.0 - suspicion.mean(axis=1)
    return Layout(table, beside, int((mined.positives >= 0).sum()) - len(query))


def _pairs(mined: Mined, columns: _Columns, scores: bool) -> Layout:
    """A row a document; a positive is as hard as the best negative comes near to it."""
    count = mined.positives.shape[1]
    documents = np.concatenate([mined.positives, mined.negatives], 1)
    query, place = np.nonzero(documents >= 0)
    held = np.concatenate([mined.positive_scores, mined.scores], 1)[query, place]
    label = (place < count).astype(np.int64)
    more: dict[str, Any] = {"score": pa.array(held)} if scores else {"label": pa.array(label)}
    table = columns.table(query, documents[query, place], more)
    lowest = np.where(mined.positives >= 0, mined.positive_scores, np.inf).min(axis=1)
    nearest = np.where(mined.negatives >= 0, mined.scores, -np.inf).max(axis=1)
    nearest = np.where(np.isfinite(nearest), nearest, lowest).astype(np.float64)
    hard = np.where(label == 1, nearest[query] - held, held.astype(np.float64) - lowest[query])
    beside: dict[str, NDArray[Any]] = {"difficulty": hard}
    if mined.suspicion is not None:
        of_pairs = np.concatenate([np.zeros(mined.positives.shape), mined.suspicion], 1)
        beside["false_negative"] = of_pairs[query, place]
        beside["weight"] = 1.0 - beside["false_negative"]
    wanted = len(documents) * mined.negatives.shape[1]
    return Layout(table, beside, wanted - int((mined.negatives >= 0).sum()))


def _grouped(mined: Mined, columns: _Columns, scores: bool) -> Layout:
    there = mined.negatives >= 0
    query, positive = np.nonzero((mined.positives >= 0) & there.any(axis=1, keepdims=True))
    right = mined.positive_scores[query, positive]
    documents = np.concatenate(
        [mined.positives[query, positive][:, None], mined.negatives[query]], 1
    )
    held = np.concatenate([right[:, None], mined.scores[query]], 1)
    kept = documents >= 0
    ends = np.concatenate([[0], kept.sum(axis=1).cumsum()])
    label = np.zeros(documents.shape, dtype=np.int64)
    label[:, 0] = 1
    name, values = ("scores", held) if scores else ("labels", label)
    texts = pa.LargeListArray.from_arrays(pa.array(ends), columns.take(documents[kept]))
    more = {name: pa.LargeListArray.from_arrays(pa.array(ends), pa.array(values[kept]))}
    table = columns.table(query, texts, more)
    best = np.where(there, mined.scores, -np.inf).max(axis=1)[query].astype(np.float64)
    beside: dict[str, NDArray[Any]] = {"difficulty": best - right}
    if mined.suspicion is not None:
        counted = there[query]
        total = np.where(counted, mined.suspicion[query], 0.0).sum(axis=1)
        beside["weight"] = 1.0 - total / counted.sum(axis=1)
    return Layout(table, beside, int((mined.positives >= 0).sum()) - len(query))


def _lists(values: NDArray[np.float32]) -> pa.Array:
    """Rows of numbers as lists."""
    ends = np.arange(0, values.size + 1, values.shape[1])
    return pa.LargeListArray.from_arrays(pa.array(ends), pa.array(values.ravel()))


_FORMATS = {
    "triplet": _triplets,
    "n-tuple": _tuples,
    "labeled-pair": _pairs,
    "labeled-list": _grouped,
}
