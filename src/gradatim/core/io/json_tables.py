"""Reading JSON Lines files in parts; what Arrow cannot read is diagnosed line by line."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from gradatim.core.errors import InputError
from gradatim.core.io.columns import (
    Part,
    is_list,
    is_number,
    is_text,
    kind_of,
    missing_column,
    rewrite_type,
    show,
)
from gradatim.core.io.table_files import TableFile
from gradatim.core.io.text_blocks import (
    Block,
    count_lines,
    cut_lines,
    not_utf8,
    read_ahead,
    text_blocks,
)


def json_parts(file: TableFile, select: Sequence[str] | None = None) -> Iterator[Part]:
    """Read a file with one JSON object a line.

    Types are inferred part by part and only ever widen (integer to float, missing to anything).

    Raises:
        InputError: a line that does not parse, is no object, has a key twice or is not UTF-8, or
            a value whose type does not go with the lines before.
    """
    yield from _JsonReader(file, select).parts()


class _JsonReader:
    def __init__(self, file: TableFile, select: Sequence[str] | None) -> None:
        self._file = file
        self._select = select
        self._schema = pa.schema([])
        self._dates: set[str] = set()

    def parts(self) -> Iterator[Part]:
        blocks = (b for b in text_blocks(self._file, cut_lines) if not b.data.isspace())
        for block, parsed in read_ahead(self._parse, blocks):
            table = self._table(block, parsed)
            if self._select is not None:
                for name in self._select:
                    if name not in self._schema.names:
                        raise missing_column(str(self._file.path), name, self._schema.names)
                table = self._with_known_columns(table).select(self._select)
            yield Part(table, partial(self._place, block))

    def _table(self, block: Block, parsed: Future[pa.Table]) -> pa.Table:
        try:
            table = parsed.result()
            dated = {f.name: _as_text(f.type) for f in table.schema if _as_text(f.type) != f.type}
            if dated:
                self._dates = self._dates | {n for n, kind in dated.items() if is_text(kind)}
                table = self._parse(block, dated)
            table = _whole(table, block)
            schemas = [self._schema, table.schema]
            self._schema = pa.unify_schemas(schemas, promote_options="permissive")
            plain = table.num_rows == count_lines(block.data) + (not block.data.endswith(b"\n"))
            if not plain and table.num_rows != len(_filled_lines(block)):
                raise pa.ArrowInvalid("objects and lines do not agree")
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise self._explain(block, error) from error
        return table

    def _parse(self, block: Block, types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
        known = dict.fromkeys(self._dates, pa.string()) | dict(types or {})
        parsing = pajson.ParseOptions(explicit_schema=pa.schema(known) if known else None)
        options = pajson.ReadOptions(block_size=len(block.data) + 1)
        return pajson.read_json(pa.BufferReader(block.data), options, parsing)

    def _with_known_columns(self, table: pa.Table) -> pa.Table:
        known = self._schema.empty_table()
        return pa.concat_tables([known, table], promote_options="permissive")

    def _place(self, block: Block, row: int) -> str:
        return f"{self._file.path}, line {_filled_lines(block)[row][0]}"

    def _explain(self, block: Block, error: Exception) -> InputError:
        """Read a block line by line and say what is wrong with which."""
        seen: dict[str, str] = {}
        for field in self._schema:
            _note_type(seen, field.name, field.type)
        for number, line in _filled_lines(block):
            place = f"{self._file.path}, line {number}"
            try:
                value = json.loads(line.decode(), object_pairs_hook=_unique)
                if not isinstance(value, dict):
                    return InputError(
                        f"{place}: expected one JSON object a line, got {kind_of(value)}"
                    )
                self._parse(Block(line, number))
                for name, item in value.items():
                    _note_value(seen, name, item)
            except UnicodeDecodeError:
                return not_utf8(self._file, Block(line, number))
            except json.JSONDecodeError as fault:
                got = f"got {show(line.decode().strip())} ({fault.msg}, character {fault.pos + 1})"
                return InputError(f"{place}: expected one JSON object a line, {got}")
            except _LineError as fault:
                return InputError(f"{place}, {fault}")
            except pa.ArrowInvalid as fault:
                return InputError(f"{place}: {fault}")
        return InputError(f"{self._file.path}, line {block.line} or after: {error}")


class _LineError(Exception):
    """What is wrong with a line, without its place."""


def _whole(table: pa.Table, block: Block) -> pa.Table:
    """Read a block anew where Arrow lost nulls at the start of lists (apache/arrow#51305)."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        rows = [json.loads(line) for _, line in _filled_lines(block)]
        return pa.Table.from_pylist(rows, schema=table.schema)
    return table


def _filled_lines(block: Block) -> list[tuple[int, bytes]]:
    lines = enumerate(block.data.split(b"\n"), start=block.line)
    return [(number, line) for number, line in lines if line.strip()]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _LineError(f"column {twice!r}: stands there twice")
    return items


def _note_value(seen: dict[str, str], path: str, value: Any) -> None:
    """Note the kinds of a value and of what is inside it, and raise where one differs."""
    if value is None:
        return
    before, kind = seen.setdefault(path, kind_of(value)), kind_of(value)
    if kind != before:
        got = kind if isinstance(value, list | dict) else show(value)
        raise _LineError(f"column {path!r}: expected {before} as in the lines before, got {got}")
    for name, item in value.items() if isinstance(value, dict) else ():
        _note_value(seen, f"{path}.{name}", item)
    for item in value if isinstance(value, list) else ():
        _note_value(seen, f"{path}[]", item)


def _note_type(seen: dict[str, str], path: str, kind: pa.DataType) -> None:
    """Note the kinds that a type stands for, as :func:`_note_value` does for values."""
    if is_list(kind):
        seen[path] = "a list"
        _note_type(seen, f"{path}[]", kind.value_type)
    elif pa.types.is_struct(kind):
        seen[path] = "an object"
        for field in kind:
            _note_type(seen, f"{path}.{field.name}", field.type)
    elif pa.types.is_boolean(kind):
        seen[path] = "true or false"
    elif is_number(kind) or is_text(kind):
        seen[path] = "a number" if is_number(kind) else "text"


def _as_text(kind: pa.DataType) -> pa.DataType:
    """A type with text in place of the timestamps that Arrow sees in text that looks like one."""
    return rewrite_type(kind, lambda k: pa.string() if pa.types.is_timestamp(k) else k)
