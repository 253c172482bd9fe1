"""Length as a measure of difficulty: words, characters, steps of a solution."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gradatim.core.errors import InputError


def word_count(texts: Sequence[str]) -> NDArray[np.int64]:
    """Number of words, separated by white space, of each text.

    Longer counts as harder; whether it is depends on the data, so look before relying on it.

    Args:
        texts: N texts.

    Returns:
        Counts, shape [N].

    Raises:
        InputError: something that is no text (its row is named).

    Source: Hase et al. 2024, arXiv 2401.06751 (question words).

    >>> word_count(["one", "two  words", ""]).tolist()
    [1, 2, 0]
    """
    return _counted(texts, lambda text: len(text.split()))


def character_count(texts: Sequence[str]) -> NDArray[np.int64]:
    """Number of characters of each text, white space included.

    Args:
        texts: N texts.

    Returns:
        Counts, shape [N].

    Raises:
        InputError: something that is no text (its row is named).

    Source: Hase et al. 2024, arXiv 2401.06751 (answer characters).

    >>> character_count(["ab", ""]).tolist()
    [2, 0]
    """
    return _counted(texts, len)


def solution_steps(solutions: Sequence[str]) -> NDArray[np.int64]:
    """Number of lines of each worked solution that hold anything: one step a line.

    Args:
        solutions: N texts.

    Returns:
        Counts, shape [N].

    Raises:
        InputError: something that is no text (its row is named).

    Source: Hase et al. 2024, arXiv 2401.06751 (reasoning steps).

    >>> solution_steps(["3 + 4 = 7" + chr(10) + chr(10) + "7 * 2 = 14"]).tolist()
    [2]
    """
    return _counted(solutions, lambda text: sum(bool(line.strip()) for line in text.splitlines()))


def _counted(texts: Sequence[str], measure: Callable[[str], int]) -> NDArray[np.int64]:
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts, row {row}: expected text, got {type(text).__name__}")
    return np.array([measure(text) for text in texts], dtype=np.int64)
