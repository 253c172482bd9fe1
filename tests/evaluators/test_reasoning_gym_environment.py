"""Tasks of reasoning-gym, answered with the calculator."""

import importlib.util
import sys

import pytest

from gradatim.core.errors import InputError, MissingPackageError
from gradatim.evaluators.reasoning_gym_environment import ReasoningGymEnvironment
from gradatim.evaluators.tool_environment import LookupTool
from gradatim.language.environments import play

needed = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="needs reasoning-gym"
)


@needed
def test_sums_are_solved_with_the_calculator() -> None:
    """A writer that hands each sum to the calculator answers all of them."""
    environment = ReasoningGymEnvironment("chain_sum")
    tasks = environment.tasks(5, seed=1, max_terms=3)
    assert tasks == environment.tasks(5, seed=1, max_terms=3) != environment.tasks(5, seed=2)

    def write(texts: list[str]) -> list[str]:
        written = []
        for text in texts:
            result = text.rpartition("result: ")[2].strip() if "result: " in text else None
            terms = text.partition("problem: ")[2].partition("=")[0]
            written.append(f"answer: {result}\n" if result else f"call: calculator({terms})\n")
        return written

    answers = play(environment, tasks, write)  # type: ignore[arg-type]
    assert [environment.verify(*one) for one in zip(tasks, answers, strict=True)] == [1.0] * 5
    assert environment.verify(tasks[0], "answer: no number") == 0.0
    assert environment.verify(tasks[0], "") == 0.0


@needed
def test_the_rule_is_the_tasks_own() -> None:
    """An equation with several solutions takes each of them, without a stored answer."""
    environment = ReasoningGymEnvironment("countdown", tools={"find": LookupTool({})})
    task = environment.tasks(1, seed=3)[0]
    assert task.answer is not None
    assert environment.verify(task, f"answer: {task.answer}") == 1.0
    assert environment.verify(task, f"answer: ({task.answer})") == 1.0
    assert environment.verify(task, "answer: 1") == 0.0
    assert "find(...)" in environment.prompt(task)


@needed
def test_bad_input() -> None:
    """No such task, no such setting, a setting that is not allowed, and no problem."""
    with pytest.raises(InputError, match="chain_sum"):
        ReasoningGymEnvironment("chain_sums")
    environment = ReasoningGymEnvironment("chain_sum")
    for wrong in ({"colour": 3}, {"min_terms": -1}):
        with pytest.raises(InputError, match="config: chain_sum refuses"):
            environment.tasks(1, **wrong)
    with pytest.raises(InputError, match="count"):
        environment.tasks(0)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install."""
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(MissingPackageError, match="reasoning_gym"):
        ReasoningGymEnvironment("chain_sum")
