"""One way to read everything that a table can come from."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gradatim.core.errors import InputError
from gradatim.core.io.columns import Part, kind_of, missing_column, rewrite_type, row_place, show
from gradatim.core.io.csv_tables import csv_parts
from gradatim.core.io.json_tables import json_parts
from gradatim.core.io.table_files import find_table, parquet_parts, parquet_rows, several_splits
from gradatim.core.lazy import require


@dataclass(frozen=True)
class Source:
    """Something that holds a table.

    Attributes:
        name: what messages call it.
        read: ``(rows, skip, text) -> parts``, see :meth:`parts`.
        count: the number of rows if that is known without reading.
        untyped: whether the types of its columns are guesses (CSV).
    """

    name: str
    read: Callable[[int | None, int, Iterable[str]], Iterator[Part]]
    count: Callable[[], int | None]
    untyped: bool = False

    def parts(
        self, rows: int | None = None, skip: int = 0, text: Iterable[str] = ()
    ) -> Iterator[Part]:
        """Read it in parts.

        Args:
            rows: how many rows a part should have at most, where parts can be chosen; None for
                whatever is fastest.
            skip: how many rows to pass over.
            text: the columns of a text file to leave as they are written.
        """
        for part in self.read(rows, skip, text):
            yield Part(_plain(part.table), part.place)

    def tables(self) -> Iterator[pa.Table]:
        """Read it in tables, unchecked."""
        return (part.table for part in self.parts())


def open_source(source: Any, select: Sequence[str] | None = None) -> Source:
    """Find out what a source is.

    Raises:
        InputError: it is nothing that holds a table.
        StorageError: it cannot be opened.
    """
    if isinstance(source, str | os.PathLike):
        return _file_source(Path(source).expanduser(), select)
    datasets = sys.modules.get("datasets")
    if datasets is not None:
        if isinstance(source, datasets.DatasetDict | datasets.IterableDatasetDict):
            raise InputError(several_splits("data", list(source)))
        if isinstance(source, datasets.Dataset | datasets.IterableDataset):
            return _dataset_source("dataset", source, select)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return _memory_source("data frame", _from_pandas(source), select)
    if isinstance(source, pa.RecordBatch) or hasattr(source, "__arrow_c_stream__"):
        return _memory_source("table", pa.table(source), select)
    if isinstance(source, Mapping):
        return _memory_source("data", _from_columns(source), select)
    raise InputError(
        "data: expected a path, a pandas DataFrame, a datasets.Dataset, a pyarrow table or a "
        f"mapping of columns, got {type(source).__name__}"
    )


def _file_source(path: Path, select: Sequence[str] | None) -> Source:
    found = find_table(path)
    if found is None:
        try:
            dataset = require("datasets").load_from_disk(str(path))
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise InputError(
                f"{path}: expected a saved dataset, got a broken one: {error}"
            ) from error
        return _dataset_source(str(path), dataset, select)
    files = found if isinstance(found, list) else [found]
    file = files[0]
    if file.format == "parquet":
        return Source(
            str(path),
            lambda rows, skip, _: parquet_parts(files, rows, select, skip),
            lambda: parquet_rows(files),
        )
    if file.format == "jsonl":
        return Source(
            str(path), lambda _, skip, __: _skipped(json_parts(file, select), skip), lambda: None
        )
    return Source(
        str(path),
        lambda _, skip, text: _skipped(csv_parts(file, text, select), skip),
        lambda: None,
        untyped=True,
    )


def _skipped(parts: Iterable[Part], skip: int) -> Iterator[Part]:
    for part in parts:
        dropped = min(skip, part.table.num_rows)
        skip -= dropped
        if dropped < part.table.num_rows:
            yield Part(part.table.slice(dropped), _shifted(part, dropped))


def _shifted(part: Part, rows: int) -> Callable[[int], str]:
    return (lambda row: part.place(row + rows)) if rows else part.place


def _memory_source(name: str, table: pa.Table, select: Sequence[str] | None) -> Source:
    if select is not None:
        for column in select:
            if column not in table.column_names:
                raise missing_column(name, column, table.column_names)
        table = table.select(select)
    part = Part(table, row_place(name))
    return Source(
        name,
        lambda _, skip, __: _skipped([part], skip) if skip else iter([part]),
        lambda: len(table),
    )


def _dataset_source(name: str, dataset: Any, select: Sequence[str] | None) -> Source:
    if select is not None:
        for column in select:
            if dataset.column_names is not None and column not in dataset.column_names:
                raise missing_column(name, column, dataset.column_names)
        dataset = dataset.select_columns(list(select))
    arrow = dataset.with_format("arrow")
    counted = hasattr(dataset, "__len__")

    def read(rows: int | None, skip: int, _: Iterable[str]) -> Iterator[Part]:
        if counted and rows is None:
            yield Part(arrow[:], row_place(name))
            return
        if counted and skip and skip >= len(dataset):
            return
        offset, rest = skip, arrow.skip(skip) if skip else arrow
        for table in rest.iter(batch_size=rows or 65_536):
            yield Part(table, row_place(name, offset))
            offset += table.num_rows

    return Source(name, read, lambda: len(dataset) if counted else None)


def _plain(table: pa.Table) -> pa.Table:
    """Drop what other libraries left in the schema; decode categories and views of text."""
    for index, field in enumerate(table.schema):
        kind = rewrite_type(field.type, _plain_type)
        if kind != field.type:
            table = table.set_column(index, field.name, table.column(index).cast(kind))
    return table.replace_schema_metadata(None)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary_view(kind) else kind


def _from_pandas(frame: Any) -> pa.Table:
    names = [str(name) for name in frame.columns]
    _check_names("data frame", names)
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError):
        columns = {name: frame.iloc[:, index] for index, name in enumerate(names)}
        return pa.table({name: _array("data frame", name, c) for name, c in columns.items()})


def _from_columns(columns: Mapping[Any, Any]) -> pa.Table:
    _check_names("data", [str(name) for name in columns])
    arrays = {str(name): _array("data", str(name), values) for name, values in columns.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise InputError(f"data: expected columns of one length, but {told}")
    return pa.table(arrays)


def _check_names(source: str, names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{source}: column {twice[0]!r} stands there twice")


def _array(source: str, name: str, values: Any) -> Any:
    """Turn a column of any sort into an Arrow array; the error names the first row that differs."""
    values = values.detach().cpu().numpy() if hasattr(values, "detach") else values
    try:
        if isinstance(values, np.ndarray) and values.ndim == 2:
            flat = pa.array(np.ascontiguousarray(values).reshape(-1))
            return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        if isinstance(values, np.ndarray) and values.ndim > 2:
            values = values.tolist()
        return pa.array(values, from_pandas=True if hasattr(values, "iloc") else None)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        before = None
        several = isinstance(values, Iterable) and getattr(values, "ndim", 1) > 0
        for row, value in enumerate(values if several else ()):
            missing = value is None or (isinstance(value, float) and value != value)
            before = before if missing else before or kind_of(value)
            if not missing and kind_of(value) != before:
                raise InputError(
                    f"{source}, row {row}, column {name!r}: expected {before} as in the rows "
                    f"before, got {show(value)}"
                ) from error
        raise InputError(
            f"{source}, column {name!r}: expected a column of values: {error}"
        ) from error
