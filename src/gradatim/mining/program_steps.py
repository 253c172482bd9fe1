"""The steps of a program that a language model wrote: tokens to statements to states."""

from collections.abc import Callable, Mapping, Sequence

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.evaluators.program_tracer import (
    Number,
    ProgramTracer,
    State,
    normal_statement,
    right_answer,
    state_key,
)
from gradatim.mining.self_sampled_solutions import Step, Tokens


class ProgramSteps:
    """Traces solutions that are straight-line programs, one statement a line.

    Two statements are one if they differ in blanks alone; two states are one if they hold the
    same values, whatever the variables are called. A last line that nothing closes counts only if
    it gives the answer: it may be a piece of a longer one.

    Args:
        decode: tokens to text, as ``tokenizer.decode``.
        split: the number of the line of each token, from 0, as
            ``TextSteps(tokenizer).of`` (:mod:`gradatim.language.text_steps`), or
            :func:`split_at` where a line ends with a token of its own.
        answers: the right answer of each problem.
        inputs: variables that the programs of each problem find, if there are any.
        separator: what closes a line.
        tracer: runs programs; None takes a :class:`ProgramTracer` with its defaults.
        answer: the variable that holds the answer.
        tolerance: how far off an answer may be.

    Raises:
        InputError: unequal numbers of problems, an empty separator or a negative tolerance.

    Source: Ni et al. 2023, arXiv 2205.14318, section 3.2.

    >>> def decode(tokens):
    ...     return "".join(map(chr, tokens))
    >>> steps = ProgramSteps(decode, split_at([10]), answers=[6], inputs=[{"n": 4}])
    >>> for step in steps(0, [*map(ord, "t = n + 2\\nanswer = t\\n")]):
    ...     print([str(value) for value in step.state], step.right, step.form)
    ['4', '6'] None t = n + 2
    ['4', '6', '6'] True answer = t
    """

    def __init__(
        self,
        decode: Callable[[Tokens], str],
        split: Callable[[Tokens], Sequence[int]],
        answers: Sequence[Number],
        inputs: Sequence[Mapping[str, Number]] | None = None,
        *,
        separator: str = "\n",
        tracer: ProgramTracer | None = None,
        answer: str = "answer",
        tolerance: float = 0.0,
    ) -> None:
        if inputs is not None:
            check_same_length(answers=answers, inputs=inputs)
        if not separator:
            raise InputError("separator: expected some text, got none")
        check_range("tolerance", tolerance, 0)
        self.decode, self.split, self.separator = decode, split, separator
        self.answers, self.inputs = answers, inputs
        self.tracer = ProgramTracer() if tracer is None else tracer
        self.answer, self.tolerance = answer, tolerance

    def __call__(self, problem: int, tokens: Tokens) -> list[Step] | None:
        """The steps of a solution; None if it fails.

        Args:
            problem: its position.
            tokens: the solution.
        """
        text = self.decode(tokens)
        lines = [line.strip() for line in text.split(self.separator)]
        statements = [line for line in lines if line]
        states = self._states(problem, statements, closed=not lines[-1])
        if states is None:
            return None
        pieces: dict[int, list[int]] = {}
        for token, number in zip(tokens, self.split(tokens), strict=True):
            pieces.setdefault(number, []).append(token)
        if len(pieces) != len(statements):  # blank lines that are steps to ``split``, say
            return None
        return [
            Step(
                tuple(piece),
                state_key(state),
                right_answer(
                    state, self.answers[problem], name=self.answer, tolerance=self.tolerance
                ),
                normal_statement(statement),
            )
            for piece, state, statement in zip(pieces.values(), states, statements, strict=False)
        ]

    def _states(
        self, problem: int, statements: Sequence[str], *, closed: bool
    ) -> list[State] | None:
        """The states after the statements, without a last one that is open and no answer."""
        inputs = None if self.inputs is None else self.inputs[problem]
        if closed or not statements:
            return self.tracer(statements, inputs)
        states = self.tracer(statements, inputs)
        if states is not None and self.answer in states[-1]:
            return states
        return self.tracer(statements[:-1], inputs)


def split_at(separators: Sequence[int]) -> Callable[[Tokens], list[int]]:
    """A function that numbers the lines of tokens, each closed by a separator that is its last.

    Args:
        separators: tokens that close a line.

    Raises:
        InputError: there is none.

    >>> split_at([9])([5, 9, 6, 7, 9, 8])
    [0, 0, 1, 1, 1, 2]
    """
    if not separators:
        raise InputError("separators: expected at least one token, got none")
    closing = frozenset(separators)

    def split(tokens: Tokens) -> list[int]:
        numbers, number = [], 0
        for token in tokens:
            numbers.append(number)
            number += token in closing
        return numbers

    return split
