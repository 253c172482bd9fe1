"""Who says whether answers to a problem are right."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.evaluators.answers import AnswerVerifier
from gradatim.language.problems import Problem


class Verifier(Protocol):
    """Checks answers to problems of one kind."""

    def matches(self, problem: Problem, answers: Sequence[str | None]) -> NDArray[np.bool_]:
        """Which answers are right; None is one that could not be read, and never is."""
        ...


class ReferenceVerifier:
    """Checks answers by comparing them with the right one, as mathematics.

    Args:
        timeout: as in :class:`~gradatim.evaluators.answers.AnswerVerifier`.

    >>> with ReferenceVerifier() as verifier:
    ...     verifier.matches(Problem("1/4 + 1/4?", "1/2", 1), ["0.5", None, "2"]).tolist()
    [True, False, False]
    """

    def __init__(self, *, timeout: float = 5.0) -> None:
        self._verifier = AnswerVerifier(timeout=timeout)

    def matches(self, problem: Problem, answers: Sequence[str | None]) -> NDArray[np.bool_]:
        """Which answers equal that of the problem.

        Raises:
            InputError: the problem has no answer.
        """
        if problem.answer is None:
            raise InputError(
                f"problems: {problem.question[:40]!r} has no answer to compare with; "
                "give the verifier of its task"
            )
        return self._verifier.matches(problem.answer, answers)

    def close(self) -> None:
        """End the process that compares, if one was started."""
        self._verifier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
