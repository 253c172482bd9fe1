"""Words of the docstrings of Python's standard library, and each word after those before it."""

import ast
import re
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradatim.core.cache import FeatureCache
from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator

_WORD = re.compile(r"[a-z]+|[^\sa-z]")
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib"}


@dataclass(frozen=True)
class WordContexts:
    """Words to be told from those before them, in three parts without a common docstring.

    Attributes:
        contexts: by part ("train", "validation", "test"), the words before, shape [n, order - 1].
        words: by part, the word that follows, shape [n].
        size: number of words D; they are numbered by falling frequency in the training part.
    """

    contexts: dict[str, NDArray[np.int64]]
    words: dict[str, NDArray[np.int64]]
    size: int


def word_contexts(
    seed: int, *, vocabulary: int = 3000, order: int = 5, held_out: int = 8000, most_files: int = 0
) -> WordContexts:
    """Each word of the library's docstrings with the words before it.

    Words are runs of letters in lower case, and single other signs. The most frequent ones of the
    training part are the vocabulary; a docstring's places whose word is another are left out, and
    such a word in a context is one common stranger, as is what stands before the beginning.

    Args:
        seed: draws which docstrings stand in which part.
        vocabulary: number of words.
        order: words of a context and the one after it.
        held_out: places of the validation and of the test part each, at least one.
        most_files: files of the library that are read; 0 for all.

    Returns:
        The parts. The texts depend on the version of Python.

    Raises:
        InputError: a number outside its range, or fewer different words than the vocabulary.
    """
    check_range("vocabulary", vocabulary, 2)
    check_range("order", order, 2)
    check_range("held_out", held_out, 1)
    texts = library_docstrings(most_files)
    shuffled = [texts[row] for row in numpy_generator(seed, "docstrings").permutation(len(texts))]
    parts: dict[str, list[list[str]]] = {"validation": [], "test": [], "train": []}
    places = dict.fromkeys(parts, 0)
    for text in shuffled:
        name = next((n for n in ("validation", "test") if places[n] < held_out), "train")
        parts[name].append(text)
        places[name] += len(text)
    counts = Counter(word for text in parts["train"] for word in text)
    if len(counts) < vocabulary:
        raise InputError(f"vocabulary: expected at most {len(counts)} words, got {vocabulary}")
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:vocabulary]
    number = {word: place for place, word in enumerate(frequent)}
    cut = {name: _cut(rows, number, order) for name, rows in parts.items()}
    return WordContexts(
        {name: rows[:, :-1] for name, rows in cut.items()},
        {name: rows[:, -1] for name, rows in cut.items()},
        vocabulary,
    )


def library_docstrings(most_files: int = 0) -> list[list[str]]:
    """Words of every docstring of the standard library; no two docstrings are the same.

    Args:
        most_files: files that are read, the first ones; 0 for all.

    Returns:
        The words of each.
    """
    version = f"Python {sysconfig.get_python_version()}"
    table = FeatureCache().get_or_compute(
        [version], "words of the standard library", _collect, most_files=most_files, version=1
    )
    return [line.split(" ") for line in bytes(table).decode("utf-8").split("\n")]


def _collect(content: list[str], model: str, *, most_files: int, version: int) -> NDArray[np.uint8]:
    """The docstrings as lines of words, in bytes."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(
        path
        for path in root.rglob("*.py")
        if not _LEFT_OUT & set(path.relative_to(root).parts[:-1])
    )
    lines: dict[str, None] = {}
    for path in paths[: most_files or None]:
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                words = _WORD.findall((ast.get_docstring(node) or "").lower())
                if words:
                    lines[" ".join(words)] = None
    return np.frombuffer("\n".join(lines).encode("utf-8"), dtype=np.uint8)


def _cut(texts: list[list[str]], number: dict[str, int], order: int) -> NDArray[np.int64]:
    """Windows of so many words that end in a known one, shape [n, order]."""
    stranger = len(number)
    windows = []
    for text in texts:
        words = np.array([number.get(word, stranger) for word in text])
        padded = np.concatenate([np.full(order - 1, stranger), words])
        rows = np.lib.stride_tricks.sliding_window_view(padded, order)
        windows.append(rows[rows[:, -1] != stranger])
    return np.concatenate(windows).astype(np.int64)
