"""Chains of modular arithmetic: problems with exact levels, solutions with exact step labels.

A problem names a value and what is done to it, as ``C=7;D*4;E+9?``; a solution copies and computes
step by step, ``D7*4=b;Eb+9=3;:3#``: each step names its letter, copies the value before it and the
operation, and writes the new value, one character a value, modulo 17. The answer follows the colon.
The level of a problem is set by its number of steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.language.characters import CharacterTokenizer

MODULUS = 17
STEPS_OF_LEVEL = {1: 2, 2: 3, 3: 4, 4: 6, 5: 8}
_VALUES = "0123456789abcdefg"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_OPERATIONS = "+-*"
TOKENIZER = CharacterTokenizer(f"{_VALUES}{_LETTERS}{_OPERATIONS}=;?:#")
SEPARATOR, END = TOKENIZER.encode(";")[0], TOKENIZER.encode("#")[0]


@dataclass(frozen=True)
class Chain:
    """A problem: its text, answer, level, and each step's letter, operation and operand."""

    question: str
    answer: str
    level: int
    start: str
    steps: tuple[tuple[str, str, str], ...]

    @property
    def solution(self) -> str:
        """The only right solution."""
        value, written = self.start, []
        for letter, operation, operand in self.steps:
            result = apply(value, operation, operand)
            written.append(f"{letter}{value}{operation}{operand}={result};")
            value = result
        return f"{''.join(written)}:{value}#"


@dataclass(frozen=True)
class Grade:
    """What a solution is worth.

    Attributes:
        answer: the answer that was given; None if there is none.
        correct: whether it is right.
        steps: for each written step whether it follows from the value written before it by the
            right operation of the problem; steps beyond those of the problem are wrong.
        valid: whether all steps are right, none is missing, and the answer follows from them.
    """

    answer: str | None
    correct: bool
    steps: tuple[bool, ...]
    valid: bool


def apply(value: str, operation: str, operand: str) -> str:
    """The result of one operation, modulo 17.

    >>> apply("7", "*", "4")
    'b'
    """
    a, b = _VALUES.index(value), _VALUES.index(operand)
    result = a + b if operation == "+" else a - b if operation == "-" else a * b
    return _VALUES[result % MODULUS]


def draw_chains(level: int, count: int, seed: int, *keys: str) -> list[Chain]:
    """Random problems of one level.

    Operands are never 0, and no problem multiplies by 1. Letters follow one another in the
    alphabet, from a random one on. A longer list begins with the shorter one.

    Args:
        level: 1 to 5.
        count: how many.
        seed: what they depend on, with the keys.
        keys: names of the use, so that training and test problems are drawn independently; one
            of few steps may occur in both.

    Raises:
        InputError: an unknown level, or a negative count.

    >>> chain = draw_chains(1, 1, seed=0)[0]
    >>> grade(chain, chain.solution).valid
    True
    """
    if level not in STEPS_OF_LEVEL:
        known = ", ".join(map(str, STEPS_OF_LEVEL))
        raise InputError(f"level: expected one of {known}, got {level}")
    check_range("count", count, 0)
    length = STEPS_OF_LEVEL[level]
    # One row of uniform numbers a problem: the first problems are the same however many follow.
    uniform = numpy_generator(seed, "chains", *keys, level).random((count, 2 + 2 * length))
    first = (uniform[:, 0] * len(_LETTERS)).astype(int)
    starts = (uniform[:, 1] * MODULUS).astype(int)
    operations = (uniform[:, 2 : 2 + length] * len(_OPERATIONS)).astype(int)
    operands = 1 + (uniform[:, 2 + length :] * (MODULUS - 1)).astype(int)
    operands = np.where((operations == 2) & (operands == 1), MODULUS - 1, operands)
    return [
        _chain(level, int(a), int(v), o.tolist(), b.tolist())
        for a, v, o, b in zip(first, starts, operations, operands, strict=True)
    ]


def _chain(level: int, first: int, start: int, operations: list[int], operands: list[int]) -> Chain:
    letters = [_LETTERS[(first + i) % len(_LETTERS)] for i in range(len(operations) + 1)]
    steps = tuple(
        (letter, _OPERATIONS[operation], _VALUES[operand])
        for letter, operation, operand in zip(letters[1:], operations, operands, strict=True)
    )
    value = _VALUES[start]
    question = f"{letters[0]}={value}" + "".join(f";{''.join(step)}" for step in steps) + "?"
    for _, operation, operand in steps:
        value = apply(value, operation, operand)
    return Chain(question, value, level, _VALUES[start], steps)


def grade(chain: Chain, solution: str) -> Grade:
    """Check a solution, step by step.

    >>> chain = Chain("C=7;D*4?", "b", 1, "7", (("D", "*", "4"),))
    >>> grade(chain, "D7*4=c;:c#")
    Grade(answer='c', correct=False, steps=(False,), valid=False)
    """
    body, colon, rest = solution.partition(":")
    written = body.split(";")
    pieces, tail = written[:-1], written[-1]
    value, steps = chain.start, []
    for number, piece in enumerate(pieces):
        right = False
        if number < len(chain.steps):
            letter, operation, operand = chain.steps[number]
            result = apply(value, operation, operand) if value in _VALUES else "?"
            right = piece == f"{letter}{value}{operation}{operand}={result}"
        steps.append(right)
        value = piece[-1] if piece and piece[-1] in _VALUES else "?"
    answer = rest[:-1] if colon and len(rest) == 2 and rest.endswith("#") else None
    complete = all(steps) and len(steps) == len(chain.steps) and not tail
    return Grade(answer, answer == chain.answer, tuple(steps), complete and answer == value)


def step_labels(grades: Sequence[Grade], longest: int) -> torch.Tensor:
    """The labels of written steps and then of the answer, shape [R, longest]; NaN is unlabelled.

    The answer counts as the step after the last: it is right if the solution is valid.

    Args:
        grades: of each solution.
        longest: how many labels to give at most.

    >>> step_labels([Grade("b", True, (True, True), True), Grade("c", False, (False,), False)], 3)
    tensor([[1., 1., 1.],
            [0., 0., nan]])
    """
    check_range("longest", longest, 1)
    labels = torch.full((len(grades), longest), torch.nan)
    for row, one in enumerate(grades):
        written = [*map(float, one.steps), float(one.valid)][:longest]
        labels[row, : len(written)] = torch.tensor(written)
    return labels
