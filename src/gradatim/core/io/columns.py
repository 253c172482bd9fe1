"""What the columns of a table may hold, and the check of every value in them."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradatim.core.errors import InputError, nearest_names

EXPECTED = {
    "any": "any value",
    "text": "text",
    "integer": "an integer",
    "number": "a finite number",
    "number or missing": "a finite number or a missing value",
    "label": "a label (integer, true/false or text)",
    "list": "a list",
}
MISSING_TEXTS = (
    *("", "#N/A", "<NA>", "N/A", "n/a", "NA", "NaN", "-NaN", "nan", "-nan", "NULL", "null", "None"),
)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_LARGEST_WHOLE = 2.0**53  # beyond it not every integer has a float of its own

Place = Callable[[int], str]


@dataclass(frozen=True)
class Part:
    """Some consecutive rows of a source, and how to name one of them to the user.

    Attributes:
        table: the rows.
        place: the row's number in ``table`` -> text such as ``"scores.csv, line 17"``.
    """

    table: pa.Table
    place: Place


def row_place(name: str, offset: int = 0) -> Place:
    """Name rows by their number in a source, counted from 0.

    >>> row_place("data frame", offset=10)(2)
    'data frame, row 12'
    """
    return lambda row: f"{name}, row {offset + row}"


class ColumnChecks:
    """Checks the declared columns part by part, and remembers the first fault.

    Args:
        columns: name -> kind, one of "any", "text", "integer", "number", "number or missing",
            "label", "list".
        name: the source's name in messages.
        untyped: whether the source knows no types (CSV), so that empty text is a missing value.
        at_once: raise at the first fault, rather than count further ones until :meth:`finish`.

    Raises:
        InputError: a kind that does not exist.
    """

    def __init__(
        self, columns: Mapping[str, str], name: str, *, untyped: bool = False, at_once: bool = False
    ) -> None:
        for column, kind in columns.items():
            if kind not in EXPECTED:
                known = ", ".join(EXPECTED)
                raise InputError(f"columns[{column!r}]: expected one of {known}, got {kind!r}")
        self._columns = dict(columns)
        self._name = name
        self._untyped = untyped
        self._at_once = at_once
        self._absent: set[str] | None = None
        self._seen: list[str] = []
        self._label_types: dict[str, pa.DataType] = {}
        self._fault: tuple[str, str] | None = None
        self._further = 0

    def __call__(self, part: Part) -> pa.Table:
        """Check a part; returns its table with the declared columns in their kind's type."""
        table = part.table
        self._note_presence(table.column_names)
        for name, kind in self._columns.items():
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(table.num_rows))
            column, bad = fit(table[name], kind, untyped=self._untyped)
            expected = EXPECTED[kind]
            if self._at_once and kind == "label" and bad is None:
                first = self._label_types.setdefault(name, column.type)
                if first != column.type:
                    bad = pa.repeat(True, len(column))
                    expected = f"labels of one type, {first} as in the rows before"
            if bad is None:
                table = table.set_column(table.column_names.index(name), name, column)
            else:
                self._note_fault(name, expected, table[name], bad, part.place)
        return table

    def finish(self) -> None:
        """Raise what was found.

        Raises:
            InputError: a declared column was never there, or a value is not of its kind.
        """
        for name in self._columns:
            if self._absent and name in self._absent:
                raise missing_column(self._name, name, self._seen)
        if self._fault is not None:
            also = " so far" if self._at_once else ""
            more = f" (and {count(self._further, 'more row')}{also})" if self._further else ""
            raise InputError(f"{self._fault[1]}{more}")

    def _note_presence(self, names: Sequence[str]) -> None:
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise InputError(f"{self._name}: column {twice[0]!r} stands there twice")
        absent = self._columns.keys() - set(names)
        self._absent = absent if self._absent is None else self._absent & absent
        self._seen += [name for name in names if name not in self._seen]
        if self._at_once and self._absent:
            self.finish()

    def _note_fault(
        self, name: str, expected: str, column: pa.ChunkedArray, bad: pa.Array, place: Place
    ) -> None:
        rows = pc.indices_nonzero(bad)
        if self._fault is None:
            row = rows[0].as_py()
            got = show(column[row].as_py())
            self._fault = (name, f"{place(row)}, column {name!r}: expected {expected}, got {got}")
            self._further = len(rows) - 1
        elif self._fault[0] == name:
            self._further += len(rows)
        if self._at_once:
            self.finish()


def fit(
    column: pa.ChunkedArray, kind: str, *, untyped: bool = False
) -> tuple[pa.ChunkedArray, pa.Array | None]:
    """Bring a column into the type of its kind.

    Numbers become float64, whole floats become integers where an integer or a label is expected.

    Returns:
        The column, and which rows are not of the kind (None if all are).
    """
    if kind == "any":
        return column, None
    if kind.startswith("number"):
        column, bad = _fit_numbers(column, may_miss=kind == "number or missing", untyped=untyped)
    elif kind in ("integer", "label") and _holds_floats(column.type):
        column, bad = _fit_whole_numbers(column)
    elif _FITS[kind](column.type):
        empty_is_missing = untyped and kind == "label" and is_text(column.type)
        bad = pc.is_null(column)
        bad = pc.or_(bad, pc.equal(column, "")) if empty_is_missing else bad
    elif kind == "integer" and untyped and is_text(column.type):
        column, bad = _fit_numbers(column, may_miss=False, untyped=True)
        bad = pc.or_(bad, _fit_whole_numbers(column)[1])
    else:
        bad = pa.repeat(True, len(column))
    return column, (bad if pc.any(bad).as_py() else None)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists."""
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds integers, floats or decimals (no true/false)."""
    return bool(pa.types.is_integer(kind) or _holds_floats(kind))


def missing_column(name: str, column: str, there: Sequence[str]) -> InputError:
    """The error for a column that is not there: lists those there are, suggests the nearest."""
    listed = ", ".join(there[:20]) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
    near = nearest_names(column, there)
    return InputError(
        f"{name}: expected a column {column!r}, got the columns {listed or '(none)'}.{near}"
    )


def show(value: Any) -> str:
    """A value as it stands in a message: its repr, cut after 60 characters.

    >>> show(None), show("a" * 100)
    ('a missing value', "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...")
    """
    if value is None:
        return "a missing value"
    text = repr(value[:100] if isinstance(value, str | bytes | list) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def kind_of(value: Any) -> str:
    """What a value is, in the words of the messages.

    >>> kind_of(3), kind_of("a"), kind_of(None)
    ('a number', 'text', 'a missing value')
    """
    kinds: tuple[tuple[Any, str], ...] = (
        (bool | np.bool_, "true or false"),
        (int | float | np.number, "a number"),
        (str, "text"),
        (list | tuple | np.ndarray, "a list"),
        (dict, "an object"),
        (type(None), "a missing value"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)


def types_inside(kind: pa.DataType) -> Iterator[pa.DataType]:
    """A type and all types nested in it."""
    yield kind
    for index in range(kind.num_fields):
        yield from types_inside(kind.field(index).type)


def rewrite_type(kind: pa.DataType, rewrite: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Apply a change to a type, or to the types nested in it.

    >>> rewrite_type(pa.list_(pa.int8()), lambda kind: pa.int64())
    ListType(list<item: int64>)
    """
    if is_list(kind):
        value = rewrite_type(kind.value_type, rewrite)
        if pa.types.is_fixed_size_list(kind):
            return pa.list_(value, kind.list_size)
        return pa.large_list(value) if pa.types.is_large_list(kind) else pa.list_(value)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(rewrite_type(field.type, rewrite)) for field in kind])
    return rewrite(kind)


def count(number: int, noun: str) -> str:
    """A number and its noun.

    >>> count(1, "row"), count(2, "row")
    ('1 row', '2 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _holds_floats(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))


_FITS: dict[str, Callable[[pa.DataType], bool]] = {
    "text": is_text,
    "integer": pa.types.is_integer,
    "label": lambda kind: pa.types.is_integer(kind) or pa.types.is_boolean(kind) or is_text(kind),
    "list": is_list,
}


def _fit_numbers(
    column: pa.ChunkedArray, *, may_miss: bool, untyped: bool
) -> tuple[pa.ChunkedArray, pa.Array]:
    if untyped and is_text(column.type):
        return _parse_numbers(column, may_miss=may_miss)
    if pa.types.is_null(column.type):
        return column.cast(pa.float64()), pa.repeat(not may_miss, len(column))
    if not is_number(column.type):
        return column, (pc.is_valid(column) if may_miss else pa.repeat(True, len(column)))
    column = column.cast(pa.float64(), safe=False)
    if not may_miss:
        return column, pc.invert(pc.fill_null(pc.is_finite(column), False))
    nan = pc.is_nan(column)
    if pc.any(nan).as_py():
        column = pc.if_else(nan, None, column)
    return column, pc.fill_null(pc.is_inf(column), False)


def _parse_numbers(column: pa.ChunkedArray, *, may_miss: bool) -> tuple[pa.ChunkedArray, pa.Array]:
    """Read numbers out of text that Arrow did not take for numbers, and find what is none."""
    values: list[float | None] = []
    bad: list[bool] = []
    for text in column.to_pylist():
        missing = text is None or text.strip() in MISSING_TEXTS
        parsed = None if missing or not _NUMBER.fullmatch(text) else float(text)
        values.append(parsed)
        bad.append(not may_miss if missing else parsed is None or abs(parsed) == float("inf"))
    return pa.chunked_array([values], pa.float64()), pa.array(bad, pa.bool_())


def _fit_whole_numbers(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.Array]:
    floats = column.cast(pa.float64(), safe=False)
    whole = pc.and_(
        pc.equal(pc.floor(floats), floats), pc.less_equal(pc.abs(floats), _LARGEST_WHOLE)
    )
    bad = pc.invert(pc.fill_null(whole, False))
    return (column if pc.any(bad).as_py() else floats.cast(pa.int64())), bad
