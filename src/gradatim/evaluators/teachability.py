"""How good a solution is, by how well students do who were taught with it."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed


@dataclass(frozen=True)
class Lesson:
    """A problem with one of the teacher's solutions.

    Attributes:
        problem: what was asked; text, or whatever the students read.
        rationale: how the teacher comes to the answer.
        answer: the teacher's answer, right or not.
    """

    problem: Any
    rationale: Any
    answer: Any = None


@dataclass(frozen=True)
class Exam:
    """A problem whose answer is known, similar to that of a lesson.

    Attributes:
        problem: what is asked.
        answer: the right answer.
    """

    problem: Any
    answer: Hashable


class Student(Protocol):
    """Whoever learns from a lesson and sits exams: a language model, a nearest neighbour, a net."""

    def answer(
        self, lessons: Sequence[Lesson], exams: Sequence[Exam], seed: int
    ) -> Sequence[Hashable | None]:
        """Answer one exam behind each lesson.

        Args:
            lessons: N lessons.
            exams: N exams; their answers must not be looked at.
            seed: what chance depends on.

        Returns:
            N answers; None where there is none.
        """
        ...


class TeachabilityReward:
    r"""The share of exams that students pass who were taught with a solution.

    .. math:: \ell_k = \frac{1}{|S| E R} \sum_{s \in S} \sum_{e=1}^{E} \sum_{r=1}^{R}
        \bigl[ a_{s,r}(e \mid x, y_k) = a_e \bigr]

    The students may be weaker than the teacher; a solution that carries over to similar problems is
    more likely right than one that does not. The authors sum instead of averaging, which is the
    same where all solutions have equally many exams.

    Args:
        students: at least one.
        repeats: R, how often each exam is sat; 1 for students without chance.
        equal: from a right answer and a student's to whether they are the same; None takes ``==``.

    Raises:
        InputError: no student, or fewer than one repeat.

    Source: Ning et al. 2024, arXiv 2406.14629, section 3 (three exams, three repeats).

    >>> class Copies:
    ...     def answer(self, lessons, exams, seed):
    ...         return [lesson.rationale(exam.problem) for lesson, exam in zip(lessons, exams)]
    >>> reward = TeachabilityReward([Copies()], repeats=1)
    >>> reward([Lesson(3, lambda x: x + x), Lesson(3, lambda x: x * x)], [Exam(2, 4), Exam(5, 10)])
    array([1. , 0.5])
    """

    def __init__(
        self,
        students: Sequence[Student],
        *,
        repeats: int = 3,
        equal: Callable[[Any, Any], bool] | None = None,
    ) -> None:
        if not len(students):
            raise InputError("students: expected at least one, got none")
        check_range("repeats", repeats, 1)
        self.students, self.repeats, self.equal = tuple(students), repeats, equal

    def __call__(
        self, lessons: Sequence[Lesson], exams: Sequence[Exam], *, seed: int = 0
    ) -> NDArray[np.float64]:
        """The score of each lesson, in [0, 1], shape [K]; all sit the same exams.

        Raises:
            InputError: no exam, an exam that is a lesson's own problem, or a student with another
                number of answers.
        """
        return np.asarray(self.by_student(lessons, exams, seed=seed).mean(axis=0))

    def by_student(
        self, lessons: Sequence[Lesson], exams: Sequence[Exam], *, seed: int = 0
    ) -> NDArray[np.float64]:
        """The score of each lesson with each student, shape [S, K]; see :meth:`__call__`."""
        _check(lessons, exams)
        sat = [(lesson, exam) for lesson in lessons for exam in exams for _ in range(self.repeats)]
        scores = np.zeros((len(self.students), len(lessons)))
        for place, student in enumerate(self.students):
            found = student.answer(
                [lesson for lesson, _ in sat],
                [exam for _, exam in sat],
                derive_seed(seed, "student", place),
            )
            if len(found) != len(sat):
                raise InputError(
                    f"students: expected {len(sat)} answers of student {place}, got {len(found)}"
                )
            right = [self._right(exam, one) for (_, exam), one in zip(sat, found, strict=True)]
            scores[place] = np.reshape(right, (len(lessons), len(exams) * self.repeats)).mean(
                axis=1
            )
        return scores

    def _right(self, exam: Exam, answer: Hashable | None) -> bool:
        if answer is None:
            return False
        return bool(
            exam.answer == answer if self.equal is None else self.equal(exam.answer, answer)
        )


def teachability_difficulty(scores: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    r"""How hard each problem is to teach: :math:`1 - \frac1K \sum_k \ell_k`.

    Args:
        scores: for each problem the scores of its solutions, at least one.

    Returns:
        Shape [P], in [0, 1]; higher is harder.

    Raises:
        InputError: a problem without solutions.

    >>> teachability_difficulty([[1.0, 0.5], [0.0]]).tolist()
    [0.25, 1.0]
    """
    for place, own in enumerate(scores):
        if not len(own):
            raise InputError(f"scores: expected at least one score of problem {place}, got none")
    return np.array([1 - float(np.mean(own)) for own in scores])


def _check(lessons: Sequence[Lesson], exams: Sequence[Exam]) -> None:
    if not len(exams):
        raise InputError("exams: expected at least one, got none")
    for lesson in lessons:
        for place, exam in enumerate(exams):
            if _same(exam.problem, lesson.problem):
                raise InputError(
                    f"exams: expected other problems than the lesson's own, but exam {place} is it"
                )


def _same(one: Any, other: Any) -> bool:
    """Whether two problems are the same one; arrays are by their contents."""
    if one is other:
        return True
    try:
        return bool(np.array_equal(np.asarray(one), np.asarray(other)))
    except (TypeError, ValueError):
        return False
