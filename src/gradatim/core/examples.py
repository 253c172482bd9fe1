"""The example protocol: what every job reads, and how common data become it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from gradatim.core.errors import InputError

Columns = dict[str, Any]


@runtime_checkable
class Examples(Protocol):
    """A source of examples: ``len(x)``, and a list of positions to a mapping of columns.

    A ``datasets.Dataset`` is one as it is; tensors in memory become one as
    :class:`TensorExamples`; :func:`as_examples` makes one of other data.
    """

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def __getitem__(self, index: list[int]) -> Mapping[str, Any]:
        """The columns of the examples at these positions."""
        ...


ExampleStream = Iterable[Mapping[str, Any]]
"""Examples that can only be iterated over, one mapping each; for jobs that can stream."""


class TensorExamples:
    """Columns in memory: tensors, and lists for what is not numeric.

    Args:
        columns: tensors, arrays or lists of one length; arrays and lists of numbers become
            tensors (float64 arrays keep their type).

    Raises:
        InputError: no columns, or unequal lengths.

    >>> examples = TensorExamples(x=torch.eye(3), name=["a", "b", "c"])
    >>> examples[[2, 0]]["name"]
    ['c', 'a']
    """

    def __init__(self, **columns: Any) -> None:
        if not columns:
            raise InputError("columns: expected at least one column, got none")
        self._columns = {name: _as_column(values) for name, values in columns.items()}
        lengths = {name: len(values) for name, values in self._columns.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
            raise InputError(f"columns: expected equal lengths, but {told}")
        self._length = next(iter(lengths.values()))

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return list(self._columns)

    def column(self, name: str) -> Any:
        """A whole column."""
        if name not in self._columns:
            known = ", ".join(self._columns)
            raise InputError(f"column: expected one of {known}, got {name!r}")
        return self._columns[name]

    def __len__(self) -> int:
        """How many examples there are."""
        return self._length

    def __getitem__(self, index: Any) -> Columns:
        """The columns at positions: a list, array or tensor of integers, or a slice."""
        if isinstance(index, slice):
            return {name: values[index] for name, values in self._columns.items()}
        place = torch.from_numpy(np.asarray(index, dtype=np.int64))
        return {
            name: values.index_select(0, place.to(values.device))
            if isinstance(values, torch.Tensor)
            else [values[i] for i in place.tolist()]
            for name, values in self._columns.items()
        }

    def select(self, index: Any) -> "TensorExamples":
        """The examples at these positions, as new ones."""
        return TensorExamples(**self[index])


class RowExamples:
    """A sequence of rows (a torch ``Dataset`` of dictionaries, a list) as columns."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.rows)

    def __getitem__(self, index: list[int]) -> Columns:
        """The columns of the rows at these positions."""
        batched = getattr(self.rows, "__getitems__", None)
        rows = batched(index) if batched else [self.rows[position] for position in index]
        for position, row in zip(index, rows, strict=True):
            if not isinstance(row, Mapping):
                raise InputError(
                    f"examples: expected a mapping of columns at row {position}, "
                    f"got {type(row).__name__}"
                )
        return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def as_examples(source: Any) -> Any:
    """Make an example source of what a user has.

    Args:
        source: a ``datasets.Dataset``, ``TensorExamples`` or any other source of examples (as it
            is), a mapping of columns, a pandas DataFrame, or a sequence of mappings (a list, a
            torch ``Dataset``).

    Raises:
        InputError: none of these.

    >>> len(as_examples({"x": [1.0, 2.0]}))
    2
    """
    kind = f"{type(source).__module__}.{type(source).__name__}"
    if isinstance(source, TensorExamples | RowExamples) or kind.startswith("datasets."):
        if not hasattr(source, "__len__"):
            raise InputError(
                "examples: expected a length, got a stream, which cannot be trained on"
            )
        return source
    if kind.startswith("pandas."):
        return TensorExamples(**{str(name): source[name].to_numpy() for name in source.columns})
    if isinstance(source, Mapping):
        return TensorExamples(**source)
    if isinstance(source, str | bytes) or not (
        hasattr(source, "__len__") and hasattr(source, "__getitem__")
    ):
        raise InputError(
            "examples: expected a Dataset, TensorExamples, a DataFrame, a mapping of columns or "
            f"a sequence of mappings, got {type(source).__name__}"
        )
    is_rows = isinstance(source, Sequence | torch.utils.data.Dataset)
    return RowExamples(source) if is_rows or hasattr(source, "__getitems__") else source


def collate(batch: Mapping[str, Any]) -> Columns:
    """Turn columns of numbers into tensors; text and other objects stay lists.

    Python floats become float32, as models expect.

    >>> collate({"x": [[1.0, 2.0], [3.0, 4.0]], "text": ["a", "b"]})["x"].dtype
    torch.float32
    """
    return {name: _collate_column(values) for name, values in batch.items()}


def batched(stream: ExampleStream, size: int) -> Iterator[list[Mapping[str, Any]]]:
    """Lists of up to ``size`` examples from a stream.

    >>> [len(rows) for rows in batched(({"x": i} for i in range(5)), 2)]
    [2, 2, 1]
    """
    rows: list[Mapping[str, Any]] = []
    for row in stream:
        rows.append(row)
        if len(rows) == size:
            yield rows
            rows = []
    if rows:
        yield rows


def _as_column(values: Any) -> Any:
    """A tensor where the values are numbers of one shape, else a list."""
    if isinstance(values, torch.Tensor):
        return values
    array = values if isinstance(values, np.ndarray) else _array(list(values))
    if array is not None and array.dtype.kind in "biuf":
        return torch.from_numpy(np.ascontiguousarray(array))
    return list(values)


def _collate_column(values: Any) -> Any:
    if isinstance(values, torch.Tensor):
        return values
    if isinstance(values, list) and values and isinstance(values[0], torch.Tensor):
        same = all(value.shape == values[0].shape for value in values)
        return torch.stack(values) if same else values
    array = values if isinstance(values, np.ndarray) else _array(values)
    if array is None or array.dtype.kind not in "biuf":
        return values
    plain = array.dtype == np.float64 and not isinstance(values, np.ndarray)
    return torch.from_numpy(array.astype(np.float32) if plain else np.ascontiguousarray(array))


def _array(values: Any) -> np.ndarray | None:
    """An array of a list, or None where rows have unequal lengths."""
    try:
        return np.asarray(values)
    except ValueError:
        return None
