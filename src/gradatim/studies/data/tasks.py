"""Question sets by name, with what is easy in them and who checks answers."""

from dataclasses import dataclass, field, replace

from gradatim.core.errors import InputError, nearest_names
from gradatim.evaluators.problem_verifiers import Verifier
from gradatim.language.problems import Problem
from gradatim.studies.data.questions import (
    ReasoningGymVerifier,
    gsm8k_problems,
    math_500,
    math_problems,
    reasoning_gym_problems,
)

TASK_NAMES = ("math", "math-500", "gsm8k", "reasoning-gym:NAME", "reasoning-gym:NAME:PROPERTY")

_SHOWN = 3
_FINAL = "End with a line: The answer is N."


@dataclass(frozen=True)
class Task:
    """A set of problems with levels.

    Attributes:
        name: its name.
        problems: the problems.
        easy: the highest level that counts as easy.
        verifier: what checks answers; None if comparing them with the right one does.
        exemplars: easy problems with solutions, not among the problems, to show before each.
        instruction: what a chat model is told; None takes the usual one.
    """

    name: str
    problems: list[Problem]
    easy: int
    verifier: Verifier | None = None
    exemplars: list[Problem] = field(default_factory=list)
    instruction: str | None = None


def load_task(name: str, *, seed: int = 0, per_level: int = 60) -> Task:
    """A question set by name.

    Args:
        name: ``math``, ``math-500``, ``gsm8k``, ``reasoning-gym:NAME`` (all properties of the task
            grow with the level) or ``reasoning-gym:NAME:PROPERTY`` (only this one does).
        seed: what generated problems depend on.
        per_level: how many problems are generated for each of the levels 1 to 5, before those that
            are shown as exemplars are taken out.

    Returns:
        The task; easy are levels 1 to 3 of MATH, up to 3 steps in GSM8K, and levels 1 and 2 of
        generated tasks.

    Raises:
        InputError: no such task.
        MissingPackageError: the package that brings it is not installed.
    """
    if name == "math":
        return Task(name, math_problems(), easy=3)
    if name == "math-500":
        return Task(name, math_500(), easy=3)
    if name == "gsm8k":
        return Task(name, gsm8k_problems(), easy=3)
    kind, _, rest = name.partition(":")
    if kind != "reasoning-gym" or not rest:
        raise InputError(
            f"task: expected one of {', '.join(TASK_NAMES)}, got {name!r}"
            f"{nearest_names(name, TASK_NAMES)}"
        )
    generated, _, knob = rest.partition(":")
    return _generated(name, generated, knob or None, seed, per_level)


def _generated(name: str, task: str, knob: str | None, seed: int, per_level: int) -> Task:
    shown, problems = [], []
    for level in (1, 2):
        shown += reasoning_gym_problems(task, (level,), _SHOWN, seed + 1, knob=knob)
    taken = {problem.question for problem in shown}
    for level in range(1, 6):
        made = reasoning_gym_problems(task, (level,), per_level, seed, knob=knob)
        problems += [problem for problem in made if problem.question not in taken]
    exemplars = [_with_solution(problem) for problem in shown]
    return Task(name, problems, 2, ReasoningGymVerifier(task), exemplars, _FINAL)


def _with_solution(problem: Problem) -> Problem:
    return replace(problem, solution=problem.solution or f"The answer is {problem.answer}.")
