"""A table of per-example values (difficulty, weight...) that stands beside the examples."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradatim.core.content_ids import content_ids
from gradatim.core.errors import InputError
from gradatim.core.io.columns import count, fit, is_text, missing_column, show
from gradatim.core.io.tables import read_table, write_table

__all__ = ["SideTable", "content_ids"]

_NEVER_MISSING = ("difficulty", "weight")


class SideTable:
    """Columns of per-example values, keyed by example id.

    Ids are positions (integers) or content hashes (text, :func:`content_ids`). A side table is
    never changed: its methods give new ones.

    Args:
        ids: one id an example, all different.
        columns: name -> one number, true/false or text an example.
        allow_missing: whether "difficulty" and "weight" may hold NaN.

    Raises:
        InputError: an id twice; a column of another length, or with more than one value an
            example; NaN in "difficulty" or "weight".

    >>> side = SideTable(["a", "b", "c"], {"difficulty": [0.1, 0.9, 0.5]})
    >>> side.align(["c", "a"])
    array([2, 0])
    >>> side.reindex(["c", "a"]).column("difficulty")
    array([0.5, 0.1])
    """

    def __init__(
        self, ids: Any, columns: Mapping[str, Any], *, allow_missing: bool = False
    ) -> None:
        self._ids = _id_array(ids)
        self._allow_missing = allow_missing
        self._columns: dict[str, np.ndarray] = {}
        for name, values in columns.items():
            array = _column_array(name, values, len(self._ids))
            if name in _NEVER_MISSING and not allow_missing:
                self._check_present(name, array)
            self._columns[name] = array

    @property
    def ids(self) -> np.ndarray:
        """The ids [N], of dtype int64 or object (text)."""
        return _read_only(self._ids.to_numpy(zero_copy_only=False))

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, without the ids."""
        return list(self._columns)

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"SideTable({count(len(self), 'example')}: {', '.join(self._columns)})"

    def column(self, name: str) -> np.ndarray:
        """A column [N] (an array that cannot be written to).

        Raises:
            InputError: there is none of this name.
        """
        if name not in self._columns:
            raise missing_column("side table", name, self.column_names)
        return self._columns[name]

    def align(self, ids: Any) -> np.ndarray:
        """Where in this table the examples with some ids stand.

        Args:
            ids: M ids.

        Returns:
            Positions [M], int64, such that ``table.ids[positions]`` are the ids.

        Raises:
            InputError: ids that are not in the table.
        """
        wanted = _id_array(ids, unique=False)
        where = self._where(wanted)
        if where.null_count:
            rows = pc.indices_nonzero(pc.is_null(where))
            first = show(wanted[rows[0].as_py()].as_py())
            raise InputError(
                f"ids: expected ids of the side table, but {count(len(rows), 'id')} of "
                f"{len(wanted):,} are not in it, the first is {first}"
            )
        return np.asarray(where.to_numpy(zero_copy_only=False), dtype=np.int64)

    def reindex(self, ids: Any, missing: Literal["error", "nan"] = "error") -> "SideTable":
        """The rows of some examples, in their order.

        Args:
            ids: the ids, all different.
            missing: "error", or "nan" to give examples that are not in the table NaN (None in
                columns of text or true/false).

        Raises:
            InputError: ids that are not in the table, unless ``missing`` is "nan".
        """
        if missing not in ("error", "nan"):
            raise InputError(f"missing: expected one of error, nan, got {missing!r}")
        if missing == "error":
            rows = self.align(ids)
            columns = {name: column[rows] for name, column in self._columns.items()}
            return SideTable(ids, columns, allow_missing=self._allow_missing)
        where = self._where(_id_array(ids, unique=False))
        there = where.is_valid().to_numpy(zero_copy_only=False)
        rows = where.drop_null().to_numpy(zero_copy_only=False)
        columns = {name: _spread(c[rows], there) for name, c in self._columns.items()}
        return SideTable(ids, columns, allow_missing=True)

    def join(self, other: "SideTable") -> "SideTable":
        """Add the columns of another table, matched by id.

        Args:
            other: a table that holds at least the examples of this one.

        Raises:
            InputError: a column that both have, or an example that the other has not.
        """
        both = [name for name in other.column_names if name in self._columns]
        if both:
            raise InputError(f"join: expected different columns, but both tables have {both[0]!r}")
        found = other.reindex(self._ids)
        columns = self._columns | {name: found.column(name) for name in found.column_names}
        allow = self._allow_missing or other._allow_missing
        return SideTable(self._ids, columns, allow_missing=allow)

    def with_column(self, name: str, values: Any) -> "SideTable":
        """Add a column, or replace one.

        Raises:
            InputError: as for the constructor.
        """
        columns = self._columns | {name: values}
        return SideTable(self._ids, columns, allow_missing=self._allow_missing)

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame whose index, named "id", holds the ids."""
        import pandas as pd

        return pd.DataFrame(self._columns, index=pd.Index(self.ids.copy(), name="id"))

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        inputs: Iterable[str | os.PathLike[str]] = (),
    ) -> Path:
        """Write the table, ids in a column "id"; arguments as for ``write_table``.

        Raises:
            InputError: a column called "id", or the file may not be replaced.
            StorageError: the file cannot be written.
        """
        if "id" in self._columns:
            raise InputError("side table: a column called 'id' cannot be saved beside the ids")
        arrays = {name: pa.array(c, from_pandas=True) for name, c in self._columns.items()}
        table = pa.table({"id": self._ids, **arrays})
        return write_table(table, path, overwrite=overwrite, inputs=inputs)

    @classmethod
    def load(
        cls,
        path: Any,
        columns: Mapping[str, str] | None = None,
        *,
        allow_missing: bool = False,
    ) -> "SideTable":
        """Read a table that has a column "id".

        Args:
            path: whatever ``read_table`` reads.
            columns: the columns that must be there and their kinds, as for ``read_table``.
            allow_missing: as for the constructor.

        Raises:
            InputError: as for ``read_table`` and the constructor.
        """
        table = read_table(path, {"id": "label", **(columns or {})})
        kind = "number or missing" if allow_missing else "number"
        values = {name: table[name] for name in table.column_names if name != "id"}
        for name in values.keys() & set(_NEVER_MISSING):
            values[name], bad = fit(values[name], kind)
            if bad is not None:
                read_table(path, {name: kind})  # says in which line
        return cls(table["id"], values, allow_missing=allow_missing)

    def _where(self, wanted: pa.Array) -> pa.Array:
        """Positions of ids, null for those that are not in the table."""
        if wanted.type != self._ids.type and len(wanted):
            mine, theirs = (
                "positions (integers)" if pa.types.is_integer(a.type) else "content ids (text)"
                for a in (self._ids, wanted)
            )
            raise InputError(f"ids: expected {mine} as the side table has them, got {theirs}")
        return pc.index_in(wanted.cast(self._ids.type), value_set=self._ids)

    def _check_present(self, name: str, array: np.ndarray) -> None:
        if array.dtype.kind not in "fiu":
            raise InputError(f"side table, column {name!r}: expected numbers, got {array.dtype}")
        bad = np.flatnonzero(~np.isfinite(array))
        if len(bad):
            more = f" (and {count(len(bad) - 1, 'more row')})" if len(bad) > 1 else ""
            raise InputError(
                f"side table, row {bad[0]}, id {self._ids[int(bad[0])].as_py()!r}, column "
                f"{name!r}: expected a finite number, got {array[bad[0]]}{more}"
            )


def _id_array(ids: Any, *, unique: bool = True) -> pa.Array:
    """Ids as an Arrow array of int64 or large_string."""
    if hasattr(ids, "detach"):
        ids = ids.detach().cpu().numpy()
    try:
        array = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids)
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        if len(array) and not pa.types.is_integer(array.type) and not is_text(array.type):
            raise TypeError(f"got {array.type}")
        array = array.cast(pa.large_string() if is_text(array.type) else pa.int64())
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise InputError(f"ids: expected integers, or text, of one kind: {error}") from error
    if array.null_count:
        row = pc.indices_nonzero(pc.is_null(array))[0].as_py()
        raise InputError(f"ids, row {row}: expected an id, got a missing value")
    if unique and len(pc.unique(array)) < len(array):
        first = pc.index_in(array, value_set=array).to_numpy()
        row = int(np.flatnonzero(first != np.arange(len(array)))[0])
        raise InputError(
            f"ids, row {row}: expected different ids, but {array[row].as_py()!r} stands in row "
            f"{first[row]} already"
        )
    return array


def _column_array(name: str, values: Any, length: int) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if isinstance(values, pa.Array | pa.ChunkedArray):
        values = values.to_numpy(zero_copy_only=False)
    try:
        array = np.array(values)
    except ValueError:  # lists of different lengths
        array = np.array(list(values), dtype=object)[:, None]
    if array.dtype.kind not in "biufO":
        array = np.array(values, dtype=object)
    if array.shape != (length,):
        raise InputError(
            f"side table, column {name!r}: expected one value an example, shape [{length}], got "
            f"shape {list(array.shape)}"
        )
    return _read_only(array)


def _spread(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Put values where ``there`` is true, and NaN or None elsewhere."""
    if values.dtype.kind in "iu":
        values = values.astype(np.float64)
    numbers = values.dtype.kind == "f"
    spread = np.full(len(there), np.nan if numbers else None, values.dtype if numbers else object)
    spread[there] = values
    return spread


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
