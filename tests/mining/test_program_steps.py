"""From the tokens of a program to its steps, with tokens of characters and with pieces of text."""

from fractions import Fraction

import pytest

from gradatim.core.errors import InputError
from gradatim.evaluators.program_tracer import ProgramTracer
from gradatim.language.text_steps import TextSteps
from gradatim.mining.program_steps import ProgramSteps, split_at
from gradatim.mining.self_sampled_solutions import SelfSampledSolutions


def decode(tokens):
    return "".join(map(chr, tokens))


def encode(text):
    return list(map(ord, text))


def steps_of(text, answer=6, **options):
    return ProgramSteps(decode, split_at([10]), [answer], **options)(0, encode(text))


def test_steps_have_tokens_states_answers_and_forms():
    first, second = steps_of("a=2+4\nanswer = (a)\n")
    assert decode(first.tokens) == "a=2+4\n" and decode(second.tokens) == "answer = (a)\n"
    assert (first.state, second.state) == ((6,), (6, 6))
    assert (first.right, second.right) == (None, True)
    assert (first.form, second.form) == ("a = 2 + 4", "answer = a")


def test_wrong_answers_and_other_names_for_the_answer():
    assert steps_of("answer=7\n")[-1].right is False
    assert steps_of("answer=6\n", answer="12/2")[-1].right is True
    named = ProgramSteps(decode, split_at([10]), [6], answer="r")
    assert [one.right for one in named(0, encode("answer=1\nr=6\n"))] == [None, True]
    assert steps_of("answer=6.001\n", tolerance=0.01)[-1].right is True


def test_inputs_are_those_of_the_problem_and_part_of_the_state():
    steps = ProgramSteps(decode, split_at([10]), [1, 2], [{"n": 1}, {"n": 2}])
    program = encode("answer=n\n")
    assert [steps(problem, program)[0].right for problem in (0, 1)] == [True, True]
    assert steps(1, program)[0].state == (2, 2)


def test_an_open_last_line_counts_only_if_it_gives_the_answer():
    assert [one.form for one in steps_of("a=2\nb=a*3")] == ["a = 2"]
    assert [one.form for one in steps_of("a=2\nb=a*")] == ["a = 2"]
    assert [one.right for one in steps_of("a=2\nanswer=a*3")] == [None, True]
    assert steps_of("a=2") == [] == steps_of("")


def test_programs_that_fail():
    for text in ("a=b\nanswer=6\n", "a=1/0\n", "\n\na=1\n", "a=1;b=2\n", "a=(1+\n2)\n"):
        assert steps_of(text) is None


def test_a_tracer_of_ones_own():
    assert steps_of("answer=half(12)\n") is None
    tracer = ProgramTracer(functions={"half": lambda x: x / 2})
    assert steps_of("answer=half(12)\n", tracer=tracer)[0].state == (Fraction(6),)


class Pieces:
    """A tokenizer whose tokens are pieces of text that may reach over the ends of lines."""

    all_special_ids = (0,)
    is_fast = False
    texts = ("", "\n", "a", "=2", "\nb", "=a*3", "\nanswer=", "b", "a=2\n", "\n\n", "\nc=")

    def __call__(self, text, **_):
        return {"input_ids": [2, 1, 7]}

    def decode(self, tokens, **_):
        return "".join(self.texts[token] for token in tokens)


def test_tokens_that_reach_over_the_end_of_a_line_belong_to_the_line_they_close():
    tokenizer = Pieces()
    steps = ProgramSteps(tokenizer.decode, TextSteps(tokenizer).of, [6])
    found = steps(0, [2, 3, 4, 5, 6, 7])
    assert [one.form for one in found] == ["a = 2", "b = a * 3", "answer = b"]
    assert [one.tokens for one in found] == [(2, 3, 4), (5, 6), (7,)]
    assert found[-1].right is True
    blank = steps(0, [8, 9, 7, 5, 1])  # a blank line belongs to the step before it
    assert [one.tokens for one in blank] == [(8, 9), (7, 5, 1)]


def test_tokens_of_an_open_line_are_left_out_of_what_is_kept():
    steps = ProgramSteps(decode, split_at([10]), [6])
    solutions = SelfSampledSolutions([encode("a=2\nanswer=a*3\n")], steps)
    assert solutions.add(0, encode("c=1+1\nd=c")) == "partial"
    assert decode(solutions.solutions(0)[1].tokens) == "c=1+1\n"
    assert solutions.add(0, encode("c = 1+1\nanswer = c*3")) == "complete"
    assert solutions.add(0, encode("c=1 + 1\nanswer=c*3\nd=9\n")) == "known"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": [{}, {}]}, "answers has 1, inputs has 2"),
        ({"separator": ""}, "separator: expected some text, got none"),
        ({"tolerance": -1.0}, "tolerance: expected a number in"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InputError, match=message):
        steps_of("a=1\n", **options)
    with pytest.raises(InputError, match="separators: expected at least one token, got none"):
        split_at([])
