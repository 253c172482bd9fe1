"""Reading CSV and TSV files in parts, with line numbers that are right under quoted newlines."""

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from gradatim.core.errors import InputError
from gradatim.core.io.columns import MISSING_TEXTS, Part, count, is_text, missing_column
from gradatim.core.io.table_files import TableFile
from gradatim.core.io.text_blocks import (
    Block,
    cut_records,
    not_utf8,
    read_ahead,
    record_ends,
    text_blocks,
)

_DELIMITERS = {"csv": b",", "tsv": b"\t"}
# CSV knows no types: dates and times stay text, as they are in JSON.
_PLAIN_TYPES = {pa.null(), pa.bool_(), pa.int64(), pa.float64(), pa.string()}
_FILLED = re.compile(rb"[^\r\n]")


def csv_parts(
    file: TableFile, text: Iterable[str] = (), select: Sequence[str] | None = None
) -> Iterator[Part]:
    """Read a CSV or TSV file with a header.

    Types are inferred part by part and only ever widen: nothing, then integer, then float; what
    fits none of them, and does not fit what came before, becomes text from there on.

    Args:
        file: the file.
        text: the columns to read as text, whatever they look like.
        select: the columns to read; None for all.

    Raises:
        InputError: no header, a column twice or not there, a row with another number of fields,
            text that is not UTF-8, a quote that is never closed.
    """
    yield from _CsvReader(file, text, select).parts()


class _CsvReader:
    def __init__(self, file: TableFile, text: Iterable[str], select: Sequence[str] | None) -> None:
        self._file = file
        self._delimiter = _DELIMITERS[file.format]
        self._text = set(text)
        self._select = select
        self._names: list[str] = []
        self._types: dict[str, pa.DataType] = {}

    def parts(self) -> Iterator[Part]:
        for block, parsed in read_ahead(self._parse, self._blocks()):
            yield Part(self._table(block, parsed), partial(self._place, block))

    def _blocks(self) -> Iterator[Block]:
        for block in text_blocks(self._file, self._cut):
            self._check_closed(block)
            rows = block if self._names else self._take_header(block)
            if _FILLED.search(rows.data):
                yield rows

    def _cut(self, data: bytes) -> int:
        return cut_records(data, self._delimiter)

    def _check_closed(self, block: Block) -> None:
        if block.last and not self._cut(block.data + b"\n"):
            raise InputError(
                f"{self._file.path}, line {block.line}: a quote in the row that begins here is "
                "never closed"
            )

    def _take_header(self, block: Block) -> Block:
        """Read the header off the first block; returns the rest of it."""
        blank = len(block.data) - len(block.data.lstrip(b"\r\n"))
        ends = record_ends(block.data[blank:], self._delimiter)
        end = blank + int(ends[0]) + 1 if len(ends) else len(block.data)
        header = block.data[blank:end]
        if not header:
            return Block(b"", block.line, block.last)
        line = block.line_at(blank)
        if b"\r" in header.rstrip(b"\r\n") and b'"' not in header:
            raise InputError(
                f"{self._file.path}, line {line}: expected lines that end in \\n or \\r\\n, "
                "got a lone \\r"
            )
        options = pacsv.ReadOptions(block_size=len(header) + 1)
        table = self._read(header, options, pacsv.ConvertOptions())
        try:
            self._names = list(table.column_names)
        except UnicodeDecodeError:
            raise not_utf8(self._file, Block(header, line)) from None
        twice = [name for name in self._names if self._names.count(name) > 1]
        if twice:
            raise InputError(
                f"{self._file.path}, line {line}: column {twice[0]!r} stands there twice"
            )
        for name in self._select or ():
            if name not in self._names:
                raise missing_column(str(self._file.path), name, self._names)
        return Block(block.data[end:], block.line_at(end), block.last)

    def _table(self, block: Block, parsed: Future[pa.Table]) -> pa.Table:
        try:
            table = parsed.result()
            doubtful = {f.name for f in table.schema if not self._fits(f.name, f.type)}
            if doubtful:
                self._text = self._text | doubtful
                table = self._parse(block)
        except pa.ArrowInvalid as error:
            raise self._explain(block, error) from error
        for field in table.schema:
            if self._types.get(field.name) != pa.float64() or is_text(field.type):
                self._types[field.name] = field.type
        return table

    def _fits(self, name: str, kind: pa.DataType) -> bool:
        known = self._types.get(name, pa.null())
        numbers = {pa.int64(), pa.float64()}
        if kind not in _PLAIN_TYPES:
            return False
        return pa.null() in (known, kind) or kind == known or {kind, known} == numbers

    def _parse(self, block: Block) -> pa.Table:
        convert = pacsv.ConvertOptions(
            column_types=dict.fromkeys(self._text & set(self._names), pa.string()),
            include_columns=self._select,
            null_values=MISSING_TEXTS,
            true_values=["true", "True", "TRUE"],
            false_values=["false", "False", "FALSE"],
            strings_can_be_null=False,
        )
        # One block for Arrow too: it need not look for the ends of records again.
        options = pacsv.ReadOptions(column_names=self._names, block_size=len(block.data) + 1)
        table = self._read(block.data, options, convert)
        if any(pa.types.is_binary(field.type) for field in table.schema):
            raise not_utf8(self._file, block)  # Arrow takes such a column for bytes
        return table

    def _read(self, data: bytes, options: Any, convert: Any, **parse: Any) -> pa.Table:
        parsing = pacsv.ParseOptions(
            delimiter=self._delimiter.decode(), newlines_in_values=True, **parse
        )
        return pacsv.read_csv(pa.BufferReader(data), options, parsing, convert)

    def _explain(self, block: Block, error: pa.ArrowInvalid) -> InputError:
        """Say which line of a block Arrow could not read, and why."""
        wrong: list[Any] = []

        def note(row: Any) -> str:
            wrong.append(row)
            return "skip"

        options = pacsv.ReadOptions(
            column_names=self._names, use_threads=False, block_size=len(block.data) + 1
        )
        as_bytes = pacsv.ConvertOptions(column_types=dict.fromkeys(self._names, pa.binary()))
        self._read(block.data, options, as_bytes, invalid_row_handler=note)
        if wrong:
            place = self._place(block, wrong[0].number - 1)
            more = f" (and {count(len(wrong) - 1, 'more row')})" if wrong[1:] else ""
            expected = count(wrong[0].expected_columns, "field")
            return InputError(f"{place}: expected {expected}, got {wrong[0].actual_columns}{more}")
        try:
            block.data.decode()
        except UnicodeDecodeError:
            return not_utf8(self._file, block)
        return InputError(f"{self._file.path}, line {block.line} or after: {error}")

    def _place(self, block: Block, row: int) -> str:
        ends = record_ends(block.data, self._delimiter)
        starts = np.concatenate([[0], ends + 1])
        stops = np.concatenate([ends, [len(block.data)]])
        filled = [
            int(start)
            for start, stop in zip(starts, stops, strict=True)
            if block.data[start:stop].strip(b"\r\n")
        ]
        return f"{self._file.path}, line {block.line_at(filled[row])}"
