"""Examples: anything with a length that gives columns for a list of indices."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from gradatim.core.errors import InputError
from gradatim.core.io.columns import is_list, is_number, kind_of, show
from gradatim.core.io.table_sources import open_source

Index = Sequence[int] | np.ndarray | torch.Tensor | slice


@runtime_checkable
class Examples(Protocol):
    """A source of examples: a ``datasets.Dataset`` as it is, or :class:`TensorExamples`."""

    def __len__(self) -> int:
        """The number of examples."""
        ...

    def __getitem__(self, index: list[int], /) -> Mapping[str, Any]:
        """The columns of the examples at these positions, in this order."""
        ...


@runtime_checkable
class ExampleStream(Protocol):
    """A source that can only be gone through, one example (column name -> value) at a time."""

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Go through the examples."""
        ...


class TensorExamples:
    """Columns in memory: tensors, arrays, or lists, of one length.

    Arrays become tensors that share their memory, lists of numbers become tensors (float32 for
    floats, int64 for integers), and everything else, such as text, stays a list. Tensors keep
    their dtype and device.

    Args:
        columns: the columns; the first dimension is the example.

    Raises:
        InputError: no column, or columns of different lengths.

    >>> examples = TensorExamples(x=torch.eye(3), label=[0, 1, 2], text=["a", "b", "c"])
    >>> examples[[2, 0]]
    {'x': tensor([[0., 0., 1.],
            [1., 0., 0.]]), 'label': tensor([2, 0]), 'text': ['c', 'a']}
    >>> len(examples.select([0, 1]))
    2
    """

    def __init__(self, /, **columns: Any) -> None:
        self._columns = {name: _column(name, values) for name, values in columns.items()}
        lengths = {name: len(column) for name, column in self._columns.items()}
        if len(set(lengths.values())) != 1:
            told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise InputError(f"expected columns of one length, but {told or 'there are none'}")
        self._length = next(iter(lengths.values()))
        self._tensors = {n: c for n, c in self._columns.items() if isinstance(c, torch.Tensor)}
        self._devices = {column.device for column in self._tensors.values()}
        # A tensor on the processor reports a wrong index at once and at no cost.
        self._reports_bounds = self._devices == {torch.device("cpu")}
        self._gathers_all = self._reports_bounds and self._tensors.keys() == lengths.keys()

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return list(self._columns)

    def column(self, name: str) -> Any:
        """A whole column: a tensor or a list.

        Raises:
            InputError: there is none of this name.
        """
        if name not in self._columns:
            known = ", ".join(self._columns)
            raise InputError(f"expected one of the columns {known}, got {name!r}")
        return self._columns[name]

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"TensorExamples({self._length:,} examples: {', '.join(self._columns)})"

    def __getitem__(self, index: int | Index) -> dict[str, Any]:
        """The columns of the examples at some positions.

        Args:
            index: positions (list, array or int64 tensor [B], may be negative), a slice, or one
                position, which gives one example rather than a batch.

        Returns:
            Column name -> tensor [B, ...] or list of B values.

        Raises:
            IndexError: a position beyond the last example.
            InputError: an index that is none of these.
        """
        if isinstance(index, slice | int | np.integer):
            return {name: column[index] for name, column in self._columns.items()}
        rows = _index_tensor(index)
        if self._reports_bounds:
            try:
                return self._take(rows)
            except IndexError:
                pass
        return self._take(_within(rows, self._length))

    def _take(self, rows: torch.Tensor) -> dict[str, Any]:
        if self._gathers_all:
            return {name: c.index_select(0, rows) for name, c in self._tensors.items()}
        on = {device: rows.to(device) for device in self._devices}
        return {
            name: column.index_select(0, on[column.device])
            if isinstance(column, torch.Tensor)
            else [column[row] for row in rows.tolist()]
            for name, column in self._columns.items()
        }

    def select(self, index: Index) -> "TensorExamples":
        """The examples at some positions, as examples.

        Args:
            index: positions as in indexing.
        """
        return TensorExamples(**self[index])


class RowExamples:
    """A source that gives rows (column name -> value), seen as examples.

    Args:
        source: has a length, and gives a row for a position, or rows for positions through
            ``__getitems__`` (a torch ``Dataset``, or a list of dicts).
    """

    def __init__(self, source: Any) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: list[int]) -> dict[str, list[Any]]:
        """The columns of the examples at some positions, as lists.

        Raises:
            InputError: a row that is no mapping, or has other columns than the first.
        """
        several = getattr(self._source, "__getitems__", None)
        rows = list(several(index) if several else (self._source[i] for i in index))
        return _as_columns(rows, index)


def as_examples(source: Any) -> Examples:
    """See a source as examples.

    Args:
        source: a ``datasets.Dataset`` or :class:`TensorExamples` (returned as it is), a mapping of
            columns, a pandas DataFrame or pyarrow table (numeric columns become tensors, others
            lists), a torch ``Dataset`` or list whose rows are dicts, or whatever has a length and
            gives columns for a list of positions.

    Returns:
        The source, or a thin wrapper.

    Raises:
        InputError: the source is none of these.

    >>> as_examples([{"text": "a"}, {"text": "b"}])[[1, 0]]
    {'text': ['b', 'a']}
    """
    if isinstance(source, TensorExamples | RowExamples):
        return source
    if isinstance(source, Mapping) and not _is_dataset(source, "DatasetDict"):
        return TensorExamples(**{str(name): values for name, values in source.items()})
    if _is_dataset(source, "Dataset"):
        return source  # type: ignore[no-any-return]
    if hasattr(source, "__arrow_c_stream__") or _is_frame(source):
        return _from_table(source)
    _refuse_other_sources(source)
    if not len(source):
        raise InputError("examples: expected at least one example, got none")
    try:
        probe = source[[0, 0]]
        gives_columns = isinstance(probe, Mapping) and all(len(c) == 2 for c in probe.values())
    except Exception:  # foreign code says in its own way that it takes no lists
        gives_columns = False
    if gives_columns:
        return source  # type: ignore[no-any-return]
    row = source[0]
    if not isinstance(row, Mapping):
        raise InputError(
            "examples: expected rows that are mappings from column name to value, "
            f"got {kind_of(row)} ({type(row).__name__}); TensorExamples(x=..., y=...) names columns"
        )
    return RowExamples(source)


def example_count(source: Any) -> int:
    """The number of examples.

    Raises:
        InputError: the source is a stream, whose length is unknown.

    >>> example_count(TensorExamples(x=torch.zeros(4, 2)))
    4
    """
    try:
        return len(source)
    except TypeError:
        raise InputError(
            f"examples: expected a source of known length, got a {type(source).__name__}"
        ) from None


def collate(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the columns of a batch into tensors where they are numbers.

    Args:
        batch: column name -> tensor, array, or list of numbers, arrays, tensors or anything else.

    Returns:
        Column name -> tensor [B, ...] where all values are numbers of one shape (float32 for
        Python floats, int64 for integers), and else the list as it came (text, ragged lists,
        missing values).

    >>> collate({"label": [1, 0], "text": ["a", "b"], "ids": [[1], [1, 2]]})
    {'label': tensor([1, 0]), 'text': ['a', 'b'], 'ids': [[1], [1, 2]]}
    """
    return {name: _tensor_or_same(values) for name, values in batch.items()}


def batched(stream: Iterable[Mapping[str, Any]], size: int) -> Iterator[dict[str, list[Any]]]:
    """Gather the examples of a stream into batches of columns.

    Args:
        stream: the examples.
        size: how many a batch has; the last may have fewer.

    Raises:
        InputError: a size below 1, or an example with other columns than the first of its batch.

    >>> list(batched(iter([{"x": 1}, {"x": 2}, {"x": 3}]), 2))
    [{'x': [1, 2]}, {'x': [3]}]
    """
    if size < 1:
        raise InputError(f"size: expected at least 1, got {size}")
    examples = iter(stream)
    start = 0
    while rows := list(islice(examples, size)):
        yield _as_columns(rows, range(start, start + len(rows)))
        start += len(rows)


def _as_columns(rows: Sequence[Any], numbers: Sequence[int]) -> dict[str, list[Any]]:
    names = rows[0].keys() if rows and isinstance(rows[0], Mapping) else ()
    for row, number in zip(rows, numbers, strict=True):
        if not isinstance(row, Mapping) or row.keys() != names:
            got = list(row) if isinstance(row, Mapping) else kind_of(row)
            raise InputError(
                f"example {number}: expected a mapping with the columns {list(names)}, got {got}"
            )
    return {name: [row[name] for row in rows] for name in names}


def _index_tensor(index: Any) -> torch.Tensor:
    if not isinstance(index, torch.Tensor):
        array = np.array(index) if len(index) else np.empty(0, np.int64)
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise InputError(f"index: expected integers of shape [B], got {show(index)}")
        return torch.from_numpy(array.astype(np.int64, copy=False))
    if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
        got = f"{index.dtype} of shape {list(index.shape)}"
        raise InputError(f"index: expected integers of shape [B], got {got}")
    return index.long()


def _within(rows: torch.Tensor, length: int) -> torch.Tensor:
    """Count negative positions from the end, and refuse those beyond the last."""
    outside = (rows < -length) | (rows >= length)
    if outside.any():
        first = int(rows[outside][0])
        raise IndexError(f"index {first} is out of range for {length} examples")
    return torch.where(rows < 0, rows + length, rows)


def _column(name: str, values: Any) -> torch.Tensor | list[Any]:
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    single = isinstance(values, torch.Tensor | np.ndarray) and values.ndim == 0
    if single or isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name}: expected a tensor, array or list, got {show(values)}")
    if not isinstance(values, torch.Tensor | np.ndarray | range):
        values = list(values)
    column = _tensor_or_same(values)
    if isinstance(column, torch.Tensor):
        # torch cannot index columns of these types
        return column.long() if column.dtype in (torch.uint16, torch.uint32) else column
    return list(column.tolist() if isinstance(column, np.ndarray) else column)


def _tensor_or_same(values: Any) -> Any:
    """A tensor of some values if they are numbers of one shape, else the values."""
    if isinstance(values, np.ndarray):
        return _tensor_of_array(values)
    if isinstance(values, range):
        return torch.arange(values.start, values.stop, values.step)
    if not isinstance(values, list | tuple) or not len(values):
        return values
    first = values[0]
    if isinstance(first, torch.Tensor):
        same = all(isinstance(v, torch.Tensor) and v.shape == first.shape for v in values)
        return torch.stack(list(values)) if same else values
    if isinstance(first, np.ndarray | np.generic):
        same = all(getattr(v, "shape", None) == first.shape for v in values)
        array = _tensor_of_array(np.stack(values)) if same else values
        return array if isinstance(array, torch.Tensor) else values
    if isinstance(first, bool | int | float | list | tuple):
        try:
            return torch.tensor(values)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            return values
    return values


def _tensor_of_array(array: np.ndarray) -> Any:
    if array.dtype.kind not in "biufc":
        return array
    if array.dtype == np.uint64:
        if array.size and int(array.max()) > np.iinfo(np.int64).max:
            return array
        array = array.astype(np.int64)
    whole = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return torch.from_numpy(whole if whole.flags.writeable else whole.copy())


def _from_table(source: Any) -> TensorExamples:
    table = pa.concat_tables(open_source(source).tables())
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name]
        if is_number(column.type) or pa.types.is_boolean(column.type):
            columns[name] = column.to_numpy()
        elif is_list(column.type) and is_number(column.type.value_type):
            columns[name] = _matrix_or_lists(column)
        else:
            columns[name] = column.to_pylist()
    return TensorExamples(**columns)


def _matrix_or_lists(column: pa.ChunkedArray) -> Any:
    """Lists of numbers as an array [N, D] where all have one length D."""
    extent = pc.min_max(pc.list_value_length(column))
    flat = pc.list_flatten(column)
    if column.null_count or flat.null_count or extent["min"] != extent["max"]:
        return column.to_pylist()
    return flat.to_numpy().reshape(len(column), -1) if len(column) else []


def _is_dataset(source: Any, name: str) -> bool:
    datasets = sys.modules.get("datasets")
    return datasets is not None and isinstance(source, getattr(datasets, name))


def _is_frame(source: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def _refuse_other_sources(source: Any) -> None:
    if _is_dataset(source, "DatasetDict"):
        splits = ", ".join(source)
        raise InputError(f"examples: expected one split, got a dictionary of the splits {splits}")
    if isinstance(source, str | os.PathLike):
        raise InputError(f"examples: expected data, got the path {source}; read_table reads it")
    if not hasattr(source, "__len__") or not hasattr(source, "__getitem__"):
        raise InputError(
            "examples: expected a datasets.Dataset, a mapping of columns, a DataFrame, or a source "
            f"with a length and rows, got {type(source).__name__}"
        )
