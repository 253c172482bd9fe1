"""Writing tables, as they come, to a file of one of three formats."""

import json
import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from gradatim.core.errors import InputError
from gradatim.core.io.columns import types_inside
from gradatim.core.io.table_files import TableFile

_ROW_GROUP = 65_536
_JSON_ROWS = 8_192


def write_parquet(tables: Iterable[pa.Table], file: TableFile, name: str) -> None:
    """Write tables of one schema to a Parquet file, in row groups of 65,536 rows.

    Args:
        tables: at least one; those after the first are brought to its types.
        file: where to write.
        name: what messages call the file.

    Raises:
        InputError: a column that the format cannot hold, or whose type changes on the way.
    """
    tables = iter(tables)
    first = next(tables)
    for field in first.schema:
        empty = [t for t in types_inside(field.type) if pa.types.is_struct(t) and not t.num_fields]
        if empty:
            raise InputError(
                f"{name}: column {field.name!r} holds objects without fields, which Parquet "
                "cannot hold; leave it out or write JSON Lines"
            )
    with pq.ParquetWriter(str(file.path), first.schema, compression="zstd") as writer:
        writer.write_table(first, row_group_size=_ROW_GROUP)
        for table in tables:
            writer.write_table(_as_before(table, first.schema, name), row_group_size=_ROW_GROUP)


def write_json(tables: Iterable[pa.Table], file: TableFile, name: str) -> None:
    """Write tables as JSON Lines; NaN becomes null, dates and times become ISO 8601 text.

    Raises:
        InputError: bytes or infinite numbers, which JSON cannot hold.
    """
    row = 0
    with pa.output_stream(str(file.path), compression=file.compression) as stream:
        for table in tables:
            _refuse_bytes(table.schema, name, "JSON")
            for batch in table.to_batches(max_chunksize=_JSON_ROWS):
                lines = [
                    _json_line(values, f"{name}, row {number}")
                    for number, values in enumerate(batch.to_pylist(), start=row)
                ]
                stream.write("".join(lines).encode())
                row += batch.num_rows


def write_csv(tables: Iterable[pa.Table], file: TableFile, name: str) -> None:
    """Write tables as CSV (TSV by the format of ``file``); missing values become empty fields.

    Raises:
        InputError: lists, objects or bytes, which CSV cannot hold, or a type that changes.
    """
    tables = iter(tables)
    first = next(tables)
    for field in first.schema:
        if pa.types.is_nested(field.type):
            raise InputError(
                f"{name}: column {field.name!r} holds lists or objects, which CSV cannot hold; "
                "write Parquet or JSON Lines"
            )
    _refuse_bytes(first.schema, name, "CSV")
    options = pacsv.WriteOptions(delimiter="\t" if file.format == "tsv" else ",")
    written = _never_blank(first)
    with (
        pa.output_stream(str(file.path), compression=file.compression) as stream,
        pacsv.CSVWriter(stream, written.schema, write_options=options) as writer,
    ):
        writer.write_table(written)
        for table in tables:
            writer.write_table(_never_blank(_as_before(table, first.schema, name)))


def _as_before(table: pa.Table, schema: pa.Schema, name: str) -> pa.Table:
    if table.schema == schema:
        return table
    try:
        whole = pa.concat_tables([schema.empty_table(), table], promote_options="permissive")
        return whole.cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(
            f"{name}: expected tables of one schema, but a later one differs: {error}"
        ) from error


def _never_blank(table: pa.Table) -> pa.Table:
    """Write nothing as "" where a row would else be a blank line, which readers pass over."""
    if table.num_columns != 1:
        return table
    return table.set_column(
        0, table.column_names[0], pc.fill_null(table.column(0).cast(pa.string()), "")
    )


def _refuse_bytes(schema: pa.Schema, name: str, format_name: str) -> None:
    for field in schema:
        for kind in types_inside(field.type):
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                raise InputError(
                    f"{name}: column {field.name!r} holds bytes, which {format_name} cannot hold; "
                    "write Parquet"
                )


def _json_line(values: dict[str, Any], place: str) -> str:
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, default=_json_value)
    except ValueError:
        cleaned = {
            key: _without_nan(item, f"{place}, column {key!r}") for key, item in values.items()
        }
        text = json.dumps(cleaned, ensure_ascii=False, default=_json_value)
    return f"{text}\n"


def _json_value(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return float(value) if hasattr(value, "as_tuple") else str(value)


def _without_nan(value: Any, place: str) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item, place) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item, place) for item in value]
    if isinstance(value, float) and math.isinf(value):
        raise InputError(f"{place}: expected a finite number or NaN, got {value}; write Parquet")
    return None if isinstance(value, float) and math.isnan(value) else value
