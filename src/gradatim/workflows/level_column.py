"""A column of levels of difficulty that people gave."""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.core.io.columns import show

Place: TypeAlias = Callable[[int], str]
"""How messages call a row, from its number in a part of the table."""

LEVEL_WORDS = {"easy": 0.0, "medium": 1.0, "hard": 2.0}
_NUMBER = re.compile(r"(?<![\d.])-?\d+(?:\.\d+)?(?![\d.])")


def parse_levels(column: pa.ChunkedArray, name: str, place: Place) -> NDArray[np.float64]:
    """Levels that people gave: numbers, text with one number, or easy, medium and hard.

    Args:
        column: the levels.
        name: of the column.
        place: names a row for messages.

    Raises:
        InputError: a level that cannot be read (the row is named).

    >>> parse_levels(pa.chunked_array([["Level 3", "5"]]), "level", str).tolist()
    [3.0, 5.0]
    """
    values = column.unique()
    levels = np.array([_level(value) for value in values.to_pylist()], dtype=np.float64)
    found = np.asarray(levels[pc.index_in(column, value_set=values).to_numpy()])
    if len(wrong := np.flatnonzero(~np.isfinite(found))):
        row = int(wrong[0])
        raise InputError(
            f"{place(row)}, column {name!r}: expected a level (a number, text with one number "
            f"such as 'Level 3', or easy, medium or hard), got {show(column[row].as_py())}"
        )
    return found


def is_level_words(column: pa.ChunkedArray) -> bool:
    """Whether a column holds the words easy, medium and hard and nothing else.

    >>> is_level_words(pa.chunked_array([["easy", "Hard "]]))
    True
    """
    return all(_word(value) in LEVEL_WORDS for value in column.unique().to_pylist())


def _word(value: Any) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


def _level(value: Any) -> float:
    if isinstance(value, str):
        numbers = _NUMBER.findall(value)
        told = float(numbers[0]) if len(numbers) == 1 else np.nan
        return LEVEL_WORDS.get(_word(value), told)
    if isinstance(value, bool):
        return np.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan
