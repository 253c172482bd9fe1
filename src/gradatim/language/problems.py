"""What a question with a known answer is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Problem:
    """A question whose answers can be checked.

    Attributes:
        question: the text.
        answer: the right answer; None if many are right, which a verifier of the task's own checks.
        level: how hard it is, higher = harder.
        solution: a worked solution, if there is one.
        subject: what it is about, if that is known.
        details: what a verifier of the task's own needs besides.

    >>> Problem("1 + 1?", "2", level=1).solution is None
    True
    """

    question: str
    answer: str | None
    level: int
    solution: str | None = None
    subject: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)
