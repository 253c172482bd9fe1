"""Options of multiple-choice questions, and which of them is the answer."""

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.core.io.columns import show

Question: TypeAlias = tuple[str, ...]
"""The texts of a question's options."""


def parse_options(values: Sequence[Any], column: str, source: str) -> list[Question]:
    """The options of each row: a list, or text that holds a JSON list, as in CSV.

    Args:
        values: one list a row.
        column: the column's name.
        source: the table's name.

    Raises:
        InputError: something else, or fewer than two options (the row is named).

    >>> parse_options([["3", "4"], '["x", "y"]'], "options", "data")
    [('3', '4'), ('x', 'y')]
    """
    found: list[Question] = []
    for row, value in enumerate(values):
        parsed = value
        if isinstance(value, str):
            try:
                parsed = json.loads(value)
            except ValueError:
                parsed = None
        if not isinstance(parsed, list) or len(parsed) < 2 or any(one is None for one in parsed):
            raise InputError(
                f"{source}, row {row}, column {column!r}: expected a list of at least two options "
                f"(in text files a JSON list), got {show(value)}"
            )
        found.append(tuple(str(one) for one in parsed))
    return found


def answer_positions(
    labels: Sequence[Any], questions: Sequence[Question], column: str, source: str
) -> NDArray[np.int64]:
    """Which option of each question is the answer.

    Labels are positions counted from 0 if all are integers and all fit; else the texts of options,
    or letters from A on.

    Args:
        labels: one a question.
        questions: their options.
        column: the label column's name.
        source: the table's name.

    Raises:
        InputError: options that lack the answer, or hold its text twice (the row is named).

    >>> answer_positions(["4", "B"], [("3", "4"), ("x", "y")], "answer", "data").tolist()
    [1, 1]
    """
    integers = all(isinstance(one, int) and not isinstance(one, bool) for one in labels)
    if integers and all(0 <= one < len(own) for one, own in zip(labels, questions, strict=True)):
        positions = np.array(labels, dtype=np.int64)
        _check_once(positions, questions, column, source)
        return positions
    found = [_place(str(one).strip(), own) for one, own in zip(labels, questions, strict=True)]
    wrong = [row for row, place in enumerate(found) if place is None]
    if wrong and integers:  # meant as positions: the one that is none is to blame
        wrong = [row for row in wrong if not 0 <= labels[row] < len(questions[row])] or wrong
    if wrong:
        row, own = wrong[0], questions[wrong[0]]
        told = f"{', '.join(own[:5])}{', ...' if len(own) > 5 else ''}"
        raise InputError(
            f"{source}, row {row}, column {column!r}: expected one of the options ({told}) or its "
            f"position from 0 to {len(own) - 1}, got {show(labels[row])}"
        )
    positions = np.array(found, dtype=np.int64)
    _check_once(positions, questions, column, source)
    return positions


def _check_once(
    positions: NDArray[np.int64], questions: Sequence[Question], column: str, source: str
) -> None:
    """Refuse questions with the right option in two places: choosing the other would be wrong."""
    for row, (place, options) in enumerate(zip(positions, questions, strict=True)):
        if options.count(options[place]) > 1:
            raise InputError(
                f"{source}, row {row}, column {column!r}: expected the right option once, got "
                f"{show(options[place])} {options.count(options[place])} times among the options"
            )


def _place(text: str, options: Question) -> int | None:
    stripped = [one.strip() for one in options]
    if text in stripped:
        return stripped.index(text)
    if len(text) == 1 and text.isascii() and text.isupper() and ord(text) - 65 < len(options):
        return ord(text) - 65
    return None
