"""Playing tasks side by side."""

from collections.abc import Sequence

import pytest

from gradatim.core.errors import InputError
from gradatim.language.environments import Turn, play


class Countdown:
    """The answer is as many strokes as the task says; each second one is remarked on."""

    def prompt(self, task: int) -> str:
        """How many."""
        return f"{task}:"

    def step(self, task: int, answer: str) -> Turn:
        """A remark in the middle, and the end."""
        strokes = answer.count("|")
        return Turn("." if strokes % 2 == 0 else "", done=strokes >= task)

    def verify(self, task: int, answer: str) -> float:
        """Whether the number is right."""
        return float(answer.count("|") == task)


def test_each_task_ends_by_itself() -> None:
    """Those that are done are not asked again; observations stand in the answer."""
    asked: list[list[str]] = []

    def write(texts: Sequence[str]) -> list[str]:
        asked.append(list(texts))
        return ["|"] * len(texts)

    assert play(Countdown(), [1, 3, 2], write) == ["|", "||.|", "||."]
    assert asked == [["1:", "3:", "2:"], ["3:|", "2:|"], ["3:||."]]


def test_turns_are_limited() -> None:
    """What is not done then stays as it is."""
    assert play(Countdown(), [5], lambda texts: ["|"], turns=2) == ["||."]
    assert play(Countdown(), [], lambda texts: []) == []


def test_bad_input() -> None:
    """No turn, and texts that are missing."""
    with pytest.raises(InputError, match="turns"):
        play(Countdown(), [1], lambda texts: ["|"], turns=0)
    with pytest.raises(InputError, match="written"):
        play(Countdown(), [1, 2], lambda texts: ["|"])
