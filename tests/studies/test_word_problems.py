"""Word problems: their programs against the templates, and how hard they are."""

import re
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.evaluators.program_tracer import ProgramTracer
from gradatim.studies.data.word_problems import (
    ANSWER,
    TEMPLATES,
    TOKENIZER,
    draw_word_problems,
    rewritten,
)

OPERATIONS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def value(tree, numbers):
    if isinstance(tree, int):
        return numbers[tree]
    operation, left, right = tree
    return OPERATIONS[operation](value(left, numbers), value(right, numbers))


def solved(question):
    """The answer of a question, from its templates alone."""
    result = None
    for part in question.rstrip("?").split("."):
        numbers = [result if one == "@" else int(one) for one in part[1:]]
        result = value(TEMPLATES[part[0]], numbers)
    return result


@pytest.mark.parametrize("hard", [False, True])
def test_programs_and_answers_are_those_of_the_templates(hard):
    problems = draw_word_problems(500, 0, "test", hard=hard)
    for problem in problems:
        states = ProgramTracer()([one for one in problem.program.split(";") if one])
        assert states[-1][ANSWER] == problem.answer == solved(problem.question)
        assert len(states) == problem.statements
        assert TOKENIZER.decode(TOKENIZER.encode(problem.question)) == problem.question
        assert TOKENIZER.decode(TOKENIZER.encode(problem.program)) == problem.program
        assert all(re.fullmatch(r"\w=\w[-+*]\w", one) for one in problem.program.split(";")[:-1])
    lengths = Counter(problem.statements for problem in problems)
    assert set(lengths) == ({4, 5, 6} if hard else {2, 3})
    assert {problem.question[0] for problem in problems} == set(TEMPLATES)


@given(st.sampled_from(sorted(TEMPLATES)), st.integers(0, 1000), st.lists(
    st.fractions(-5, 5, max_denominator=4), min_size=3, max_size=3))  # fmt: skip
def test_rewriting_keeps_the_value(name, seed, numbers):
    tree = rewritten(TEMPLATES[name], numpy_generator(seed))
    assert value(tree, numbers) == value(TEMPLATES[name], numbers)


def test_one_question_has_several_references():
    found = {rewritten(TEMPLATES["B"], numpy_generator(seed)) for seed in range(200)}
    assert len(found) >= 8
    assert ("+", ("*", 0, 2), ("*", 1, 2)) in found and TEMPLATES["B"] in found


def test_longer_lists_begin_with_shorter_ones_and_uses_differ():
    def draw(count, *keys):
        return draw_word_problems(count, 3, *keys, hard=True)

    assert draw(30, "a")[:10] == draw(10, "a")
    assert draw(10, "a") != draw(10, "b")
    assert draw(0) == []
    assert isinstance(draw(1)[0].answer, Fraction)
    with pytest.raises(InputError, match="count: expected a number in"):
        draw(-1)
