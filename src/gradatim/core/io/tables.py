"""Reading, streaming and writing tables, with errors that name file, row, column and value."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from gradatim.core.errors import InputError
from gradatim.core.files import atomic_path
from gradatim.core.io.columns import ColumnChecks
from gradatim.core.io.table_files import TableFile, file_format
from gradatim.core.io.table_sources import open_source
from gradatim.core.io.table_writers import write_csv, write_json, write_parquet


def read_table(
    source: Any,
    columns: Mapping[str, str] | None = None,
    *,
    select: Sequence[str] | None = None,
    allow_empty: bool = False,
) -> pa.Table:
    """Read a table into memory and check the columns that matter.

    Args:
        source: a path to Parquet (.parquet, .pq), JSON Lines (.jsonl, .ndjson, .json with one
            object a line), CSV or TSV (text also as .gz or .zst), a directory of Parquet files or
            one that ``datasets`` saved; or a pandas DataFrame, a ``datasets.Dataset``, a pyarrow
            table (or what hands one over, such as a polars DataFrame), or a mapping of columns.
        columns: name -> kind of the columns that must be there: "any", "text", "integer",
            "number" (finite), "number or missing", "label" (integer, true/false or text) or
            "list". Only "any" and "number or missing" may hold missing values (null or NaN).
        select: the columns to read beside those declared; None for all.
        allow_empty: whether there may be no rows.

    Returns:
        The table. Columns of the two number kinds are float64. Columns of CSV that are declared
        "text" stay as written ("007"); the types of others are inferred.

    Raises:
        InputError: the source is none of these, holds no rows, or is not what was declared. The
            message names file, row (text files: line), column, what was expected and what came.
        StorageError: a file cannot be read.

    >>> read_table({"difficulty": [1, 2]}, {"difficulty": "number"})["difficulty"].to_pylist()
    [1.0, 2.0]
    >>> read_table({"difficulty": [1, float("nan")]}, {"difficulty": "number"})
    Traceback (most recent call last):
    gradatim.core.errors.InputError: data, row 1, column 'difficulty': expected a finite number,
    got nan
    """
    columns = columns or {}
    text = {name for name, kind in columns.items() if kind == "text"}
    guessed = {name for name, kind in columns.items() if kind in ("any", "label")}
    while True:
        opened = open_source(source, _all_selected(select, columns))
        checks = ColumnChecks(columns, opened.name, untyped=opened.untyped)
        tables = [checks(part) for part in opened.parts(text=text)]
        changed = _columns_that_became_text(tables) if opened.untyped else set()
        changed -= text | (columns.keys() - guessed)
        if not changed:
            break
        text |= changed  # what was read as numbers at first is read again as it is written
    checks.finish()
    if not allow_empty and not sum(table.num_rows for table in tables):
        raise InputError(f"{opened.name}: holds no rows")
    return pa.concat_tables(tables or [pa.table({})], promote_options="permissive")


def iterate_table(
    source: Any,
    columns: Mapping[str, str] | None = None,
    rows: int = 65_536,
    *,
    select: Sequence[str] | None = None,
    skip: int = 0,
) -> Iterator[pa.Table]:
    """Read a table of any size in small tables, with the checks of :func:`read_table`.

    Memory holds one block of the file (16 MB of text, or ``rows`` rows of Parquet) and the rows
    that wait to be handed out, whatever the size of the whole. The first fault is raised when its
    row is reached; Parquet footers are all read before the first row is.

    Args:
        source: as in :func:`read_table`, or a ``datasets.IterableDataset``.
        columns: as in :func:`read_table`; a column must occur in the first block.
        rows: how many rows a table has.
        select: as in :func:`read_table`. Parquet reads no other columns from the disk.
        skip: how many rows to pass over, to go on where earlier work ended. In Parquet whole
            files and row groups are passed over without being read; skipped rows go unchecked.

    Yields:
        Tables of ``rows`` rows. The last is shorter, and so is one after which an undeclared
        column of a text file turns out to need a wider type (integer, float, text), or to exist.

    Raises:
        InputError: as in :func:`read_table`; also a label column whose type changes on the way.
        StorageError: a file cannot be read.

    >>> [part.num_rows for part in iterate_table({"x": range(5)}, rows=2)]
    [2, 2, 1]
    """
    if rows < 1 or skip < 0:
        raise InputError(f"expected rows of at least 1 and skip of at least 0, got {rows}, {skip}")
    columns = columns or {}
    opened = open_source(source, _all_selected(select, columns))
    checks = ColumnChecks(columns, opened.name, untyped=opened.untyped, at_once=True)
    text = {name for name, kind in columns.items() if kind == "text"}
    parts = opened.parts(rows=rows, skip=skip, text=text)
    return _in_tables(opened.name, map(checks, parts), rows, may_be_empty=skip > 0)


def count_rows(source: Any) -> int | None:
    """Count rows where that is possible without reading them (None for text files and streams).

    >>> count_rows({"x": [1, 2, 3]})
    3
    """
    return open_source(source).count()


def write_table(
    data: Any,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Path:
    """Write a table so that it is there whole or not at all.

    Args:
        data: whatever :func:`read_table` reads, or an iterator of pyarrow tables, which are
            written as they come.
        path: the file; its ending says the format as in :func:`read_table`.
        overwrite: whether a file that stands there may be replaced.
        inputs: files that the data come from; none of them is ever overwritten.

    Returns:
        The path. JSON Lines has null for NaN; CSV has nothing for a missing value.

    Raises:
        InputError: the file may not be replaced, or its format cannot hold a column.
        StorageError: the disk is full or the folder cannot be written; nothing has changed.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = write_table({"id": ["a", "b"]}, Path(folder) / "ids.jsonl")
    ...     file.read_text().splitlines()
    ['{"id": "a"}', '{"id": "b"}']
    """
    target = file_format(Path(path).expanduser())
    inputs = list(inputs)
    if isinstance(data, str | os.PathLike):
        inputs.append(data)
    tables = data if isinstance(data, Iterator) else iter([read_table(data, allow_empty=True)])
    first = next(tables, None)
    if first is None:
        raise InputError(f"{target.path}: expected tables to write, got none")
    tables = itertools.chain([first], tables)
    with atomic_path(target.path, overwrite=overwrite, inputs=inputs) as temporary:
        file = TableFile(temporary, target.format, target.compression)
        if target.format == "parquet":
            write_parquet(tables, file, str(target.path))
        elif target.format == "jsonl":
            write_json(tables, file, str(target.path))
        else:
            write_csv(tables, file, str(target.path))
    return target.path


def _all_selected(select: Sequence[str] | None, columns: Mapping[str, str]) -> list[str] | None:
    return None if select is None else list(dict.fromkeys([*select, *columns]))


def _columns_that_became_text(tables: Sequence[pa.Table]) -> set[str]:
    """The columns that are text in some tables and not in others."""
    kinds: dict[str, set[bool]] = {}
    for table in tables:
        for field in table.schema:
            kinds.setdefault(field.name, set()).add(field.type == pa.string())
    return {name for name, both in kinds.items() if len(both) > 1}


def _in_tables(
    name: str, tables: Iterable[pa.Table], rows: int, *, may_be_empty: bool
) -> Iterator[pa.Table]:
    """Cut tables anew, into tables of equally many rows and of types that only widen."""
    waiting: list[pa.Table] = []
    waits, total = 0, 0
    schema = None
    for given in tables:
        table = given if schema is None else _widened(given, schema)
        if waits and table.schema != schema:
            yield pa.concat_tables(waiting)
            waiting, waits = [], 0
        schema = table.schema
        total += table.num_rows
        waiting.append(table)
        waits += table.num_rows
        while waits >= rows:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, rows)
            waiting, waits = [whole.slice(rows)], waits - rows
    if waits:
        yield pa.concat_tables(waiting)
    if not total and not may_be_empty:
        raise InputError(f"{name}: holds no rows")


def _widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give a table the columns and types of those before it, unless its own are wider."""
    try:
        return pa.concat_tables([schema.empty_table(), table], promote_options="permissive")
    except pa.ArrowException:
        return table  # a column of a text file became text
