"""Examples as points in space: checked, brought to a safe scale, and each counted once."""

from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from gradatim.core.checks import check_finite
from gradatim.core.errors import InputError

_MANY_CLASSES = 20


class DistinctRows(NamedTuple):
    """Rows without their copies.

    Attributes:
        first: position of the first of each set of equal rows, ascending, shape [U].
        place: which of them each row equals, shape [N].
        counts: how many rows are equal to each, shape [U].
    """

    first: NDArray[np.int64]
    place: NDArray[np.int64]
    counts: NDArray[np.int64]


def as_points(name: str, X: Any) -> NDArray[Any]:
    """Check features, and give them as a matrix of floating-point numbers.

    Args:
        name: the argument's name.
        X: an array, tensor or data frame of numbers, shape [N, ...]; what is behind the first
            dimension is flattened.

    Returns:
        The points, shape [N, F], in float32 if X was, else in float64.

    Raises:
        InputError: no row or no column, something else than numbers, NaN or infinity.

    >>> as_points("X", [[[1, 2], [3, 4]]]).shape
    (1, 4)
    """
    try:
        array = np.asarray(X)
        if array.dtype != np.float32:
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected numbers, got something else ({error})") from error
    if array.ndim < 2 or 0 in array.shape:
        raise InputError(
            f"{name}: expected shape [N, F] with at least one row and one column, "
            f"got {list(array.shape)}"
        )
    check_finite(name, array)
    return array.reshape(len(array), -1)


def as_classes(name: str, y: Any, rows: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Check class labels, and number them.

    Args:
        name: the argument's name.
        y: labels of any kind that can be sorted, shape [N].
        rows: how many there must be.

    Returns:
        A number from 0 for each row, shape [N], and the labels by number, shape [C].

    Raises:
        InputError: another shape, a missing label, one class alone, or labels that hardly recur,
            as measurements.

    >>> numbers, classes = as_classes("y", ["b", "a", "b"], 3)
    >>> numbers.tolist(), classes.tolist()
    ([1, 0, 1], ['a', 'b'])
    """
    labels = np.asarray(y)
    if labels.shape != (rows,):
        raise InputError(f"{name}: expected one label a row, [{rows}], got {list(labels.shape)}")
    if labels.dtype.kind == "f":
        check_finite(name, labels)
    elif labels.dtype == object:
        missing = [row for row, one in enumerate(labels) if one is None or one != one]
        if missing:
            raise InputError(f"{name}: expected a label in every row, got none at row {missing[0]}")
    try:
        classes, numbers = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise InputError(f"{name}: expected labels of one kind, got a mixture ({error})") from error
    if len(classes) < 2:
        raise InputError(f"{name}: expected at least two classes, got {classes[0]!s} in every row")
    if len(classes) > _MANY_CLASSES and len(classes) > rows // 2:
        raise InputError(
            f"{name}: expected classes that recur, got {len(classes)} different labels in {rows} "
            "rows; cut measurements into classes first"
        )
    return numbers.reshape(-1).astype(np.int64), classes


def distinct_rows(points: NDArray[Any]) -> DistinctRows:
    """Find equal rows by the 128-bit XXH3 hash of their numbers, in O(N F).

    >>> distinct_rows(np.array([[0.0], [1.0], [-0.0]])).place.tolist()
    [0, 1, 0]
    """
    whole = np.ascontiguousarray(points + 0.0)  # minus zero equals zero
    digests = np.array([xxhash.xxh3_128_digest(row) for row in whole], dtype="S16")
    _, first, place, counts = np.unique(
        digests, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return DistinctRows(first[order], rank[place.reshape(-1)], counts[order])


def power_of_two(points: NDArray[Any]) -> float:
    """The power of two by which points are divided so that squared distances fit float32.

    Division by it is exact, so distances change by it alone.

    >>> power_of_two(np.array([[3.0, -5.0]]))
    8.0
    """
    largest = float(np.abs(points).max())
    return float(2.0 ** np.clip(np.ceil(np.log2(largest)), -1000, 1000)) if largest else 1.0
