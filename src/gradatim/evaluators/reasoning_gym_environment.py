"""The generated tasks of reasoning-gym as an environment with a calculator."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError, nearest_names
from gradatim.core.lazy import require
from gradatim.evaluators.tool_environment import Tool, ToolEnvironment, calculate
from gradatim.language.problems import Problem


class ReasoningGymEnvironment(ToolEnvironment):
    """One task of reasoning-gym, judged by the task's own rule.

    A :class:`~gradatim.evaluators.tool_environment.ToolEnvironment` whose problems come from
    :meth:`tasks`, or from elsewhere with their ``metadata`` among the details.

    Args:
        name: the task, such as "chain_sum".
        tools: by name; None is a calculator.
        calls: how many calls an answer may hold.

    Raises:
        InputError: no such task, or as for ``ToolEnvironment``.
        MissingPackageError: ``reasoning-gym`` is not installed.
    """

    def __init__(
        self, name: str, *, tools: Mapping[str, Tool] | None = None, calls: int = 8
    ) -> None:
        module = require("reasoning_gym", extra="tasks", why="for its tasks")
        known = require("reasoning_gym.factory").DATASETS
        if name not in known:
            raise InputError(
                f"name: reasoning-gym has no task {name!r}{nearest_names(name, known) or '.'} "
                f"It has {len(known)}, such as chain_sum and basic_arithmetic"
            )
        self.name = name
        super().__init__(
            {"calculator": calculate} if tools is None else tools,
            _OwnRule(module.get_score_answer_fn(name)),
            calls=calls,
        )

    def tasks(self, count: int, *, seed: int = 0, level: int = 1, **config: Any) -> list[Problem]:
        """Generated problems.

        Args:
            count: how many.
            seed: what they depend on.
            level: that they are said to be of.
            config: settings of the task, as ``max_terms=3``; which there are is the task's own.

        Raises:
            InputError: fewer than one problem, or a setting that the task does not have or allow.
        """
        check_range("count", count, 1)
        create = require("reasoning_gym").create_dataset
        try:
            made = create(self.name, seed=seed, size=count, **config)
        except (TypeError, AssertionError, ValueError) as error:
            raise InputError(f"config: {self.name} refuses {config}: {error}") from None
        return [
            Problem(
                one["question"], str(one["answer"]), level, details={"metadata": one["metadata"]}
            )
            for one in (made[place] for place in range(count))
        ]


class _OwnRule:
    """The rule of a task; what it cannot read is wrong."""

    def __init__(self, score: Any) -> None:
        self._score = score

    def matches(self, problem: Problem, answers: Sequence[str | None]) -> NDArray[np.bool_]:
        """Which answers are wholly right."""
        entry = {"question": problem.question, "answer": problem.answer, **problem.details}
        return np.array([self._right(answer, entry) for answer in answers], dtype=bool)

    def _right(self, answer: str | None, entry: dict[str, Any]) -> bool:
        if answer is None:
            return False
        try:
            return float(self._score(answer, entry)) >= 1.0
        except Exception:  # the rules of tasks parse answers, each in its own way
            return False
