"""Pairs, corpus and vectors as mining takes them: read, put together, and checked."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.core.checks import check_choice
from gradatim.core.errors import InputError
from gradatim.core.io.columns import count, is_list, is_text, missing_column, show
from gradatim.core.io.table_sources import open_source
from gradatim.core.io.tables import read_table
from gradatim.core.search_tiles import Embeddings

ID_COLUMNS = ("id", "_id", "doc_id", "docid", "document_id", "query_id", "qid")
TEXT_COLUMNS = ("text", "document", "passage", "contents", "content", "query", "question")


@dataclass(frozen=True)
class MiningPairs:
    """Queries, documents, and which documents are known to be right for which query.

    Attributes:
        source: what messages call the pairs.
        files: files that were read.
        columns: names of the query's and of the positive's column.
        queries: Q different texts in the order in which they first occur.
        documents: N different texts.
        positives: positions of each query's positives, filled up with -1, [Q, P].
        query_rows: the row in which each query first stands, [Q].
        document_rows: the same for documents, -1 for positives that were added to a corpus, [N].
        rows: rows of the tables that queries and documents come from.
        notes: what a reader should know.
    """

    source: str
    files: tuple[str, ...]
    columns: tuple[str, str]
    queries: pa.Array
    documents: pa.Array
    positives: Tensor
    query_rows: NDArray[np.int64]
    document_rows: NDArray[np.int64]
    rows: tuple[int, int]
    notes: tuple[str, ...]

    @property
    def most_positives(self) -> int:
        """Positives of the query that has most."""
        return self.positives.shape[1]

    @property
    def links(self) -> int:
        """Different pairs of a query and a positive."""
        return int((self.positives >= 0).sum())


def load_pairs(
    pairs: Any,
    *,
    query: str | None = None,
    positive: str | None = None,
    corpus: Any = None,
    queries: Any = None,
    missing_positives: str = "error",
) -> MiningPairs:
    """Read pairs, and the tables that their ids point into.

    Args:
        pairs: a table of queries and positives, a row a pair; a column of lists holds several
            positives. Texts, or ids of the tables below.
        query: the column with the query; None for the first.
        positive: the column with the positive; None for the second.
        corpus: a table of documents: a column of texts (:data:`TEXT_COLUMNS`, or the only one),
            and one of ids (:data:`ID_COLUMNS`) if positives are ids. None for the positives.
        queries: a table of queries in the same form, if pairs hold their ids.
        missing_positives: "error", or "add" those that the corpus lacks (texts only).

    Raises:
        InputError: a missing column, an id twice, an id that is not there, a positive that is
            missing from the corpus, or a value that is neither text nor an id.
    """
    check_choice("missing_positives", missing_positives, ("error", "add"))
    opened = open_source(pairs)
    table = read_table(pairs)
    names = _columns(table, opened.name, query, positive)
    asked, right = _exploded(table, names, opened.name)
    notes: list[str] = []
    if queries is None:
        query_texts = _texts(asked, opened.name, names[0])
        query_codes, unique_queries, query_rows = _encoded(query_texts)
        query_size = len(table)
        query_rows = _parents(table, names[1])[query_rows]
    else:
        looked = _Lookup(queries, "queries")
        position = looked.find(asked, opened.name, names[0], by_text=False)
        query_codes, unique_queries, query_rows = _encoded(looked.texts.take(position))
        query_rows, query_size = position.to_numpy()[query_rows], len(looked.texts)
    if corpus is None:
        document_codes, documents, document_rows = _encoded(_texts(right, opened.name, names[1]))
        document_size = len(right)
    else:
        looked = _Lookup(corpus, "corpus")
        codes, documents, document_rows = _encoded(looked.texts)
        twice = len(codes) - len(documents)
        if twice:
            notes.append(f"repeated texts in the corpus: {twice:,}")
        place = looked.find(right, opened.name, names[1], by_text=True, may_miss=missing_positives)
        document_codes, documents, document_rows = _linked(
            place, right, codes, documents, document_rows, notes
        )
        document_size = len(looked.texts)
    positives = _padded(query_codes, document_codes, len(unique_queries))
    repeated = len(query_codes) - int((positives >= 0).sum())
    if repeated:
        notes.append(f"repeated pairs, which count once: {repeated:,}")
    files = [str(one) for one in (pairs, corpus, queries) if isinstance(one, str | os.PathLike)]
    return MiningPairs(
        opened.name,
        tuple(files),
        names,
        unique_queries,
        documents,
        torch.from_numpy(positives),
        query_rows,
        document_rows,
        (query_size, document_size),
        tuple(notes),
    )


def load_vectors(given: Any, name: str, rows: NDArray[np.int64], size: int) -> Embeddings:
    """Ready vectors, of the texts that mining works with.

    Args:
        given: an array, a tensor, or the path of a ``.npy`` file (which is mapped).
        name: what messages call them.
        rows: the row of the table for each text; -1 for those that are in no table.
        size: rows of the table.

    Returns:
        A vector a text; the same object where each row of the table is a text.

    Raises:
        InputError: neither a vector for each row of the table nor one for each different text.
        StorageError: the file cannot be read.
    """
    vectors: Any = given
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        if path.suffix != ".npy" or not path.is_file():
            raise InputError(f"{name}: expected a .npy file that is there, got {path}")
        try:
            vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise InputError(f"{name}: {path} is no .npy file of numbers ({error})") from error
    elif not isinstance(given, Tensor):
        vectors = np.asarray(given)
    if vectors.ndim != 2 or (isinstance(vectors, np.ndarray) and vectors.dtype.kind not in "fiu"):
        raise InputError(
            f"{name}: expected numbers of shape [rows, D], got {vectors.dtype} of shape "
            f"{list(vectors.shape)}"
        )
    if (rows < 0).any():
        raise InputError(f"{name}: expected no positives beside the corpus, for want of vectors")
    if len(vectors) == size:
        if len(rows) == size and (rows == np.arange(size)).all():
            found: Embeddings = vectors
            return found
        taken: Embeddings = vectors[torch.from_numpy(rows) if isinstance(vectors, Tensor) else rows]
        return taken
    if len(vectors) != len(rows):
        raise InputError(
            f"{name}: expected {size:,} vectors, one a row, or {len(rows):,}, one a different "
            f"text, got {len(vectors):,}"
        )
    same: Embeddings = vectors
    return same


def check_vectors(name: str, vectors: Embeddings, *, may_be_zero: bool) -> None:
    """Check all numbers of vectors, part by part.

    Raises:
        InputError: nan or infinity, or a vector of zeros, which has no cosine (its row is named).
    """
    for start in range(0, len(vectors), 1 << 16):
        part: Any = vectors[start : start + (1 << 16)]
        part = part.float().cpu().numpy() if isinstance(part, Tensor) else part
        peaks = np.abs(part).max(axis=1)
        wrong = np.flatnonzero(~np.isfinite(peaks))
        if len(wrong):
            raise InputError(
                f"{name}, row {start + wrong[0]}: expected finite numbers, got nan or infinity"
            )
        zero = np.flatnonzero(peaks == 0)
        if len(zero) and not may_be_zero:
            raise InputError(
                f"{name}, row {start + zero[0]}: expected a vector with a direction, got only "
                "zeros, which have no cosine"
            )


def _columns(
    table: pa.Table, source: str, query: str | None, positive: str | None
) -> tuple[str, str]:
    names = table.column_names
    for name in (query, positive):
        if name is not None and name not in names:
            raise missing_column(source, name, names)
    if query is None:
        query = next((name for name in names if name != positive), None)
    if positive is None:
        positive = next((name for name in names if name != query), None)
    if query is None or positive is None or query == positive:
        raise InputError(
            f"{source}: expected two columns, the query's and the positive's, got "
            f"{', '.join(names) or 'none'}"
        )
    return query, positive


def _parents(table: pa.Table, positive: str) -> NDArray[np.int64]:
    """The row of the table for each pair."""
    column = table[positive]
    if not is_list(column.type):
        return np.arange(len(table))
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(table)), np.nan_to_num(lengths).astype(np.int64))


def _exploded(table: pa.Table, names: tuple[str, str], source: str) -> tuple[pa.Array, pa.Array]:
    """Queries and positives, a row a pair."""
    asked, right = (_whole(table[name]) for name in names)
    if is_list(right.type):
        parents = _parents(table, names[1])
        without = np.setdiff1d(np.arange(len(table)), parents)
        if len(without):
            raise InputError(
                f"{source}, row {without[0]}, column {names[1]!r}: expected a positive, got none"
            )
        asked, right = asked.take(pa.array(parents)), pc.list_flatten(right)
    for name, column in zip(names, (asked, right), strict=True):
        if column.null_count:
            row = pc.indices_nonzero(pc.is_null(column))[0].as_py()
            raise InputError(
                f"{source}, row {row}, column {name!r}: expected a text or an id, got a missing "
                "value"
            )
    return asked, right


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece; texts as what holds more than 2 GB."""
    column = column.cast(pa.large_string()) if is_text(column.type) else column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _texts(values: pa.Array, source: str, column: str) -> pa.Array:
    if not is_text(values.type):
        raise InputError(
            f"{source}, column {column!r}: expected texts, got {values.type}; ids need the table "
            "that they point into (corpus, queries)"
        )
    return values


def _encoded(texts: pa.Array) -> tuple[NDArray[np.int64], pa.Array, NDArray[np.int64]]:
    """Which different text each row is, the different texts, and where each first stands."""
    found = texts.dictionary_encode()
    codes = found.indices.to_numpy().astype(np.int64)
    first = np.full(len(found.dictionary), len(codes), dtype=np.int64)
    np.minimum.at(first, codes, np.arange(len(codes)))
    return codes, found.dictionary, first


class _Lookup:
    """A table of texts with ids."""

    def __init__(self, source: Any, role: str) -> None:
        self.name = open_source(source).name
        table = read_table(source)
        texts = [name for name in table.column_names if is_text(table[name].type)]
        ids = next((name for name in ID_COLUMNS if name in table.column_names), None)
        texts = [name for name in texts if name != ids]
        chosen = next((name for name in TEXT_COLUMNS if name in texts), None)
        if chosen is None and len(texts) == 1:
            chosen = texts[0]
        if chosen is None:
            raise InputError(
                f"{self.name}: expected a column of texts ({', '.join(TEXT_COLUMNS)}) for the "
                f"{role}, got {', '.join(table.column_names)}"
            )
        self.texts = _whole(table[chosen])
        if self.texts.null_count:
            row = pc.indices_nonzero(pc.is_null(self.texts))[0].as_py()
            raise InputError(
                f"{self.name}, row {row}, column {chosen!r}: expected a text, got none"
            )
        self.ids = None if ids is None else _as_text(_whole(table[ids]))
        if self.ids is not None:
            self._check_ids(self.ids, str(ids))

    def find(
        self, values: pa.Array, source: str, column: str, *, by_text: bool, may_miss: str = "error"
    ) -> pa.Array:
        """Rows of ids or texts, by whichever finds more; null for what may be missing."""
        ways: list[tuple[str, pa.Array]] = []
        if self.ids is not None:
            ways.append(("an id", pc.index_in(_as_text(values), value_set=self.ids)))
        if by_text and is_text(values.type):
            ways.append(("a text", pc.index_in(values, value_set=self.texts)))
        if not ways:
            raise InputError(
                f"{self.name}: expected a column of ids ({', '.join(ID_COLUMNS)}), got none, and "
                f"{source}, column {column!r} holds {values.type}"
            )
        told, found = min(ways, key=lambda way: way[1].null_count)
        if found.null_count and not (may_miss == "add" and told == "a text"):
            missing = pc.indices_nonzero(pc.is_null(found))
            row = missing[0].as_py()
            expected = " or ".join(way for way, _ in ways)
            more = f" (and {count(len(missing) - 1, 'more row')})" if len(missing) > 1 else ""
            hint = "; missing_positives='add' adds texts" if by_text and told == "a text" else ""
            raise InputError(
                f"{source}, row {row}, column {column!r}: expected {expected} of {self.name}, got "
                f"{show(values[row].as_py())}{more}{hint}"
            )
        return found.cast(pa.int64())

    def _check_ids(self, ids: pa.Array, column: str) -> None:
        if ids.null_count:
            row = pc.indices_nonzero(pc.is_null(ids))[0].as_py()
            raise InputError(f"{self.name}, row {row}, column {column!r}: expected an id, got none")
        codes, different, first = _encoded(ids)
        if len(different) < len(codes):
            row = int(np.flatnonzero(first[codes] != np.arange(len(codes)))[0])
            raise InputError(
                f"{self.name}, row {row}, column {column!r}: expected different ids, but "
                f"{show(ids[row].as_py())} stands in row {first[codes[row]]} already"
            )


def _as_text(values: pa.Array) -> pa.Array:
    if not (is_text(values.type) or pa.types.is_integer(values.type)):
        raise InputError(f"ids: expected integers or text, got {values.type}")
    return values.cast(pa.large_string())


def _linked(
    place: pa.Array,
    right: pa.Array,
    codes: NDArray[np.int64],
    documents: pa.Array,
    rows: NDArray[np.int64],
    notes: list[str],
) -> tuple[NDArray[np.int64], pa.Array, NDArray[np.int64]]:
    """Positives as different documents; those that the corpus lacks are added at its end."""
    there = place.is_valid().to_numpy(zero_copy_only=False)
    found = np.empty(len(place), dtype=np.int64)
    found[there] = codes[place.drop_null().to_numpy()]
    if not there.all():
        added, texts, _ = _encoded(right.filter(pa.array(~there)))
        found[~there] = len(documents) + added
        documents = pa.concat_arrays([documents, texts])
        rows = np.concatenate([rows, np.full(len(texts), -1, dtype=np.int64)])
        notes.append(f"positives added to the corpus: {len(texts):,}")
    return found, documents, rows


def _padded(
    queries: NDArray[np.int64], documents: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Documents of each query in the order of the pairs, each once, filled up with -1."""
    pairs = np.stack([queries, documents], 1)
    _, first = np.unique(pairs, axis=0, return_index=True)
    kept = pairs[np.sort(first)]
    kept = kept[np.argsort(kept[:, 0], kind="stable")]
    counts = np.bincount(kept[:, 0], minlength=size)
    starts = np.cumsum(counts) - counts
    padded = np.full((size, int(counts.max())), -1, dtype=np.int64)
    padded[kept[:, 0], np.arange(len(kept)) - starts[kept[:, 0]]] = kept[:, 1]
    return padded
