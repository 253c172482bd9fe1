"""Exams for a lesson: the most similar problems whose answers are known, and how many of each."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.search import top_k


def similar_exam(
    problems: ArrayLike, bank: ArrayLike, *, k: int = 3, exclude: ArrayLike | None = None
) -> NDArray[np.int64]:
    """The problems of a bank that are nearest to each problem, by cosine similarity.

    Whether nearest means solvable in the same way depends on the embedding; an exam that needs
    another method makes every score noise.

    Args:
        problems: embeddings of what is taught, shape [P, D].
        bank: embeddings of problems with known answers, shape [N, D].
        k: exams of each problem, at most N, or N - 1 with ``exclude``.
        exclude: for each problem its own place in the bank, which is no exam of it; -1 where it has
            none; shape [P].

    Returns:
        Places in the bank, the nearest first, shape [P, k].

    Raises:
        InputError: shapes that do not fit, k out of range, or a zero or non-finite embedding.

    Source: Ning et al. 2024, arXiv 2406.14629, appendix (k nearest questions as exams).

    >>> similar_exam([[1.0, 0.0]], [[0.0, 1.0], [1.0, 0.1], [1.0, 0.0]], k=2, exclude=[2]).tolist()
    [[1, 0]]
    """
    given, known = (np.asarray(one, dtype=np.float32) for one in (problems, bank))
    if given.ndim != 2 or known.ndim != 2 or given.shape[1] != known.shape[1]:
        raise InputError(
            "problems: expected the width of bank, shapes [P, D] and [N, D], "
            f"got {list(given.shape)} and {list(known.shape)}"
        )
    check_range("k", k, 1, len(known) - (exclude is not None))
    more = k + (exclude is not None)
    found = np.asarray(top_k(given, known, more, metric="cosine").index)
    if exclude is None:
        return found.astype(np.int64)
    own = np.asarray(exclude, dtype=np.int64)
    if own.shape != (len(given),):
        raise InputError(f"exclude: expected shape [{len(given)}], got {list(own.shape)}")
    others = found != own[:, None]
    others[others.all(axis=1), -1] = False
    return np.asarray(found[others].reshape(len(given), k), dtype=np.int64)


def exam_quota(exams: int, lessons: int) -> list[int]:
    """How many of so many exams belong to each of several lessons: equally many, the rest first.

    Args:
        exams: at least 0.
        lessons: at least 1.

    Raises:
        InputError: a number out of range.

    Source: the authors' code of Ning et al. 2024, arXiv 2406.14629.

    >>> exam_quota(5, 2), exam_quota(2, 3)
    ([3, 2], [1, 1, 0])
    """
    check_range("exams", exams, 0)
    check_range("lessons", lessons, 1)
    each, rest = divmod(exams, lessons)
    return [each + (place < rest) for place in range(lessons)]
