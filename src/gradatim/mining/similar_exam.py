"""Exams for a lesson: the most similar problems whose answers are known, and how many of each."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_finite, check_range
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
    for name, rows in (("problems", given), ("bank", known)):
        check_finite(name, rows)
        if not rows.any(axis=1).all():
            row = int(rows.any(axis=1).argmin())
            raise InputError(f"{name}: expected embeddings other than zero, got one at row {row}")
    check_range("k", k, 1, len(known) - (exclude is not None))
    own = None
    if exclude is not None:
        places = np.array(exclude, dtype=np.int64)
        if places.shape != (len(given),):
            raise InputError(f"exclude: expected shape [{len(given)}], got {list(places.shape)}")
        own = torch.from_numpy(places)[:, None]
    return np.asarray(top_k(given, known, k, metric="cosine", exclude=own).index)


def exam_quota(exams: int, lessons: int) -> list[int]:
    """How many of so many exams belong to each of several lessons.

    Equally many, and what is left over goes to the first; of fewer exams than lessons each of the
    first lessons has one.

    Args:
        exams: at least 0.
        lessons: at least 1.

    Raises:
        InputError: a number out of range.

    Source: the authors' code of Ning et al. 2024, arXiv 2406.14629.

    >>> exam_quota(5, 2), exam_quota(5, 3), exam_quota(2, 3)
    ([3, 2], [3, 1, 1], [1, 1, 0])
    """
    check_range("exams", exams, 0)
    check_range("lessons", lessons, 1)
    each, rest = divmod(exams, lessons)
    if not each:
        return [int(place < rest) for place in range(lessons)]
    return [each + rest, *[each] * (lessons - 1)]
