"""The pool that is selected from: difficulty, strata and features, read and checked."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_finite
from gradatim.core.errors import InputError
from gradatim.core.io.columns import is_list, is_number, is_text, missing_column, show
from gradatim.core.io.table_sources import Source, open_source
from gradatim.core.io.tables import iterate_table, read_table
from gradatim.selection.stratified_draws import cutoffs_by_quantiles
from gradatim.workflows.level_column import LEVEL_WORDS, is_level_words, parse_levels

if TYPE_CHECKING:
    import pandas as pd

MOST_LEVELS = 10
"""With more different difficulties than these, strata are easy, medium and hard."""


@dataclass(frozen=True)
class Strata:
    """Parts of a pool.

    Attributes:
        names: of each stratum, easy before hard where they are of difficulty.
        told: what each is made of, in words.
        code: which stratum each row is in, shape [N].
    """

    names: tuple[str, ...]
    told: tuple[str, ...]
    code: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of each stratum."""
        return np.bincount(self.code, minlength=len(self.names))


@dataclass(frozen=True)
class Pool:
    """What a choice is made of.

    Attributes:
        source: what messages call the pool.
        is_file: whether that is a file.
        size: rows.
        by: the column with the difficulty, or None.
        difficulty: of each row, shape [N], or None.
        strata: None if there is neither difficulty nor a column of strata.
        features: of each row, shape [N, D], or None.
    """

    source: str
    is_file: bool
    size: int
    by: str | None
    difficulty: NDArray[np.float64] | None
    strata: Strata | None
    features: NDArray[np.float64] | None


def load_pool(
    data: Any,
    by: str | None,
    strata: str | int | None,
    features: str | Sequence[str] | ArrayLike | None,
) -> Pool:
    """Read what the choice is made of; other columns are read when rows have been chosen.

    Args:
        data: whatever :func:`~gradatim.core.io.tables.read_table` reads.
        by: the column with the difficulty: numbers, or easy, medium and hard.
        strata: a column of labels, or the number of strata of equal size; None takes each level of
            ``by`` as one, or easy, medium and hard if there are more than 10.
        features: numeric columns, a column of lists, or an array of shape [N, D].

    Raises:
        InputError: a missing column, or a value that is not what it should be (the row is named).
    """
    names = [features] if isinstance(features, str) else features
    columns = names if isinstance(names, list | tuple) and _are_names(names) else None
    declared = dict.fromkeys([by] if by is not None else [], "any")
    declared |= dict.fromkeys([strata] if isinstance(strata, str) else [], "label")
    declared |= dict.fromkeys(columns or [], "any")
    needed = _only(data, declared)
    opened = open_source(needed)
    table = read_table(needed, declared, select=()) if declared else pa.table({})
    size = len(table) if declared else _count(data, opened)
    difficulty = None
    if by is not None:
        difficulty = _difficulty(table, by, opened.name)
    matrix = None
    if columns is not None:
        matrix = _columns_matrix(table, columns, opened.name)
    elif features is not None:
        matrix = np.asarray(features, dtype=np.float64)
        if matrix.ndim != 2 or len(matrix) != size:
            raise InputError(
                f"features: expected columns or shape [{size}, D], got {list(matrix.shape)}"
            )
        check_finite("features", matrix)
    return Pool(
        opened.name,
        isinstance(data, str | os.PathLike),
        size,
        by,
        difficulty,
        _strata(table, by, difficulty, strata, opened.name),
        matrix,
    )


def take_rows(data: Any, rows: NDArray[np.int64]) -> "pd.DataFrame":
    """The chosen rows of a pool in the order given, with all their columns.

    Of Parquet no more than a part is in memory at a time.
    """
    if hasattr(data, "iloc"):
        frame: pd.DataFrame = data.iloc[rows].reset_index(drop=True).rename(columns=str)
        return frame
    opened = open_source(data)
    if not opened.untyped and isinstance(data, str | os.PathLike):
        order = np.argsort(rows, kind="stable")
        parts, start = [], 0
        for part in iterate_table(data):
            inside = rows[order[np.searchsorted(rows[order], start) :]]
            inside = inside[inside < start + len(part)]
            parts.append(part.take(pa.array(inside - start)))
            start += len(part)
        table = pa.concat_tables(parts, promote_options="permissive")
        found: pd.DataFrame = table.take(pa.array(np.argsort(order, kind="stable"))).to_pandas()
        return found
    whole: pd.DataFrame = read_table(data).take(pa.array(rows)).to_pandas()
    return whole


def _only(data: Any, columns: Iterable[str]) -> Any:
    """The same data; of a data frame only what is needed, since all of it would be converted."""
    if not hasattr(data, "iloc"):
        return data
    names = [str(name) for name in data.columns]
    for column in columns:
        if column not in names:
            raise missing_column("data frame", column, names)
    return data.iloc[:, [names.index(column) for column in columns]]


def _count(data: Any, opened: Source) -> int:
    counted = len(data) if hasattr(data, "iloc") else opened.count()
    size = len(read_table(data)) if counted is None else counted
    if not size:
        raise InputError(f"{opened.name}: holds no rows")
    return size


def _difficulty(table: pa.Table, by: str, source: str) -> NDArray[np.float64]:
    try:
        return parse_levels(table[by], by, lambda row: f"{source}, row {row}")
    except InputError as error:
        hint = "; a column of names can be given as strata" if is_text(table[by].type) else ""
        raise InputError(f"{error}{hint}") from error


def _strata(
    table: pa.Table,
    by: str | None,
    difficulty: NDArray[np.float64] | None,
    strata: str | int | None,
    source: str,
) -> Strata | None:
    if isinstance(strata, str):
        labels = table[strata].to_pylist()
        names = sorted(set(labels), key=lambda one: (isinstance(one, str), one))
        place = {name: number for number, name in enumerate(names)}
        told = tuple(f"{strata} {show(name)}" for name in names)
        return Strata(tuple(map(str, names)), told, np.array([place[one] for one in labels]))
    if difficulty is None or by is None:
        if strata is not None:
            raise InputError("strata: expected a column of labels, or a difficulty to cut (by)")
        return None
    values = np.unique(difficulty)
    words = is_level_words(table[by])
    if strata is None and len(values) <= MOST_LEVELS:
        known = {number: word for word, number in LEVEL_WORDS.items()}
        names = [known[value] if words else f"{value:g}" for value in values]
        return Strata(
            tuple(names),
            tuple(f"{by} {name}" for name in names),
            np.searchsorted(values, difficulty).astype(np.int64),
        )
    return _cut(difficulty, 3 if strata is None else strata, by, source)


def _cut(difficulty: NDArray[np.float64], count: int, by: str, source: str) -> Strata:
    """Strata between quantiles; three of them are easy, medium and hard, cut at 30% and 70%."""
    if count < 2:
        raise InputError(f"strata: expected at least 2, got {count}")
    if count == 3 and len(np.unique(difficulty)) > 1:
        low, high = cutoffs_by_quantiles(difficulty)
        code = np.where(difficulty <= low, 0, np.where(difficulty >= high, 2, 1))
        names: tuple[str, ...] = ("easy", "medium", "hard")
    else:
        edges = np.quantile(difficulty, np.arange(1, count) / count, method="lower")
        code = np.searchsorted(edges, difficulty, side="left")
        names = tuple(f"{number} of {count}" for number in range(1, count + 1))
    sizes = np.bincount(code, minlength=count)
    there = np.flatnonzero(sizes)
    if len(there) < count and count != 3:
        raise InputError(
            f"{source}, column {by!r}: expected rows in each of {count} strata, but equal values "
            f"leave {count - len(there)} empty; ask for {len(there)} or fewer"
        )
    told = tuple(
        f"{by} from {difficulty[code == one].min():g} to {difficulty[code == one].max():g}"
        for one in there
    )
    return Strata(
        tuple(names[one] for one in there), told, np.searchsorted(there, code).astype(np.int64)
    )


def _are_names(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(one, str) for one in values)


def _columns_matrix(table: pa.Table, columns: Sequence[str], source: str) -> NDArray[np.float64]:
    """Features side by side; single numbers are standardized, lists are taken as they are."""
    parts = []
    for name in columns:
        column = table[name]
        if is_number(column.type) or pa.types.is_boolean(column.type):
            values = np.array(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
            check_finite(f"{source}, column {name!r}", values)
            spread = values.std()
            parts.append(((values - values.mean()) / (spread or 1.0))[:, None])
        elif is_list(column.type):
            parts.append(_lists(column.to_pylist(), name, source))
        else:
            raise InputError(
                f"{source}, column {name!r}: expected numbers or lists of numbers as features, got "
                f"{column.type}"
            )
    return np.concatenate(parts, axis=1)


def _lists(values: Sequence[Any], name: str, source: str) -> NDArray[np.float64]:
    width = len(values[0]) if values and values[0] is not None else 0
    for row, one in enumerate(values):
        if one is None or len(one) != width or not width:
            got = "a missing value" if one is None else f"{len(one)} numbers"
            raise InputError(
                f"{source}, row {row}, column {name!r}: expected {width or 'some'} numbers as in "
                f"the first row, got {got}"
            )
    try:
        matrix = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}, column {name!r}: expected lists of numbers") from error
    check_finite(f"{source}, column {name!r}", matrix)
    return matrix
